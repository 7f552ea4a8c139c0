//! The paired bootstrap against simulations whose true difference is known, and against the single
//! intervals.

#![allow(clippy::unwrap_used, reason = "tests")]

use ossify_contract::{ImageStatus, Split, UnitBox};
use ossify_evaluate::{
    Prediction, ScoredImage, Scorer, SplitData, Truth, intervals, paired_intervals,
    resampling_units,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// How wide the box is of which an image's object is one unit: the IoU of a box of this share of
/// the object.
const OBJECT: UnitBox = UnitBox { xmin: 0.0, ymin: 0.0, xmax: 1.0, ymax: 1.0 };

/// One object and one prediction an image; for each whether the class is right, and the IoU.
fn split_of(answers: &[(bool, f64)], leak_groups: Option<usize>) -> SplitData {
    let image = |i: usize| ScoredImage {
        image_id: format!("{i:05}"),
        status: ImageStatus::Labelled,
        truths: i..i + 1,
        predictions: i..i + 1,
        leak_group: leak_groups.map(|size| (i / size) as i32),
        source: 0,
        light: None,
        is_looked_at: true,
    };
    let prediction = |(is_right, iou): &(bool, f64)| Prediction {
        rank: 1,
        class: u16::from(!is_right),
        score: 0.5,
        unit_box: UnitBox { xmax: *iou as f32, ..OBJECT },
    };
    SplitData {
        sources: vec!["a".into()],
        split: Split::Valid,
        class_names: vec!["a".into(), "b".into()],
        images: (0..answers.len()).map(image).collect(),
        truths: vec![Truth { line: 1, class: 0, unit_box: OBJECT, area: 1.0 }; answers.len()],
        predictions: answers.iter().map(prediction).collect(),
        probabilities: vec![f32::NAN; 2 * answers.len()],
        findings: Default::default(),
        excluded: Vec::new(),
        images_by_status: Default::default(),
        fingerprints_known: leak_groups.is_some(),
    }
}

/// Two models that find the same images hard: right with probability `shares` and IoUs around
/// `shares`, both by the same draw of the image for the most part.
fn correlated_pair(
    random: &mut ChaCha8Rng,
    images: usize,
    shares: [f64; 2],
) -> [Vec<(bool, f64)>; 2] {
    let mut answers = [Vec::new(), Vec::new()];
    for _ in 0..images {
        let (common, common_noise) = (random.random::<f64>(), random.random::<f64>());
        for (answers, share) in answers.iter_mut().zip(shares) {
            // Uniform whichever draw is taken, so the chance to be right is the share.
            let draw = if random.random_bool(0.7) { common } else { random.random() };
            let noise = if random.random_bool(0.7) { common_noise } else { random.random() };
            answers.push((draw < share, share - 0.2 + 0.4 * noise));
        }
    }
    answers
}

#[test]
fn the_interval_of_a_difference_holds_the_true_one_in_19_of_20_simulations() {
    const PAIRS: u64 = 400;
    let shares = [0.6, 0.55];
    let truth = shares[1] - shares[0];
    let (mut accuracy, mut mean_iou) = (0, 0);
    for pair in 0..PAIRS {
        let mut random = ChaCha8Rng::seed_from_u64(20_000 + pair);
        let data =
            correlated_pair(&mut random, 160, shares).map(|answers| split_of(&answers, None));
        let paired = paired_intervals(
            &data.each_ref().map(Scorer::new),
            &resampling_units(&data[0]),
            300,
            pair,
        );
        let holds = |difference: ossify_evaluate::Difference| {
            u32::from((difference.low..=difference.high).contains(&truth))
        };
        accuracy += holds(paired.differences[0].images.accuracy);
        mean_iou += holds(paired.differences[0].objects.mean_iou);
    }
    for (name, held) in [("accuracy", accuracy), ("mean IoU", mean_iou)] {
        let share = f64::from(held) / PAIRS as f64;
        assert!((0.93..=0.98).contains(&share), "{name}: {share}");
    }
}

#[test]
fn intervals_of_differences_are_narrower_than_those_of_tables_apart() {
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let data =
        correlated_pair(&mut random, 400, [0.7, 0.65]).map(|answers| split_of(&answers, None));
    let paired =
        paired_intervals(&data.each_ref().map(Scorer::new), &resampling_units(&data[0]), 500, 1);
    let width = |low: f64, high: f64| high - low;
    let [a, b] = [0, 1].map(|table| &paired.scores[table]);
    let pairs = [
        (a.images.accuracy, b.images.accuracy, paired.differences[0].images.accuracy),
        (a.images.macro_f1, b.images.macro_f1, paired.differences[0].images.macro_f1),
        (a.objects.mean_iou, b.objects.mean_iou, paired.differences[0].objects.mean_iou),
        (a.detection.ap50, b.detection.ap50, paired.differences[0].detection.ap50),
    ];
    for (a, b, difference) in pairs {
        // The width for two tables over different images.
        let apart = width(a.low, a.high).hypot(width(b.low, b.high));
        assert!(width(difference.low, difference.high) < 0.9 * apart, "{a:?} {b:?} {difference:?}");
    }
}

#[test]
fn equal_tables_differ_by_exactly_0_and_each_has_the_intervals_of_its_own_report() {
    let mut random = ChaCha8Rng::seed_from_u64(5);
    let [answers, others] = correlated_pair(&mut random, 60, [0.7, 0.5]);
    let data = [split_of(&answers, None), split_of(&answers, None), split_of(&others, None)];
    let (scorers, units) = (data.each_ref().map(Scorer::new), resampling_units(&data[0]));
    let paired = paired_intervals(&scorers, &units, 200, 9);
    paired.differences[0].map(|difference| {
        if !difference.value.is_nan() {
            assert_eq!(
                (difference.value, difference.low, difference.high, difference.above_zero),
                (0.0, 0.0, 0.0, 0.0)
            );
        }
    });
    for (scorer, of_paired) in scorers.iter().zip(&paired.scores) {
        // NaN is not equal to itself.
        assert_eq!(format!("{:?}", intervals(scorer, &units, 200, 9)), format!("{of_paired:?}"));
    }
}

#[test]
fn the_share_above_0_is_that_of_the_resamples_that_are_better() {
    let better = split_of(&[(true, 0.9); 30], None);
    let worse = split_of(&[(false, 0.4); 30], None);
    let of = |data: [&SplitData; 2]| {
        let paired = paired_intervals(&data.map(Scorer::new), &resampling_units(data[0]), 100, 1);
        let accuracy = paired.differences[0].images.accuracy;
        (accuracy.value, accuracy.above_zero)
    };
    assert_eq!(of([&worse, &better]), (1.0, 1.0));
    assert_eq!(of([&better, &worse]), (-1.0, 0.0));
}

#[test]
fn images_of_one_leak_group_are_drawn_together_in_every_table() {
    let mut random = ChaCha8Rng::seed_from_u64(8);
    let [baseline, others] = correlated_pair(&mut random, 40, [0.7, 0.6]);
    // Ten copies of each image tell no more than one.
    let copied = |answers: &[(bool, f64)]| {
        answers.iter().flat_map(|answer| [*answer; 10]).collect::<Vec<_>>()
    };
    let once = [split_of(&baseline, None), split_of(&others, None)];
    let tenfold = [split_of(&copied(&baseline), Some(10)), split_of(&copied(&others), Some(10))];
    let difference = |data: &[SplitData; 2]| {
        let units = resampling_units(&data[0]);
        assert_eq!(units.1, 40);
        paired_intervals(&data.each_ref().map(Scorer::new), &units, 200, 2).differences[0]
            .objects
            .mean_iou
    };
    let (once, tenfold) = (difference(&once), difference(&tenfold));
    for (a, b) in [(once.value, tenfold.value), (once.low, tenfold.low), (once.high, tenfold.high)]
    {
        assert!((a - b).abs() < 1e-12, "{once:?} {tenfold:?}");
    }
}
