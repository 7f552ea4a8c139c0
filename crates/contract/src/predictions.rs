use crate::table::table;
use crate::unit_box::UnitBox;
use crate::words::Split;

table! {
    /// One row a predicted object. Any tool may write this table.
    "predictions" => PredictionRow {
        /// The image.
        image_id: String,
        /// The part of the dataset.
        split: Split,
        /// Rank among the image's predictions, from 1, best first.
        rank: i32,
        /// The predicted class as used in training.
        class_index: i16,
        /// Its name.
        class_name: String,
        /// Confidence, 0..=1.
        score: f32,
        /// Probability of each trained class, in order of `class_index`.
        probabilities: Vec<f32>,
        /// Left edge, share of the source image's width.
        xmin: f32,
        /// Top edge, share of the source image's height.
        ymin: f32,
        /// Right edge, share of the source image's width.
        xmax: f32,
        /// Bottom edge, share of the source image's height.
        ymax: f32,
    }
}

impl PredictionRow {
    /// The predicted box.
    pub fn unit_box(&self) -> UnitBox {
        UnitBox::new(self.xmin, self.ymin, self.xmax, self.ymax)
    }
}
