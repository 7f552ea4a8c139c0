//! What is minimised, and the scores that are kept of it.

pub mod detection;
pub mod giou;
pub mod loss;
pub mod scores;

use ossify_settings::TrainSettings;
use ossify_vocabulary::Task;

use crate::objective::detection::loss::DetectionLoss;
use crate::objective::loss::Loss;

/// What is minimised.
#[derive(Clone, Debug, PartialEq)]
pub enum Objective {
    /// A classifier's loss.
    Classification(Loss),
    /// A detector's.
    Detection(DetectionLoss),
}

impl Objective {
    /// What the settings ask for, with `class_counts` training objects of each class.
    pub fn new(settings: &TrainSettings, class_counts: &[u64]) -> Self {
        match settings.task {
            Task::Classify => Objective::Classification(Loss::new(settings, class_counts)),
            Task::Detect => Objective::Detection(DetectionLoss::new(&settings.detect)),
        }
    }
}
