//! A label line with its findings.

use std::ops::Range;

use ossify_diagnostics::{Action, Finding, Location, Severity};

use crate::rules::{Rule, RuleBook, Verdict};

/// The verdict for remarks under a rule that is not broken.
pub(super) const NOTED: Verdict = Verdict { severity: Severity::Note, action: Action::Kept };

/// Longest raw line that a finding contains.
const MAX_RAW_BYTES: usize = 64 << 10;

/// A raw line for a finding, cut if it is extremely long.
pub(crate) fn raw(line: &str) -> String {
    if line.len() <= MAX_RAW_BYTES {
        return line.to_owned();
    }
    format!("{}…", &line[..line.floor_char_boundary(MAX_RAW_BYTES)])
}

/// A line being examined, and its findings so far.
pub(super) struct Line<'a> {
    pub path: &'a str,
    pub book: &'a RuleBook,
    pub number: u32,
    pub text: &'a str,
    pub tokens: &'a [Range<usize>],
    pub found: Vec<Finding>,
}

impl<'a> Line<'a> {
    pub fn token(&self, at: usize) -> &'a str {
        self.tokens.get(at).map_or("", |range| &self.text[range.clone()])
    }

    /// Adds a finding that points at a token, if the rule is on.
    pub fn report(&mut self, rule: Rule, at: usize, message: String, label: &str, help: &str) {
        if let Some(verdict) = self.book.verdict(rule) {
            self.report_as(rule, verdict, at, message, label, help);
        }
    }

    pub fn report_as(
        &mut self,
        rule: Rule,
        verdict: Verdict,
        at: usize,
        message: String,
        label: &str,
        help: &str,
    ) {
        let range = self.tokens.get(at).cloned().unwrap_or(0..self.text.len());
        let chars = |text: &str| u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
        let location = Location::span(
            self.path,
            self.number,
            chars(&self.text[..range.start]).saturating_add(1),
            chars(&self.text[range]),
        );
        let mut finding =
            Finding::new(rule.name(), verdict.severity, verdict.action, location, message)
                .with_source(raw(self.text));
        if !label.is_empty() {
            finding = finding.with_label(label);
        }
        if !help.is_empty() {
            finding = finding.with_help(help);
        }
        self.found.push(finding);
    }

    pub fn is_dropped(&self) -> bool {
        self.found.iter().any(|finding| finding.action == Action::Dropped)
    }
}

/// A token short enough for a message.
pub(super) fn shortened(token: &str) -> String {
    const MAX_CHARS: usize = 32;
    if token.chars().nth(MAX_CHARS).is_none() {
        return token.to_owned();
    }
    token.chars().take(MAX_CHARS).chain(['…']).collect()
}

pub(super) fn and_more(n: usize) -> String {
    if n == 0 { String::new() } else { format!(" (and {n} more)") }
}
