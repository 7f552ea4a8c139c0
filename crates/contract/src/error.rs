use std::path::{Path, PathBuf};

/// What can go wrong with an artefact. Each variant names the file.
#[derive(Debug, thiserror::Error)]
pub enum ArtefactError {
    /// The disk, or the file system, said no.
    #[error("{action} {}: {}", path.display(), io_reason(source))]
    Io {
        /// What was tried, as in "cannot write".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A stage's output is not there.
    #[error("{} has no manifest.json: {hint}", path.display())]
    Missing {
        /// The folder.
        path: PathBuf,
        /// What to do.
        hint: String,
    },
    /// A file is not what its manifest or its schema says.
    #[error("{}: {reason}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What differs, and what to do.
        reason: String,
    },
    /// A part lies where that of another share belongs.
    #[error("{} is the part {partition}; it was moved here", path.display())]
    MovedPart {
        /// The folder.
        path: PathBuf,
        /// The share that it is of.
        partition: String,
    },
    /// Another process writes the same output.
    #[error(
        "{} is being written by another ossify process; wait for it, or choose another OUT",
        path.display()
    )]
    Busy {
        /// The folder.
        path: PathBuf,
    },
}

/// Results of this crate.
pub type Result<T, E = ArtefactError> = std::result::Result<T, E>;

fn io_reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::StorageFull => {
            "the disk is full; free some space or choose another OUT, then run again".into()
        }
        std::io::ErrorKind::QuotaExceeded => {
            "the disk quota is used up; free some space or choose another OUT, then run again"
                .into()
        }
        _ => error.to_string(),
    }
}

impl ArtefactError {
    /// An [`ArtefactError::Io`], for `map_err`.
    pub fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| ArtefactError::Io { action, path, source }
    }

    /// Arrow or Parquet cannot write a file; a full disk that caused it is reported as such.
    pub(crate) fn unwritten<E: std::error::Error + 'static>(
        path: impl AsRef<Path>,
    ) -> impl FnOnce(E) -> Self {
        let path = path.as_ref().to_path_buf();
        move |error| match io_cause(&error) {
            Some(source) => ArtefactError::Io { action: "cannot write", path, source },
            None => ArtefactError::corrupt(
                path,
                format!("its rows cannot be written ({error}); this is a defect of ossify"),
            ),
        }
    }

    /// Arrow or Parquet cannot read a file: a disk that caused it is reported as such; all else
    /// that they say is for programmers, and `damage` says instead what is wrong and what to do.
    pub(crate) fn unread<E: std::error::Error + 'static>(
        path: impl AsRef<Path>,
        damage: impl FnOnce() -> String,
    ) -> impl FnOnce(E) -> Self {
        let path = path.as_ref().to_path_buf();
        move |error| match io_cause(&error) {
            Some(source) => ArtefactError::Io { action: "cannot read", path, source },
            None => ArtefactError::corrupt(path, damage()),
        }
    }

    /// An [`ArtefactError::Corrupt`].
    pub fn corrupt(path: impl AsRef<Path>, reason: impl Into<String>) -> Self {
        ArtefactError::Corrupt { path: path.as_ref().to_path_buf(), reason: reason.into() }
    }
}

/// Where JSON that one of our programs wrote is damaged, as a clause.
pub(crate) fn json_damage(error: &serde_json::Error) -> String {
    let (line, column) = (error.line(), error.column());
    match error.classify() {
        serde_json::error::Category::Eof => "it is cut short".to_owned(),
        serde_json::error::Category::Data if line > 0 => {
            format!("an entry that ends at line {line}, column {column} is not as ossify writes it")
        }
        serde_json::error::Category::Data => "an entry is not as ossify writes it".to_owned(),
        _ => format!("line {line}, column {column} is not JSON"),
    }
}

/// The operating system's error inside an Arrow or Parquet error, if one caused it.
fn io_cause(error: &(dyn std::error::Error + 'static)) -> Option<std::io::Error> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return Some(io.raw_os_error().map_or_else(
                || std::io::Error::new(io.kind(), io.to_string()),
                std::io::Error::from_raw_os_error,
            ));
        }
        cause = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use arrow::error::ArrowError;
    use parquet::errors::ParquetError;

    use super::*;

    #[test]
    fn a_disk_behind_an_error_of_a_library_is_said_and_nothing_of_the_library() {
        let full = || std::io::Error::from_raw_os_error(28);
        let full_said = "t.parquet: the disk is full; free some space or choose another OUT, then \
            run again";
        let error = ParquetError::External(Box::new(full()));
        let text = ArtefactError::unwritten("t.parquet")(error).to_string();
        assert_eq!(text, format!("cannot write {full_said}"));
        let error = ArrowError::IoError("x".into(), full());
        let damage = || "it is damaged".to_owned();
        let text = ArtefactError::unread("t.parquet", damage)(error).to_string();
        assert_eq!(text, format!("cannot read {full_said}"));
        let error = ParquetError::EOF("eof decoding byte array".into());
        let text = ArtefactError::unread("t.parquet", damage)(error).to_string();
        assert_eq!(text, "t.parquet: it is damaged");
    }

    #[test]
    fn damaged_json_is_said_without_the_words_of_its_parser() {
        let damage = |text: &str| json_damage(&serde_json::from_str::<Vec<u8>>(text).unwrap_err());
        assert_eq!(damage(""), "it is cut short");
        assert_eq!(damage("[1,\n"), "it is cut short");
        assert_eq!(damage("[1,\nx]"), "line 2, column 1 is not JSON");
        let expected = "an entry that ends at line 1, column 4 is not as ossify writes it";
        assert_eq!(damage("[\"a\"]"), expected);
    }
}
