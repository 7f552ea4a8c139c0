//! Turns a label file into objects and findings.

use std::collections::HashMap;

use ossify_diagnostics::{Action, Finding, Location};

use super::label_rules::LabelRules;
use super::line::{LineParser, raw};
use super::object::LabelObject;
use crate::rules::{Rule, RuleBook};
use crate::wording::{count, plural};

/// The content of a label file: each non-blank line is an object or quarantined.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LabelFile {
    /// Accepted objects, in order of their lines.
    pub objects: Vec<LabelObject>,
    /// Findings in order of lines; those about the whole file come first.
    pub findings: Vec<Finding>,
    /// Number of non-blank lines.
    pub lines: u64,
    /// Number of dropped lines.
    pub quarantined: u64,
    /// Whether the text could not be decoded at all, so that the labels are unknown.
    pub is_unreadable: bool,
}

/// Reads a label file. Never fails: faults become findings at `path`.
pub fn parse_labels(path: &str, bytes: &[u8], rules: &LabelRules) -> LabelFile {
    let mut file = LabelFile::default();
    let body = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if body.len() < bytes.len() {
        let message = "the file begins with a byte order mark, which was skipped";
        file.findings.extend(rules.book.finding(
            Rule::ByteOrderMark,
            Location::file(path),
            message,
        ));
    }
    let text = match std::str::from_utf8(body) {
        Ok(text) => text,
        Err(error) => {
            file.lines = count_lines(body);
            file.quarantined = file.lines;
            file.is_unreadable = true;
            file.findings.extend(not_utf8(
                path,
                body,
                error.valid_up_to(),
                file.lines,
                &rules.book,
            ));
            return file;
        }
    };
    let mut parser = LineParser::new(path, rules);
    let is_duplicate_sought = rules.book.is_on(Rule::DuplicateLabel);
    let mut seen: HashMap<u64, Vec<usize>> = HashMap::new();
    for (number, line) in lines(text) {
        if line.trim().is_empty() {
            continue;
        }
        file.lines += 1;
        match parser.parse(number, line, &mut file.findings) {
            None => file.quarantined += 1,
            Some(object) => {
                if is_duplicate_sought {
                    let earlier = seen.entry(object.geometry_hash()).or_default();
                    let Some(&first) =
                        earlier.iter().find(|&&i| file.objects[i].is_duplicate_of(&object))
                    else {
                        earlier.push(file.objects.len());
                        file.objects.push(object);
                        continue;
                    };
                    if rules.book.drops(Rule::DuplicateLabel) {
                        drop_line(&mut file.findings, number);
                    }
                    file.findings.extend(duplicate(
                        path,
                        number,
                        line,
                        &object,
                        file.objects[first].line,
                        &rules.book,
                    ));
                    if rules.book.drops(Rule::DuplicateLabel) {
                        file.quarantined += 1;
                        continue;
                    }
                }
                file.objects.push(object);
            }
        }
    }
    note_mixed_shapes(path, &mut file, &rules.book);
    note_what_survived(&mut file);
    file
}

/// The lines of a text with their numbers from 1. Lines end with `\n`, `\r\n` or, as in Python's
/// text files, a lone `\r`.
fn lines(text: &str) -> impl Iterator<Item = (u32, &str)> {
    let mut rest = Some(text);
    let mut number = 0u32;
    std::iter::from_fn(move || {
        let here = rest?;
        number = number.saturating_add(1);
        let Some(end) = here.bytes().position(|byte| byte == b'\n' || byte == b'\r') else {
            rest = None;
            return (!here.is_empty()).then_some((number, here));
        };
        let width = if here[end..].starts_with("\r\n") { 2 } else { 1 };
        rest = Some(&here[end + width..]);
        Some((number, &here[..end]))
    })
}

/// The number of non-blank lines of a text that is not UTF-8.
fn count_lines(bytes: &[u8]) -> u64 {
    let is_blank = |line: &[u8]| line.iter().all(|byte| byte.is_ascii_whitespace() || *byte == 0);
    bytes.split(|byte| *byte == b'\n' || *byte == b'\r').filter(|line| !is_blank(line)).count()
        as u64
}

/// The number of non-blank lines of a label file, for files whose objects cannot be used.
pub fn count_label_lines(bytes: &[u8]) -> u64 {
    let body = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    match std::str::from_utf8(body) {
        Ok(text) => lines(text).filter(|(_, line)| !line.trim().is_empty()).count() as u64,
        Err(_) => count_lines(body),
    }
}

fn not_utf8(
    path: &str,
    body: &[u8],
    bad: usize,
    quarantined: u64,
    book: &RuleBook,
) -> Option<Finding> {
    let before = String::from_utf8_lossy(&body[..bad]);
    let (line, start) = lines(&before).last().map_or((1, ""), |(number, line)| (number, line));
    let ended = before.ends_with(['\n', '\r']);
    let (line, column) =
        if ended { (line + 1, 1) } else { (line, start.chars().count() as u32 + 1) };
    let message = format!(
        "byte 0x{:02X} at offset {bad} is not UTF-8",
        body.get(bad).copied().unwrap_or_default()
    );
    let help = if body.starts_with(b"\xff\xfe")
        || body.starts_with(b"\xfe\xff")
        || body.iter().take(64).filter(|byte| **byte == 0).count() > 8
    {
        "this looks like UTF-16; save the file as UTF-8"
    } else {
        "export the labels again, or save the file as UTF-8"
    };
    let finding = book.finding(Rule::NotUtf8, Location::span(path, line, column, 1), message)?;
    Some(
        finding
            .with_note(format!(
                "{} quarantined; the image counts as unlabelled",
                count(quarantined, "line")
            ))
            .with_help(help),
    )
}

fn duplicate(
    path: &str,
    line: u32,
    text: &str,
    object: &LabelObject,
    first: u32,
    book: &RuleBook,
) -> Option<Finding> {
    let message = format!("same class and {} as line {first}", object.shape().as_str());
    let finding = book.finding(Rule::DuplicateLabel, Location::line(path, line), message)?;
    Some(
        finding
            .with_source(raw(text))
            .with_help("delete one of the two lines; check whether an export was run twice"),
    )
}

fn note_mixed_shapes(path: &str, file: &mut LabelFile, book: &RuleBook) {
    let boxes = file.objects.iter().filter(|object| object.vertices.is_none()).count() as u64;
    let polygons = file.objects.len() as u64 - boxes;
    if boxes > 0 && polygons > 0 {
        let message = format!(
            "{} and {} in one file",
            plural(boxes, "box", "boxes"),
            count(polygons, "polygon")
        );
        let Some(finding) = book.finding(Rule::MixedShapes, Location::file(path), message) else {
            return;
        };
        // Findings about the whole file come first.
        let at = file
            .findings
            .iter()
            .position(|finding| finding.location.line.is_some())
            .unwrap_or(file.findings.len());
        file.findings.insert(at, finding);
    }
}

/// If a line is dropped, its earlier findings must not say that it was repaired or kept.
fn drop_line(findings: &mut [Finding], line: u32) {
    for finding in
        findings.iter_mut().rev().take_while(|finding| finding.location.line == Some(line))
    {
        finding.action = Action::Dropped;
    }
}

fn note_what_survived(file: &mut LabelFile) {
    let survivors = file.objects.len() as u64;
    for finding in &mut file.findings {
        if let (Action::Dropped, Some(line)) = (finding.action, finding.location.line) {
            let others = match survivors {
                0 => "the file has no other object".to_owned(),
                1 => "the file's other object is intact".to_owned(),
                n => format!("the file's {n} other objects are intact"),
            };
            finding.notes.push(format!("line {line} went to issues.parquet; {others}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::find::class_names::ClassNames;

    fn rules() -> LabelRules {
        LabelRules {
            tolerance: 0.01,
            min_polygon_vertices: 3,
            classes: ClassNames::from_list(["a", "b", "c"]),
            book: RuleBook::default(),
        }
    }

    fn parse(text: &str) -> LabelFile {
        parse_labels("l.txt", text.as_bytes(), &rules())
    }

    fn found(file: &LabelFile) -> Vec<&str> {
        file.findings.iter().map(|finding| finding.rule.as_str()).collect()
    }

    #[test]
    fn good_neighbours_of_a_bad_line_survive() {
        let file = parse("0 .5 .5 .2 .2\n9 .5 .5 .2 .2\n2 .1 .1 .2 .1 .2 .2\n");
        assert_eq!((file.lines, file.quarantined, file.objects.len()), (3, 1, 2));
        assert_eq!(file.objects[1].line, 3);
        assert_eq!(found(&file), ["mixed-shapes", "class-unknown"]);
        assert_eq!(
            file.findings[1].notes,
            ["line 2 went to issues.parquet; the file's 2 other objects are intact"]
        );
    }

    #[test]
    fn all_ends_of_lines_are_fine_and_blank_lines_are_skipped() {
        let file = parse("\r\n0 .5 .5 .2 .2\r\n \t\r\n1 .5 .5 .2 .2\r2 .5 .5 .2 .2");
        assert_eq!(file.objects.iter().map(|object| object.line).collect::<Vec<_>>(), [2, 4, 5]);
        assert_eq!((file.lines, file.findings.len()), (3, 0));
    }

    #[test]
    fn a_byte_order_mark_is_skipped_and_noted() {
        let file = parse("\u{feff}0 .5 .5 .2 .2\n");
        assert_eq!((file.objects.len(), found(&file)), (1, vec!["byte-order-mark"]));
    }

    #[test]
    fn a_file_that_is_not_utf8_is_quarantined_whole() {
        let file = parse_labels("l.txt", b"0 .5 .5 .2 .2\n\n0 .5 \xff .2 .2\n", &rules());
        assert_eq!((file.lines, file.quarantined, file.objects.len()), (2, 2, 0));
        assert!(file.is_unreadable);
        assert_eq!(file.findings[0].location, Location::span("l.txt", 3, 6, 1));
        let utf16: Vec<u8> = [0xff, 0xfe]
            .into_iter()
            .chain("0 .5 .5 .2 .2\n1 .5 .5 .2 .2\n".encode_utf16().flat_map(u16::to_le_bytes))
            .collect();
        let file = parse_labels("l.txt", &utf16, &rules());
        assert_eq!(file.lines, 2);
        assert!(file.findings[0].help.as_deref().unwrap().contains("UTF-16"));
    }

    #[test]
    fn a_duplicate_is_dropped_and_the_same_box_around_another_polygon_is_not() {
        let file = parse("0 .5 .5 .2 .2\n1 .5 .5 .2 .2\n0 0.50 .5 .2 .2\n");
        assert_eq!((file.objects.len(), file.quarantined), (2, 1));
        assert_eq!(file.findings[0].message, "same class and box as line 1");
        let file = parse("0 .1 .1 .3 .1 .3 .3\n0 .1 .1 .1 .3 .3 .3 .3 .1\n");
        assert_eq!((file.objects.len(), file.findings.len()), (2, 0));
    }

    #[test]
    fn a_repaired_duplicate_says_that_it_was_dropped() {
        let file = parse("0 0 .5 .2 .2 \n0 -0.001 .5 .2 .2");
        let second: Vec<_> =
            file.findings.iter().filter(|finding| finding.location.line == Some(2)).collect();
        assert!(second.iter().all(|finding| finding.action == Action::Dropped), "{second:?}");
        assert_eq!(second.last().unwrap().rule, "duplicate-label");
    }
}
