//! The images that a model looked at, and what it says of each as a whole.

use std::collections::HashMap;
use std::path::Path;

use ossify_contract::{ImagePredictionRow, ImageStatus, Split, TableReader};
use ossify_vocabulary::Task;

use crate::read::error::InputError;
use crate::read::predictions::NumberedPrediction;
use crate::read::split::Findings;

/// The tables of a split's predictions.
#[derive(Clone, Debug)]
pub struct PredictedTables<'a> {
    /// The predictions.
    pub predictions: &'a Path,
    /// The images that were looked at; `None` where no table says so.
    pub images: Option<&'a Path>,
    /// What made them; `None` where nobody says so.
    pub task: Option<Task>,
}

/// The rows of the images that are scored, by their numbers.
pub(crate) struct LookedAt<'a> {
    path: &'a Path,
    rows: HashMap<u32, ImagePredictionRow>,
}

impl<'a> LookedAt<'a> {
    /// Reads the rows of a split.
    ///
    /// # Errors
    /// Where the table cannot be read, speaks of images that the split does not have, has an image
    /// twice, or has scores of other classes.
    pub(crate) fn read(
        path: &'a Path,
        split: Split,
        index: &HashMap<&str, u32>,
        unscored: &HashMap<String, ImageStatus>,
        classes: usize,
    ) -> Result<Self, InputError> {
        let mut rows = HashMap::new();
        let (mut strangers, mut example) = (0, None);
        let bad = |row: &ImagePredictionRow, reason: String| InputError::BadImageRow {
            path: path.to_path_buf(),
            image_id: row.image_id.clone(),
            reason,
        };
        for batch in TableReader::<ImagePredictionRow>::open(path)? {
            for row in batch?.into_iter().filter(|row| row.split == split) {
                if !row.class_scores.is_empty() && row.class_scores.len() != classes {
                    let found = row.class_scores.len();
                    return Err(bad(&row, format!("{found} scores for {classes} trained classes")));
                }
                let Some(&image) = index.get(row.image_id.as_str()) else {
                    if !unscored.contains_key(&row.image_id) {
                        strangers += 1;
                        example.get_or_insert(row.image_id);
                    }
                    continue;
                };
                if let Some(row) = rows.insert(image, row) {
                    return Err(bad(&row, "it has more than one row".into()));
                }
            }
        }
        match example {
            None => Ok(LookedAt { path, rows }),
            Some(example) => Err(InputError::OtherImages {
                path: path.to_path_buf(),
                split,
                images: strangers,
                example,
            }),
        }
    }

    /// Refuses rows that do not belong to the predictions, which are in order of their images.
    ///
    /// # Errors
    /// Where an image has another number of predictions than its row says, or none, or a better one
    /// than its score.
    pub(crate) fn check(
        &self,
        predictions: &[NumberedPrediction],
        image_id: impl Fn(u32) -> String,
    ) -> Result<(), InputError> {
        let bad = |image: u32, reason: String| InputError::BadImageRow {
            path: self.path.to_path_buf(),
            image_id: image_id(image),
            reason,
        };
        let mut counted = 0;
        for of_image in predictions.chunk_by(|a, b| a.0 == b.0) {
            let Some((image, _)) = of_image.first() else { continue };
            let Some(row) = self.rows.get(image) else {
                let reason = "it has predictions and no row; predict again".to_owned();
                return Err(bad(*image, reason));
            };
            if usize::try_from(row.detections) != Ok(of_image.len()) {
                let reason = format!(
                    "its row counts {} predictions and there are {}; predict again",
                    row.detections,
                    of_image.len()
                );
                return Err(bad(*image, reason));
            }
            let best = of_image.iter().map(|(_, prediction)| prediction.score);
            let best = best.fold(0.0, f32::max);
            if let Some(score) = row.score.filter(|score| *score < best) {
                let reason = format!("its score is {score}, below that of its prediction, {best}");
                return Err(bad(*image, reason));
            }
            counted += 1;
        }
        let mut with_some: Vec<_> =
            self.rows.iter().filter(|(_, row)| row.detections > 0).collect();
        if with_some.len() != counted {
            with_some.sort_by_key(|(image, _)| **image);
            let has = |image: u32| predictions.binary_search_by_key(&image, |(of, _)| *of).is_ok();
            if let Some((image, row)) = with_some.into_iter().find(|(image, _)| !has(**image)) {
                let reason = format!(
                    "its row counts {} predictions and there are none; predict again",
                    row.detections
                );
                return Err(bad(*image, reason));
            }
        }
        Ok(())
    }

    pub(crate) fn has(&self, image: u32) -> bool {
        self.rows.contains_key(&image)
    }

    /// Whether a classifier, which has no such score and one prediction an image, cannot have
    /// written it.
    fn is_of_detector(&self) -> bool {
        self.rows.values().any(|row| row.score.is_some() || row.detections != 1)
    }
}

/// What a detector says of each image as a whole: its scores in the table of images or, where that
/// has none, the highest of its predictions, 0 without one. Without word of what made them,
/// predictions without probabilities are a detector's.
pub(crate) fn findings(
    task: Option<Task>,
    looked_at: Option<&LookedAt<'_>>,
    predictions: &[NumberedPrediction],
    has_probabilities: bool,
    images: usize,
    classes: usize,
) -> Findings {
    let is_detector = match task {
        Some(task) => task == Task::Detect,
        None => {
            looked_at.is_some_and(LookedAt::is_of_detector)
                || !predictions.is_empty() && !has_probabilities
        }
    };
    if !is_detector {
        return Findings::default();
    }
    let unseen = |image: usize| looked_at.is_some_and(|looked_at| !looked_at.has(image as u32));
    let mut any: Vec<f32> =
        (0..images).map(|image| if unseen(image) { f32::NAN } else { 0.0 }).collect();
    let mut of_class: Vec<f32> = any.iter().flat_map(|score| vec![*score; classes]).collect();
    for (image, prediction) in predictions {
        let image = *image as usize;
        any[image] = any[image].max(prediction.score);
        let cell = &mut of_class[image * classes + usize::from(prediction.class)];
        *cell = cell.max(prediction.score);
    }
    for (image, row) in looked_at.iter().flat_map(|looked_at| &looked_at.rows) {
        let image = *image as usize;
        any[image] = row.score.unwrap_or(any[image]);
        if !row.class_scores.is_empty() {
            of_class[image * classes..(image + 1) * classes].copy_from_slice(&row.class_scores);
        }
    }
    Findings { is_detector, any, of_class }
}
