use serde::{Deserialize, Serialize};

use crate::printable::printable;

ossify_vocabulary::words! {
    /// The severity of a finding.
    #[derive(PartialOrd, Ord)]
    Severity {
        /// Information; nothing was changed or lost.
        Note = "note",
        /// The input is suspicious but usable.
        Warning = "warning",
        /// The input cannot be used as it is.
        Error = "error",
    }
}

ossify_vocabulary::words! {
    /// What was done with the input that a finding is about.
    Action {
        /// The line was dropped.
        Dropped = "dropped",
        /// The line was changed and kept.
        Repaired = "repaired",
        /// The line was kept as it is.
        Kept = "kept",
    }
}

/// Where a finding is. Lines and columns count from 1; columns count characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Location {
    /// Path from the dataset root with `/` separators.
    pub path: String,
    /// Line, if the finding is about one.
    pub line: Option<u32>,
    /// Column of the first offending character.
    pub column: Option<u32>,
    /// Number of offending characters; at least 1 if there is a column.
    pub width: Option<u32>,
}

impl Location {
    /// A whole file.
    pub fn file(path: impl Into<String>) -> Self {
        Location { path: path.into(), line: None, column: None, width: None }
    }

    /// A whole line.
    pub fn line(path: impl Into<String>, line: u32) -> Self {
        Location { path: path.into(), line: Some(line), column: None, width: None }
    }

    /// `width` characters of a line.
    pub fn span(path: impl Into<String>, line: u32, column: u32, width: u32) -> Self {
        Location {
            path: path.into(),
            line: Some(line),
            column: Some(column),
            width: Some(width.max(1)),
        }
    }
}

impl std::fmt::Display for Location {
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
    /// Its severity.
    pub severity: Severity,
    /// What was done about it.
    pub action: Action,
    /// What is wrong, as one sentence without a full stop that makes sense on its own.
    pub message: String,
    /// Where.
    pub location: Location,
    /// The offending source line, raw.
    pub source: Option<String>,
    /// The text beside the caret, shorter than the message.
    pub label: Option<String>,
    /// Context: what happened to the line and to its neighbours.
    pub notes: Vec<String>,
    /// What to do.
    pub help: Option<String>,
}

impl Finding {
    /// A finding with the mandatory fields; the builder methods set the others.
    pub fn new(
        rule: impl Into<String>,
        severity: Severity,
        action: Action,
        location: Location,
        message: impl Into<String>,
    ) -> Self {
        Finding {
            rule: rule.into(),
            severity,
            action,
            message: message.into(),
            location,
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

    /// Adds a note about the context.
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
