use crate::table::table;
use crate::words::MatchKind;

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
