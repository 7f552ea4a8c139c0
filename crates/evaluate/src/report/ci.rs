//! What pages of continuous integration show: gates as JUnit XML, the main scores as Markdown.

use std::fmt::Write as _;

use ossify_contract::Gate;
use ossify_page::count;

use crate::report::contents::Report;
use crate::report::digits::{interval, value};
use crate::report::words::lead;
use crate::scores::bootstrap::Interval;

/// A gate and whether it is met.
pub(crate) struct CheckedGate {
    pub gate: Gate,
    pub is_met: bool,
}

/// A test suite with a test case for each gate, in the form that Jenkins, GitLab and GitHub's
/// actions read; without gates one case that says so.
pub(crate) fn junit(report: &Report, gates: &[CheckedGate]) -> String {
    let failures = gates.iter().filter(|gate| !gate.is_met).count();
    let suite = format!("ossify-evaluate {} {}", report.run, report.split);
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(xml, "<testsuites tests=\"{0}\" failures=\"{failures}\">", gates.len().max(1));
    let _ = writeln!(
        xml,
        "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{failures}\">",
        escaped(&suite),
        gates.len().max(1)
    );
    let class = escaped(&format!("{}.{}", report.run, report.split));
    if gates.is_empty() {
        let _ =
            writeln!(xml, "    <testcase classname=\"{class}\" name=\"scored, without gates\"/>");
    }
    for CheckedGate { gate, is_met } in gates {
        let (name, message) = (escaped(&gate.name), escaped(&gate.message));
        let _ = match is_met {
            true => writeln!(
                xml,
                "    <testcase classname=\"{class}\" \
                    name=\"{name}\"><system-out>{message}</system-out></testcase>"
            ),
            false => writeln!(
                xml,
                "    <testcase classname=\"{class}\" name=\"{name}\"><failure \
                    message=\"{message}\" type=\"gate\"/></testcase>"
            ),
        };
    }
    xml.push_str("  </testsuite>\n</testsuites>\n");
    xml
}

/// Text for an attribute or an element. Characters that XML 1.0 does not have become U+FFFD.
fn escaped(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => result.push_str("&amp;"),
            '<' => result.push_str("&lt;"),
            '>' => result.push_str("&gt;"),
            '"' => result.push_str("&quot;"),
            '\n' => result.push_str("&#10;"),
            '\t' => result.push_str("&#9;"),
            '\u{fffe}' | '\u{ffff}' => result.push('\u{fffd}'),
            character if character < ' ' => result.push('\u{fffd}'),
            character => result.push(character),
        }
    }
    result
}

/// The report in short, for a pull request or a job's page.
pub(crate) fn markdown(report: &Report, gates: &[CheckedGate]) -> String {
    let mut text = format!("## Evaluation of {}, {} split\n\n", in_line(&report.run), report.split);
    for sentence in lead(report) {
        let _ = writeln!(text, "{}", in_line(&sentence));
    }
    text.push_str("\n| score | value | 95 % interval |\n|---|---|---|\n");
    let froc = &report.detection.froc.any_class;
    let detection: [(&str, &Interval); 2] =
        [("AP50", &report.detection.scores.ap50), ("AP", &report.detection.scores.ap)];
    let mut scores: Vec<(&str, &Interval)> = Vec::new();
    if let Some(findings) = &report.findings {
        if let Some(point) = findings.first_point() {
            scores.extend([
                ("objects found", &point.scores.objects_found),
                ("false alarms an image", &point.scores.false_alarms),
                ("sensitivity by image", &point.scores.sensitivity),
                ("specificity by image", &point.scores.specificity),
            ]);
        }
        scores.push(("AUROC of any finding", &findings.auroc));
        scores.push(("mean sensitivity at 1/8 to 8 false alarms", &froc.mean));
    } else {
        scores.extend([
            ("image accuracy", &report.image_level.accuracy),
            ("macro F1 over images", &report.image_level.macro_f1),
            ("macro AUROC", &report.image_level.macro_auroc),
            ("calibration error (ECE)", &report.image_level.ece),
            ("balanced accuracy over objects", &report.objects_level.balanced_accuracy),
            ("mean IoU", &report.objects_level.mean_iou),
        ]);
    }
    scores.extend(detection);
    for (name, score) in scores {
        let _ = writeln!(text, "| {name} | {} | {} |", value(score), interval(score));
    }
    if !gates.is_empty() {
        text.push_str("\n| gate | | |\n|---|---|---|\n");
        for CheckedGate { gate, is_met } in gates {
            let _ = writeln!(
                text,
                "| `{}` | {} | {} |",
                gate.name,
                if *is_met { "met" } else { "**not met**" },
                in_line(&gate.message)
            );
        }
    }
    if !report.excluded.is_empty() {
        text.push_str("\nNot scored:\n\n");
        for excluded in &report.excluded {
            let _ = writeln!(
                text,
                "- {} {}: {}",
                count(excluded.count),
                excluded.what,
                in_line(&excluded.reason)
            );
        }
    }
    text
}

/// Names come from datasets: nothing in them makes a table, a link or HTML.
fn in_line(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '|' | '*' | '`' | '[' | ']' | '\\' | '#' => result.extend(['\\', character]),
            '<' => result.push_str("&lt;"),
            '>' => result.push_str("&gt;"),
            '&' => result.push_str("&amp;"),
            character if character.is_control() => result.push(' '),
            character => result.push(character),
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_stay_text() {
        assert_eq!(escaped("a<b>&\"c\"\u{1}\n"), "a&lt;b&gt;&amp;&quot;c&quot;\u{fffd}&#10;");
        assert_eq!(in_line("x|y <img> [a](b)\n"), "x\\|y &lt;img&gt; \\[a\\](b) ");
    }
}
