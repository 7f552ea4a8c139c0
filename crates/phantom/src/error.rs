//! Why a dataset could not be made.

use std::path::PathBuf;

use ossify_contract::ArtefactError;

use crate::parameters::Parameters;

/// Why a dataset could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PhantomError {
    /// Too few images for the classes.
    #[error(
        "{images} images are too few for seven classes in three splits; take at least {}",
        Parameters::MIN_IMAGES
    )]
    TooFewImages {
        /// What was asked for.
        images: u64,
    },
    /// The plan would not fit into memory.
    #[error("{images} images are too many; take at most {}", Parameters::MAX_IMAGES)]
    TooManyImages {
        /// What was asked for.
        images: u64,
    },
    /// The folder contains something else.
    #[error("{} contains {name:?}, which is not part of a phantom dataset; nothing was changed: \
        choose another folder with --dataset, or empty it yourself", path.display())]
    Occupied {
        /// The folder.
        path: PathBuf,
        /// A file or folder in it.
        name: String,
    },
    /// The path does not end in a name.
    #[error("{} cannot be created: choose another folder with --dataset", path.display())]
    NoName {
        /// The path.
        path: PathBuf,
    },
    /// The encoder failed.
    #[error("cannot encode {path}: {source}")]
    Encode {
        /// The image, from the dataset root.
        path: String,
        /// The cause.
        source: image::ImageError,
    },
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] ArtefactError),
}

/// Results of this crate.
pub type Result<T, E = PhantomError> = std::result::Result<T, E>;
