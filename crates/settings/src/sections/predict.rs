use ossify_contract::Split;
use ossify_vocabulary::DeviceChoice;

use crate::ranges::{between, splits};
use crate::schema::table;

table! {
    /// A model to predictions.
    PredictSettings {
        /// Id of the run, or "latest".
        // Predictions depend on the run that it names, however it does so.
        run: String [Nothing] = "latest".into();
        /// Splits to predict.
        splits: Vec<Split> [Output] = vec![Split::Valid, Split::Test] => |v| splits(v);
        /// Images of a batch.
        batch_size: usize [Output] = 32 => |v| between(v, 1, 65_536);
        /// Predict each image mirrored, too, and take the mean of both; twice the time.
        flip: bool [Output] = false;
        /// A detector's objects have at least this score. Low, because curves and thresholds are
        /// made of the lower scores as well.
        min_score: f64 [Output] = 0.01 => |v| between(v, 0.0, 1.0);
        /// Of two of a detector's boxes of one class and image, the one with the lower score is
        /// dropped where their IoU is larger than this. 1 keeps all.
        nms_iou: f64 [Output] = 0.6 => |v| between(v, 0.0, 1.0);
        /// A detector's objects of an image, at most; those with the highest scores.
        max_detections: usize [Output] = 100 => |v| between(v, 1, 1000);
        /// A folder of images, or one image, to predict instead of the shards.
        images: String [Output] = String::new();
        /// Also write these images as pictures with the predicted boxes.
        overlays: bool [Nothing] = false;
        /// A detector's boxes in these pictures have at least this score.
        overlay_min_score: f64 [Nothing] = 0.25 => |v| between(v, 0.0, 1.0);
        /// "auto", "cpu", "cuda:N" or "flex".
        device: DeviceChoice [Output] = DeviceChoice::Auto;
    }
}
