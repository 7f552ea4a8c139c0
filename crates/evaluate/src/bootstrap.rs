use std::collections::HashMap;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::Serialize;

use crate::inputs::SplitData;
use crate::scores::{ScoreSheet, Scorer};

/// A score with its 95 % bootstrap interval; NaN (null in JSON) where it is not defined.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// The score of the data as they are.
    pub value: f64,
    /// The 2.5th percentile of the resamples.
    pub low: f64,
    /// The 97.5th percentile.
    pub high: f64,
}

/// For each image the number of the unit that is drawn as a whole, and how many units there are: images of
/// one leak group show the same picture and would otherwise pass for independent evidence.
pub fn resampling_units(data: &SplitData) -> (Vec<u32>, usize) {
    let mut of_group = HashMap::new();
    let mut units = 0;
    let mut fresh = || {
        units += 1;
        units - 1
    };
    let unit = |image: &crate::ScoredImage| match image.leak_group {
        Some(group) => *of_group.entry(group).or_insert_with(&mut fresh),
        None => fresh(),
    };
    let of_image = data.images.iter().map(unit).collect();
    (of_image, units as usize)
}

/// Percentile bootstrap (Efron, 1979): draws as many units as there are, with replacement, `samples` times, and
/// scores each draw. A resample depends on `seed` and its number only, so the result does not depend on
/// threads. A score that is not defined in a resample (a class without objects) leaves that resample out.
pub fn intervals(scorer: &Scorer, units: &(Vec<u32>, usize), samples: u32, seed: u64) -> ScoreSheet<Interval> {
    let (unit_of_image, unit_count) = units;
    let point = scorer.scores(&vec![1; unit_of_image.len()]);
    let resampled: Vec<Vec<f64>> = (0..u64::from(samples))
        .into_par_iter()
        .map_init(
            || (vec![0u32; *unit_count], vec![0u32; unit_of_image.len()]),
            |(counts, weights), sample| {
                draw(counts, seed, sample);
                for (weight, unit) in weights.iter_mut().zip(unit_of_image) {
                    *weight = counts[*unit as usize];
                }
                let mut values = Vec::new();
                scorer.scores(weights).map(|value| values.push(*value));
                values
            },
        )
        .collect();
    let mut at = 0;
    point.map(|value| {
        let mut values: Vec<f64> = resampled.iter().map(|sample| sample[at]).filter(|value| !value.is_nan()).collect();
        at += 1;
        values.sort_by(f64::total_cmp);
        Interval { value: *value, low: percentile(&values, 0.025), high: percentile(&values, 0.975) }
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
