use std::collections::HashMap;

pub use ossify_contract::{Difference, Interval};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::Serialize;

use crate::read::split::{ScoredImage, SplitData};
use crate::scores::honest_interval::{Support, difference_interval, interval};
use crate::scores::scorer::Scorer;
use crate::scores::sheet::ScoreSheet;
use crate::scores::support::support;

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

/// Draws as many units as there are, with replacement, `samples` times, and scores each draw
/// (bootstrap; Efron, 1979). A resample depends on `seed` and its number only, so the result does
/// not depend on threads. A score that is not defined in a resample (a class without objects)
/// leaves that resample out.
///
/// The interval of a share is the exact one for as many independent cases as have the variance of
/// the resamples (Korn and Graubard, 1998), so it has a width also where every image scores 1; that
/// of a score without an upper bound holds the middle 95 % of the resamples.
pub fn intervals(
    scorer: &Scorer,
    units: &(Vec<u32>, usize),
    samples: u32,
    seed: u64,
) -> ScoreSheet<Interval> {
    let resampled = resample(units, samples, seed, |weights| values(&scorer.scores(weights)));
    let point = scorer.scores(&vec![1; units.0.len()]);
    intervals_of(&point, &resampled, &supports(scorer, units))
}

/// Scores of several tables over the same images, and their differences from the first.
#[derive(Clone, Debug, PartialEq)]
pub struct PairedScores {
    /// Those of each table, as [`intervals`] gives them.
    pub scores: Vec<ScoreSheet<Interval>>,
    /// For each table but the first its scores less those of the first.
    pub differences: Vec<ScoreSheet<Difference>>,
}

/// Paired bootstrap: each resample, drawn as in [`intervals`], is scored with every
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
    let supports: Vec<_> = scorers.iter().map(|scorer| supports(scorer, units)).collect();
    let scores = points
        .iter()
        .enumerate()
        .map(|(table, point)| {
            let of_table: Vec<_> = of_table(table).cloned().collect();
            intervals_of(point, &of_table, &supports[table])
        })
        .collect();
    let differences = points.iter().enumerate().skip(1).map(|(table, point)| {
        let less = |other: &[f64], first: &[f64]| -> Vec<f64> {
            other.iter().zip(first).map(|(other, first)| other - first).collect()
        };
        let of_resamples: Vec<Vec<f64>> =
            of_table(table).zip(of_table(0)).map(|(other, first)| less(other, first)).collect();
        let mut of_points = less(&values(point), &values(&points[0])).into_iter();
        let difference = point.map(|_| of_points.next().unwrap_or(f64::NAN));
        let weaker = |(of_table, of_first): (&Support, &Support)| Support {
            units: of_table.units.min(of_first.units),
            ..*of_table
        };
        let of_both: Vec<_> = supports[table].iter().zip(&supports[0]).map(weaker).collect();
        with_columns(&difference, &of_resamples, &of_both, |value, sorted, support| {
            let (low, high) = difference_interval(value, sorted, support);
            let above = sorted.iter().filter(|difference| **difference > 0.0).count();
            Difference { value, low, high, above_zero: above as f64 / sorted.len() as f64 }
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

/// What each score of a sheet rests on, in its order.
fn supports(scorer: &Scorer, units: &(Vec<u32>, usize)) -> Vec<Support> {
    let mut supports = Vec::new();
    support(scorer, units).map(|support| supports.push(*support));
    supports
}

fn intervals_of(
    point: &ScoreSheet<f64>,
    resampled: &[Vec<f64>],
    supports: &[Support],
) -> ScoreSheet<Interval> {
    with_columns(point, resampled, supports, |value, sorted, support| {
        let (low, high) = interval(value, sorted, support);
        Interval { value, low, high }
    })
}

/// Turns each score of the data into what `turn` makes of it, of its sorted values in the resamples
/// where it is defined, and of what it rests on.
fn with_columns<T>(
    point: &ScoreSheet<f64>,
    resampled: &[Vec<f64>],
    supports: &[Support],
    turn: impl Fn(f64, &[f64], Support) -> T,
) -> ScoreSheet<T> {
    let mut at = 0;
    point.map(|value| {
        let mut sorted: Vec<f64> =
            resampled.iter().map(|sample| sample[at]).filter(|value| !value.is_nan()).collect();
        sorted.sort_by(f64::total_cmp);
        let turned = turn(*value, &sorted, supports[at]);
        at += 1;
        turned
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

#[cfg(test)]
mod tests {
    use super::*;

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
