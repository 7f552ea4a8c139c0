use ossify_contract::SplitMetrics;
use ossify_detection::average_precision::{DetectionMatcher, MeanPrecision, precision_recall};
use ossify_detection::boxes::Truth;
use ossify_detection::nms::Suppression;
use ossify_detection::ranking::auroc;

use crate::objective::detection::assignment::Said;

/// What becomes a detection while a run is scored: the defaults of `[predict]`, so that the scores
/// mean the same.
const SUPPRESSION: Suppression = Suppression { min_score: 0.01, max_iou: 0.6, max_detections: 100 };

/// What a detector has found in the images of a split, in memory: 16 bytes a detection, of which an
/// image has 100 at most.
pub struct DetectionScores {
    matcher: DetectionMatcher,
    /// Of each image its highest score, and whether it shows anything.
    images: Vec<(f32, bool)>,
}

impl DetectionScores {
    /// For so many classes.
    pub fn new(classes: usize) -> Self {
        DetectionScores { matcher: DetectionMatcher::new(classes), images: Vec::new() }
    }

    /// Adds an image.
    pub fn add(&mut self, said: &Said<'_>, truths: &[Truth]) {
        let detections = SUPPRESSION.detections(said.scores, said.boxes);
        let highest = said.scores.iter().copied().fold(0.0, f32::max);
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
