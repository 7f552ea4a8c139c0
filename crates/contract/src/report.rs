use serde::{Deserialize, Serialize};

use crate::table::table;

/// What became of a prediction or of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MatchKind {
    /// Right class, IoU of at least 0.5.
    Match,
    /// Wrong class, IoU of at least 0.5.
    ClassError,
    /// Right class, IoU of at least 0.1 and below 0.5.
    LocationError,
    /// Wrong class, IoU of at least 0.1 and below 0.5.
    Both,
    /// Right class and place, yet a better prediction already has the object.
    Duplicate,
    /// IoU below 0.1 with every object.
    Background,
    /// An object that no prediction found.
    Miss,
}

impl MatchKind {
    /// The word in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            MatchKind::Match => "match",
            MatchKind::ClassError => "class_error",
            MatchKind::LocationError => "location_error",
            MatchKind::Both => "both",
            MatchKind::Duplicate => "duplicate",
            MatchKind::Background => "background",
            MatchKind::Miss => "miss",
        }
    }
}

table! {
    /// One row a prediction, or an object that none found.
    "matches" => MatchRow {
        /// The image.
        image_id: String,
        /// Line of the object in its label file; null for a prediction without an object.
        line: Option<i32>,
        /// Rank of the prediction; null for a missed object.
        rank: Option<i32>,
        /// Class of the object; null for a prediction without an object.
        true_class_name: Option<String>,
        /// Predicted class; null for a missed object.
        predicted_class_name: Option<String>,
        /// Confidence of the prediction.
        score: Option<f32>,
        /// IoU of the two boxes.
        iou: Option<f32>,
        /// What became of it.
        kind: MatchKind,
    }
}
