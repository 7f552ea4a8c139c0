use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use serde_json::json;

use crate::finding::{Finding, Severity};
use crate::printable::printable;

ossify_vocabulary::words! {
    /// The output formats of findings.
    Format {
        /// Source line, caret, notes and help.
        Full = "full",
        /// One line per finding.
        Concise = "concise",
        /// One JSON object per line.
        Json = "json",
        /// Annotations of a GitHub workflow.
        Github = "github",
        /// One SARIF 2.1.0 document.
        Sarif = "sarif",
    }
}

/// Longer source lines are cut around the caret in the full format.
const MAX_SOURCE_CHARS: usize = 100;

/// Writes findings in one format.
#[derive(Clone, Copy, Debug)]
pub struct Renderer<'a> {
    /// The format.
    pub format: Format,
    /// Whether to use ANSI colours, which only the full format has.
    pub color: bool,
    /// The folder that is put before paths, as the user named it; empty for none.
    pub root: &'a str,
}

impl Renderer<'_> {
    /// Writes all findings.
    ///
    /// # Errors
    /// Fails if the writer does.
    pub fn render(&self, findings: &[Finding], out: &mut dyn Write) -> io::Result<()> {
        if self.format == Format::Sarif {
            serde_json::to_writer_pretty(&mut *out, &self.sarif(findings))?;
            return writeln!(out);
        }
        for finding in findings {
            match self.format {
                Format::Full => self.full(finding, out)?,
                Format::Concise => {
                    writeln!(
                        out,
                        "{}: {}: {}",
                        self.location(finding),
                        finding.rule,
                        printable(&finding.message)
                    )?;
                }
                Format::Json => {
                    serde_json::to_writer(&mut *out, finding)?;
                    writeln!(out)?;
                }
                Format::Github => self.github(finding, out)?,
                Format::Sarif => {}
            }
        }
        Ok(())
    }

    fn path(&self, finding: &Finding) -> String {
        match self.root {
            "" => finding.location.path.clone(),
            root => format!("{}/{}", root.trim_end_matches('/'), finding.location.path),
        }
    }

    fn location(&self, finding: &Finding) -> String {
        let mut location = finding.location.clone();
        location.path = self.path(finding);
        location.to_string()
    }

    fn full(&self, finding: &Finding, out: &mut dyn Write) -> io::Result<()> {
        let style = |style: Style| if self.color { style } else { Style::new() };
        let severity = style(match finding.severity {
            Severity::Error => AnsiColor::Red.on_default().bold(),
            Severity::Warning => AnsiColor::Yellow.on_default().bold(),
            Severity::Note => AnsiColor::Cyan.on_default().bold(),
        });
        let frame = style(AnsiColor::Blue.on_default().bold());
        let bold = style(Style::new().bold());
        let number = finding.location.line.map(|line| line.to_string()).unwrap_or_default();
        let gutter = " ".repeat(number.len());

        writeln!(
            out,
            "{severity}{}[{}]{severity:#}{bold}: {}{bold:#}",
            finding.severity.as_str(),
            finding.rule,
            printable(&finding.message)
        )?;
        writeln!(out, "{gutter}{frame}-->{frame:#} {}", self.location(finding))?;
        if let Some(source) = &finding.source {
            let (excerpt, start) = excerpt(source, finding.location.column, finding.location.width);
            writeln!(out, "{gutter} {frame}|{frame:#}")?;
            writeln!(out, "{frame}{number} |{frame:#} {excerpt}")?;
            if let Some(start) = start {
                let label = finding.label.as_deref().unwrap_or("");
                let carets = "^".repeat(start.1);
                let line = format!(
                    "{}{severity}{carets} {}{severity:#}",
                    " ".repeat(start.0),
                    printable(label)
                );
                writeln!(out, "{gutter} {frame}|{frame:#} {}", line.trim_end())?;
            }
        }
        for note in &finding.notes {
            writeln!(out, "{gutter} {frame}={frame:#} {bold}note{bold:#}: {}", printable(note))?;
        }
        if let Some(help) = &finding.help {
            writeln!(out, "{gutter} {frame}={frame:#} {bold}help{bold:#}: {}", printable(help))?;
        }
        writeln!(out)
    }

    fn github(&self, finding: &Finding, out: &mut dyn Write) -> io::Result<()> {
        let command = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "notice",
        };
        // A workflow's log is also shown in a terminal.
        write!(out, "::{command} file={}", github_property(&printable(&self.path(finding))))?;
        if let Some(line) = finding.location.line {
            write!(out, ",line={line}")?;
        }
        if let Some(column) = finding.location.column {
            write!(out, ",col={column}")?;
        }
        let mut message = printable(&finding.message).into_owned();
        if let Some(help) = &finding.help {
            message.push_str("\nhelp: ");
            message.push_str(&printable(help));
        }
        writeln!(out, ",title={}::{}", github_property(&finding.rule), github_data(&message))
    }

    fn sarif(&self, findings: &[Finding]) -> serde_json::Value {
        let mut rules: Vec<&str> = findings.iter().map(|finding| finding.rule.as_str()).collect();
        rules.sort_unstable();
        rules.dedup();
        let results: Vec<_> = findings
            .iter()
            .map(|finding| {
                let mut location = json!({ "artifactLocation": { "uri": self.path(finding) } });
                if let Some(line) = finding.location.line {
                    let mut region = json!({ "startLine": line });
                    if let Some(column) = finding.location.column {
                        region["startColumn"] = json!(column);
                        region["endColumn"] = json!(column + finding.location.width.unwrap_or(1));
                    }
                    location["region"] = region;
                }
                json!({
                    "ruleId": finding.rule,
                    "level": finding.severity.as_str(),
                    "message": { "text": finding.message },
                    "locations": [{ "physicalLocation": location }],
                })
            })
            .collect();
        json!({
            "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
            "version": "2.1.0",
            "runs": [{
                "tool": { "driver": {
                    "name": "ossify",
                    "version": env!("CARGO_PKG_VERSION"),
                    "rules": rules.iter().map(|rule| json!({ "id": rule })).collect::<Vec<_>>(),
                } },
                "columnKind": "unicodeCodePoints",
                "results": results,
            }],
        })
    }
}

/// The printable source line, cut to [`MAX_SOURCE_CHARS`] around the offending characters, and the
/// start and width of the caret, in characters of the excerpt.
fn excerpt(
    source: &str,
    column: Option<u32>,
    width: Option<u32>,
) -> (String, Option<(usize, usize)>) {
    // A source character may be printed as several, so positions are measured in printed
    // characters.
    let printed: Vec<String> =
        source.chars().map(|c| printable(c.encode_utf8(&mut [0; 4])).into_owned()).collect();
    let first = column.map_or(0, |column| (column as usize).saturating_sub(1)).min(printed.len());
    let last = (first + width.unwrap_or(1).max(1) as usize).min(printed.len().max(first + 1));
    let from = if printed.len() <= MAX_SOURCE_CHARS {
        0
    } else {
        first.saturating_sub(MAX_SOURCE_CHARS / 3)
    };
    let to = printed.len().min(from + MAX_SOURCE_CHARS);
    let chars = |range: std::ops::Range<usize>| -> usize {
        printed[range].iter().map(|p| p.chars().count()).sum()
    };

    let mut text = String::new();
    if from > 0 {
        text.push('…');
    }
    let lead = text.chars().count();
    text.push_str(&printed[from..to].concat());
    if to < printed.len() {
        text.push('…');
    }
    let caret = column.map(|_| {
        let caret_end = last.min(to);
        let wide = if first < caret_end { chars(first..caret_end) } else { 1 };
        (lead + chars(from..first.max(from)), wide)
    });
    (text, caret)
}

fn github_data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn github_property(text: &str) -> String {
    github_data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::{Action, Location};

    fn finding() -> Finding {
        Finding::new(
            "coordinate-out-of-range",
            Severity::Error,
            Action::Dropped,
            Location::span("train/labels/wrist_0007.txt", 3, 3, 6),
            "x centre 1.0427 is not between 0 and 1",
        )
        .with_source("2 1.0427 0.5180 0.2200 0.1350")
        .with_label("x centre is 1.0427; a share of the width runs from 0 to 1")
        .with_note("the file's 3 other objects are intact")
        .with_help("are these pixels? divide by the image's width and height")
    }

    fn render(format: Format, finding: Finding) -> String {
        let mut out = Vec::new();
        Renderer { format, color: false, root: "data/raw" }.render(&[finding], &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn full_form_points_at_the_offending_characters() {
        assert_eq!(
            render(Format::Full, finding()),
            "\
error[coordinate-out-of-range]: x centre 1.0427 is not between 0 and 1
 --> data/raw/train/labels/wrist_0007.txt:3:3
  |
3 | 2 1.0427 0.5180 0.2200 0.1350
  |   ^^^^^^ x centre is 1.0427; a share of the width runs from 0 to 1
  = note: the file's 3 other objects are intact
  = help: are these pixels? divide by the image's width and height

"
        );
    }

    #[test]
    fn concise_form_is_one_line() {
        assert_eq!(
            render(Format::Concise, finding()),
            "data/raw/train/labels/wrist_0007.txt:3:3: coordinate-out-of-range: x centre 1.0427 \
            is not between 0 and 1\n"
        );
    }

    #[test]
    fn github_form_escapes_what_ends_a_command() {
        let mut with_comma = finding();
        with_comma.location.path = "a,b:c.txt".into();
        let text = render(Format::Github, with_comma);
        assert!(
            text.starts_with(
                "::error file=data/raw/a%2Cb%3Ac.txt,line=3,col=3,title=coordinate-out-of-range::"
            ),
            "{text}"
        );
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn sarif_form_is_one_document_with_the_region() {
        let value: serde_json::Value =
            serde_json::from_str(&render(Format::Sarif, finding())).unwrap();
        let region = &value["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["region"];
        assert_eq!(region, &json!({ "startLine": 3, "startColumn": 3, "endColumn": 9 }));
    }

    #[test]
    fn control_characters_of_files_never_reach_the_terminal() {
        let mut hostile = finding();
        hostile.source = Some("2 \u{1b}[2J0.1 \u{202e}x".into());
        hostile.message = "token \u{7} is not a number".into();
        hostile.location.path = "a\u{1b}[2J.txt".into();
        for format in [Format::Full, Format::Concise, Format::Github] {
            let text = render(format, hostile.clone());
            assert!(!text.contains(['\u{1b}', '\u{202e}', '\u{7}']), "{format:?}: {text:?}");
            assert!(text.contains("\\u{1b}[2J"), "{format:?}: {text}");
        }
    }

    #[test]
    fn a_long_line_is_cut_around_the_caret() {
        let source = (0..200).map(|i| format!("0.{i:03}")).collect::<Vec<_>>().join(" ");
        let mut long = finding().with_source(source);
        long.location = Location::span("a.txt", 1, 601, 5);
        let text = render(Format::Full, long);
        let source_line = text.lines().nth(3).unwrap();
        let caret_line = text.lines().nth(4).unwrap();
        let caret = caret_line.find('^').unwrap();
        assert!(source_line.chars().count() < 120, "{source_line}");
        let pointed: String = source_line.chars().skip(caret).take(5).collect();
        assert_eq!(pointed, "0.100");
    }
}
