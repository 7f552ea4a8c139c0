//! True against predicted class of a detector's marks, with the background as a class.

use std::collections::BTreeMap;

use crate::read::split::{ScoredImage, SplitData};

/// IoU from which on a mark is on an object.
const WELL_LOCATED: f64 = 0.5;

/// Counts of (true class, predicted class), where `None` is the background: an object that no mark
/// is on, or a mark that is on no object.
///
/// The marks of an image take objects by falling score: a free one of their own class if there is
/// one with an IoU of at least 0.5, else a free one of another class, the one with the highest IoU.
/// A further mark on an object that is taken counts nowhere.
pub(crate) fn detection_confusion(data: &SplitData) -> BTreeMap<(Option<u16>, Option<u16>), u64> {
    let mut counts = BTreeMap::new();
    for image in &data.images {
        for pair in pairs(data, image) {
            *counts.entry(pair).or_insert(0) += 1;
        }
    }
    counts
}

fn pairs(data: &SplitData, image: &ScoredImage) -> Vec<(Option<u16>, Option<u16>)> {
    let truths = data.truths_of(image);
    let mut is_taken = vec![false; truths.len()];
    let mut pairs = Vec::new();
    let mut marks: Vec<_> = data.predictions_of(image).iter().collect();
    marks.sort_by(|a, b| b.score.total_cmp(&a.score));
    for mark in marks {
        let (mut best, mut is_on_a_taken_one) = (None, false);
        for (at, truth) in truths.iter().enumerate() {
            let iou = mark.unit_box.iou(&truth.unit_box);
            if iou < WELL_LOCATED {
                continue;
            }
            let rank = (truth.class == mark.class, iou);
            if is_taken[at] {
                is_on_a_taken_one = true;
            } else if best.is_none_or(|(_, highest)| rank > highest) {
                best = Some((at, rank));
            }
        }
        if let Some((at, _)) = best {
            is_taken[at] = true;
            pairs.push((Some(truths[at].class), Some(mark.class)));
        } else if !is_on_a_taken_one {
            pairs.push((None, Some(mark.class)));
        }
    }
    let missed = truths.iter().zip(is_taken).filter(|(_, is_taken)| !is_taken);
    pairs.extend(missed.map(|(truth, _)| (Some(truth.class), None)));
    pairs
}
