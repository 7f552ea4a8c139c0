//! What ingest should report.

use ossify_contract::{Action, Severity};
use serde::{Deserialize, Serialize};

/// What ingest should report for a planted fault with its default configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Expected {
    /// Name of the rule.
    pub rule: String,
    /// Its severity.
    pub severity: Severity,
    /// What ingest does with the line or the file.
    pub action: Action,
    /// Path from the dataset root.
    pub path: String,
    /// Line, from 1; `None` for findings about a whole file.
    pub line: Option<u32>,
    /// Column of the offending value, from 1, if there is a single one.
    pub column: Option<u32>,
    /// The line as it is in the file.
    pub text: Option<String>,
}

impl Expected {
    /// A finding about a whole file with the rule's default severity and action.
    pub fn of_file(rule: &str, path: &str) -> Self {
        let (severity, action) = outcome(rule);
        Expected {
            rule: rule.to_owned(),
            severity,
            action,
            path: path.to_owned(),
            line: None,
            column: None,
            text: None,
        }
    }

    /// A finding about a line, numbered from 0, with the rule's default severity and action.
    pub fn of_line(rule: &str, path: &str, line: usize, text: &str) -> Self {
        Expected {
            line: Some(line as u32 + 1),
            text: Some(text.to_owned()),
            ..Self::of_file(rule, path)
        }
    }
}

/// The default severity and action of a rule.
fn outcome(rule: &str) -> (Severity, Action) {
    match rule {
        "coordinate-clamped" | "box-clipped" => (Severity::Warning, Action::Repaired),
        "self-intersecting" | "label-missing" | "class-rare" => (Severity::Warning, Action::Kept),
        "duplicate-label" => (Severity::Warning, Action::Dropped),
        "mixed-shapes" | "byte-order-mark" => (Severity::Note, Action::Kept),
        "image-unreadable" | "image-too-small" => (Severity::Error, Action::Kept),
        _ => (Severity::Error, Action::Dropped),
    }
}
