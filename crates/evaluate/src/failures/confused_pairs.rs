//! Which classes are taken for one another.

use serde::Serialize;

use crate::read::split::{ScoredImage, SplitData};
use crate::scores::confusion::Confusion;

/// Pairs that are listed.
const CONFUSED_PAIRS: usize = 8;

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
pub(crate) fn most_confused(data: &SplitData, confusion: &Confusion) -> Vec<ConfusedPair> {
    let classes = data.class_names.len();
    let cells =
        (0..classes).flat_map(|truth| (0..classes).map(move |predicted| (truth, predicted)));
    let mut pairs: Vec<_> = cells
        .filter(|(truth, predicted)| truth != predicted && confusion.count(*truth, *predicted) > 0)
        .collect();
    pairs.sort_by_key(|(truth, predicted)| {
        (std::cmp::Reverse(confusion.count(*truth, *predicted)), *truth, *predicted)
    });
    pairs.truncate(CONFUSED_PAIRS);
    let pair = |(truth, predicted): (usize, usize)| {
        let shows = |image: &&ScoredImage| {
            data.predictions_of(image)
                .first()
                .is_some_and(|first| usize::from(first.class) == predicted)
                && data.truths_of(image).iter().any(|object| usize::from(object.class) == truth)
        };
        ConfusedPair {
            true_class_name: data.class_names[truth].clone(),
            predicted_class_name: data.class_names[predicted].clone(),
            objects: confusion.count(truth, predicted),
            share: confusion.count(truth, predicted) as f64 / confusion.support(truth) as f64,
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
