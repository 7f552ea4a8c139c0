use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::sections::choice;

choice! {
    /// How a rule of ingest is treated: how loudly a finding is told, and what becomes of the line.
    RuleLevel {
        /// Not looked for.
        Off = "off",
        /// Noted; the line is kept, or repaired and kept.
        Note = "note",
        /// Warned of; the line is kept, or repaired and kept.
        Warn = "warn",
        /// An error; the line is dropped.
        Error = "error",
        /// Noted; the line is dropped.
        NoteAndDrop = "note+drop",
        /// Warned of; the line is dropped.
        WarnAndDrop = "warn+drop",
        /// An error; the line is kept, or repaired and kept.
        ErrorAndKeep = "error+keep",
    }
}

impl RuleLevel {
    /// All levels, from the quietest.
    pub const ALL: [RuleLevel; 7] = [
        RuleLevel::Off,
        RuleLevel::Note,
        RuleLevel::Warn,
        RuleLevel::Error,
        RuleLevel::NoteAndDrop,
        RuleLevel::WarnAndDrop,
        RuleLevel::ErrorAndKeep,
    ];
}

/// Which levels a rule may be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Latitude {
    /// What it finds cannot be used whatever one thinks of it, and is never left out in silence:
    /// note, warn or error.
    Reported,
    /// It decides nothing about lines: off, note, warn or error.
    Told,
    /// What it finds can be kept or dropped: every level.
    Judged,
}

impl Latitude {
    /// The levels.
    pub fn levels(self) -> &'static [RuleLevel] {
        match self {
            Latitude::Reported => &RuleLevel::ALL[1..4],
            Latitude::Told => &RuleLevel::ALL[..4],
            Latitude::Judged => &RuleLevel::ALL,
        }
    }
}

/// Every rule with its latitude and its built-in level.
const RULES: [(&str, Latitude, RuleLevel); 21] = {
    use Latitude::{Judged, Reported, Told};
    use RuleLevel::{Error, Note, Warn, WarnAndDrop};
    [
        ("not-utf8", Reported, Error),
        ("byte-order-mark", Told, Note),
        ("class-not-integer", Reported, Error),
        ("class-unknown", Reported, Error),
        ("coordinate-not-a-number", Reported, Error),
        ("coordinate-count", Reported, Error),
        ("polygon-too-few-vertices", Judged, Error),
        ("coordinate-out-of-range", Judged, Error),
        ("coordinate-clamped", Judged, Warn),
        ("box-clipped", Judged, Warn),
        ("zero-area", Reported, Error),
        ("self-intersecting", Judged, Warn),
        ("duplicate-label", Judged, WarnAndDrop),
        ("mixed-shapes", Told, Note),
        ("image-missing", Reported, Error),
        ("label-missing", Told, Warn),
        ("image-unreadable", Reported, Error),
        ("image-too-small", Judged, Error),
        ("stem-collision", Reported, Error),
        ("path-escapes-dataset", Reported, Error),
        ("class-rare", Told, Warn),
    ]
};

/// The level of each rule of ingest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RuleLevels(BTreeMap<String, RuleLevel>);

impl Default for RuleLevels {
    fn default() -> Self {
        RuleLevels(RULES.iter().map(|(name, _, level)| ((*name).to_owned(), *level)).collect())
    }
}

impl RuleLevels {
    /// The names of all rules.
    pub fn names() -> Vec<&'static str> {
        RULES.iter().map(|(name, ..)| *name).collect()
    }

    /// Which levels a rule may be given; `None` for a name that is no rule's.
    pub fn latitude(rule: &str) -> Option<Latitude> {
        RULES.iter().find(|(name, ..)| *name == rule).map(|(_, latitude, _)| *latitude)
    }

    /// The level of a rule; that of an unknown one is an error.
    pub fn level(&self, rule: &str) -> RuleLevel {
        self.0.get(rule).copied().unwrap_or(RuleLevel::Error)
    }

    /// Says why a level does not fit a rule.
    pub(crate) fn check(rule: &str, value: &toml::Value) -> Result<(), String> {
        let allowed = Self::latitude(rule).unwrap_or(Latitude::Judged).levels();
        let written = value.as_str().unwrap_or_default();
        if allowed.iter().any(|level| level.as_str() == written) {
            return Ok(());
        }
        let words: Vec<&str> = allowed.iter().map(|level| level.as_str()).collect();
        let why = match RuleLevel::ALL.iter().any(|level| level.as_str() == written) {
            true if written == "off" => {
                "what it finds cannot be used, and nothing is left out in silence; "
            }
            true if allowed.contains(&RuleLevel::Off) => "it decides nothing about lines; ",
            true => "what it finds cannot be kept, and is dropped at every level; ",
            false => "",
        };
        Err(format!("{why}it may be {}", words.join(", ")))
    }
}
