use crate::table::table;
use crate::unit_box::UnitBox;
use crate::words::Split;

table! {
    /// One row a predicted object: several of an image, or none. Any tool may write this table.
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
        /// Probability of each trained class, in order of `class_index`, which add up to 1; empty
        /// where there are none, as from a detector, which scores each class by itself.
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

table! {
    /// One row an image that was looked at, whether anything was found on it or not. Beside the
    /// predictions: an image that has no row in either was not looked at.
    "image_predictions" => ImagePredictionRow checked by check_image, since 3 {
        /// The image.
        image_id: String,
        /// The part of the dataset.
        split: Split,
        /// Confidence that there is any finding, 0..=1: the highest score of all, also of those
        /// that are too low for a row among the predictions. Null where there is none, as from a
        /// classifier, which takes every image to have a finding, or from an import.
        score: Option<f32>,
        /// The same for each trained class, in order of `class_index`; empty where there are none.
        class_scores: Vec<f32>,
        /// Rows of the image among the predictions.
        detections: i32,
    }
}

fn check_image(row: &ImagePredictionRow) -> Result<(), String> {
    let wrong = |reason: String| Err(format!("`{}`: {reason}", row.image_id));
    let mut scores = row.score.iter().chain(&row.class_scores);
    if let Some(score) = scores.find(|score| !(0.0..=1.0).contains(*score)) {
        return wrong(format!("a score is {score}; a confidence lies within 0 to 1"));
    }
    if row.detections < 0 {
        return wrong(format!("there are {} detections", row.detections));
    }
    Ok(())
}

/// Name of the predictions' file of a split, or of whatever else was predicted.
pub fn predictions_file(stem: &str) -> String {
    format!("{stem}.parquet")
}

/// Name of the file beside it that has the images that were looked at.
pub fn image_predictions_file(stem: &str) -> String {
    format!("{stem}.images.parquet")
}

impl PredictionRow {
    /// The predicted box.
    pub fn unit_box(&self) -> UnitBox {
        UnitBox::new(self.xmin, self.ymin, self.xmax, self.ymax)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{TableWriter, read_table};

    #[test]
    fn looked_at_images_are_read_as_written_and_impossible_ones_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(image_predictions_file("valid"));
        let row = |score, class_scores: &[f32], detections| ImagePredictionRow {
            image_id: "a.jpg".into(),
            split: Split::Valid,
            score,
            class_scores: class_scores.to_vec(),
            detections,
        };
        let write = |rows: &[ImagePredictionRow]| {
            let mut writer = TableWriter::create(&path).unwrap();
            rows.iter().for_each(|row| writer.push(row.clone()).unwrap());
            writer.finish().unwrap();
        };
        let rows = [row(None, &[], 1), row(Some(0.5), &[0.5, 0.0], 0), row(Some(1.0), &[1.0], 7)];
        write(&rows);
        assert_eq!(read_table::<ImagePredictionRow>(&path).unwrap(), rows);
        for (wrong, reason) in [
            (row(Some(1.5), &[], 0), "a score is 1.5; a confidence"),
            (row(Some(f32::NAN), &[], 0), "a score is NaN"),
            (row(None, &[0.5, -0.1], 0), "a score is -0.1"),
            (row(None, &[], -1), "there are -1 detections"),
        ] {
            write(&[rows[0].clone(), wrong]);
            let error = read_table::<ImagePredictionRow>(&path).unwrap_err().to_string();
            assert!(error.contains(&format!("row 1, from 0: `a.jpg`: {reason}")), "{error}");
        }
    }
}
