//! Why a dataset cannot be read.

use std::io;
use std::path::{Path, PathBuf};

use ossify_contract::{Split, TextError};
use ossify_storage::is_url;

/// Why a dataset cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LayoutError {
    /// The dataset's folder does not exist.
    #[error("there is no dataset at {}; {hint}", path.display())]
    NoDataset {
        /// The path that was looked up.
        path: PathBuf,
        /// What to do.
        hint: String,
    },
    /// A file or folder of the dataset cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A text file of the dataset is not UTF-8.
    #[error(transparent)]
    NotUtf8(TextError),
    /// The description is not YAML, or not that of a dataset.
    #[error("{}:{line}:{column}: {reason}", path.display())]
    Yaml {
        /// The description.
        path: PathBuf,
        /// Where, from 1.
        line: u64,
        /// Where in the line, from 1.
        column: u64,
        /// What is wrong.
        reason: String,
    },
    /// The description or a list of images is invalid.
    #[error("{}: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Several files could be the description.
    #[error(
        "several files describe a dataset: {}; rename the right one to data.yaml, or name it with \
        --dataset",
        list(files)
    )]
    SeveralYaml {
        /// The files.
        files: Vec<PathBuf>,
    },
    /// A split that the description names does not exist.
    #[error("{}: `{key}: {value}` is not there; looked for {}", yaml.display(), tried.join(", "))]
    MissingSource {
        /// The description.
        yaml: PathBuf,
        /// The split's key.
        key: &'static str,
        /// Its value.
        value: String,
        /// Paths that were tried.
        tried: Vec<String>,
    },
    /// A path leads outside the dataset.
    #[error("path-escapes-dataset: {what} leads to {}, outside the dataset; copy it inside, or \
        allow it with --set dataset.follow_links=true", target.display())]
    Escapes {
        /// The path as written, and where it was written.
        what: String,
        /// Where it leads.
        target: PathBuf,
    },
    /// No split was found.
    #[error("no images found below {}; looked for {looked_for}", root.display())]
    NoSplits {
        /// The dataset.
        root: PathBuf,
        /// All paths that were tried.
        looked_for: String,
    },
    /// The class names are unknown.
    #[error(
        "the names of the classes are not known: {}; add `names: [...]` to data.yaml, or set \
        dataset.class_names = [\"...\", \"...\"] in the conf",
        reason
    )]
    NoClasses {
        /// What was looked for.
        reason: String,
    },
    /// The conf and the description have different numbers of classes.
    #[error("dataset.class_names has {configured} and {} has {described} classes; name each class \
        once, in order of the ids", yaml.display())]
    ClassCount {
        /// Names in the conf.
        configured: usize,
        /// Names in the description.
        described: usize,
        /// The description.
        yaml: PathBuf,
    },
    /// One image in two splits.
    #[error(
        "{count} images are in {first} and in {second}, {example} for one; a split that is \
        trained on cannot be scored on: give each its own images"
    )]
    SharedImages {
        /// How many.
        count: usize,
        /// One split.
        first: Split,
        /// The other split.
        second: Split,
        /// One of them.
        example: String,
    },
}

impl LayoutError {
    /// A [`LayoutError::Io`], for `map_err`.
    pub fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| LayoutError::Io { path, source }
    }

    /// Whether the error is in the command line or configuration rather than in the dataset.
    pub fn is_usage(&self) -> bool {
        match self {
            LayoutError::NoDataset { .. } | LayoutError::ClassCount { .. } => true,
            // An unsupported URL, or an environment that does not suit it.
            LayoutError::Io { path, source } => {
                is_url(path) && source.kind() == io::ErrorKind::InvalidInput
            }
            _ => false,
        }
    }
}

fn list(files: &[PathBuf]) -> String {
    files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ")
}
