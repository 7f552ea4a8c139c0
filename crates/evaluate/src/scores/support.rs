//! What each score of a sheet rests on.

use crate::scores::honest_interval::{Range, Support};
use crate::scores::scorer::Scorer;
use crate::scores::sheet::{
    DetectionOfClass, DetectionScores, FindingPointScores, FindingScores, FrocScores, ImageScores,
    ObjectScores, OperatingScores, ScaledScores, ScoreSheet, ScoresOfClass,
};

/// A sheet in the form of that of [`Scorer::scores`].
pub(crate) fn support(scorer: &Scorer, units: &(Vec<u32>, usize)) -> ScoreSheet<Support> {
    let mut distinct = Distinct { of_image: &units.0, seen: vec![0; units.1], round: 0 };
    let (object_cases, image_cases) = (scorer.object_cases(), scorer.image_cases());
    let objects = distinct.count(object_cases.iter().map(|(image, ..)| *image));
    let images = distinct.count(image_cases.iter().map(|(image, ..)| *image));
    let classes = scorer.classes();
    let of_truth = |case: &Case| [Some(case.1), None];
    let of_prediction = |case: &Case| [None, Some(case.2)];
    let of_both = |case: &Case| [Some(case.1), Some(case.2)];
    let true_ones = by_class(&object_cases, &units.0, classes, of_truth);
    let predicted_ones = by_class(&object_cases, &units.0, classes, of_prediction);
    let either = by_class(&object_cases, &units.0, classes, of_both);
    let image_classes = by_class(&image_cases, &units.0, classes, of_both);
    let ranked: Vec<[f64; 2]> = (0..classes)
        .map(|class| {
            [true, false].map(|kind| {
                let images = scorer.ranking(class).images();
                distinct.count(images.filter(|(_, is_positive)| *is_positive == kind).map(first))
            })
        })
        .collect();
    let separable: Vec<f64> = ranked.iter().map(|[with, without]| with.min(*without)).collect();
    let with_objects: Vec<f64> = scorer
        .detections()
        .iter()
        .map(|class| distinct.count(class.images_with_objects()))
        .collect();
    let detection = share(of_mean(&with_objects));
    let boxed = distinct.count(scorer.froc().images_with_objects());
    let froc = FrocScores {
        mean: share(boxed),
        at_eighth: share(boxed),
        at_quarter: share(boxed),
        at_half: share(boxed),
        at_1: share(boxed),
        at_2: share(boxed),
        at_4: share(boxed),
        at_8: share(boxed),
    };
    let [with_finding, without_finding] = [true, false].map(|kind| {
        let images = scorer.findings().images();
        distinct.count(images.filter(|(_, is_positive)| *is_positive == kind).map(first))
    });
    let finding_point = FindingPointScores {
        sensitivity: share(with_finding),
        specificity: share(without_finding),
        objects_found: share(boxed),
        false_alarms: Support { range: Range::Rate, units: units.1 as f64 },
    };
    ScoreSheet {
        objects: ObjectScores {
            accuracy: share(objects),
            balanced_accuracy: share(of_mean(&true_ones)),
            macro_f1: share(of_mean(&either)),
            box_mse: loss(objects),
            mean_iou: share(objects),
            iou50_rate: share(objects),
        },
        images: ImageScores {
            accuracy: share(images),
            top2_accuracy: share(images),
            macro_f1: share(of_mean(&image_classes)),
            macro_auroc: share(of_mean(&separable)),
            log_loss: loss(images),
            brier: loss(images),
            ece: loss(images),
        },
        scaled: ScaledScores { log_loss: loss(images), brier: loss(images), ece: loss(images) },
        detection: DetectionScores {
            ap: detection,
            ap50: detection,
            ap75: detection,
            ar1: detection,
            ar10: detection,
            ar100: detection,
        },
        froc: froc.clone(),
        froc_centre: froc.clone(),
        froc_same_class: froc,
        findings: FindingScores { auroc: share(with_finding.min(without_finding)) },
        finding_points: vec![finding_point; scorer.findings().thresholds()],
        per_class: (0..classes)
            .map(|class| ScoresOfClass {
                precision: share(predicted_ones[class]),
                recall: share(true_ones[class]),
                f1: share(either[class]),
                auroc: share(separable[class]),
                mean_iou: share(true_ones[class]),
            })
            .collect(),
        detection_per_class: with_objects
            .iter()
            .map(|units| DetectionOfClass {
                ap: share(*units),
                ap50: share(*units),
                ap75: share(*units),
                ar1: share(*units),
                froc: share(*units),
            })
            .collect(),
        operating: ranked
            .iter()
            .enumerate()
            .map(|(class, [with, without])| {
                let point =
                    OperatingScores { sensitivity: share(*with), specificity: share(*without) };
                vec![point; scorer.ranking(class).thresholds()]
            })
            .collect(),
    }
}

/// Image, true and predicted class; the number of classes stands for no prediction.
type Case = (u32, u16, u16);

/// For each class the number of units that have a case of it, where `classes_of` says which classes
/// a case is of.
fn by_class(
    cases: &[Case],
    unit_of_image: &[u32],
    classes: usize,
    classes_of: impl Fn(&Case) -> [Option<u16>; 2],
) -> Vec<f64> {
    let of_case = |case: &Case| {
        let unit = unit_of_image[case.0 as usize];
        classes_of(case).into_iter().flatten().map(move |class| (class, unit))
    };
    let mut pairs: Vec<(u16, u32)> = cases.iter().flat_map(of_case).collect();
    pairs.sort_unstable();
    pairs.dedup();
    let mut counts = vec![0.0; classes + 1];
    pairs.iter().for_each(|(class, _)| counts[usize::from(*class)] += 1.0);
    counts.truncate(classes);
    counts
}

fn share(units: f64) -> Support {
    Support { range: Range::Share, units }
}

fn loss(units: f64) -> Support {
    Support { range: Range::Loss, units }
}

fn first((image, _): (u32, bool)) -> u32 {
    image
}

/// Of the mean over the classes that have units: as many as have the variance of that mean, if each
/// class's variance is one over its units. One rare class makes it unsure.
fn of_mean(of_class: &[f64]) -> f64 {
    let (classes, variance) = of_class
        .iter()
        .filter(|units| **units > 0.0)
        .fold((0.0, 0.0), |(classes, variance), units| (classes + 1.0, variance + 1.0 / units));
    if classes == 0.0 { 0.0 } else { classes * classes / variance }
}

/// Counts the different units that images belong to.
struct Distinct<'a> {
    of_image: &'a [u32],
    /// The round in which a unit was seen last.
    seen: Vec<u32>,
    round: u32,
}

impl Distinct<'_> {
    fn count(&mut self, images: impl Iterator<Item = u32>) -> f64 {
        self.round += 1;
        let mut units = 0u32;
        for image in images {
            let seen = &mut self.seen[self.of_image[image as usize] as usize];
            units += u32::from(*seen != self.round);
            *seen = self.round;
        }
        f64::from(units)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_with_a_rare_class_rests_on_few_units() {
        assert_eq!(of_mean(&[10.0, 10.0]), 20.0);
        assert_eq!(of_mean(&[7.0, 0.0]), 7.0);
        assert!(of_mean(&[1.0, 100.0]) < 4.0);
        assert_eq!(of_mean(&[0.0]), 0.0);
    }

    #[test]
    fn units_are_counted_for_each_class_that_a_case_is_of() {
        let cases = [(0, 0, 1), (1, 0, 0), (2, 1, 2), (3, 1, 0)];
        let units = [0, 0, 1, 2];
        assert_eq!(by_class(&cases, &units, 2, |case| [Some(case.1), None]), [1.0, 2.0]);
        assert_eq!(by_class(&cases, &units, 2, |case| [None, Some(case.2)]), [2.0, 1.0]);
        assert_eq!(by_class(&cases, &units, 2, |case| [Some(case.1), Some(case.2)]), [2.0, 3.0]);
    }

    #[test]
    fn images_of_one_unit_count_once() {
        let units = [0, 0, 1, 2];
        let mut distinct = Distinct { of_image: &units, seen: vec![0; 3], round: 0 };
        assert_eq!(distinct.count([0, 1, 1, 2].into_iter()), 2.0);
        assert_eq!(distinct.count([3, 0].into_iter()), 2.0);
        assert_eq!(distinct.count(std::iter::empty()), 0.0);
    }
}
