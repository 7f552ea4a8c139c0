//! From a score a class and a box in each of many places to objects: non-maximum suppression by
//! class.

use ossify_contract::UnitBox;

use crate::boxes::Detection;

/// Candidates of an image that are looked at, best first: as many as RetinaNet and FCOS keep of
/// each map.
const MAX_CANDIDATES: usize = 1000;

/// What becomes an object.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Suppression {
    /// Smallest score of a candidate, 0..=1.
    pub min_score: f32,
    /// A candidate is dropped where its IoU with a better one of its class is larger, 0..=1.
    pub max_iou: f64,
    /// Objects of an image, at most.
    pub max_detections: usize,
}

impl Suppression {
    /// The objects of one image, by falling score: of its candidates those that no better one of
    /// the same class overlaps (greedy, as Felzenszwalb et al. 2010 have it). `scores` are one a
    /// class in each place, 0..=1, place by place; `boxes` are one a place.
    ///
    /// The same scores and boxes give the same objects: of equal scores the earlier place comes
    /// first. A score that is NaN is no candidate.
    pub fn detections(&self, scores: &[f32], boxes: &[UnitBox]) -> Vec<Detection> {
        let classes = scores.len().checked_div(boxes.len()).unwrap_or(0);
        if classes == 0 {
            return Vec::new();
        }
        let mut candidates: Vec<(f32, usize)> = scores
            .iter()
            .enumerate()
            .filter(|(_, score)| **score >= self.min_score)
            .map(|(at, score)| (*score, at))
            .collect();
        let by_score = |one: &(f32, usize), other: &(f32, usize)| {
            other.0.total_cmp(&one.0).then(one.1.cmp(&other.1))
        };
        if candidates.len() > MAX_CANDIDATES {
            candidates.select_nth_unstable_by(MAX_CANDIDATES, by_score);
            candidates.truncate(MAX_CANDIDATES);
        }
        candidates.sort_unstable_by(by_score);
        let mut kept: Vec<Detection> = Vec::new();
        for (score, at) in candidates {
            if kept.len() >= self.max_detections {
                break;
            }
            let (Ok(class), Some(unit_box)) =
                (u16::try_from(at % classes), boxes.get(at / classes))
            else {
                continue;
            };
            let is_free = |better: &Detection| {
                better.class != class || better.unit_box.iou(unit_box) <= self.max_iou
            };
            if kept.iter().all(is_free) {
                kept.push(Detection { class, score, unit_box: *unit_box });
            }
        }
        kept
    }
}

/// Scores and boxes of the cells that say something of their image, as [`Suppression::detections`]
/// takes them: boxes are cut at its edges, and a cell whose box lies beside it is left out.
pub fn within_image(
    scores: &[f32],
    boxes: impl ExactSizeIterator<Item = UnitBox>,
) -> (Vec<f32>, Vec<UnitBox>) {
    let classes = scores.len().checked_div(boxes.len()).unwrap_or(0);
    let (mut kept_scores, mut kept) = (Vec::with_capacity(scores.len()), Vec::new());
    for (unit_box, of_cell) in boxes.zip(scores.chunks_exact(classes.max(1))) {
        let unit_box = unit_box.ordered().clamped();
        if unit_box.area() > 0.0 {
            kept_scores.extend_from_slice(of_cell);
            kept.push(unit_box);
        }
    }
    (kept_scores, kept)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn square(x: f32) -> UnitBox {
        UnitBox::new(x, 0.0, x + 0.2, 0.2)
    }

    const RULE: Suppression = Suppression { min_score: 0.1, max_iou: 0.5, max_detections: 100 };

    #[test]
    fn the_best_of_overlapping_boxes_of_a_class_stays() {
        let boxes = [square(0.0), square(0.02), square(0.5)];
        // Two classes: the second place is better in both.
        let found = RULE.detections(&[0.5, 0.05, 0.6, 0.4, 0.3, 0.2], &boxes);
        let found: Vec<(u16, f32, f32)> = found
            .iter()
            .map(|detection| (detection.class, detection.score, detection.unit_box.xmin))
            .collect();
        assert_eq!(found, [(0, 0.6, 0.02), (1, 0.4, 0.02), (0, 0.3, 0.5), (1, 0.2, 0.5)]);
        let one = Suppression { max_detections: 1, ..RULE };
        assert_eq!(one.detections(&[0.5, 0.05, 0.6, 0.4, 0.3, 0.2], &boxes).len(), 1);
    }

    #[test]
    fn nothing_comes_of_nothing_and_nan_is_no_candidate() {
        assert!(RULE.detections(&[], &[]).is_empty());
        assert!(RULE.detections(&[], &[square(0.0)]).is_empty());
        assert!(RULE.detections(&[f32::NAN, 0.05], &[square(0.0)]).is_empty());
    }

    #[test]
    fn more_candidates_than_are_looked_at_leave_the_best() {
        let boxes: Vec<UnitBox> = (0..4000).map(|at| square(at as f32)).collect();
        let scores: Vec<f32> = (0..4000).map(|at| at as f32 / 4000.0).collect();
        let rule = Suppression { max_detections: 5000, ..RULE };
        let found = rule.detections(&scores, &boxes);
        assert_eq!((found.len(), found[0].score), (MAX_CANDIDATES, 3999.0 / 4000.0));
    }

    proptest! {
        #[test]
        fn what_is_kept_does_not_overlap_and_what_is_dropped_does(
            places in prop::collection::vec((0.0f32..1.0, 0.0f32..0.8, 0.0f32..0.8), 1..40),
        ) {
            let boxes: Vec<UnitBox> =
                places.iter().map(|(_, x, y)| UnitBox::new(*x, *y, x + 0.2, y + 0.2)).collect();
            let scores: Vec<f32> = places.iter().map(|(score, ..)| *score).collect();
            let found = RULE.detections(&scores, &boxes);
            prop_assert!(found.windows(2).all(|pair| pair[0].score >= pair[1].score));
            for (number, one) in found.iter().enumerate() {
                for other in &found[number + 1..] {
                    prop_assert!(one.unit_box.iou(&other.unit_box) <= RULE.max_iou);
                }
            }
            for (score, unit_box) in scores.iter().zip(&boxes) {
                let is_explained = *score < RULE.min_score
                    || found.iter().any(|kept| {
                        kept.score >= *score
                            && (kept.unit_box == *unit_box
                                || kept.unit_box.iou(unit_box) > RULE.max_iou)
                    });
                prop_assert!(is_explained);
            }
        }
    }
}
