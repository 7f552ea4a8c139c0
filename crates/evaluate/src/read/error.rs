use std::path::PathBuf;

use ossify_contract::{ArtefactError, Split};

/// Why predictions cannot be scored against these tables.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// A table cannot be read.
    #[error(transparent)]
    Artefact(#[from] ArtefactError),
    /// The predictions speak of other classes.
    #[error(
        "{} was made with another class map: {}; predict again with a run that was trained on \
            these tables, or score it with the tables that belong to it",
        path.display(), differences.join("; ")
    )]
    OtherClasses {
        /// The predictions.
        path: PathBuf,
        /// What differs, one sentence each.
        differences: Vec<String>,
    },
    /// The predictions speak of images that the split does not have.
    #[error(
        "{}: {} not in the {split} split of the tables, `{example}` among \
            them; these predictions belong to another dataset, or ingest ran again since",
        path.display(), of_its_images(*images)
    )]
    OtherImages {
        /// The predictions.
        path: PathBuf,
        /// The split.
        split: Split,
        /// How many images are unknown.
        images: usize,
        /// One of them.
        example: String,
    },
    /// What the table of looked-at images says does not fit the predictions.
    #[error("{}, `{image_id}`: {reason}", path.display())]
    BadImageRow {
        /// The table of images.
        path: PathBuf,
        /// The image.
        image_id: String,
        /// What is wrong.
        reason: String,
    },
    /// A value that no prediction can have.
    #[error("{}, prediction of rank {rank} for `{image_id}`: {reason}", path.display())]
    BadRow {
        /// The predictions.
        path: PathBuf,
        /// The image.
        image_id: String,
        /// The rank.
        rank: i32,
        /// What is wrong.
        reason: String,
    },
}

fn of_its_images(images: usize) -> String {
    format!("{images} of its images {}", if images == 1 { "is" } else { "are" })
}
