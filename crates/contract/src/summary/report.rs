//! What `ossify-evaluate` says of a report or a comparison.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::gate::Gate;
use super::typed::Summary;
use crate::run::nan_where_null;

/// A score with its 95 % interval; NaN (null in JSON) where it is not defined.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The score of the data as they are.
    #[serde(deserialize_with = "nan_where_null")]
    pub value: f64,
    /// Lower end.
    #[serde(deserialize_with = "nan_where_null")]
    pub low: f64,
    /// Upper end.
    #[serde(deserialize_with = "nan_where_null")]
    pub high: f64,
}

/// A score of one table less that of another, with its 95 % interval; NaN (null in JSON) where it
/// is not defined.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// The difference of the data as they are.
    #[serde(deserialize_with = "nan_where_null")]
    pub value: f64,
    /// Lower end.
    #[serde(deserialize_with = "nan_where_null")]
    pub low: f64,
    /// Upper end.
    #[serde(deserialize_with = "nan_where_null")]
    pub high: f64,
    /// Share of resamples in which the difference is above 0, 0..=1.
    #[serde(deserialize_with = "nan_where_null")]
    pub above_zero: f64,
}

impl Difference {
    /// The difference with its interval alone.
    pub fn interval(&self) -> Interval {
        Interval { value: self.value, low: self.low, high: self.high }
    }
}

/// What was left out of the scores, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Excluded {
    /// `images`, `objects` or `predictions`.
    pub what: Cow<'static, str>,
    /// How many.
    pub count: u64,
    /// Why, in words, and what it means for the scores.
    pub reason: String,
}

/// What `ossify-evaluate` says of the report on a split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReportSummary {
    /// Images that are scored.
    pub images: u64,
    /// Of these, those with an object of a trained class.
    pub labelled_images: u64,
    /// Objects that are scored.
    pub objects: u64,
    /// Predictions that are scored.
    pub predictions: u64,
    /// Share of the labelled images whose class is right.
    pub image_accuracy: Interval,
    /// Share of the objects whose class is right.
    pub object_accuracy: Interval,
    /// Mean over classes of the share of their objects whose class is right.
    pub balanced_accuracy: Interval,
    /// Mean over classes of F1, over images.
    pub macro_f1: Interval,
    /// Mean IoU of predicted and true box, over objects.
    pub mean_iou: Interval,
    /// COCO's AP.
    pub ap: Interval,
    /// AP at an IoU of 0.5.
    pub ap50: Interval,
    /// Mean sensitivity over objects at 1/8 to 8 false alarms an image.
    pub froc: Interval,
    /// AUROC of any finding by image; null of a classifier.
    pub finding_auroc: Option<Interval>,
    /// What is not scored.
    pub excluded: Vec<Excluded>,
    /// The verdict, for people.
    pub in_words: String,
    /// Gates that were not met.
    pub gates: Vec<Gate>,
}

impl Summary for ReportSummary {
    const OF: &'static str = "a report";
    const STAGES: &'static [&'static str] = &["evaluate"];
}

/// What `ossify-evaluate compare` says of several tables over a split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ComparisonSummary {
    /// Images that are scored.
    pub images: u64,
    /// Of these, those with an object of a trained class.
    pub labelled_images: u64,
    /// Objects that are scored.
    pub objects: u64,
    /// Each table against the baseline.
    pub comparisons: Vec<ComparedSummary>,
    /// Gates that were not met.
    pub gates: Vec<Gate>,
}

impl Summary for ComparisonSummary {
    const OF: &'static str = "a comparison";
    const STAGES: &'static [&'static str] = &["compare"];
}

/// A table against the baseline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ComparedSummary {
    /// The table.
    pub name: String,
    /// Of image accuracy.
    pub image_accuracy: Difference,
    /// Of macro F1 over images.
    pub macro_f1: Difference,
    /// Of mean IoU over objects.
    pub mean_iou: Difference,
    /// Of AP at an IoU of 0.5.
    pub ap50: Difference,
    /// Of the mean sensitivity over objects at 1/8 to 8 false alarms an image.
    pub froc: Difference,
    /// Of the AUROC of any finding by image.
    pub finding_auroc: Difference,
    /// Images that the baseline alone gets right.
    pub right_to_wrong: u64,
    /// Images that the other table alone gets right.
    pub wrong_to_right: u64,
    /// McNemar's exact test of the two image accuracies, 0..=1.
    #[serde(deserialize_with = "nan_where_null")]
    pub mcnemar_p: f64,
    /// The verdict, for people.
    pub in_words: String,
    /// The scores of both, line by line, for a terminal.
    pub table: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_that_is_not_defined_comes_back_from_json() {
        let interval = Interval { value: f64::NAN, low: 0.25, high: f64::NAN };
        let text = serde_json::to_string(&interval).unwrap();
        assert_eq!(text, r#"{"value":null,"low":0.25,"high":null}"#);
        let back: Interval = serde_json::from_str(&text).unwrap();
        assert!(back.value.is_nan() && back.high.is_nan());
        assert_eq!(back.low, 0.25);
    }
}
