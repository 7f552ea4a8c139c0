use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::choice::choice;
use crate::schema::Entries;
use crate::value::KeyValue;

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
        const ALL: &[RuleLevel] = &RuleLevel::ALL;
        match self {
            RulePolicy::AlwaysReported => &ALL[1..4],
            RulePolicy::NoLineEffect => &ALL[..4],
            RulePolicy::FullyConfigurable => ALL,
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

    /// The level, or why it does not fit the rule.
    pub(crate) fn check(rule: &str, value: &toml::Value) -> Result<toml::Value, String> {
        let allowed = Self::policy(rule).unwrap_or(RulePolicy::FullyConfigurable).levels();
        let written = RuleLevel::from_toml(value);
        if written.is_some_and(|level| allowed.contains(&level)) {
            return Ok(value.clone());
        }
        let words: Vec<String> =
            allowed.iter().map(|level| format!("\"{}\"", level.as_str())).collect();
        let why = match written {
            Some(RuleLevel::Off) => {
                "lines with this finding cannot be used, and are never left out in silence; "
            }
            Some(_) if allowed.contains(&RuleLevel::Off) => "it has no effect on lines; ",
            Some(_) => "lines with this finding cannot be used, and are dropped at every level; ",
            None => "",
        };
        Err(format!("{why}it should be one of {}", words.join(", ")))
    }
}

impl Entries for RuleLevels {
    fn to_entries(&self) -> toml::Table {
        self.0.iter().map(|(name, level)| (name.clone(), level.to_toml())).collect()
    }
}
