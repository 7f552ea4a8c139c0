use ossify_contract::Split;
use ossify_vocabulary::DeviceChoice;

use crate::ranges::{between, splits};
use crate::schema::table;

table! {
    /// A model to predictions.
    PredictSettings {
        /// Id of the run, or "latest".
        run: String [Output] = "latest".into();
        /// Splits to predict.
        splits: Vec<Split> [Output] = vec![Split::Valid, Split::Test] => |v| splits(v);
        /// Images of a batch.
        batch_size: usize [Output] = 32 => |v| between(v, 1, 65_536);
        /// Predict each image mirrored, too, and take the mean of both; twice the time.
        flip: bool [Output] = false;
        /// A folder of images to predict instead of the shards.
        images: String [Output] = String::new();
        /// "auto", "cpu", "cuda:N" or "flex".
        device: DeviceChoice [Output] = DeviceChoice::Auto;
    }
}
