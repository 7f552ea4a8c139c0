//! Why a dataset cannot be read.

use std::io;
use std::path::{Path, PathBuf};

use ossify_contract::Split;
use ossify_storage::is_url;

/// Why a dataset cannot be read as one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LayoutError {
    /// The dataset's folder is not there.
    #[error("there is no dataset at {}; {hint}", path.display())]
    NoDataset {
        /// Where it was looked for.
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
    /// The description, or a list of images, is not what it should be.
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
    /// A split that the description names is not there.
    #[error("{}: `{key}: {value}` is not there; looked for {}", yaml.display(), tried.join(", "))]
    MissingSource {
        /// The description.
        yaml: PathBuf,
        /// The split's key.
        key: &'static str,
        /// What it says.
        value: String,
        /// Paths that were looked for.
        tried: Vec<String>,
    },
    /// A path leads outside the dataset.
    #[error("path-escapes-dataset: {what} leads to {}, outside the dataset; copy it inside, or \
        allow it with --set dataset.follow_links=true", target.display())]
    Escapes {
        /// The path, as it was written, and where.
        what: String,
        /// Where it leads.
        target: PathBuf,
    },
    /// No split was found.
    #[error("no images found below {}; looked for {looked_for}", root.display())]
    NoSplits {
        /// The dataset.
        root: PathBuf,
        /// All places.
        looked_for: String,
    },
    /// Nothing says what the classes are.
    #[error(
        "the names of the classes are not known: {}; add `names: [...]` to data.yaml, or set \
        dataset.class_names = [\"...\", \"...\"] in the conf",
        reason
    )]
    NoClasses {
        /// What was looked for.
        reason: String,
    },
    /// The conf names another number of classes than the description.
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

    /// Whether the command line or the configuration is at fault, and not the dataset.
    pub fn is_usage(&self) -> bool {
        match self {
            LayoutError::NoDataset { .. } | LayoutError::ClassCount { .. } => true,
            // A URL of no known kind, or an environment that does not fit it.
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
