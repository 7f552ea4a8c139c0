//! Writes findings: grouped and capped for people, complete for machines.

use std::io::Write;

use anyhow::Context as _;
use ossify_diagnostics::{Finding, Format, Renderer};
use ossify_settings::Reporter;

use super::tally::Tally;

/// Findings of a rule that are shown on standard error.
const SHOWN_PER_RULE: usize = 3;
/// Results of a SARIF document; GitHub refuses more.
const MAX_SARIF_RESULTS: usize = 25_000;

/// Writes all findings to a stream, as they arrive if the format allows it.
pub(crate) struct FindingStream<'a> {
    renderer: Renderer<'a>,
    out: Box<dyn Write + 'a>,
    held: Vec<Finding>,
    left_out: u64,
    is_closed: bool,
}

impl<'a> FindingStream<'a> {
    pub fn new(format: Format, color: bool, root: &'a str, out: Box<dyn Write + 'a>) -> Self {
        FindingStream {
            renderer: Renderer { format, color, root },
            out,
            held: Vec::new(),
            left_out: 0,
            is_closed: false,
        }
    }

    pub fn add(&mut self, finding: &Finding) -> std::io::Result<()> {
        if self.renderer.format != Format::Sarif {
            return self.write(std::slice::from_ref(finding));
        }
        if self.held.len() < MAX_SARIF_RESULTS {
            self.held.push(finding.clone());
        } else {
            self.left_out += 1;
        }
        Ok(())
    }

    /// Writes what is buffered, and reports how many findings did not fit into a SARIF document.
    pub fn end(self) -> anyhow::Result<()> {
        let left_out = self.finish().context("cannot write the findings to standard output")?;
        if left_out > 0 {
            eprintln!(
                "warning: {left_out} findings did not fit into the SARIF document; issues.parquet \
                has all"
            );
        }
        Ok(())
    }

    fn finish(mut self) -> std::io::Result<u64> {
        if self.renderer.format == Format::Sarif {
            let held = std::mem::take(&mut self.held);
            self.write(&held)?;
        }
        if !self.is_closed {
            self.out.flush().or_else(ignore_closed)?;
        }
        Ok(self.left_out)
    }

    /// A closed pipe ends the output, not the run.
    fn write(&mut self, findings: &[Finding]) -> std::io::Result<()> {
        if self.is_closed {
            return Ok(());
        }
        match self.renderer.render(findings, &mut self.out) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
                self.is_closed = true;
                Ok(())
            }
            other => other,
        }
    }
}

fn ignore_closed(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error) }
}

/// Shows the first findings of each rule, errors before warnings before notes.
pub(crate) fn show(tally: &Tally, root: &str, reporter: &Reporter) {
    let mut rules: Vec<_> = tally.rules.iter().collect();
    rules.sort_by_key(|(name, rule)| {
        (
            std::cmp::Reverse(
                rule.by_severity.map(|count| count > 0).into_iter().rposition(|found| found),
            ),
            name.as_str(),
        )
    });
    let renderer = Renderer { format: Format::Full, color: reporter.color(), root };
    for (name, rule) in rules {
        let shown: Vec<Finding> = rule
            .examples
            .iter()
            .take(SHOWN_PER_RULE)
            .map(|example| example.finding.clone())
            .collect();
        let mut text = Vec::new();
        if renderer.render(&shown, &mut text).is_err() {
            return;
        }
        reporter.say(String::from_utf8_lossy(&text).trim_end_matches('\n'));
        let more = rule.count - shown.len() as u64;
        if more > 0 {
            reporter.say(format_args!(
                "... and {more} more of this rule in issues.parquet; \
                `ossify-ingest explain {name}` explains it"
            ));
        }
        reporter.say("");
    }
}
