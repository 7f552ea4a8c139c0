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
    #[error("{}: {source}", path.display())]
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

    /// An Arrow or Parquet failure; a full disk inside it is told as one.
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
