//! Turns a label line into an object or findings.

mod class;
mod coordinates;
mod report;
mod shape;

use std::ops::Range;

use ossify_diagnostics::{Action, Finding};

pub(crate) use report::raw;

use super::label_rules::LabelRules;
use super::object::LabelObject;
use class::parse_class;
use coordinates::{Coordinates, check_count, check_range, parse_numbers};
use report::Line;
use shape::{box_geometry, polygon_geometry};

/// Parses the lines of a file, and reuses its buffers.
pub(crate) struct LineParser<'a> {
    path: &'a str,
    rules: &'a LabelRules,
    tokens: Vec<Range<usize>>,
    values: Vec<f64>,
}

impl<'a> LineParser<'a> {
    pub fn new(path: &'a str, rules: &'a LabelRules) -> Self {
        LineParser { path, rules, tokens: Vec::new(), values: Vec::new() }
    }

    /// The object on a non-blank line, or `None` and at least one finding with action dropped.
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
        line.found.sort_by_key(|finding| finding.location.column);
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

#[cfg(test)]
mod tests {
    use ossify_contract::UnitBox;
    use ossify_diagnostics::Severity;

    use super::*;
    use crate::find::class_names::ClassNames;
    use crate::rules::RuleBook;

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
            (finding.rule.as_str(), finding.location.column, finding.location.width),
            ("coordinate-not-a-number", Some(8), Some(1))
        );
    }

    #[test]
    fn independent_faults_are_found_together_and_the_line_is_dropped() {
        let (object, findings) = parse("7 1.005 1.5 .2 .2");
        assert!(object.is_none());
        let rules: Vec<_> = findings
            .iter()
            .map(|finding| (finding.rule.as_str(), finding.location.column.unwrap()))
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
