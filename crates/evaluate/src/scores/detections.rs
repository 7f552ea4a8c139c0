//! A split's objects and predictions for the crate `detection`.

use ossify_detection::average_precision::{ClassDetections, DetectionMatcher};
use ossify_detection::boxes::{Detection, Truth};

use crate::read::split::{ScoredImage, SplitData};

/// Matches the detections of every class.
pub fn class_detections(data: &SplitData) -> Vec<ClassDetections> {
    let mut matcher = DetectionMatcher::new(data.class_names.len());
    for image in &data.images {
        matcher.add_image(&truths_of(data, image), &detections_of(data, image));
    }
    matcher.finish()
}

fn truths_of(data: &SplitData, image: &ScoredImage) -> Vec<Truth> {
    let truths = data.truths_of(image).iter();
    truths.map(|truth| Truth { class: truth.class, unit_box: truth.unit_box }).collect()
}

/// In order of rank.
fn detections_of(data: &SplitData, image: &ScoredImage) -> Vec<Detection> {
    let predictions = data.predictions_of(image).iter();
    predictions
        .map(|prediction| Detection {
            class: prediction.class,
            score: prediction.score,
            unit_box: prediction.unit_box,
        })
        .collect()
}
