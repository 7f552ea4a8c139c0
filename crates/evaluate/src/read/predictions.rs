//! The predictions of a split, checked.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use ossify_contract::{ImageStatus, PredictionRow, Split, TableReader};

use crate::read::error::InputError;
use crate::read::split::{Excluded, Prediction, exclude};

/// How far the sum of an image's probabilities may lie from 1: more than rounding to 16 bits does.
const SUM_TOLERANCE: f64 = 1e-3;
/// Classes that a message about other classes names.
const MAX_DIFFERENCES: usize = 10;

/// The predictions of one split, with what they are checked against.
pub(crate) struct PredictionsOfSplit<'a> {
    pub path: &'a Path,
    pub split: Split,
    /// Names of the trained classes in order of `class_index`.
    pub class_names: &'a [String],
    /// Numbers of the images that are scored.
    pub index: &'a HashMap<&'a str, u32>,
    /// Images of the split that are not scored.
    pub unscored: &'a HashMap<String, ImageStatus>,
}

/// Number of the image, and a prediction of it.
pub(crate) type NumberedPrediction = (u32, Prediction);

impl PredictionsOfSplit<'_> {
    /// Predictions on the `images` that are scored, in the order of the table, and for each of
    /// these images the probabilities of its first prediction, NaN without predictions.
    pub fn read(
        &self,
        images: usize,
        excluded: &mut Vec<Excluded>,
    ) -> Result<(Vec<NumberedPrediction>, Vec<f32>), InputError> {
        let classes = self.class_names.len();
        let mut found = Vec::new();
        let mut probabilities = vec![f32::NAN; images * classes];
        // Rank and score of the prediction that an image's probabilities come from.
        let mut first = vec![(i32::MAX, f32::NEG_INFINITY); images];
        let (mut strangers, mut unscored) =
            (BTreeMap::<String, ()>::new(), BTreeMap::<&str, u64>::new());
        let mut differences = BTreeMap::new();
        for batch in TableReader::<PredictionRow>::open(self.path)? {
            for row in batch? {
                if row.split != self.split {
                    self.check_split(&row)?;
                    continue;
                }
                self.check(&row)?;
                let class = usize::try_from(row.class_index)
                    .ok()
                    .filter(|class| self.class_names.get(*class) == Some(&row.class_name));
                let Some(class) = class else {
                    differences.entry((row.class_index, row.class_name)).or_insert(());
                    continue;
                };
                let Some(&image) = self.index.get(row.image_id.as_str()) else {
                    match self.unscored.get(&row.image_id) {
                        Some(status) => *unscored.entry(status.as_str()).or_default() += 1,
                        None => drop(strangers.insert(row.image_id, ())),
                    }
                    continue;
                };
                let at = image as usize;
                if !row.probabilities.is_empty() && row.probabilities.len() != classes {
                    return Err(self.bad(
                        &row,
                        format!(
                            "{} probabilities for {classes} trained classes",
                            row.probabilities.len()
                        ),
                    ));
                }
                let (rank, score) = first[at];
                if row.rank < rank || row.rank == rank && row.score > score {
                    first[at] = (row.rank, row.score);
                    let slot = &mut probabilities[at * classes..(at + 1) * classes];
                    if row.probabilities.is_empty() {
                        slot.fill(f32::NAN)
                    } else {
                        slot.copy_from_slice(&row.probabilities)
                    }
                }
                found.push((
                    image,
                    Prediction {
                        rank: row.rank,
                        class: class as u16,
                        score: row.score,
                        unit_box: row.unit_box(),
                    },
                ));
            }
        }
        if !differences.is_empty() {
            return Err(InputError::OtherClasses {
                path: self.path.to_path_buf(),
                differences: self.describe(differences.into_keys().collect()),
            });
        }
        if let Some((example, ())) = strangers.first_key_value() {
            return Err(InputError::OtherImages {
                path: self.path.to_path_buf(),
                split: self.split,
                images: strangers.len(),
                example: example.clone(),
            });
        }
        for (status, count) in unscored {
            exclude(excluded, "predictions", count, &format!("their image is {status}"));
        }
        Ok((found, probabilities))
    }

    /// Refuses a row of another split for an image of this one: it would be passed over in every
    /// split.
    fn check_split(&self, row: &PredictionRow) -> Result<(), InputError> {
        let image_id = row.image_id.as_str();
        if !self.index.contains_key(image_id) && !self.unscored.contains_key(image_id) {
            return Ok(());
        }
        let reason = format!("its split is {}, and the image is in {}", row.split, self.split);
        Err(self.bad(row, reason))
    }

    /// Refuses values that would make scores meaningless.
    fn check(&self, row: &PredictionRow) -> Result<(), InputError> {
        if row.rank < 1 {
            return Err(self.bad(row, "ranks count from 1, the best prediction first".to_owned()));
        }
        if !(0.0..=1.0).contains(&row.score) {
            return Err(self
                .bad(row, format!("the score is {}; a confidence lies within 0 to 1", row.score)));
        }
        row.unit_box().check().map_err(|reason| self.bad(row, reason))?;
        if let Some(p) = row.probabilities.iter().find(|p| !(0.0..=1.0).contains(*p)) {
            let reason = format!("a probability is {p}; probabilities lie within 0 to 1");
            return Err(self.bad(row, reason));
        }
        let sum: f64 = row.probabilities.iter().map(|p| f64::from(*p)).sum();
        if !row.probabilities.is_empty() && (sum - 1.0).abs() > SUM_TOLERANCE {
            return Err(self.bad(
                row,
                format!(
                    "the probabilities add up to {sum:.4}, and should to 1, give or take \
                     {SUM_TOLERANCE}; an empty list stands for none"
                ),
            ));
        }
        Ok(())
    }

    /// Refuses two predictions of one rank for one image, of predictions in order of both.
    pub fn check_ranks(&self, sorted: &[NumberedPrediction]) -> Result<(), InputError> {
        let is_repeated = |pair: &&[NumberedPrediction]| match pair {
            [(image, first), (other_image, second)] => {
                image == other_image && first.rank == second.rank
            }
            _ => false,
        };
        let Some([(image, prediction), _]) = sorted.windows(2).find(is_repeated) else {
            return Ok(());
        };
        let image_id = self.index.iter().find(|(_, number)| *number == image);
        Err(InputError::BadRow {
            path: self.path.to_path_buf(),
            image_id: image_id.map(|(image_id, _)| (*image_id).to_owned()).unwrap_or_default(),
            rank: prediction.rank,
            reason: "there is more than one row of this rank for this image; remove the repeated \
                rows, or number an image's predictions 1, 2, 3, the best first"
                .to_owned(),
        })
    }

    fn bad(&self, row: &PredictionRow, reason: String) -> InputError {
        InputError::BadRow {
            path: self.path.to_path_buf(),
            image_id: row.image_id.clone(),
            rank: row.rank,
            reason,
        }
    }

    fn describe(&self, strange: Vec<(i16, String)>) -> Vec<String> {
        let sentence = |(class_index, name): &(i16, String)| match usize::try_from(*class_index)
            .ok()
            .and_then(|i| self.class_names.get(i))
        {
            Some(ours) => {
                format!("class_index {class_index} is `{name}` there and `{ours}` in the tables")
            }
            None => format!(
                "class_index {class_index} (`{name}`) is not among the tables' {} trained \
                     classes",
                self.class_names.len()
            ),
        };
        let more = strange.len().saturating_sub(MAX_DIFFERENCES);
        let shown = strange.iter().take(MAX_DIFFERENCES).map(sentence);
        shown.chain((more > 0).then(|| format!("and {more} more"))).collect()
    }
}
