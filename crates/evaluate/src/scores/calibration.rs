//! What is fitted on the valid split and applied to every split: a temperature for the
//! probabilities, and thresholds for wanted sensitivities.

use serde::Serialize;

use crate::read::split::SplitData;

/// Temperatures that are considered.
const TEMPERATURES: (f64, f64) = (0.05, 20.0);
/// Probabilities below this are taken for it: their logarithms are finite.
const MIN_PROBABILITY: f64 = f64::EPSILON;

/// What is fitted on the valid split.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitted {
    /// Logits are divided by it (Guo et al., 2017, "On Calibration of Modern Neural Networks");
    /// `None` where no image has probabilities.
    pub temperature: Option<f64>,
    /// Sensitivities that are wanted, each in 0..1.
    pub wanted: Vec<f64>,
    /// `thresholds[class][wanted]`: the highest probability of the class with which, taken as the
    /// least for a yes, this sensitivity is reached; `None` where the class has no image.
    pub thresholds: Vec<Vec<Option<f32>>>,
}

/// A threshold for a class, as `report.json` has it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OperatingPoint<T> {
    /// The class, against all others.
    pub class_name: String,
    /// The sensitivity that the threshold was chosen for, on the valid split.
    pub wanted_sensitivity: f64,
    /// Least probability of the class for a yes.
    pub threshold: f32,
    /// Share of the class's labelled images with a yes (recall).
    pub sensitivity: T,
    /// Share of the other labelled images with a no.
    pub specificity: T,
}

impl Fitted {
    /// Fits on a split, which should be the valid one.
    pub fn on(data: &SplitData, wanted: &[f64]) -> Self {
        let cases: Vec<(&[f32], usize)> = labelled(data).collect();
        let thresholds = (0..data.class_names.len())
            .map(|class| wanted.iter().map(|wanted| threshold(&cases, class, *wanted)).collect())
            .collect();
        Fitted { temperature: temperature(&cases), wanted: wanted.to_vec(), thresholds }
    }
}

/// Probabilities of labelled images, and the class of the largest object.
fn labelled(data: &SplitData) -> impl Iterator<Item = (&[f32], usize)> {
    data.images.iter().enumerate().filter_map(|(i, image)| {
        Some((data.probabilities_of(i)?, usize::from(data.largest_truth(image)?.class)))
    })
}

/// Probabilities after logits were divided by `temperature`; they add up to 1.
pub(crate) fn scaled(probabilities: &[f32], temperature: f64) -> Vec<f64> {
    let logits: Vec<f64> = probabilities.iter().map(|p| log(*p) / temperature).collect();
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let shares: Vec<f64> = logits.iter().map(|logit| (logit - largest).exp()).collect();
    let sum: f64 = shares.iter().sum();
    shares.into_iter().map(|share| share / sum).collect()
}

fn log(p: f32) -> f64 {
    f64::from(p).max(MIN_PROBABILITY).ln()
}

/// The temperature of the least mean log loss. The loss is convex in the temperature's inverse, so
/// its derivative has one zero, which is enclosed.
fn temperature(cases: &[(&[f32], usize)]) -> Option<f64> {
    if cases.is_empty() {
        return None;
    }
    // Derivative by the inverse: the mean of the expected logit minus that of the truth.
    let slope = |inverse: f64| {
        let of_case = |(probabilities, truth): &(&[f32], usize)| {
            let shares = scaled(probabilities, 1.0 / inverse);
            shares.iter().zip(probabilities.iter()).map(|(share, p)| share * log(*p)).sum::<f64>()
                - log(probabilities[*truth])
        };
        cases.iter().map(of_case).sum::<f64>()
    };
    let (mut low, mut high) = (1.0 / TEMPERATURES.1, 1.0 / TEMPERATURES.0);
    if slope(low) >= 0.0 {
        return Some(TEMPERATURES.1);
    }
    if slope(high) <= 0.0 {
        return Some(TEMPERATURES.0);
    }
    // Halving 20 to 0.05 forty times leaves less than the temperature's digits.
    for _ in 0..40 {
        let middle = f64::midpoint(low, high);
        *(if slope(middle) < 0.0 { &mut low } else { &mut high }) = middle;
    }
    Some(1.0 / f64::midpoint(low, high))
}

/// See [`Fitted::thresholds`].
fn threshold(cases: &[(&[f32], usize)], class: usize, wanted: f64) -> Option<f32> {
    let mut of_class: Vec<f32> = cases
        .iter()
        .filter(|(_, truth)| *truth == class)
        .map(|(probabilities, _)| probabilities[class])
        .collect();
    of_class.sort_by(|a, b| b.total_cmp(a));
    // The fewest of the class that are enough; a product of shares and counts may be a digit above
    // a whole number.
    let needed = (wanted * of_class.len() as f64 - 1e-9).ceil().max(1.0) as usize;
    of_class.get(needed - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temperature_of_one_changes_nothing_and_a_high_one_evens_out() {
        let probabilities = [0.7_f32, 0.2, 0.1];
        for (found, right) in scaled(&probabilities, 1.0).iter().zip(probabilities) {
            assert!((found - f64::from(right)).abs() < 1e-7);
        }
        let even = scaled(&probabilities, 1e6);
        assert!(even.iter().all(|p| (p - 1.0 / 3.0).abs() < 1e-5), "{even:?}");
        assert_eq!(scaled(&[1.0, 0.0], 1.0)[0], 1.0 / (1.0 + f64::EPSILON));
    }

    /// Outcomes drawn from known probabilities, which are then sharpened: the temperature undoes
    /// it.
    #[test]
    fn the_temperature_undoes_what_sharpened_the_probabilities() {
        let mut cases = Vec::new();
        for (right, of_ten) in [
            ([0.6_f64, 0.3, 0.1], [6, 3, 1]),
            ([0.2, 0.2, 0.6], [2, 2, 6]),
            ([0.1, 0.8, 0.1], [1, 8, 1]),
        ] {
            let sharpened: Vec<f64> = right.iter().map(|p| p.powf(2.5)).collect();
            let sum: f64 = sharpened.iter().sum();
            let sharpened: Vec<f32> = sharpened.iter().map(|p| (p / sum) as f32).collect();
            for (class, times) in of_ten.into_iter().enumerate() {
                cases.extend(std::iter::repeat_n((sharpened.clone(), class), times));
            }
        }
        let cases: Vec<(&[f32], usize)> =
            cases.iter().map(|(probabilities, class)| (probabilities.as_slice(), *class)).collect();
        let found = temperature(&cases).unwrap();
        assert!((found - 2.5).abs() < 1e-5, "{found}");
    }

    #[test]
    fn temperatures_stay_within_bounds() {
        let right = [0.9_f32, 0.1];
        assert_eq!(temperature(&[(&right, 0)]), Some(0.05));
        assert_eq!(temperature(&[(&right, 1)]), Some(20.0));
        assert_eq!(temperature(&[]), None);
    }

    #[test]
    fn a_threshold_is_the_highest_that_finds_enough() {
        let probabilities: Vec<[f32; 2]> =
            [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05].map(|p| [p, 1.0 - p]).to_vec();
        let cases: Vec<(&[f32], usize)> = probabilities.iter().map(|p| (p.as_slice(), 0)).collect();
        assert_eq!(threshold(&cases, 0, 0.5), Some(0.5));
        assert_eq!(threshold(&cases, 0, 0.95), Some(0.05));
        assert_eq!(threshold(&cases, 0, 0.01), Some(0.9));
        assert_eq!(threshold(&cases, 1, 0.5), None);
    }
}
