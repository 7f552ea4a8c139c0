//! One label line to an object or findings.

use std::ops::Range;

use ossify_contract::UnitBox;
use ossify_diagnostics::{Action, Finding, Place, Severity};

use super::geometry::{Crossing, find_crossing, is_on_one_line, polygon_area};
use super::label_rules::LabelRules;
use super::object::LabelObject;
use crate::rules::{Rule, RuleBook, Verdict};

/// How far a derived edge may pass the image's edge by mere rounding: a centre and half a size with
/// six decimals are each off by half a millionth at most.
const ROUNDING: f64 = 1e-6;

/// For what is worth a word under a rule that it does not break.
const NOTED: Verdict = Verdict { severity: Severity::Note, action: Action::Kept };

/// Longest raw line that a finding carries.
const MAX_RAW_BYTES: usize = 64 << 10;

/// A raw line for a finding; one of absurd length is cut.
pub(crate) fn raw(line: &str) -> String {
    if line.len() <= MAX_RAW_BYTES {
        return line.to_owned();
    }
    format!("{}…", &line[..line.floor_char_boundary(MAX_RAW_BYTES)])
}

/// Parses lines of one file; keeps its buffers from line to line.
pub(crate) struct LineParser<'a> {
    path: &'a str,
    rules: &'a LabelRules,
    tokens: Vec<Range<usize>>,
    values: Vec<f64>,
}

/// A line under examination and what was found on it so far.
struct Line<'a> {
    path: &'a str,
    book: &'a RuleBook,
    number: u32,
    text: &'a str,
    tokens: &'a [Range<usize>],
    found: Vec<Finding>,
}

impl<'a> Line<'a> {
    fn token(&self, at: usize) -> &'a str {
        self.tokens.get(at).map_or("", |range| &self.text[range.clone()])
    }

    /// A finding that points at a token, if the rule is on.
    fn report(&mut self, rule: Rule, at: usize, message: String, label: &str, help: &str) {
        if let Some(verdict) = self.book.verdict(rule) {
            self.report_as(rule, verdict, at, message, label, help);
        }
    }

    fn report_as(
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
        let place = Place::span(
            self.path,
            self.number,
            chars(&self.text[..range.start]).saturating_add(1),
            chars(&self.text[range]),
        );
        let mut finding =
            Finding::new(rule.name(), verdict.severity, verdict.action, place, message)
                .with_source(raw(self.text));
        if !label.is_empty() {
            finding = finding.with_label(label);
        }
        if !help.is_empty() {
            finding = finding.with_help(help);
        }
        self.found.push(finding);
    }

    fn is_dropped(&self) -> bool {
        self.found.iter().any(|finding| finding.action == Action::Dropped)
    }
}

/// What the coordinates of a line are, as far as their number tells.
#[derive(Clone, Copy, PartialEq)]
enum Coordinates {
    Box,
    Polygon,
    Unclear,
}

impl<'a> LineParser<'a> {
    pub fn new(path: &'a str, rules: &'a LabelRules) -> Self {
        LineParser { path, rules, tokens: Vec::new(), values: Vec::new() }
    }

    /// The object on a line that is not blank, or `None` and at least one finding with action
    /// dropped.
    pub fn parse(
        &mut self,
        number: u32,
        text: &str,
        findings: &mut Vec<Finding>,
    ) -> Option<LabelObject> {
        split_tokens(text, &mut self.tokens);
        let mut line = Line {
            path: self.path,
            book: &self.rules.book,
            number,
            text,
            tokens: &self.tokens,
            found: Vec::new(),
        };
        let class_id = parse_class(&mut line, self.rules);
        let coordinates = check_count(&mut line);
        let is_numeric = parse_numbers(&mut line, &mut self.values);
        let mut object = None;
        if is_numeric {
            let in_range = check_range(&mut line, coordinates, &self.values, self.rules.tolerance);
            let geometry = match coordinates {
                Coordinates::Box => box_geometry(&mut line, &self.values, in_range),
                Coordinates::Polygon => polygon_geometry(
                    &mut line,
                    &self.values,
                    in_range,
                    self.rules.min_polygon_vertices,
                ),
                Coordinates::Unclear => None,
            };
            object = class_id.zip(geometry).map(|(class_id, geometry)| LabelObject {
                line: number,
                class_id,
                vertices: geometry.vertices,
                unit_box: geometry.unit_box,
                area: geometry.area,
                repaired: geometry.repaired,
            });
        }
        if line.found.is_empty() {
            return object;
        }
        let is_dropped = line.is_dropped();
        if is_dropped {
            line.found.iter_mut().for_each(|finding| finding.action = Action::Dropped);
        }
        line.found.sort_by_key(|finding| finding.place.column);
        findings.append(&mut line.found);
        object.filter(|_| !is_dropped)
    }
}

fn split_tokens(text: &str, tokens: &mut Vec<Range<usize>>) {
    tokens.clear();
    let mut start = None;
    if text.is_ascii() {
        for (at, byte) in text.bytes().enumerate() {
            let is_space = byte == b' ' || (b'\t'..=b'\r').contains(&byte);
            push_token(at, is_space, &mut start, tokens);
        }
    } else {
        for (at, c) in text.char_indices() {
            push_token(at, c.is_whitespace(), &mut start, tokens);
        }
    }
    if let Some(from) = start {
        tokens.push(from..text.len());
    }
}

#[inline]
fn push_token(
    at: usize,
    is_space: bool,
    start: &mut Option<usize>,
    tokens: &mut Vec<Range<usize>>,
) {
    match (*start, is_space) {
        (Some(from), true) => {
            tokens.push(from..at);
            *start = None;
        }
        (None, false) => *start = Some(at),
        _ => {}
    }
}

fn parse_class(line: &mut Line, rules: &LabelRules) -> Option<i16> {
    let token = line.token(0);
    let shown = shortened(token);
    let is_plain = token.bytes().all(|byte| byte.is_ascii_digit());
    let id = match token.parse::<u64>() {
        Ok(id) if is_plain => Some(id),
        // More digits than any list of classes is long.
        _ if is_plain => None,
        _ => match token.parse::<f64>() {
            Ok(value) if value >= 0.0 && value.fract() == 0.0 && value < 1e15 => {
                let id = value as u64;
                line.report_as(
                    Rule::ClassNotInteger,
                    NOTED,
                    0,
                    format!("class `{shown}` was read as {id}"),
                    &format!("read as {id}"),
                    "",
                );
                Some(id)
            }
            Ok(value) if value < 0.0 => {
                line.report(
                    Rule::ClassNotInteger,
                    0,
                    format!("class `{shown}` is negative"),
                    "ids are counted from 0",
                    "some tools write -1 for a class that is not set; set it, or delete the line",
                );
                return None;
            }
            Ok(_) => {
                let help = "the line should begin with a class id; have its columns shifted?";
                line.report(
                    Rule::ClassNotInteger,
                    0,
                    format!("class `{shown}` is no whole number"),
                    "not a class id",
                    help,
                );
                return None;
            }
            Err(_) => {
                let help = match rules.classes.id_of(token) {
                    Some(id) => format!("write the class's id: {id}"),
                    None if token.contains([',', ';']) => "separate numbers by spaces".to_owned(),
                    None => format!(
                        "a line is `class x y w h` or `class x1 y1 x2 y2 ...`; {}",
                        rules.classes.extent()
                    ),
                };
                line.report(
                    Rule::ClassNotInteger,
                    0,
                    format!("class `{shown}` is no number"),
                    "not a class id",
                    &help,
                );
                return None;
            }
        },
    };
    let known = id.and_then(|id| i16::try_from(id).ok()).filter(|&id| rules.classes.contains(id));
    if known.is_none() {
        let mut help = rules.classes.extent();
        if id == Some(rules.classes.len() as u64) {
            help.push_str("; are the ids of this file counted from 1?");
        }
        line.report(
            Rule::ClassUnknown,
            0,
            format!("class {shown} is not in the list of classes"),
            "no such class",
            &help,
        );
    }
    known
}

fn check_count(line: &mut Line) -> Coordinates {
    let n = line.tokens.len() - 1;
    match n {
        4 => return Coordinates::Box,
        n if n >= 6 && n % 2 == 0 => return Coordinates::Polygon,
        _ => {}
    }
    let message = match n {
        0 => "a class and no coordinates; a box has 4, a polygon an even number of at least 6"
            .to_owned(),
        1 => "1 coordinate; a box has 4, a polygon an even number of at least 6".to_owned(),
        n => format!("{n} coordinates; a box has 4, a polygon an even number of at least 6"),
    };
    let is_share =
        |token: &str| token.parse::<f64>().is_ok_and(|value| (0.0..=1.0).contains(&value));
    let (label, help) = match n {
        0..=3 => ("the line ends here", "restore the missing numbers, or delete the line"),
        5 if is_share(line.token(5)) => (
            "a fifth number",
            "this looks like a prediction file with a confidence column; remove the last number \
            of each line if these are labels after all",
        ),
        5 => ("a fifth number", "a box is `class x y w h`; remove what follows it"),
        9 if line.token(5).bytes().all(|byte| byte.is_ascii_digit()) => {
            ("a number without its pair", "two boxes on one line? put each on its own")
        }
        _ => (
            "a number without its pair",
            "a coordinate is missing, or a confidence follows the polygon",
        ),
    };
    line.report(Rule::CoordinateCount, n, message, label, help);
    Coordinates::Unclear
}

/// Parses the coordinates; false, with a finding, where one is no finite number.
fn parse_numbers(line: &mut Line, values: &mut Vec<f64>) -> bool {
    values.clear();
    let mut bad = Vec::new();
    for at in 1..line.tokens.len() {
        match line.token(at).parse::<f64>() {
            Ok(value) if value.is_finite() => values.push(value),
            _ => bad.push(at),
        }
    }
    let Some(&first) = bad.first() else { return true };
    let token = line.token(first);
    let is_number = token.parse::<f64>().is_ok();
    let problem = if is_number { "is no finite number" } else { "is no number" };
    let message = format!("`{}` {problem}{}", shortened(token), and_more(bad.len() - 1));
    let help = if is_number {
        "look for a division by a size of zero in the export"
    } else if token.contains(',') {
        "write a decimal point, and separate numbers by spaces"
    } else {
        ""
    };
    line.report(
        Rule::CoordinateNotANumber,
        first,
        message,
        problem.trim_start_matches("is "),
        help,
    );
    false
}

/// What the number at this position means, for messages.
fn role(coordinates: Coordinates, at: usize) -> String {
    match (coordinates, at) {
        (Coordinates::Box, 0) => "x centre".into(),
        (Coordinates::Box, 1) => "y centre".into(),
        (Coordinates::Box, 2) => "width".into(),
        (Coordinates::Box, _) => "height".into(),
        (Coordinates::Polygon, at) => {
            format!("{} of vertex {}", if at % 2 == 0 { "x" } else { "y" }, at / 2 + 1)
        }
        (Coordinates::Unclear, _) => "coordinate".into(),
    }
}

/// Checks every raw coordinate against 0..1; false, with a finding, where one is outside by more
/// than the tolerance and that drops the line. Sizes of zero and less are left to the rule about
/// areas.
fn check_range(line: &mut Line, coordinates: Coordinates, values: &[f64], tolerance: f64) -> bool {
    // A fifth number is no coordinate.
    let checked = if values.len() == 5 { 4 } else { values.len() };
    let (mut outside, mut nearly) = (Vec::new(), Vec::new());
    for (at, &value) in values[..checked].iter().enumerate() {
        let is_size = coordinates == Coordinates::Box && at >= 2;
        if value > 1.0 + tolerance || (value < -tolerance && !is_size) {
            outside.push(at);
        } else if value > 1.0 || (value < 0.0 && !is_size) {
            nearly.push(at);
        }
    }
    if let Some(&first) = outside.first() {
        let value = values[first];
        let role = role(coordinates, first);
        let shown = shortened(line.token(first + 1));
        let side = match (coordinates, first % 2) {
            (Coordinates::Unclear, _) => "a side",
            (_, 0) => "the width",
            _ => "the height",
        };
        let largest = outside.iter().map(|&at| values[at].abs()).fold(0.0, f64::max);
        let help = if largest > 2.0 && outside.len() * 2 >= checked {
            "are these pixels? divide x by the image's width and y by its height".to_owned()
        } else if largest > 2.0 {
            "a share is at most 1; look at the number".to_owned()
        } else {
            format!(
                "clip the object to the image; ingest.tolerance = {tolerance} is what is forgiven"
            )
        };
        line.report(
            Rule::CoordinateOutOfRange,
            first + 1,
            format!("{role} {shown} is not within 0..=1{}", and_more(outside.len() - 1)),
            &format!(
                "{role} is {}; a share of {side} runs from 0 to 1",
                shortened(&value.to_string())
            ),
            &help,
        );
    }
    if let (Some(&first), true) = (nearly.first(), coordinates != Coordinates::Unclear) {
        let what = match line.book.drops(Rule::CoordinateClamped) {
            true => "is not within 0..=1".to_owned(),
            false => format!("was moved to {}", values[first].clamp(0.0, 1.0)),
        };
        let message = format!(
            "{} {} {what}{}",
            role(coordinates, first),
            shortened(line.token(first + 1)),
            and_more(nearly.len() - 1)
        );
        line.report(
            Rule::CoordinateClamped,
            first + 1,
            message,
            &format!("outside by no more than {tolerance}"),
            "",
        );
    }
    outside.is_empty() || !line.book.drops(Rule::CoordinateOutOfRange)
}

/// The geometry of a line without faults that drop it.
struct Geometry {
    vertices: Option<Vec<[f32; 2]>>,
    unit_box: UnitBox,
    area: f32,
    repaired: bool,
}

fn box_geometry(line: &mut Line, values: &[f64], in_range: bool) -> Option<Geometry> {
    let &[x, y, width, height] = values else { return None };
    if width <= 0.0 || height <= 0.0 {
        let (at, name, value) =
            if width <= 0.0 { (3, "width", width) } else { (4, "height", height) };
        let message = format!("{name} {} leaves no area", shortened(line.token(at)));
        let label = if value < 0.0 { "a size is positive" } else { "nothing is this thin" };
        line.report(
            Rule::ZeroArea,
            at,
            message,
            label,
            "draw the object again, or delete the line",
        );
        return None;
    }
    if !in_range {
        return None;
    }
    let clamp = |value: f64| value.clamp(0.0, 1.0);
    let mut repaired = values.iter().any(|value| !(0.0..=1.0).contains(value));
    let (x, y, width, height) = (clamp(x), clamp(y), clamp(width), clamp(height));
    let edges = [
        ("left", x - width / 2.0, 1),
        ("top", y - height / 2.0, 2),
        ("right", x + width / 2.0, 1),
        ("bottom", y + height / 2.0, 2),
    ];
    let past: Vec<_> = edges
        .iter()
        .filter(|(_, value, _)| *value < -ROUNDING || *value > 1.0 + ROUNDING)
        .collect();
    // Where the centre itself was moved to the edge, that half of the box is outside goes without
    // saying.
    let center_inside = values[..2].iter().all(|value| (0.0..=1.0).contains(value));
    if let (Some((name, value, at)), true) = (past.first(), center_inside) {
        repaired = true;
        let message =
            format!("the {name} edge is at {value:.6}, past the image{}", and_more(past.len() - 1));
        line.report(Rule::BoxClipped, *at, message, "this centre and size reach past the edge", "");
    }
    let [xmin, ymin, xmax, ymax] = edges.map(|(_, value, _)| clamp(value));
    let unit_box = UnitBox::new(xmin as f32, ymin as f32, xmax as f32, ymax as f32);
    if unit_box.width() <= 0.0 || unit_box.height() <= 0.0 {
        line.report(
            Rule::ZeroArea,
            3,
            "the box is too thin to have an area in single precision".into(),
            "",
            "draw the object again, or delete the line",
        );
        return None;
    }
    Some(Geometry {
        vertices: None,
        unit_box,
        area: ((xmax - xmin) * (ymax - ymin)) as f32,
        repaired,
    })
}

fn polygon_geometry(
    line: &mut Line,
    values: &[f64],
    in_range: bool,
    min_vertices: usize,
) -> Option<Geometry> {
    let raw: Vec<[f64; 2]> = values.chunks_exact(2).map(|pair| [pair[0], pair[1]]).collect();
    if raw.len() < min_vertices {
        let message = format!(
            "a polygon of {} vertices; ingest.min_polygon_vertices is {min_vertices}",
            raw.len()
        );
        line.report(
            Rule::PolygonTooFewVertices,
            line.tokens.len() - 1,
            message,
            "the outline ends here",
            "draw the object again, or lower ingest.min_polygon_vertices",
        );
    }
    if !in_range {
        return None;
    }
    let vertices: Vec<[f64; 2]> =
        raw.iter().map(|vertex| vertex.map(|value| value.clamp(0.0, 1.0))).collect();
    let single: Vec<[f32; 2]> =
        vertices.iter().map(|vertex| vertex.map(|value| value as f32)).collect();
    let unit_box = UnitBox::around(&single)?;
    if unit_box.width() <= 0.0 || unit_box.height() <= 0.0 || is_on_one_line(&vertices) {
        let message = format!("the polygon's {} vertices lie on one line", vertices.len());
        line.report(
            Rule::ZeroArea,
            1,
            message,
            "an outline without an inside",
            "draw the object again, or delete the line",
        );
        return None;
    }
    let crossing = if line.book.is_on(Rule::SelfIntersecting) {
        find_crossing(&vertices)
    } else {
        Crossing::None
    };
    match crossing {
        Crossing::None => {}
        Crossing::Edges(a, b) => {
            let message =
                format!("the edges from vertex {} and from vertex {} cross", a + 1, b + 1);
            line.report(
                Rule::SelfIntersecting,
                a * 2 + 1,
                message,
                "crosses another edge",
                "put the vertices in order around the outline",
            );
        }
        Crossing::Unknown => {
            let message = format!(
                "a polygon of {} vertices was not searched for crossing edges",
                vertices.len()
            );
            line.report_as(Rule::SelfIntersecting, NOTED, 1, message, "", "simplify the outline");
        }
    }
    let repaired = vertices != raw;
    // An outline that runs around a place twice has it twice in the formula, and no more than its
    // box in the image.
    let area = (polygon_area(&vertices) as f32).min(unit_box.width() * unit_box.height());
    Some(Geometry { vertices: Some(single), unit_box, area, repaired })
}

/// A token short enough for a message.
fn shortened(token: &str) -> String {
    const MAX_CHARS: usize = 32;
    if token.chars().nth(MAX_CHARS).is_none() {
        return token.to_owned();
    }
    token.chars().take(MAX_CHARS).chain(['…']).collect()
}

fn and_more(n: usize) -> String {
    if n == 0 { String::new() } else { format!(" (and {n} more)") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::find::class_names::ClassNames;

    fn parse(text: &str) -> (Option<LabelObject>, Vec<Finding>) {
        let rules = LabelRules {
            tolerance: 0.01,
            min_polygon_vertices: 3,
            classes: ClassNames::from_list(["wrist", "elbow"]),
            book: RuleBook::default(),
        };
        let mut findings = Vec::new();
        let object = LineParser::new("l.txt", &rules).parse(3, text, &mut findings);
        (object, findings)
    }

    fn only(text: &str) -> Finding {
        let (_, mut findings) = parse(text);
        assert_eq!(findings.len(), 1, "{findings:?}");
        findings.remove(0)
    }

    #[test]
    fn a_box_becomes_corners() {
        let (object, findings) = parse("1 0.5 0.4 0.2 0.1");
        let object = object.unwrap();
        assert_eq!(
            (object.class_id, object.line, object.unit_box),
            (1, 3, UnitBox::new(0.4, 0.35, 0.6, 0.45))
        );
        assert!(findings.is_empty() && !object.repaired && object.vertices.is_none());
    }

    #[test]
    fn columns_count_characters() {
        let finding = only("0\u{a0}\u{a0}0.5 é .2 .2");
        assert_eq!(
            (finding.rule.as_str(), finding.place.column, finding.place.width),
            ("coordinate-not-a-number", Some(8), Some(1))
        );
    }

    #[test]
    fn independent_faults_are_found_together_and_the_line_is_dropped() {
        let (object, findings) = parse("7 1.005 1.5 .2 .2");
        assert!(object.is_none());
        let rules: Vec<_> = findings
            .iter()
            .map(|finding| (finding.rule.as_str(), finding.place.column.unwrap()))
            .collect();
        assert_eq!(
            rules,
            [("class-unknown", 1), ("coordinate-clamped", 3), ("coordinate-out-of-range", 9)]
        );
        assert!(findings.iter().all(|finding| finding.action == Action::Dropped));
    }

    #[test]
    fn a_whole_fraction_is_a_class() {
        let (object, findings) = parse("1.0 .5 .5 .2 .2");
        assert_eq!(object.unwrap().class_id, 1);
        assert_eq!((findings[0].severity, findings[0].action), (Severity::Note, Action::Kept));
    }

    #[test]
    fn help_knows_the_usual_slips() {
        assert!(only("2 .5 .5 .2 .2").help.unwrap().contains("counted from 1"));
        assert!(only("elbow .5 .5 .2 .2").help.unwrap().ends_with("id: 1"));
        assert!(only("0 .5 .5 .2 .2 .87").help.unwrap().contains("confidence"));
        assert!(only("0 310 208 64 48").help.unwrap().contains("pixels"));
        assert!(only("0 0,5 .5 .2 .2").help.unwrap().contains("point"));
        assert!(only("0 NaN .5 .2 .2").help.unwrap().contains("division"));
    }

    #[test]
    fn tolerance_divides_repair_from_refusal() {
        let (object, findings) = parse("0 1.01 .5 .02 .2");
        assert!(object.unwrap().repaired);
        assert_eq!(findings[0].rule, "coordinate-clamped");
        assert_eq!(only("0 1.0101 .5 .02 .2").rule, "coordinate-out-of-range");
        assert_eq!(only("0 .1 .1 .2 .1 .2 -0.02").rule, "coordinate-out-of-range");
        let (object, _) = parse("0 .1 .1 .2 .1 .2 -0.005");
        assert_eq!(object.unwrap().unit_box.ymin, 0.0);
    }

    #[test]
    fn a_box_past_the_edge_is_clipped_and_rounding_is_not_reported() {
        let (object, findings) = parse("0 0.95 0.5 0.2 0.1");
        assert_eq!(
            (object.unwrap().unit_box.xmax, findings[0].rule.as_str()),
            (1.0, "box-clipped")
        );
        let (object, findings) = parse("0 0.9000005 0.5 0.2 0.1");
        assert!(findings.is_empty() && !object.unwrap().repaired);
    }

    #[test]
    fn nothing_without_an_area_passes() {
        for text in [
            "0 .5 .5 0 .1",
            "0 .5 .5 .1 -.1",
            "0 .1 .1 .2 .2 .3 .3",
            "0 .1 .1 .1 .2 .1 .3 .1 .4",
            "0 .5 .5 1e-30 .1",
            "0 .5 .5 -3 .1",
        ] {
            assert_eq!(only(text).rule, "zero-area", "{text}");
        }
    }

    #[test]
    fn a_bow_tie_is_kept_with_a_warning() {
        let (object, findings) = parse("0 .1 .1 .4 .4 .4 .1 .1 .4");
        assert!(object.is_some());
        assert_eq!(
            (findings[0].rule.as_str(), findings[0].action),
            ("self-intersecting", Action::Kept)
        );
    }

    #[test]
    fn absurd_numbers_are_findings() {
        assert_eq!(only("99999999999999999999999 .5 .5 .2 .2").rule, "class-unknown");
        assert_eq!(only("0 1e999 .5 .2 .2").rule, "coordinate-not-a-number");
        assert_eq!(only("0").rule, "coordinate-count");
        assert_eq!(only("-0.5 .5 .5 .2 .2").rule, "class-not-integer");
        assert_eq!(only("NaN .5 .5 .2 .2").rule, "class-not-integer");
        assert_eq!(only("40000 .5 .5 .2 .2").rule, "class-unknown");
    }
}
