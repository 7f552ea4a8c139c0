//! Which images and which confusions changed between two tables.

use std::collections::{BTreeMap, BTreeSet};
use std::f64::consts::LN_2;

use serde::Serialize;

use crate::read::split::{ScoredImage, SplitData};
use crate::scores::confusion::Confusion;

/// Images of which the IoU alone changed, on either side.
const IOU_CHANGES: usize = 20;
/// Images that are named for a pair of classes.
const EXAMPLES: usize = 3;

/// What a table says of an image.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Seen {
    /// The class of its first prediction; null without one.
    pub class_name: Option<String>,
    /// The confidence, 0..=1; null without a prediction.
    pub score: Option<f32>,
    /// IoU of its box with that of the largest object; 0 without a prediction.
    pub iou: f64,
    /// Whether the class is that of the largest object.
    pub is_right: bool,
}

/// An image that two tables see differently.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ImageChange {
    /// The image.
    pub image_id: String,
    /// Class of its largest object.
    pub true_class_name: String,
    /// What the baseline says.
    pub baseline: Seen,
    /// What the other table says.
    pub other: Seen,
    /// IoU of the other table less that of the baseline.
    pub iou_change: f64,
}

/// What became of the labelled images, each judged by the class of its largest object.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ImageChanges {
    /// Images that both tables get right.
    pub right_in_both: u64,
    /// Images that the baseline alone gets right.
    pub right_to_wrong: u64,
    /// Images that the other table alone gets right.
    pub wrong_to_right: u64,
    /// Images that neither gets right.
    pub wrong_in_both: u64,
    /// McNemar's exact test of the two image accuracies: [`mcnemar_exact`].
    pub mcnemar_p: f64,
    /// All images that the baseline alone gets right, the surest wrong answer first.
    pub worse: Vec<ImageChange>,
    /// All images that the other table alone gets right, the surest right answer first.
    pub better: Vec<ImageChange>,
    /// Other images whose box lost IoU, the largest loss first, at most 20.
    pub iou_lost: Vec<ImageChange>,
    /// Other images whose box gained IoU, the largest gain first, at most 20.
    pub iou_gained: Vec<ImageChange>,
}

/// How often objects of one class are taken for another.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ConfusionChange {
    /// The class.
    pub true_class_name: String,
    /// What it is taken for; null where its image has no prediction.
    pub predicted_class_name: Option<String>,
    /// Objects in the baseline.
    pub baseline: u64,
    /// Objects in the other table.
    pub other: u64,
    /// The second less the first.
    pub change: i64,
    /// Images where one table alone has it, the other one where it grew and the baseline where it
    /// shrank; at most three.
    pub examples: Vec<String>,
}

fn seen(data: &SplitData, image: &ScoredImage) -> Option<Seen> {
    let truth = data.largest_truth(image)?;
    let first = data.predictions_of(image).first();
    Some(Seen {
        class_name: first.map(|first| data.class_names[usize::from(first.class)].clone()),
        score: first.map(|first| first.score),
        iou: first.map_or(0.0, |first| first.unit_box.iou(&truth.unit_box)),
        is_right: first.is_some_and(|first| first.class == truth.class),
    })
}

/// Compares two tables image by image; both are of the same images.
pub(crate) fn image_changes(baseline: &SplitData, other: &SplitData) -> ImageChanges {
    let mut changes = ImageChanges {
        right_in_both: 0,
        right_to_wrong: 0,
        wrong_to_right: 0,
        wrong_in_both: 0,
        mcnemar_p: 1.0,
        worse: Vec::new(),
        better: Vec::new(),
        iou_lost: Vec::new(),
        iou_gained: Vec::new(),
    };
    for (of_baseline, of_other) in baseline.images.iter().zip(&other.images) {
        let (Some(truth), Some(before), Some(after)) = (
            baseline.largest_truth(of_baseline),
            seen(baseline, of_baseline),
            seen(other, of_other),
        ) else {
            continue;
        };
        let (was_right, is_right, iou_change) =
            (before.is_right, after.is_right, after.iou - before.iou);
        let change = || ImageChange {
            image_id: of_baseline.image_id.clone(),
            true_class_name: baseline.class_names[usize::from(truth.class)].clone(),
            baseline: before,
            other: after,
            iou_change,
        };
        let list = match (was_right, is_right) {
            (true, false) => {
                changes.right_to_wrong += 1;
                &mut changes.worse
            }
            (false, true) => {
                changes.wrong_to_right += 1;
                &mut changes.better
            }
            (right, _) => {
                *(if right { &mut changes.right_in_both } else { &mut changes.wrong_in_both }) += 1;
                match iou_change {
                    lost if lost < 0.0 => &mut changes.iou_lost,
                    gained if gained > 0.0 => &mut changes.iou_gained,
                    _ => continue,
                }
            }
        };
        list.push(change());
    }
    // Images are in order of their ids, and the sorts are stable.
    let score = |change: &ImageChange| change.other.score.unwrap_or(f32::NEG_INFINITY);
    changes
        .worse
        .sort_by(|a, b| score(b).total_cmp(&score(a)).then(a.iou_change.total_cmp(&b.iou_change)));
    changes
        .better
        .sort_by(|a, b| score(b).total_cmp(&score(a)).then(b.iou_change.total_cmp(&a.iou_change)));
    changes.iou_lost.sort_by(|a, b| a.iou_change.total_cmp(&b.iou_change));
    changes.iou_gained.sort_by(|a, b| b.iou_change.total_cmp(&a.iou_change));
    changes.iou_lost.truncate(IOU_CHANGES);
    changes.iou_gained.truncate(IOU_CHANGES);
    changes.mcnemar_p = mcnemar_exact(changes.right_to_wrong, changes.wrong_to_right);
    changes
}

/// Two-sided exact p-value of McNemar's test (McNemar, 1947): how likely cases that only one of two
/// judges gets right are split at least as unevenly as `only_first` to `only_second` where either
/// is as likely, `min(1, 2 P(X <= min))` with X binomial of one half. 1 without such cases; 0..=1.
pub fn mcnemar_exact(only_first: u64, only_second: u64) -> f64 {
    if only_first.abs_diff(only_second) <= 1 {
        return 1.0;
    }
    let (cases, fewer) = (only_first + only_second, only_first.min(only_second));
    // The tail's largest term as a logarithm, because a power of one half underflows from 1,075
    // cases on.
    let ln_largest: f64 =
        (1..=fewer).map(|i| ((cases - fewer + i) as f64 / i as f64).ln()).sum::<f64>()
            - cases as f64 * LN_2;
    let (mut term, mut tail) = (1.0, 1.0);
    for i in (1..=fewer).rev() {
        term *= i as f64 / (cases - i + 1) as f64;
        tail += term;
    }
    (2.0 * ln_largest.exp() * tail).min(1.0)
}

/// Pairs of classes whose number of confused objects changed, the largest growth first and the
/// largest decline last.
pub(crate) fn confusion_changes(
    data: [&SplitData; 2],
    confusion: [&Confusion; 2],
) -> Vec<ConfusionChange> {
    let names = &data[0].class_names;
    let pairs: BTreeSet<(u16, u16)> = confusion
        .iter()
        .flat_map(|confusion| confusion.cells().map(|(pair, _)| pair))
        .filter(|(truth, predicted)| truth != predicted)
        .collect();
    let mut changes: BTreeMap<(u16, u16), ConfusionChange> = pairs
        .into_iter()
        .filter_map(|(truth, predicted)| {
            let [baseline, other] = confusion.map(|confusion| confusion.count(truth, predicted));
            let change = other as i64 - baseline as i64;
            let described = ConfusionChange {
                true_class_name: names[usize::from(truth)].clone(),
                predicted_class_name: names.get(usize::from(predicted)).cloned(),
                baseline,
                other,
                change,
                examples: Vec::new(),
            };
            (change != 0).then_some(((truth, predicted), described))
        })
        .collect();
    for (of_baseline, of_other) in data[0].images.iter().zip(&data[1].images) {
        let predicted = |data: &SplitData, image| {
            data.predictions_of(image).first().map_or(names.len() as u16, |first| first.class)
        };
        let (before, after) = (predicted(data[0], of_baseline), predicted(data[1], of_other));
        if before == after {
            continue;
        }
        let truths: BTreeSet<u16> =
            data[0].truths_of(of_baseline).iter().map(|object| object.class).collect();
        for truth in truths {
            for (predicted, has_grown) in [(after, true), (before, false)] {
                if let Some(change) = changes.get_mut(&(truth, predicted))
                    && (change.change > 0) == has_grown
                    && change.examples.len() < EXAMPLES
                {
                    change.examples.push(of_baseline.image_id.clone());
                }
            }
        }
    }
    let mut changes: Vec<ConfusionChange> = changes.into_values().collect();
    changes.sort_by_key(|change| std::cmp::Reverse(change.change));
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mcnemar_is_the_binomial_tail_twice() {
        assert_eq!(mcnemar_exact(0, 0), 1.0);
        assert_eq!(mcnemar_exact(5, 5), 1.0);
        assert_eq!(mcnemar_exact(5, 6), 1.0);
        // (1 + 12 + 66) of 2^12, twice.
        assert!((mcnemar_exact(2, 10) - 0.038_574_218_75).abs() < 1e-15);
        assert_eq!(mcnemar_exact(2, 10), mcnemar_exact(10, 2));
        assert!((mcnemar_exact(0, 6) - 0.031_25).abs() < 1e-15);
        // By whole numbers in Python: the sum of comb(2000, i) for i up to 950 over 2^1999.
        assert!((mcnemar_exact(950, 1050) - 0.026824146240280695).abs() < 1e-12);
        assert!(mcnemar_exact(1_000_000, 1_000_200) > 0.8);
    }
}
