//! Whether the 95 % intervals hold the true score as often as they say.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use ossify_contract::{ImageStatus, Split, UnitBox};
use ossify_evaluate::{
    Prediction, ScoredImage, Scorer, SplitData, Truth, intervals, resampling_units,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const DATASETS: u64 = 400;
const IMAGES: usize = 300;
const RESAMPLES: u32 = 400;
/// Chance that an image's class is right.
const ACCURACY: f64 = 0.8;
/// Of a right class, the confidence is spread evenly from here to 1; the Brier score follows.
const MIN_CONFIDENCE: f64 = 0.6;

/// Images with one object each. Boxes are 0.4 wide and shifted by up to their width, evenly: with
/// shift `s` in widths the IoU is (1 - s) / (1 + s).
fn drawn(number: u64) -> SplitData {
    let mut random = ChaCha8Rng::seed_from_u64(2024);
    random.set_stream(number);
    let (mut images, mut truths, mut predictions, mut probabilities) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for i in 0..IMAGES {
        let class = random.random_range(0..2_u16);
        let predicted = if random.random::<f64>() < ACCURACY { class } else { 1 - class };
        let confidence = MIN_CONFIDENCE + (1.0 - MIN_CONFIDENCE) * random.random::<f64>();
        let shift = 0.4 * random.random::<f64>() as f32;
        let box_at = |left: f32| UnitBox { xmin: left, ymin: 0.1, xmax: left + 0.4, ymax: 0.5 };
        truths.push(Truth { line: 1, class, unit_box: box_at(0.1), area: 0.16 });
        predictions.push(Prediction {
            rank: 1,
            class: predicted,
            score: confidence as f32,
            unit_box: box_at(0.1 + shift),
        });
        let of_other = (1.0 - confidence) as f32;
        probabilities.extend(if predicted == 0 {
            [confidence as f32, of_other]
        } else {
            [of_other, confidence as f32]
        });
        images.push(ScoredImage {
            image_id: i.to_string(),
            status: ImageStatus::Labelled,
            truths: i..i + 1,
            predictions: i..i + 1,
            leak_group: None,
            source: 0,
            light: None,
            is_looked_at: true,
        });
    }
    SplitData {
        split: Split::Test,
        class_names: vec!["wrist".into(), "elbow".into()],
        images,
        sources: vec!["a".into()],
        truths,
        predictions,
        probabilities,
        findings: Default::default(),
        excluded: Vec::new(),
        images_by_status: BTreeMap::new(),
        fingerprints_known: true,
    }
}

#[test]
fn intervals_hold_the_true_score_in_95_of_100_datasets() {
    // The integral of (1 - s) / (1 + s) over 0..1.
    let mean_iou = 2.0 * 2.0_f64.ln() - 1.0;
    // (1 - s) / (1 + s) is at least 0.5 up to s = 1/3.
    let iou50_rate = 1.0 / 3.0;
    // 2 (1 - c)² where the class is right and 2 c² where not, with c even over 0.6..1.
    let mean_of_square = |from: f64, to: f64| (to.powi(3) - from.powi(3)) / 3.0 / (to - from);
    let brier = 2.0
        * (ACCURACY * mean_of_square(0.0, 1.0 - MIN_CONFIDENCE)
            + (1.0 - ACCURACY) * mean_of_square(MIN_CONFIDENCE, 1.0));
    let mut held = [0_u32; 5];
    for number in 0..DATASETS {
        let data = drawn(number);
        let scores = intervals(&Scorer::new(&data), &resampling_units(&data), RESAMPLES, number);
        let checked = [
            (scores.images.accuracy, ACCURACY),
            (scores.objects.mean_iou, mean_iou),
            (scores.objects.iou50_rate, iou50_rate),
            (scores.images.brier, brier),
            // Right or wrong has nothing to do with the class, and both are as frequent.
            (scores.objects.balanced_accuracy, ACCURACY),
        ];
        for (held, (interval, truth)) in held.iter_mut().zip(checked) {
            *held += u32::from((interval.low..=interval.high).contains(&truth));
        }
    }
    for (name, held) in
        ["accuracy", "mean IoU", "IoU50 rate", "Brier score", "balanced accuracy"].iter().zip(held)
    {
        let share = f64::from(held) / DATASETS as f64;
        assert!(
            (0.93..=0.985).contains(&share),
            "intervals of the {name} hold the truth in {share} of the datasets"
        );
    }
}

/// A draw of datasets that are small or lie at the end of a score, where percentiles of resamples
/// have no width. One class; one image in two has an object. A hit has a better score than most
/// false alarms.
struct Draw {
    images: usize,
    /// Chance that an object is found.
    found: f64,
    /// Chance that an image has a false alarm.
    alarmed: f64,
    /// Images of a leak group, which are all alike.
    copies: usize,
}

fn drawn_detections(draw: &Draw, number: u64) -> SplitData {
    let mut random = ChaCha8Rng::seed_from_u64(77);
    random.set_stream(number);
    let object = UnitBox { xmin: 0.1, ymin: 0.1, xmax: 0.5, ymax: 0.5 };
    let elsewhere = UnitBox { xmin: 0.6, ymin: 0.6, xmax: 0.9, ymax: 0.9 };
    let mut data = SplitData {
        split: Split::Test,
        class_names: vec!["wrist".into()],
        images: Vec::new(),
        sources: vec!["a".into()],
        truths: Vec::new(),
        predictions: Vec::new(),
        probabilities: Vec::new(),
        findings: Default::default(),
        excluded: Vec::new(),
        images_by_status: BTreeMap::new(),
        fingerprints_known: true,
    };
    for i in 0..draw.images {
        let has_object = random.random_bool(0.5);
        let hit = (has_object && random.random_bool(draw.found))
            .then(|| (0.3 + 0.7 * random.random::<f32>(), object));
        let alarm = random.random_bool(draw.alarmed).then(|| (random.random::<f32>(), elsewhere));
        let mut predictions: Vec<_> = hit.into_iter().chain(alarm).collect();
        predictions.sort_by(|a, b| b.0.total_cmp(&a.0));
        for _ in 0..draw.copies {
            let (truths, found) = (data.truths.len(), data.predictions.len());
            if has_object {
                data.truths.push(Truth { line: 1, class: 0, unit_box: object, area: 0.16 });
            }
            let ranked = predictions.iter().zip(1..);
            data.predictions.extend(ranked.map(|((score, unit_box), rank)| Prediction {
                rank,
                class: 0,
                score: *score,
                unit_box: *unit_box,
            }));
            data.probabilities.push(f32::NAN);
            data.images.push(ScoredImage {
                image_id: data.images.len().to_string(),
                status: if has_object { ImageStatus::Labelled } else { ImageStatus::Background },
                truths: truths..data.truths.len(),
                predictions: found..data.predictions.len(),
                leak_group: (draw.copies > 1).then_some(i as i32),
                source: 0,
                light: None,
                is_looked_at: true,
            });
        }
    }
    data
}

/// Shares of the draws whose intervals hold the true value: AP50 and AR1. The truth is that of a
/// draw so large that it hardly moves.
fn coverage(draw: &Draw, draws: u64) -> [f64; 2] {
    let large = drawn_detections(&Draw { images: 200_000, copies: 1, ..*draw }, 0);
    let sheet = Scorer::new(&large).scores(&vec![1; large.images.len()]);
    let truth = [sheet.detection.ap50, sheet.detection.ar1];
    let (mut held, mut defined) = ([0u32; 2], 0u32);
    for number in 1..=draws {
        let data = drawn_detections(draw, number);
        let scores = intervals(&Scorer::new(&data), &resampling_units(&data), 200, number);
        let found = [scores.detection.ap50, scores.detection.ar1];
        if found[0].value.is_nan() {
            assert!(found.iter().all(|score| score.low.is_nan() && score.high.is_nan()));
            continue;
        }
        defined += 1;
        for ((held, score), truth) in held.iter_mut().zip(found).zip(truth) {
            *held += u32::from((score.low..=score.high).contains(&truth));
        }
    }
    held.map(|held| f64::from(held) / f64::from(defined))
}

#[test]
fn intervals_hold_the_truth_at_the_ends_and_for_few_objects() {
    let draws = [
        // Nearly all is found, or nearly nothing; few images; many; groups of copies.
        Draw { images: 60, found: 0.98, alarmed: 0.02, copies: 1 },
        Draw { images: 60, found: 0.03, alarmed: 0.3, copies: 1 },
        Draw { images: 8, found: 0.7, alarmed: 0.3, copies: 1 },
        Draw { images: 3, found: 0.9, alarmed: 0.1, copies: 1 },
        Draw { images: 100, found: 0.6, alarmed: 0.5, copies: 1 },
        Draw { images: 20, found: 0.95, alarmed: 0.1, copies: 4 },
    ];
    for draw in &draws {
        let shares = coverage(draw, 400);
        for (name, share) in ["AP50", "AR1"].iter().zip(shares) {
            assert!(
                share >= 0.93,
                "{} images, {} found: intervals of the {name} hold the truth in {share}",
                draw.images,
                draw.found
            );
        }
    }
}
