//! Which classes are taken for one another.

use serde::Serialize;

use crate::read::split::{ScoredImage, SplitData};
use crate::scores::confusion::{ClassCounts, Confusion};

/// Pairs that are listed.
const CONFUSED_PAIRS: usize = 8;
/// Pairs that are listed where the classes are too many for a picture of all pairs.
const CONFUSED_PAIRS_OF_MANY_CLASSES: usize = 40;
/// Classes up to which the confusion matrix is drawn whole.
pub(crate) const MAX_DRAWN_CLASSES: usize = 30;

/// Objects of one class that were taken for another.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ConfusedPair {
    /// The class.
    pub true_class_name: String,
    /// What it was taken for.
    pub predicted_class_name: String,
    /// How often.
    pub objects: u64,
    /// Share of the class's objects.
    pub share: f64,
    /// Images where it happened, at most three.
    pub examples: Vec<String>,
}

/// The most frequent confusions, the largest first.
pub(crate) fn most_confused(
    data: &SplitData,
    confusion: &Confusion,
    counts: &ClassCounts,
) -> Vec<ConfusedPair> {
    let classes = data.class_names.len();
    let mut pairs: Vec<((u16, u16), u64)> = confusion
        .cells()
        .filter(|((truth, predicted), _)| truth != predicted && usize::from(*predicted) < classes)
        .collect();
    pairs.sort_by_key(|(pair, count)| (std::cmp::Reverse(*count), *pair));
    pairs.truncate(if classes > MAX_DRAWN_CLASSES {
        CONFUSED_PAIRS_OF_MANY_CLASSES
    } else {
        CONFUSED_PAIRS
    });
    let pair = |((truth, predicted), objects): ((u16, u16), u64)| {
        let shows = |image: &&ScoredImage| {
            data.predictions_of(image).first().is_some_and(|first| first.class == predicted)
                && data.truths_of(image).iter().any(|object| object.class == truth)
        };
        ConfusedPair {
            true_class_name: data.class_names[usize::from(truth)].clone(),
            predicted_class_name: data.class_names[usize::from(predicted)].clone(),
            objects,
            share: objects as f64 / counts.support(usize::from(truth)) as f64,
            examples: data
                .images
                .iter()
                .filter(shows)
                .take(3)
                .map(|image| image.image_id.clone())
                .collect(),
        }
    };
    pairs.into_iter().map(pair).collect()
}
