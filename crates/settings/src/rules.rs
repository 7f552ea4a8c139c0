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
pub enum RulePolicy {
    /// What it finds can never be used, and never disappears without a report: note, warn or error.
    AlwaysReported,
    /// It decides nothing about lines: off, note, warn or error.
    NoLineEffect,
    /// Whether what it finds is kept or dropped is the user's choice: every level.
    FullyConfigurable,
}

impl RulePolicy {
    /// The levels.
    pub fn levels(self) -> &'static [RuleLevel] {
        match self {
            RulePolicy::AlwaysReported => &RuleLevel::ALL[1..4],
            RulePolicy::NoLineEffect => &RuleLevel::ALL[..4],
            RulePolicy::FullyConfigurable => &RuleLevel::ALL,
        }
    }
}

/// Every rule with its policy and its built-in level.
const RULES: [(&str, RulePolicy, RuleLevel); 21] = {
    use RuleLevel::{Error, Note, Warn, WarnAndDrop};
    use RulePolicy::{AlwaysReported, FullyConfigurable, NoLineEffect};
    [
        ("not-utf8", AlwaysReported, Error),
        ("byte-order-mark", NoLineEffect, Note),
        ("class-not-integer", AlwaysReported, Error),
        ("class-unknown", AlwaysReported, Error),
        ("coordinate-not-a-number", AlwaysReported, Error),
        ("coordinate-count", AlwaysReported, Error),
        ("polygon-too-few-vertices", FullyConfigurable, Error),
        ("coordinate-out-of-range", FullyConfigurable, Error),
        ("coordinate-clamped", FullyConfigurable, Warn),
        ("box-clipped", FullyConfigurable, Warn),
        ("zero-area", AlwaysReported, Error),
        ("self-intersecting", FullyConfigurable, Warn),
        ("duplicate-label", FullyConfigurable, WarnAndDrop),
        ("mixed-shapes", NoLineEffect, Note),
        ("image-missing", AlwaysReported, Error),
        ("label-missing", NoLineEffect, Warn),
        ("image-unreadable", AlwaysReported, Error),
        ("image-too-small", FullyConfigurable, Error),
        ("stem-collision", AlwaysReported, Error),
        ("path-escapes-dataset", AlwaysReported, Error),
        ("class-rare", NoLineEffect, Warn),
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
    pub fn policy(rule: &str) -> Option<RulePolicy> {
        RULES.iter().find(|(name, ..)| *name == rule).map(|(_, policy, _)| *policy)
    }

    /// The level of a rule; that of an unknown one is an error.
    pub fn level(&self, rule: &str) -> RuleLevel {
        self.0.get(rule).copied().unwrap_or(RuleLevel::Error)
    }

    /// Says why a level does not fit a rule.
    pub(crate) fn check(rule: &str, value: &toml::Value) -> Result<(), String> {
        let allowed = Self::policy(rule).unwrap_or(RulePolicy::FullyConfigurable).levels();
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
