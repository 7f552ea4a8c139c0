//! A split's objects and predictions for the crate `detection`.

use std::collections::BTreeSet;

use ossify_detection::average_precision::{ClassDetections, DetectionMatcher};
use ossify_detection::boxes::{Detection, Truth};
use ossify_detection::froc::{ClassRule, Froc, FrocBuilder, HitRule};

use crate::read::split::{ScoredImage, SplitData};

/// Matches the detections of every class.
pub fn class_detections(data: &SplitData) -> Vec<ClassDetections> {
    let mut matcher = DetectionMatcher::new(data.class_names.len());
    for image in &data.images {
        matcher.add_image(&truths_of(data, image), &detections_of(data, image));
    }
    matcher.finish()
}

/// The FROC curve of a split.
pub(crate) fn froc(data: &SplitData, hit: HitRule, classes: ClassRule) -> Froc {
    let mut builder = FrocBuilder::new(hit, classes);
    for image in &data.images {
        builder.add_image(&truths_of(data, image), &detections_of(data, image));
    }
    builder.finish()
}

/// The FROC curves of each class by itself, with an IoU of at least 0.5.
pub(crate) fn froc_of_classes(data: &SplitData) -> Vec<Froc> {
    let of_class = |class: usize| FrocBuilder::new(HitRule::Iou50, ClassRule::Only(class as u16));
    let mut builders: Vec<FrocBuilder> = (0..data.class_names.len()).map(of_class).collect();
    for (image, number) in data.images.iter().zip(0..) {
        let (truths, detections) = (truths_of(data, image), detections_of(data, image));
        let classes = truths.iter().map(|truth| truth.class);
        let classes = classes.chain(detections.iter().map(|detection| detection.class));
        for class in classes.collect::<BTreeSet<_>>() {
            builders[usize::from(class)].add_numbered(number, &truths, &detections);
        }
    }
    builders.into_iter().map(FrocBuilder::finish).collect()
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
