//! Scores under weights against scores of images that are really there several times, and against
//! definitions written as plainly as possible.

#![allow(clippy::unwrap_used, reason = "tests")]

use ossify_contract::UnitBox;
use ossify_detection::average_precision::{DetectionMatcher, MeanPrecision, precision_recall};
use ossify_detection::boxes::{Detection, Truth};
use ossify_detection::froc::{ClassRule, FALSE_ALARM_RATES, FrocBuilder, HitRule};
use ossify_detection::ranking::{Ranking, auroc};
use proptest::prelude::*;

const CLASSES: u16 = 2;

#[derive(Clone, Debug)]
struct Image {
    truths: Vec<Truth>,
    detections: Vec<Detection>,
}

/// Boxes on a coarse grid, so that equal overlaps occur.
fn a_box() -> impl Strategy<Value = UnitBox> {
    (0..6u8, 0..6u8, 1..5u8, 1..5u8).prop_map(|(x, y, width, height)| {
        let edge = |at: u8| f32::from(at) / 8.0;
        UnitBox::new(edge(x), edge(y), edge(x + width), edge(y + height))
    })
}

/// Scores of an image differ: how copies of an image with equal scores interleave is not defined.
/// Those of different images may be equal.
fn an_image() -> impl Strategy<Value = Image> {
    let truths = prop::collection::vec((0..CLASSES, a_box()), 0..4);
    let detections = prop::collection::vec((0..CLASSES, a_box(), any::<bool>()), 0..6);
    (truths, detections, 0..6u8).prop_map(|(truths, detections, first)| {
        let truths: Vec<Truth> =
            truths.into_iter().map(|(class, unit_box)| Truth { class, unit_box }).collect();
        let mut detections: Vec<Detection> = detections
            .into_iter()
            .zip(first..)
            .map(|((class, unit_box, is_copy), place)| {
                let copied = truths.first().filter(|_| is_copy).map(|truth| truth.unit_box);
                let unit_box = copied.unwrap_or(unit_box);
                Detection { class, score: f32::from(place % 6) / 8.0, unit_box }
            })
            .collect();
        detections.sort_by(|a, b| b.score.total_cmp(&a.score));
        Image { truths, detections }
    })
}

fn weighted_images() -> impl Strategy<Value = Vec<(Image, u32)>> {
    prop::collection::vec((an_image(), 0..4u32), 1..8)
}

fn repeated(images: &[(Image, u32)]) -> Vec<(Image, u32)> {
    let copies =
        |(image, weight): &(Image, u32)| std::iter::repeat_n((image.clone(), 1), *weight as usize);
    images.iter().flat_map(copies).collect()
}

fn weights(images: &[(Image, u32)]) -> Vec<u32> {
    images.iter().map(|(_, weight)| *weight).collect()
}

fn means(images: &[(Image, u32)]) -> [f64; 6] {
    let mut matcher = DetectionMatcher::new(usize::from(CLASSES));
    images.iter().for_each(|(image, _)| matcher.add_image(&image.truths, &image.detections));
    let weights = weights(images);
    let curves: Vec<_> =
        matcher.finish().iter().map(|class| precision_recall(class, &weights)).collect();
    let MeanPrecision { ap, ap50, ap75, ar: [ar1, ar10, ar100] } = MeanPrecision::of(&curves);
    [ap, ap50, ap75, ar1, ar10, ar100]
}

fn sensitivities(images: &[(Image, u32)], hit: HitRule, classes: ClassRule) -> [f64; 7] {
    let mut builder = FrocBuilder::new(hit, classes);
    images.iter().for_each(|(image, _)| builder.add_image(&image.truths, &image.detections));
    builder.finish().sensitivities(&weights(images))
}

/// Hits and false alarms of an image at a threshold.
fn marks_of(image: &Image, threshold: f32, hit: HitRule, classes: ClassRule) -> (usize, usize) {
    let counts = |class: u16| !matches!(classes, ClassRule::Only(only) if only != class);
    let truths: Vec<&Truth> = image.truths.iter().filter(|truth| counts(truth.class)).collect();
    let mut free = vec![true; truths.len()];
    let mut false_alarms = 0;
    for mark in &image.detections {
        if mark.score < threshold || !counts(mark.class) {
            continue;
        }
        let fits = |truth: &Truth| {
            let (found, wanted) = (mark.unit_box, truth.unit_box);
            let is_placed = match hit {
                HitRule::Iou50 => found.iou(&wanted) >= 0.5,
                HitRule::CentreInBox => {
                    let (x, y) = (found.xmin + found.xmax, found.ymin + found.ymax);
                    2.0 * wanted.xmin <= x
                        && x <= 2.0 * wanted.xmax
                        && 2.0 * wanted.ymin <= y
                        && y <= 2.0 * wanted.ymax
                }
            };
            is_placed && (classes == ClassRule::Any || truth.class == mark.class)
        };
        let fitting: Vec<usize> = (0..truths.len()).filter(|at| fits(truths[*at])).collect();
        let iou = |at: &&usize| mark.unit_box.iou(&truths[**at].unit_box);
        let best =
            fitting.iter().rev().filter(|at| free[**at]).max_by(|a, b| iou(a).total_cmp(&iou(b)));
        match best {
            Some(at) => free[*at] = false,
            None if fitting.is_empty() => false_alarms += 1,
            None => {}
        }
    }
    (free.iter().filter(|free| !**free).count(), false_alarms)
}

/// The best of all thresholds at each number of false alarms.
fn plain_sensitivities(images: &[(Image, u32)], hit: HitRule, classes: ClassRule) -> [f64; 7] {
    let counts = |class: u16| !matches!(classes, ClassRule::Only(only) if only != class);
    let objects: usize = images
        .iter()
        .map(|(image, _)| image.truths.iter().filter(|truth| counts(truth.class)).count())
        .sum();
    let at = |threshold: f32| {
        images.iter().fold((0, 0), |(hits, alarms), (image, _)| {
            let (more_hits, more_alarms) = marks_of(image, threshold, hit, classes);
            (hits + more_hits, alarms + more_alarms)
        })
    };
    let points: Vec<(usize, usize)> =
        (0..8).map(|eighths| at(eighths as f32 / 8.0)).chain([(0, 0)]).collect();
    FALSE_ALARM_RATES.map(|rate| {
        let within = |point: &&(usize, usize)| point.1 as f64 / images.len() as f64 <= rate;
        let best = points.iter().filter(within).map(|(hits, _)| *hits).max().unwrap();
        best as f64 / objects as f64
    })
}

/// Equal, or neither is defined.
fn same<const N: usize>(a: [f64; N], b: [f64; N]) -> bool {
    a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-12 || a.is_nan() && b.is_nan())
}

const HITS: [HitRule; 2] = [HitRule::Iou50, HitRule::CentreInBox];
const RULES: [ClassRule; 4] =
    [ClassRule::Any, ClassRule::Same, ClassRule::Only(0), ClassRule::Only(1)];

proptest! {
    #[test]
    fn a_weight_is_a_number_of_copies(images in weighted_images()) {
        let copies = repeated(&images);
        prop_assert!(same(means(&images), means(&copies)));
        for hit in HITS {
            for classes in RULES {
                let (weighted, plain) =
                    (sensitivities(&images, hit, classes), sensitivities(&copies, hit, classes));
                prop_assert!(same(weighted, plain), "{weighted:?} {plain:?}");
            }
        }
    }

    #[test]
    fn froc_is_the_best_of_all_thresholds(images in weighted_images()) {
        let once: Vec<_> = images.into_iter().map(|(image, _)| (image, 1)).collect();
        for hit in HITS {
            for classes in RULES {
                let (found, plain) =
                    (sensitivities(&once, hit, classes), plain_sensitivities(&once, hit, classes));
                prop_assert!(same(found, plain), "{hit:?} {classes:?} {found:?} {plain:?}");
            }
        }
    }

    #[test]
    fn froc_rises_with_the_false_alarms_that_are_allowed(images in weighted_images()) {
        for hit in HITS {
            let found = sensitivities(&images, hit, ClassRule::Same);
            prop_assert!(found.is_sorted() || found[0].is_nan());
            prop_assert!(found.iter().all(|share| !(*share < 0.0 || *share > 1.0)));
        }
    }

    #[test]
    fn the_threshold_of_a_rate_keeps_it_and_reaches_its_sensitivity(images in weighted_images()) {
        let once: Vec<_> = images.into_iter().map(|(image, _)| (image, 1)).collect();
        let mut builder = FrocBuilder::new(HitRule::Iou50, ClassRule::Any);
        once.iter().for_each(|(image, _)| builder.add_image(&image.truths, &image.detections));
        let (froc, weights) = (builder.finish(), weights(&once));
        let found = froc.sensitivities(&weights);
        for (rate, found) in FALSE_ALARM_RATES.into_iter().zip(found) {
            let threshold = froc.threshold_at(rate, once.len()).unwrap_or(f32::INFINITY);
            let point = froc.at_threshold(threshold, &weights);
            prop_assert!(point.false_alarms <= rate);
            prop_assert!(same([point.sensitivity], [found]));
        }
        let curve = froc.curve(&weights);
        for point in curve {
            let again = froc.at_threshold(point.threshold, &weights);
            prop_assert!(same(
                [again.sensitivity, again.false_alarms],
                [point.sensitivity, point.false_alarms]
            ));
        }
    }

    #[test]
    fn auroc_counts_pairs(
        images in prop::collection::vec((0..6u8, any::<bool>(), 0..4u32), 0..12),
    ) {
        let (mut won, mut pairs) = (0.0, 0.0);
        for (score, is_positive, weight) in &images {
            for (other, other_is_positive, other_weight) in &images {
                if *is_positive && !*other_is_positive {
                    let weight = f64::from(weight * other_weight);
                    pairs += weight;
                    won += weight * match score.cmp(other) {
                        std::cmp::Ordering::Greater => 1.0,
                        std::cmp::Ordering::Equal => 0.5,
                        std::cmp::Ordering::Less => 0.0,
                    };
                }
            }
        }
        let score = |score: &u8| f32::from(*score) / 8.0;
        let weights: Vec<u32> = images.iter().map(|(.., weight)| *weight).collect();
        let ranked = images.iter().zip(0..).map(|((s, is_positive, _), i)| {
            (score(s), i, *is_positive)
        });
        let (found, _) = Ranking::of(ranked.collect(), &[]).scores(&weights);
        prop_assert!(same([found], [won / pairs]));
        let copies: Vec<(f32, bool)> = images
            .iter()
            .flat_map(|(s, is_positive, weight)| {
                std::iter::repeat_n((score(s), *is_positive), *weight as usize)
            })
            .collect();
        prop_assert!(same([found], [auroc(&copies)]));
    }
}
