use std::collections::HashMap;

pub use ossify_contract::{Difference, Interval};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::Serialize;

use crate::read::split::{ScoredImage, SplitData};
use crate::scores::scorer::Scorer;
use crate::scores::sheet::ScoreSheet;

/// How the intervals were made.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bootstrap {
    /// Resamples.
    pub samples: u32,
    /// Seed.
    pub seed: u64,
    /// Share of resamples within an interval.
    pub confidence: f64,
    /// Units that are drawn: images, or groups of images that show the same picture.
    pub units: u64,
}

/// For each image the number of the unit that is drawn as a whole, and how many units there are:
/// images of one leak group show the same picture and would otherwise pass for independent
/// evidence.
pub fn resampling_units(data: &SplitData) -> (Vec<u32>, usize) {
    let mut of_group = HashMap::new();
    let mut units = 0;
    let mut fresh = || {
        units += 1;
        units - 1
    };
    let unit = |image: &ScoredImage| match image.leak_group {
        Some(group) => *of_group.entry(group).or_insert_with(&mut fresh),
        None => fresh(),
    };
    let of_image = data.images.iter().map(unit).collect();
    (of_image, units as usize)
}

/// Percentile bootstrap (Efron, 1979): draws as many units as there are, with replacement,
/// `samples` times, and scores each draw. A resample depends on `seed` and its number only, so the
/// result does not depend on threads. A score that is not defined in a resample (a class without
/// objects) leaves that resample out.
pub fn intervals(
    scorer: &Scorer,
    units: &(Vec<u32>, usize),
    samples: u32,
    seed: u64,
) -> ScoreSheet<Interval> {
    let resampled = resample(units, samples, seed, |weights| values(&scorer.scores(weights)));
    intervals_of(&scorer.scores(&vec![1; units.0.len()]), &resampled)
}

/// Scores of several tables over the same images, and their differences from the first.
#[derive(Clone, Debug, PartialEq)]
pub struct PairedScores {
    /// Those of each table, as [`intervals`] gives them.
    pub scores: Vec<ScoreSheet<Interval>>,
    /// For each table but the first its scores less those of the first.
    pub differences: Vec<ScoreSheet<Difference>>,
}

/// Paired percentile bootstrap: each resample, drawn as in [`intervals`], is scored with every
/// table, so that what is hard or easy for all of them cancels in the difference.
///
/// The scorers are of the same images in the same order and of the same classes; at least one.
pub fn paired_intervals(
    scorers: &[Scorer],
    units: &(Vec<u32>, usize),
    samples: u32,
    seed: u64,
) -> PairedScores {
    let every: Vec<u32> = vec![1; units.0.len()];
    let points: Vec<ScoreSheet<f64>> = scorers.iter().map(|scorer| scorer.scores(&every)).collect();
    let resampled = resample(units, samples, seed, |weights| {
        scorers.iter().map(|scorer| values(&scorer.scores(weights))).collect::<Vec<_>>()
    });
    let of_table = |table: usize| resampled.iter().map(move |sample| &sample[table]);
    let scores = points
        .iter()
        .enumerate()
        .map(|(table, point)| intervals_of(point, &of_table(table).cloned().collect::<Vec<_>>()))
        .collect();
    let differences = points.iter().enumerate().skip(1).map(|(table, point)| {
        let less = |other: &[f64], first: &[f64]| -> Vec<f64> {
            other.iter().zip(first).map(|(other, first)| other - first).collect()
        };
        let of_resamples: Vec<Vec<f64>> =
            of_table(table).zip(of_table(0)).map(|(other, first)| less(other, first)).collect();
        let mut of_points = less(&values(point), &values(&points[0])).into_iter();
        let difference = point.map(|_| of_points.next().unwrap_or(f64::NAN));
        with_columns(&difference, &of_resamples, |value, sorted| Difference {
            value,
            low: percentile(sorted, 0.025),
            high: percentile(sorted, 0.975),
            above_zero: sorted.iter().filter(|difference| **difference > 0.0).count() as f64
                / sorted.len() as f64,
        })
    });
    PairedScores { scores, differences: differences.collect() }
}

/// What `score` makes of the image weights of each resample, in order of their numbers.
fn resample<T: Send>(
    (unit_of_image, unit_count): &(Vec<u32>, usize),
    samples: u32,
    seed: u64,
    score: impl Fn(&[u32]) -> T + Sync,
) -> Vec<T> {
    let scored = (0..u64::from(samples)).into_par_iter().map_init(
        || (vec![0u32; *unit_count], vec![0u32; unit_of_image.len()]),
        |(counts, weights), sample| {
            draw(counts, seed, sample);
            for (weight, unit) in weights.iter_mut().zip(unit_of_image) {
                *weight = counts[*unit as usize];
            }
            score(weights)
        },
    );
    scored.collect()
}

/// The scores of a sheet in its order.
fn values(sheet: &ScoreSheet<f64>) -> Vec<f64> {
    // Every resample has such a list: it takes no more room than its values.
    let mut count = 0;
    sheet.map(|_| count += 1);
    let mut values = Vec::with_capacity(count);
    sheet.map(|value| values.push(*value));
    values
}

fn intervals_of(point: &ScoreSheet<f64>, resampled: &[Vec<f64>]) -> ScoreSheet<Interval> {
    with_columns(point, resampled, |value, sorted| Interval {
        value,
        low: percentile(sorted, 0.025),
        high: percentile(sorted, 0.975),
    })
}

/// Turns each score of the data into what `turn` makes of it and of its sorted values in the
/// resamples where it is defined.
fn with_columns<T>(
    point: &ScoreSheet<f64>,
    resampled: &[Vec<f64>],
    turn: impl Fn(f64, &[f64]) -> T,
) -> ScoreSheet<T> {
    let mut at = 0;
    point.map(|value| {
        let mut sorted: Vec<f64> =
            resampled.iter().map(|sample| sample[at]).filter(|value| !value.is_nan()).collect();
        at += 1;
        sorted.sort_by(f64::total_cmp);
        turn(*value, &sorted)
    })
}

/// Draws `counts.len()` units with replacement.
fn draw(counts: &mut [u32], seed: u64, sample: u64) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(sample);
    counts.fill(0);
    for _ in 0..counts.len() {
        counts[random.random_range(0..counts.len())] += 1;
    }
}

/// Linear between the two nearest of sorted values, as `numpy.percentile`; NaN without values.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let at = share * last as f64;
    let below = (at.floor() as usize).min(last);
    let above = (below + 1).min(last);
    sorted[below] + (sorted[above] - sorted[below]) * (at - below as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_numpy() {
        let values = [1.0, 2.0, 4.0, 8.0];
        assert_eq!(percentile(&values, 0.5), 3.0);
        assert_eq!(percentile(&values, 0.025), 1.075);
        assert_eq!(percentile(&values, 1.0), 8.0);
        assert!(percentile(&[], 0.5).is_nan());
    }

    #[test]
    fn a_draw_has_as_many_units_as_there_are_and_repeats_for_its_number_only() {
        let (mut a, mut b) = (vec![0; 100], vec![0; 100]);
        draw(&mut a, 42, 7);
        draw(&mut b, 42, 7);
        assert_eq!(a, b);
        assert_eq!(a.iter().sum::<u32>(), 100);
        draw(&mut b, 42, 8);
        assert_ne!(a, b);
    }
}
