use std::path::PathBuf;

use ossify_contract::ArtefactError;
use ossify_settings::StageError;

/// Why foreign predictions cannot be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A file or table cannot be read or written.
    #[error(transparent)]
    Artefact(#[from] ArtefactError),
    /// The file is not what the format says.
    #[error(
        "{path} is not a list of detections: {source}; expected is [{{\"image_id\": \
            .., \"category_id\": .., \"bbox\": [x, y, width, height], \"score\": ..}}, ..]"
    )]
    NotDetections {
        /// The file.
        path: String,
        /// What is wrong, with line and column.
        source: serde_json::Error,
    },
    /// The file is not a ground truth.
    #[error("the ground truth {} cannot be used: {reason}; it needs `images` with id and \
        file_name, and `categories` with id and name", path.display())]
    GroundTruth {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        reason: String,
    },
    /// There are no predictions.
    #[error("{path} has no predictions: {what}")]
    Empty {
        /// The file or folder.
        path: String,
        /// What is there.
        what: &'static str,
    },
    /// No row can be used.
    #[error("{}: none of its {entries} predictions can be used: \
        {}", path.display(), reasons.join("; "))]
    NothingUsable {
        /// The file or folder.
        path: PathBuf,
        /// Predictions in it.
        entries: u64,
        /// Why, with counts and examples.
        reasons: Vec<String>,
    },
    /// The ids fit two numberings.
    #[error(
        "the ids do not say how the classes are numbered: neither 0 nor {} is among them, which \
            would show whether the dataset's classes 0 to {last} \
         are counted from 0 or from 1; give --category-ids from-0 or from-1, or for COCO results \
         the --ground-truth that they belong to", last + 1
    )]
    UndecidedIds {
        /// The last class of the dataset.
        last: i64,
    },
    /// The ids fit no numbering.
    #[error(
        "the ids contradict each other: there is category_id 0 and also {other}, though the \
            dataset's classes are 0 to {last}; \
         these are predictions of other classes, or --category-ids has to say how they are numbered"
    )]
    ContradictoryIds {
        /// What speaks against ids from 0.
        other: String,
        /// The last class of the dataset.
        last: i64,
    },
}

impl From<ImportError> for StageError {
    fn from(error: ImportError) -> Self {
        StageError::Failed(error.into())
    }
}
