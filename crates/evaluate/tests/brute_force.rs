//! Weighted scores against scores of images that are really there several times, computed as
//! plainly as possible.

#![allow(clippy::unwrap_used, reason = "tests")]

use ossify_contract::{ImageStatus, Split, UnitBox};
use ossify_detection::average_precision::precision_recall;
use ossify_evaluate::{
    Prediction, ScoredImage, Scorer, SplitData, Truth, class_detections, intervals,
    resampling_units,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const CLASSES: u16 = 3;

/// A split with boxes on a coarse grid and few different scores, so that equal IoUs and equal
/// scores of different images occur. Within an image scores differ: how copies of an image with
/// equal scores interleave is not defined.
fn random_split(random: &mut ChaCha8Rng) -> SplitData {
    let mut data = SplitData {
        split: Split::Valid,
        class_names: (0..CLASSES).map(|class| format!("class {class}")).collect(),
        images: Vec::new(),
        sources: vec!["a".into()],
        truths: Vec::new(),
        predictions: Vec::new(),
        probabilities: Vec::new(),
        findings: Default::default(),
        excluded: Vec::new(),
        images_by_status: Default::default(),
        fingerprints_known: false,
    };
    fn unit_box(random: &mut ChaCha8Rng) -> UnitBox {
        let [x, y] = [0, 0].map(|_: i32| random.random_range(0..6u8));
        let [w, h] = [0, 0].map(|_: i32| random.random_range(1..5u8));
        UnitBox::new(
            f32::from(x) / 8.0,
            f32::from(y) / 8.0,
            f32::from(x + w) / 8.0,
            f32::from(y + h) / 8.0,
        )
    }
    for i in 0..random.random_range(1..8usize) {
        let truths: Vec<Truth> = (0..random.random_range(0..4))
            .map(|line| {
                let unit_box = unit_box(random);
                Truth {
                    line: line + 1,
                    class: random.random_range(0..CLASSES),
                    unit_box,
                    area: unit_box.area(),
                }
            })
            .collect();
        let first = random.random_range(0..6u8);
        let mut predictions: Vec<Prediction> = (0..random.random_range(0..6u8))
            .map(|i| {
                let copied =
                    truths.first().filter(|_| random.random_bool(0.5)).map(|truth| truth.unit_box);
                let unit_box = copied.unwrap_or_else(|| unit_box(random));
                Prediction {
                    rank: 0,
                    class: random.random_range(0..CLASSES),
                    score: f32::from((first + i) % 6) / 8.0,
                    unit_box,
                }
            })
            .collect();
        predictions.sort_by(|a, b| b.score.total_cmp(&a.score));
        predictions
            .iter_mut()
            .enumerate()
            .for_each(|(i, prediction)| prediction.rank = i as i32 + 1);
        let quarters: Vec<f32> =
            (0..CLASSES).map(|_| random.random_range(0..5u8) as f32 / 4.0).collect();
        data.probabilities
            .extend(quarters.iter().map(|p| if predictions.is_empty() { f32::NAN } else { *p }));
        data.images.push(image(&data, i, &truths, &predictions));
        data.truths.extend(truths);
        data.predictions.extend(predictions);
    }
    data
}

fn image(
    data: &SplitData,
    number: usize,
    truths: &[Truth],
    predictions: &[Prediction],
) -> ScoredImage {
    ScoredImage {
        image_id: format!("{number:03}"),
        status: if truths.is_empty() { ImageStatus::Background } else { ImageStatus::Labelled },
        truths: data.truths.len()..data.truths.len() + truths.len(),
        predictions: data.predictions.len()..data.predictions.len() + predictions.len(),
        leak_group: None,
        source: 0,
        light: None,
        is_looked_at: true,
    }
}

/// The split with image `i` standing there `weights[i]` times.
fn repeated(data: &SplitData, weights: &[u32]) -> SplitData {
    let mut copy = SplitData {
        images: Vec::new(),
        truths: Vec::new(),
        predictions: Vec::new(),
        probabilities: Vec::new(),
        ..data.clone()
    };
    for (i, (original, weight)) in data.images.iter().zip(weights).enumerate() {
        for _ in 0..*weight {
            let (truths, predictions) = (data.truths_of(original), data.predictions_of(original));
            copy.images.push(image(&copy, copy.images.len(), truths, predictions));
            copy.truths.extend_from_slice(truths);
            copy.predictions.extend_from_slice(predictions);
            copy.probabilities.extend_from_slice(
                &data.probabilities[i * usize::from(CLASSES)..(i + 1) * usize::from(CLASSES)],
            );
        }
    }
    copy
}

/// The protocol as it is told: sort, match greedily, accumulate, take the best precision at each
/// recall or above.
fn plain_average_precision(data: &SplitData, class: u16, threshold: f64) -> Option<f64> {
    let mut hits = Vec::new();
    let mut objects = 0;
    for image in &data.images {
        let truths: Vec<&Truth> =
            data.truths_of(image).iter().filter(|truth| truth.class == class).collect();
        objects += truths.len();
        let mut taken = vec![false; truths.len()];
        for prediction in
            data.predictions_of(image).iter().filter(|prediction| prediction.class == class)
        {
            let mut best: Option<(f64, usize)> = None;
            for (at, truth) in truths.iter().enumerate() {
                let iou = prediction.unit_box.iou(&truth.unit_box);
                if !taken[at] && iou >= threshold && best.is_none_or(|(most, _)| iou >= most) {
                    best = Some((iou, at));
                }
            }
            if let Some((_, at)) = best {
                taken[at] = true;
            }
            hits.push((prediction.score, best.is_some()));
        }
    }
    if objects == 0 {
        return None;
    }
    hits.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut points = Vec::new();
    let mut found = 0;
    for (i, (_, is_hit)) in hits.iter().enumerate() {
        found += usize::from(*is_hit);
        points.push((found as f64 / objects as f64, found as f64 / (i + 1) as f64));
    }
    let at = |recall: f64| {
        points
            .iter()
            .filter(|(reached, _)| *reached >= recall)
            .map(|(_, precision)| *precision)
            .fold(0.0, f64::max)
    };
    Some((0..101).map(|i| at(f64::from(i) * 0.01)).sum::<f64>() / 101.0)
}

#[test]
fn weighted_average_precision_is_that_of_repeated_images() {
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let mut defined = 0;
    for _ in 0..400 {
        let data = random_split(&mut random);
        let weights: Vec<u32> = data.images.iter().map(|_| random.random_range(0..4)).collect();
        let copies = repeated(&data, &weights);
        for (class, detections) in class_detections(&data).iter().enumerate() {
            let ours = precision_recall(detections, &weights);
            for (at, threshold) in [(0, 0.5), (5, 0.75), (9, 0.95)] {
                let plain = plain_average_precision(&copies, class as u16, threshold);
                assert_eq!(ours.is_some(), plain.is_some());
                if let (Some(ours), Some(plain)) = (&ours, plain) {
                    defined += 1;
                    assert!(
                        (ours.ap_at(at) - plain).abs() < 1e-12,
                        "{} and {plain}",
                        ours.ap_at(at)
                    );
                }
            }
        }
    }
    assert!(defined > 1000);
}

#[test]
fn every_weighted_score_is_that_of_repeated_images() {
    let mut random = ChaCha8Rng::seed_from_u64(4);
    for _ in 0..400 {
        let data = random_split(&mut random);
        let weights: Vec<u32> = data.images.iter().map(|_| random.random_range(0..4)).collect();
        let copies = repeated(&data, &weights);
        let mut ours = Vec::new();
        Scorer::new(&data).scores(&weights).map(|value| ours.push(*value));
        let mut plain = Vec::new();
        Scorer::new(&copies).scores(&vec![1; copies.images.len()]).map(|value| plain.push(*value));
        for (at, (a, b)) in ours.iter().zip(&plain).enumerate() {
            assert!(a.is_nan() && b.is_nan() || (a - b).abs() < 1e-12, "score {at}: {a} and {b}");
        }
    }
}

#[test]
fn auroc_is_the_share_of_pairs_in_order() {
    let mut random = ChaCha8Rng::seed_from_u64(5);
    for _ in 0..200 {
        let data = random_split(&mut random);
        let scores = Scorer::new(&data).scores(&vec![1; data.images.len()]);
        for class in 0..CLASSES {
            let of_kind = |wanted: bool| -> Vec<f32> {
                let labelled = data.images.iter().enumerate().filter_map(|(i, image)| {
                    Some((
                        data.largest_truth(image)?.class == class,
                        data.probabilities_of(i)?[usize::from(class)],
                    ))
                });
                labelled.filter(|(is_class, _)| *is_class == wanted).map(|(_, p)| p).collect()
            };
            let (inside, outside) = (of_kind(true), of_kind(false));
            let won: f64 = inside
                .iter()
                .flat_map(|a| {
                    outside.iter().map(move |b| {
                        if a > b {
                            1.0
                        } else if a == b {
                            0.5
                        } else {
                            0.0
                        }
                    })
                })
                .sum();
            let expected = won / (inside.len() * outside.len()) as f64;
            let ours = scores.per_class[usize::from(class)].auroc;
            assert!(
                ours.is_nan() && expected.is_nan() || (ours - expected).abs() < 1e-12,
                "{ours} and {expected}"
            );
        }
    }
}

#[test]
fn intervals_do_not_depend_on_threads_and_hold_the_score() {
    let mut random = ChaCha8Rng::seed_from_u64(6);
    let mut data = random_split(&mut random);
    while data.images.len() < 6 {
        data = random_split(&mut random);
    }
    let (scorer, units) = (Scorer::new(&data), resampling_units(&data));
    let with_threads = |threads| {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap()
            .install(|| intervals(&scorer, &units, 300, 42))
    };
    let (one, many) = (with_threads(1), with_threads(5));
    let mut bits = [Vec::new(), Vec::new()];
    one.map(|score| {
        bits[0].push([score.value.to_bits(), score.low.to_bits(), score.high.to_bits()])
    });
    many.map(|score| {
        bits[1].push([score.value.to_bits(), score.low.to_bits(), score.high.to_bits()])
    });
    assert_eq!(bits[0], bits[1]);
    assert!(
        one.objects.accuracy.low <= one.objects.accuracy.value
            && one.objects.accuracy.value <= one.objects.accuracy.high
    );
}
