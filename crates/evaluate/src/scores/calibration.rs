//! What is fitted on the valid split and applied to every split: a temperature for the
//! probabilities, and thresholds for wanted sensitivities.

use ossify_contract::{ImageStatus, Split};
use ossify_detection::froc::{ClassRule, HitRule};
use ossify_settings::EvaluateSettings;
use serde::Serialize;

use crate::read::split::{ScoredImage, SplitData};
use crate::scores::detections::froc;

/// Temperatures that are considered.
const TEMPERATURES: (f64, f64) = (0.05, 20.0);
/// Probabilities below this are taken for it: their logarithms are finite.
const MIN_PROBABILITY: f64 = f64::EPSILON;

/// How a threshold is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "chosen_by", content = "wanted", rename_all = "snake_case")]
pub enum OperatingRule {
    /// Where sensitivity and specificity have the largest sum (Youden, 1950); the highest of
    /// several.
    Youden,
    /// The highest that reaches this sensitivity.
    Sensitivity(f64),
    /// The lowest that reaches this specificity.
    Specificity(f64),
    /// The lowest with at most so many false alarms an image.
    FalseAlarms(f64),
}

/// False alarms an image at which the FROC curve is read for a threshold.
const FALSE_ALARMS: f64 = 1.0;

/// What is fitted on the valid split.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitted {
    /// The split that it was fitted on.
    pub on: Split,
    /// Logits are divided by it (Guo et al., 2017, "On Calibration of Modern Neural Networks");
    /// `None` where no image has probabilities.
    pub temperature: Option<f64>,
    /// How the thresholds of a class are chosen.
    pub rules: Vec<OperatingRule>,
    /// `thresholds[class][rule]`: the least score of the class for a yes; `None` where the split
    /// has no image to choose it by.
    pub thresholds: Vec<Vec<Option<f32>>>,
    /// How the thresholds for any finding are chosen; empty of a classifier.
    pub finding_rules: Vec<OperatingRule>,
    /// The least score of an image for a yes, for each of these rules.
    pub finding_thresholds: Vec<Option<f32>>,
}

/// A threshold for a class, as `report.json` has it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OperatingPoint<T> {
    /// The class, against all others.
    pub class_name: String,
    /// How the threshold was chosen on the valid split.
    #[serde(flatten)]
    pub rule: OperatingRule,
    /// Least probability of the class, or score of a detector, for a yes.
    pub threshold: f32,
    /// Share of the class's images with a yes (recall).
    pub sensitivity: T,
    /// Share of the other images with a no.
    pub specificity: T,
}

impl Fitted {
    /// Fits on a split, which should be the valid one.
    pub fn on(data: &SplitData, settings: &EvaluateSettings) -> Self {
        let cases: Vec<(&[f32], usize)> = labelled(data).collect();
        let sensitivities =
            settings.sensitivities.iter().map(|wanted| OperatingRule::Sensitivity(*wanted));
        let mut rules: Vec<OperatingRule> = sensitivities.collect();
        let mut finding_rules = Vec::new();
        if data.findings.is_detector {
            rules.insert(0, OperatingRule::Youden);
            rules.extend(
                settings.specificities.iter().map(|wanted| OperatingRule::Specificity(*wanted)),
            );
            finding_rules = rules.clone();
            finding_rules.push(OperatingRule::FalseAlarms(FALSE_ALARMS));
        }
        let of_class = |class: usize| {
            let scored = if data.findings.is_detector {
                scored_by_class(data, class)
            } else {
                cases.iter().map(|(p, truth)| (p[class], *truth == class)).collect()
            };
            rules.iter().map(|rule| threshold(&scored, *rule)).collect()
        };
        let any: Vec<(f32, bool)> =
            scored_by_any(data).map(|(score, _, has_one)| (score, has_one)).collect();
        let of_any = |rule: &OperatingRule| match rule {
            OperatingRule::FalseAlarms(rate) => {
                let curve = froc(data, HitRule::Iou50, ClassRule::Any);
                curve.threshold_at(*rate, data.images.len())
            }
            rule => threshold(&any, *rule),
        };
        Fitted {
            on: data.split,
            temperature: temperature(&cases),
            thresholds: (0..data.class_names.len()).map(of_class).collect(),
            rules,
            finding_thresholds: finding_rules.iter().map(of_any).collect(),
            finding_rules,
        }
    }

    /// The threshold that a report tells first, and the index of its rule: Youden's where the split
    /// has images with and without objects, else that of a number of false alarms.
    pub fn operating_point(&self) -> Option<(usize, f32)> {
        let is_first = |rule: &OperatingRule| matches!(rule, OperatingRule::Youden);
        let is_last = |rule: &OperatingRule| matches!(rule, OperatingRule::FalseAlarms(_));
        let of = |wanted: &dyn Fn(&OperatingRule) -> bool| {
            let at = self.finding_rules.iter().position(wanted)?;
            Some((at, self.finding_thresholds[at]?))
        };
        of(&is_first).or_else(|| of(&is_last))
    }

    /// Whether there is anything to apply.
    pub fn is_empty(&self) -> bool {
        self.temperature.is_none() && self.finding_thresholds.iter().all(Option::is_none)
    }
}

/// Images by the score of any finding, with their numbers and whether they show one. An image with
/// objects of untrained classes alone is neither.
pub(crate) fn scored_by_any(data: &SplitData) -> impl Iterator<Item = (f32, u32, bool)> {
    let scored = data.images.iter().zip(0..).zip(&data.findings.any);
    scored.filter_map(|((image, number), score): ((&ScoredImage, u32), &f32)| {
        let has_object = !image.truths.is_empty();
        let counts = has_object || image.status == ImageStatus::Background;
        (counts && !score.is_nan()).then_some((*score, number, has_object))
    })
}

fn scored_by_class(data: &SplitData, class: usize) -> Vec<(f32, bool)> {
    ranked_by_class(data, class).map(|(score, _, is_positive)| (score, is_positive)).collect()
}

/// Images by a detector's score of a class, with their numbers and whether they show it.
pub(crate) fn ranked_by_class(
    data: &SplitData,
    class: usize,
) -> impl Iterator<Item = (f32, u32, bool)> {
    let classes = data.class_names.len();
    data.images.iter().zip(0u32..).filter_map(move |(image, number)| {
        let score = *data.findings.of_class.get(number as usize * classes + class)?;
        let shows_it = data.truths_of(image).iter().any(|truth| usize::from(truth.class) == class);
        (!score.is_nan()).then_some((score, number, shows_it))
    })
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

/// The threshold that a rule chooses among (score, whether the image is positive).
fn threshold(scored: &[(f32, bool)], rule: OperatingRule) -> Option<f32> {
    let of_kind = |wanted: bool| {
        let of_kind = scored.iter().filter(|(_, is_positive)| *is_positive == wanted);
        let mut scores: Vec<f32> = of_kind.map(|(score, _)| *score).collect();
        scores.sort_by(|a, b| b.total_cmp(a));
        scores
    };
    // The fewest that are enough; a product of shares and counts may be a digit above a whole
    // number.
    let enough =
        |wanted: f64, count: usize| (wanted * count as f64 - 1e-9).ceil().max(1.0) as usize;
    match rule {
        OperatingRule::Sensitivity(wanted) => {
            let positives = of_kind(true);
            positives.get(enough(wanted, positives.len()) - 1).copied()
        }
        OperatingRule::Specificity(wanted) => {
            let negatives = of_kind(false);
            // The highest score that must be a no.
            let last = negatives.len().checked_sub(enough(wanted, negatives.len()))?;
            let highest = *negatives.get(last)?;
            let above = scored.iter().map(|(score, _)| *score).filter(|score| *score > highest);
            Some(above.reduce(f32::min).unwrap_or_else(|| highest.next_up()))
        }
        OperatingRule::Youden => youden(scored),
        OperatingRule::FalseAlarms(_) => None,
    }
}

/// `None` where either kind is absent.
fn youden(scored: &[(f32, bool)]) -> Option<f32> {
    let mut falling = scored.to_vec();
    falling.sort_by(|a, b| b.0.total_cmp(&a.0));
    let positives = falling.iter().filter(|(_, is_positive)| *is_positive).count() as u64;
    let negatives = falling.len() as u64 - positives;
    if positives == 0 || negatives == 0 {
        return None;
    }
    let (mut hits, mut alarms, mut best) = (0u64, 0u64, None);
    for tied in falling.chunk_by(|a, b| a.0 == b.0) {
        let found = tied.iter().filter(|(_, is_positive)| *is_positive).count() as u64;
        hits += found;
        alarms += tied.len() as u64 - found;
        // Sensitivity less the rate of false alarms, times both counts: whole numbers, so that
        // equal ones are equal.
        let index = i128::from(hits * negatives) - i128::from(alarms * positives);
        if best.is_none_or(|(highest, _)| index > highest) {
            best = Some((index, tied[0].0));
        }
    }
    best.map(|(_, threshold)| threshold)
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
        let scored: Vec<(f32, bool)> =
            [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05].map(|p| (p, true)).to_vec();
        let at = |wanted| threshold(&scored, OperatingRule::Sensitivity(wanted));
        assert_eq!([0.5, 0.95, 0.01].map(at), [Some(0.5), Some(0.05), Some(0.9)]);
        assert_eq!(threshold(&[(0.5, false)], OperatingRule::Sensitivity(0.5)), None);
    }

    #[test]
    fn a_threshold_for_a_specificity_is_the_lowest_that_refuses_enough() {
        let scored = [(0.1, false), (0.2, true), (0.3, false), (0.6, true), (0.8, false)];
        let at = |wanted| threshold(&scored, OperatingRule::Specificity(wanted));
        assert_eq!(at(0.3), Some(0.2));
        assert_eq!(at(0.5), Some(0.6));
        assert_eq!(at(0.9), Some(0.8_f32.next_up()));
        assert_eq!(threshold(&[(0.5, true)], OperatingRule::Specificity(0.5)), None);
    }

    #[test]
    fn youdens_threshold_separates_best_and_is_the_highest_of_several() {
        let scored = [(0.9, true), (0.8, false), (0.7, true), (0.6, true), (0.1, false)];
        assert_eq!(threshold(&scored, OperatingRule::Youden), Some(0.6));
        let tied = [(0.9, true), (0.5, false), (0.5, true), (0.1, false)];
        assert_eq!(threshold(&tied, OperatingRule::Youden), Some(0.9));
        assert_eq!(threshold(&[(0.5, true)], OperatingRule::Youden), None);
    }
}
