use ossify_contract::SplitMetrics;
use ossify_detection::average_precision::{DetectionMatcher, MeanPrecision, precision_recall};
use ossify_detection::boxes::Truth;
use ossify_detection::nms::{Suppression, within_image};
use ossify_detection::ranking::auroc;
use ossify_settings::PredictSettings;

use crate::objective::detection::assignment::Said;

/// What becomes a detection while a run is scored: the defaults of `[predict]`, so that the scores
/// mean the same.
fn default_rule() -> Suppression {
    let defaults = PredictSettings::default();
    Suppression {
        #[expect(clippy::cast_possible_truncation, reason = "scores are float32")]
        min_score: defaults.min_score as f32,
        max_iou: defaults.nms_iou,
        max_detections: defaults.max_detections,
    }
}

/// What a detector has found in the images of a split, in memory: 16 bytes a detection, of which an
/// image has as many as `predict.max_detections` allows by default.
pub struct DetectionScores {
    rule: Suppression,
    matcher: DetectionMatcher,
    /// Of each image its highest score, and whether it shows anything.
    images: Vec<(f32, bool)>,
}

impl DetectionScores {
    /// For so many classes.
    pub fn new(classes: usize) -> Self {
        DetectionScores {
            rule: default_rule(),
            matcher: DetectionMatcher::new(classes),
            images: Vec::new(),
        }
    }

    /// Adds an image. As in predictions, boxes are cut at the edges, here those of the tensor.
    pub fn add(&mut self, said: &Said<'_>, truths: &[Truth]) {
        let (scores, boxes) = within_image(said.scores, said.boxes.iter().copied());
        let detections = self.rule.detections(&scores, &boxes);
        let highest = scores.iter().copied().fold(0.0, f32::max);
        self.matcher.add_image(truths, &detections);
        self.images.push((highest, !truths.is_empty()));
    }

    /// AP50 and AP as COCO has them, and the AUROC of "any finding" by image, each where it is
    /// defined, beside `losses`.
    pub fn metrics(self, losses: SplitMetrics) -> SplitMetrics {
        let weights = vec![1; self.images.len()];
        let curves: Vec<_> =
            self.matcher.finish().iter().map(|class| precision_recall(class, &weights)).collect();
        let means = MeanPrecision::of(&curves);
        let defined = |score: f64| score.is_finite().then_some(score);
        SplitMetrics {
            ap50: defined(means.ap50),
            ap: defined(means.ap),
            auroc: defined(auroc(&self.images)),
            ..losses
        }
    }
}

#[cfg(test)]
mod tests {
    use ossify_contract::UnitBox;

    use super::*;

    #[test]
    fn boxes_are_cut_at_the_edges_before_they_are_scored() {
        let at_the_edge = UnitBox::new(0.8, 0.4, 1.0, 0.6);
        let boxes = [UnitBox::new(0.8, 0.4, 1.4, 0.6), UnitBox::new(1.1, 0.4, 1.4, 0.6)];
        let mut scores = DetectionScores::new(1);
        scores.add(
            &Said { scores: &[0.5, 0.9], boxes: &boxes },
            &[Truth { class: 0, unit_box: at_the_edge }],
        );
        scores.add(&Said { scores: &[0.1, 0.9], boxes: &boxes }, &[]);
        let metrics = scores.metrics(SplitMetrics::default());
        assert_eq!((metrics.ap50, metrics.ap, metrics.auroc), (Some(1.0), Some(1.0), Some(1.0)));
    }
}
