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
    /// Arrow or Parquet refused the data.
    #[error(
        "{}: {}; if the file is damaged, make it or copy it again",
        path.display(),
        arrow_reason(source)
    )]
    Arrow {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: arrow::error::ArrowError,
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

    /// An Arrow or Parquet failure; a full disk that caused it is reported as such.
    pub fn arrow<E: Into<arrow::error::ArrowError>>(
        path: impl AsRef<Path>,
    ) -> impl FnOnce(E) -> Self {
        let path = path.as_ref().to_path_buf();
        move |error| match error.into() {
            arrow::error::ArrowError::IoError(_, source) => {
                ArtefactError::Io { action: "cannot read or write", path, source }
            }
            source => match io_cause(&source) {
                Some(source) => ArtefactError::Io { action: "cannot read or write", path, source },
                None => ArtefactError::Arrow { path, source },
            },
        }
    }

    /// An [`ArtefactError::Corrupt`].
    pub fn corrupt(path: impl AsRef<Path>, reason: impl Into<String>) -> Self {
        ArtefactError::Corrupt { path: path.as_ref().to_path_buf(), reason: reason.into() }
    }
}

/// What Arrow or Parquet says, without the names of the layers that it came through.
pub(crate) fn arrow_reason(error: &arrow::error::ArrowError) -> String {
    const LAYERS: [&str; 13] = [
        "Parquet argument error: ",
        "Parquet error: ",
        "Invalid argument error: ",
        "External error: ",
        "External: ",
        "Arrow: ",
        "Ipc error: ",
        "Parser error: ",
        "Schema error: ",
        "Compute error: ",
        "Cast error: ",
        "Io error: ",
        "EOF: ",
    ];
    let text = error.to_string();
    let mut reason = text.as_str();
    while let Some(inner) = LAYERS.iter().find_map(|layer| reason.strip_prefix(layer)) {
        reason = inner;
    }
    reason.to_owned()
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
    fn an_error_of_a_library_has_no_names_of_its_layers() {
        let inner = ParquetError::External("a page is cut short".into());
        let cases: [(ArrowError, &str); 3] = [
            (inner.into(), "a page is cut short"),
            (ParquetError::EOF("eof decoding byte array".into()).into(), "eof decoding byte array"),
            (ArrowError::CastError("'x' is not a number".into()), "'x' is not a number"),
        ];
        for (error, reason) in cases {
            let text = ArtefactError::arrow("t.parquet")(error).to_string();
            let expected =
                format!("t.parquet: {reason}; if the file is damaged, make it or copy it again");
            assert_eq!(text, expected);
        }
    }
}
