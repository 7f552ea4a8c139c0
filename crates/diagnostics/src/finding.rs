use serde::{Deserialize, Serialize};

use crate::printable::printable;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; nothing was changed or lost.
    Note,
    /// The input is suspicious, yet usable.
    Warning,
    /// The input cannot be used as it is.
    Error,
}

impl Severity {
    /// The word used in tables and in the terminal.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

/// What was done with the input that a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// The line was left out.
    Dropped,
    /// The line was changed and kept.
    Repaired,
    /// The line was kept as it is.
    Kept,
}

impl Action {
    /// The word used in tables and in the terminal.
    pub fn as_str(self) -> &'static str {
        match self {
            Action::Dropped => "dropped",
            Action::Repaired => "repaired",
            Action::Kept => "kept",
        }
    }
}

/// Where a finding is. Lines and columns count from 1; columns count characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Path from the dataset root with `/` separators.
    pub path: String,
    /// Line, if the finding is about one.
    pub line: Option<u32>,
    /// Column of the first offending character.
    pub column: Option<u32>,
    /// How many characters offend; at least 1 where there is a column.
    pub width: Option<u32>,
}

impl Place {
    /// A place that is a whole file.
    pub fn file(path: impl Into<String>) -> Self {
        Place { path: path.into(), line: None, column: None, width: None }
    }

    /// A place that is a whole line.
    pub fn line(path: impl Into<String>, line: u32) -> Self {
        Place { path: path.into(), line: Some(line), column: None, width: None }
    }

    /// A place that is `width` characters of a line.
    pub fn span(path: impl Into<String>, line: u32, column: u32, width: u32) -> Self {
        Place {
            path: path.into(),
            line: Some(line),
            column: Some(column),
            width: Some(width.max(1)),
        }
    }
}

impl std::fmt::Display for Place {
    /// `path`, `path:line` or `path:line:column`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", printable(&self.path))?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
            if let Some(column) = self.column {
                write!(f, ":{column}")?;
            }
        }
        Ok(())
    }
}

/// One fault of one input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Name of the rule in kebab case, for example `coordinate-out-of-range`.
    pub rule: String,
    /// How bad it is.
    pub severity: Severity,
    /// What was done about it.
    pub action: Action,
    /// What is wrong, as one sentence without a full stop, complete without its context.
    pub message: String,
    /// Where.
    pub place: Place,
    /// The offending source line, raw.
    pub source: Option<String>,
    /// What the caret points at, shorter than the message; the message where there is none.
    pub label: Option<String>,
    /// Facts about the surroundings: what happened to the line and to its neighbours.
    pub notes: Vec<String>,
    /// What to do.
    pub help: Option<String>,
}

impl Finding {
    /// A finding with the facts that each one has; the others are set with the builder methods.
    pub fn new(
        rule: impl Into<String>,
        severity: Severity,
        action: Action,
        place: Place,
        message: impl Into<String>,
    ) -> Self {
        Finding {
            rule: rule.into(),
            severity,
            action,
            message: message.into(),
            place,
            source: None,
            label: None,
            notes: Vec::new(),
            help: None,
        }
    }

    /// Adds the raw source line.
    pub fn with_source(mut self, source: impl Into<String>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Adds the text beside the caret.
    pub fn with_label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Adds a fact about the surroundings.
    pub fn with_note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Says what to do.
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}
