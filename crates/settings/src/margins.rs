use serde::{Deserialize, Serialize};

use crate::choice::choice;
use crate::schema::Entries;
use crate::value::KeyValue;

choice! {
    /// When a score of another table counts as dropped by more than its margin below that of the
    /// baseline.
    DropTest {
        /// The measured drop is larger. Of two equally good models every other one fails at a
        /// margin of 0.
        Measured = "measured",
        /// The whole 95 % interval of the drop lies above the margin: chance alone rarely does
        /// that.
        Clear = "clear",
        /// The 95 % interval of the drop reaches above the margin: passes only what is shown to be
        /// no worse.
        Possible = "possible",
    }
}

/// How far a score may drop below that of the baseline.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Margin {
    /// By this much, 0 to 1; 0 allows no drop at all.
    Most(f64),
    /// As far as it likes: `"off"`.
    Off(OffWord),
}

/// The word that takes a margin away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OffWord {
    /// Nobody looks.
    #[serde(rename = "off")]
    Off,
}

impl Margin {
    /// The largest drop that is allowed; `None` where any is.
    pub fn most(self) -> Option<f64> {
        match self {
            Margin::Most(most) => Some(most),
            Margin::Off(_) => None,
        }
    }
}

/// The margin of each score that `ossify-evaluate compare` judges.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MaxDrop {
    /// Accuracy over images.
    pub accuracy: Margin,
    /// Macro F1 over images.
    pub macro_f1: Margin,
    /// Mean IoU over objects.
    pub mean_iou: Margin,
    /// AP at IoU 0.5.
    pub ap50: Margin,
    /// Mean sensitivity at 1/8 to 8 false alarms an image, of detectors.
    pub froc: Margin,
    /// AUROC of any finding by image, of detectors.
    pub finding_auroc: Margin,
}

impl Default for MaxDrop {
    /// No drop at all.
    fn default() -> Self {
        let none = Margin::Most(0.0);
        MaxDrop {
            accuracy: none,
            macro_f1: none,
            mean_iou: none,
            ap50: none,
            froc: none,
            finding_auroc: none,
        }
    }
}

impl MaxDrop {
    pub(crate) fn names() -> Vec<&'static str> {
        vec!["accuracy", "macro_f1", "mean_iou", "ap50", "froc", "finding_auroc"]
    }

    /// The margin, or why it does not fit.
    pub(crate) fn check(_: &str, value: &toml::Value) -> Result<toml::Value, String> {
        match (f64::from_toml(value), value.as_str()) {
            (Some(number), _) if (0.0..=1.0).contains(&number) => Ok(number.to_toml()),
            (None, Some("off")) => Ok(value.clone()),
            _ => Err("it should be a number between 0 and 1, or \"off\"".into()),
        }
    }
}

impl Entries for MaxDrop {
    fn to_entries(&self) -> toml::Table {
        let margins =
            [self.accuracy, self.macro_f1, self.mean_iou, self.ap50, self.froc, self.finding_auroc];
        let values = margins.map(|margin| match margin {
            Margin::Most(most) => most.to_toml(),
            Margin::Off(_) => toml::Value::String("off".into()),
        });
        Self::names().into_iter().map(str::to_owned).zip(values).collect()
    }
}
