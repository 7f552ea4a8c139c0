//! What is said of predictions, by `ossify-predict` or by an import.

use std::collections::BTreeMap;

use ossify_vocabulary::Task;
use serde::{Deserialize, Serialize};

use super::typed::Summary;
use crate::words::Split;

/// What is said of predictions, by `ossify-predict` or by an import.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PredictionsSummary {
    /// Id of the run, or of the import.
    pub run: String,
    /// What the network does; `None` in imports and in predictions of earlier versions, which are
    /// a classifier's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<Task>,
    /// Images of each split that were looked at; empty in imports.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub images: BTreeMap<String, u64>,
    /// Those of them that have a prediction; empty in imports and in predictions of earlier
    /// versions, in which all have one.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub images_with_findings: BTreeMap<String, u64>,
    /// What was imported of each split.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub splits: BTreeMap<Split, ImportedSplit>,
    /// Names of the predicted classes in order of `class_index`.
    pub class_names: Vec<String>,
    /// XXH3 of the model, 16 hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_xxh3: Option<String>,
    /// Digest of the class map that the predictions are of.
    pub class_map: Option<String>,
    /// Of each predicted split, [`crate::Inputs::hash`] of its shards.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub shards_of_split: BTreeMap<Split, String>,
    /// The folder of images, or the image, that was predicted; `None` where shards were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Images of a folder that could not be read; `None` where shards were predicted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<Vec<UnreadableImage>>,
}

/// An image of a folder that could not be predicted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnreadableImage {
    /// Path from the folder.
    pub image_id: String,
    /// Why.
    pub reason: String,
}

impl Summary for PredictionsSummary {
    const OF: &'static str = "predictions";
    const STAGES: &'static [&'static str] = &["predict", "import"];
}

/// What an import says of a split.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ImportedSplit {
    /// `coco`, `yolo` or `ultralytics`.
    pub format: String,
    /// The file or folder that was imported.
    pub source: String,
    /// Entries of the source.
    pub entries: u64,
    /// Rows of the table.
    pub predictions: u64,
    /// Images with a prediction.
    pub images: u64,
    /// Images without one.
    pub silent_images: u64,
    /// Images that were looked at, where the source says so; the others have no prediction because
    /// nobody looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images_looked_at: Option<u64>,
    /// Boxes that reach beyond their image.
    pub boxes_beyond_image: u64,
    /// How the source numbers its classes, where that was asked or found out.
    pub category_ids: Option<String>,
    /// Rows of the source that could not be used.
    pub left_out: Vec<LeftOutRows>,
}

/// Rows of foreign predictions that were left out for one reason.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LeftOutRows {
    /// Why.
    pub reason: String,
    /// How many.
    pub count: u64,
    /// One of them.
    pub example: String,
    /// Whether the rows are wrong, and not merely of something else.
    pub is_error: bool,
}
