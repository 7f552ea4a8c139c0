//! Plants faults in label files.

use ossify_contract::{Action, Severity, Shape};

use crate::dice::Dice;
use crate::expected::Expected;
use crate::fault::Fault::{self, *};
use crate::label_line::Line;

/// A label file with its faults.
#[derive(Debug, Default)]
pub struct LabelFile {
    /// Its non-blank lines; none for a background image.
    pub lines: Vec<Line>,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What ingest should find.
    pub expected: Vec<Expected>,
}

/// Writes a label file with these lines, and with `fault`, if that is a fault of labels.
pub fn label_file(
    path: &str,
    mut lines: Vec<Line>,
    fault: Option<Fault>,
    dice: &mut Dice,
) -> LabelFile {
    let mut expected = Vec::new();
    if let (Some(fault), false) = (fault, lines.is_empty()) {
        expected.extend(plant_line(path, &mut lines, fault, dice));
    }
    let end = if fault == Some(WindowsLineEnds) { "\r\n" } else { "\n" };
    let mut text: String = lines.iter().map(|line| line.text() + end).collect();
    match fault {
        Some(BlankLines) => {
            text = format!("\n  \t\n{}\n\n", text.replace('\n', "\n\n").replacen(' ', "\t", 1))
        }
        Some(MixedShapes) => expected.push(Expected::of_file("mixed-shapes", path)),
        Some(ByteOrderMark) => {
            text.insert(0, '\u{feff}');
            expected.push(Expected::of_file("byte-order-mark", path));
        }
        // As with many exporters, the last line often lacks its line break.
        None if dice.chance(0.5) => text = text.trim_end().to_owned(),
        _ => {}
    }
    let mut bytes = text.into_bytes();
    if fault == Some(NotUtf8) {
        // A Latin-1 byte replaces the last digit of the last line.
        let index = bytes.len().saturating_sub(2);
        if let Some(byte) = bytes.get_mut(index) {
            *byte = 0xe9;
        }
        let last = lines.len().max(1) as u32;
        expected.push(Expected { line: Some(last), ..Expected::of_file("not-utf8", path) });
    }
    if matches!(fault, Some(NotUtf8 | ImageMissing | StemCollision)) {
        lines.iter_mut().for_each(|line| line.dropped = true);
    }
    LabelFile { lines, bytes, expected }
}

/// Plants a fault in one line: adds a bad line beside good ones, changes a line that is kept, or
/// adds a line that makes the file odd.
fn plant_line(
    path: &str,
    lines: &mut Vec<Line>,
    fault: Fault,
    dice: &mut Dice,
) -> Option<Expected> {
    let host = dice.below(lines.len());
    let Line { tokens, shape, .. } = lines[host].clone();
    let (index, rule, offender) = if let Some((rule, offender, tokens)) = bad_line(fault, &tokens) {
        // The later of two equal lines is the duplicate.
        let index =
            if rule == "duplicate-label" { lines.len() } else { dice.below(lines.len() + 1) };
        lines.insert(index, Line { tokens, shape, dropped: true });
        (index, rule, offender)
    } else if let Some((rule, offender, tokens)) = changed_line(fault, &tokens) {
        lines[host].tokens = tokens;
        (host, rule, offender)
    } else {
        lines.extend(odd_line(fault, &tokens, shape));
        return None;
    };
    let line = &lines[index];
    let column = offender
        .map(|at| 1 + line.tokens.iter().take(at).map(|token| token.len() as u32 + 1).sum::<u32>());
    let mut expected = Expected { column, ..Expected::of_line(rule, path, index, &line.text()) };
    if fault == ClassHasAFraction {
        (expected.severity, expected.action) = (Severity::Note, Action::Kept);
    }
    Some(expected)
}

/// A rule, the index of the offending value, if there is one, and the line that breaks the rule.
type Planted = (&'static str, Option<usize>, Vec<String>);

/// A line for faults that make ingest drop a line, derived from a sound one.
fn bad_line(fault: Fault, sound: &[String]) -> Option<Planted> {
    let mut tokens = nudged(sound);
    let last = tokens.len() - 1;
    let with = |at, value| replaced(&tokens, at, value);
    Some(match fault {
        ClassIsAName => ("class-not-integer", Some(0), with(0, "fracture")),
        ClassIsNegative => ("class-not-integer", Some(0), with(0, "-1")),
        ClassUnknown => ("class-unknown", Some(0), with(0, "7")),
        CoordinateIsNan => ("coordinate-not-a-number", Some(last), with(last, "nan")),
        CoordinateIsInfinite => ("coordinate-not-a-number", Some(2), with(2, "inf")),
        CoordinateHasAComma => ("coordinate-not-a-number", Some(1), with(1, "0,4318")),
        ConfidenceColumn => {
            tokens.push("0.8731".into());
            ("coordinate-count", None, tokens)
        }
        OddCoordinate => {
            tokens.push("0.512".into());
            ("coordinate-count", None, tokens)
        }
        TooFewCoordinates => {
            tokens.truncate(4);
            ("coordinate-count", None, tokens)
        }
        VertexOutOfRange => ("coordinate-out-of-range", Some(3), with(3, "1.0427")),
        PixelBox => ("coordinate-out-of-range", Some(1), with(1, "187.5")),
        BoxWithoutWidth => ("zero-area", None, with(3, "0.000000")),
        FlatPolygon => {
            let flat = ["0.25", "0.3", "0.5", "0.3", "0.75", "0.3", "0.4", "0.3"];
            (
                "zero-area",
                None,
                sound.iter().take(1).cloned().chain(flat.map(String::from)).collect(),
            )
        }
        SameLineTwice => ("duplicate-label", None, sound.to_vec()),
        SameBoxTwice => {
            let same_values = sound.iter().skip(1).map(|token| format!("{token}00"));
            ("duplicate-label", None, sound.iter().take(1).cloned().chain(same_values).collect())
        }
        _ => return None,
    })
}

/// A changed line for faults with which ingest keeps a line.
fn changed_line(fault: Fault, sound: &[String]) -> Option<Planted> {
    Some(match fault {
        ClassHasAFraction => {
            let class = format!("{}.0", sound[0]);
            ("class-not-integer", Some(0), replaced(sound, 0, &class))
        }
        VertexClamped => ("coordinate-clamped", Some(2), up_to_the_edge(sound)),
        BoxPastTheEdge => {
            let center: f64 = sound.get(1).and_then(|x| x.parse().ok()).unwrap_or(0.5);
            let center = if (center - 0.5).abs() < 0.04 { 0.46 } else { center };
            let width = (2.0 * center.min(1.0 - center) + 0.05).min(1.0);
            let tokens = replaced(sound, 1, &format!("{center:.6}"));
            ("box-clipped", None, replaced(&tokens, 3, &format!("{width:.6}")))
        }
        CrossingEdges => {
            let mut tokens = sound.to_vec();
            tokens.swap(3, 5);
            tokens.swap(4, 6);
            ("self-intersecting", None, tokens)
        }
        _ => return None,
    })
}

/// A sound line for faults that are about the combination of lines.
fn odd_line(fault: Fault, sound: &[String], shape: Shape) -> Option<Line> {
    let (tokens, shape) = match fault {
        Triangle => (nudged(sound).into_iter().take(7).collect(), shape),
        SameBoxOtherPolygon => (other_polygon(sound), shape),
        MixedShapes => (box_around(&nudged(sound)), Shape::Box),
        _ => return None,
    };
    Some(Line { tokens, shape, dropped: false })
}

/// The line moved slightly towards the centre, which makes another, equally valid object.
fn nudged(tokens: &[String]) -> Vec<String> {
    let moved = tokens.iter().skip(1).map(|token| {
        let value: f64 = token.parse().unwrap_or(0.5);
        format!("{:.6}", 0.02 + 0.96 * value)
    });
    tokens.iter().take(1).cloned().chain(moved).collect()
}

fn replaced(tokens: &[String], at: usize, value: &str) -> Vec<String> {
    let mut tokens = tokens.to_vec();
    if let Some(token) = tokens.get_mut(at) {
        *token = value.to_owned();
    }
    tokens
}

fn corners(tokens: &[String]) -> (Vec<f64>, Vec<f64>) {
    let values: Vec<f64> = tokens.iter().skip(1).filter_map(|token| token.parse().ok()).collect();
    (
        values.iter().copied().step_by(2).collect(),
        values.iter().copied().skip(1).step_by(2).collect(),
    )
}

fn spread(values: &[f64]) -> (f64, f64) {
    values
        .iter()
        .fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(*value), high.max(*value)))
}

/// The bounding box of a polygon, as a label line.
fn box_around(tokens: &[String]) -> Vec<String> {
    let (xs, ys) = corners(tokens);
    let ((left, right), (top, bottom)) = (spread(&xs), spread(&ys));
    let values = [(left + right) / 2.0, (top + bottom) / 2.0, right - left, bottom - top];
    tokens.iter().take(1).cloned().chain(values.map(|value| format!("{value:.6}"))).collect()
}

/// A polygon from slightly above the image's upper edge down to the bottom of the given polygon.
fn up_to_the_edge(tokens: &[String]) -> Vec<String> {
    let (xs, ys) = corners(tokens);
    let ((left, right), (_, bottom)) = (spread(&xs), spread(&ys));
    tokens
        .iter()
        .take(1)
        .cloned()
        .chain(
            [left, -0.006, right, 0.003, right, bottom, left, bottom]
                .map(|value| value.to_string()),
        )
        .collect()
}

/// A diamond in the bounding box of the given polygon.
fn other_polygon(tokens: &[String]) -> Vec<String> {
    let (xs, ys) = corners(tokens);
    let ((left, right), (top, bottom)) = (spread(&xs), spread(&ys));
    let (x, y) = ((left + right) / 2.0, (top + bottom) / 2.0);
    tokens
        .iter()
        .take(1)
        .cloned()
        .chain([x, top, right, y, x, bottom, left, y].map(|value| value.to_string()))
        .collect()
}

#[cfg(test)]
mod tests {
    use ossify_contract::Split;

    use super::*;
    use crate::anatomy::Anatomy;
    use crate::dice::Stream;
    use crate::geometry::at;
    use crate::label_line::label_lines;
    use crate::picture::Object;

    fn all() -> impl Iterator<Item = &'static Fault> {
        Split::ALL.into_iter().flat_map(Fault::of_split)
    }

    fn file(fault: Fault, seed: u64) -> LabelFile {
        let outline = vec![at(0.3, 0.2), at(0.42, 0.21), at(0.43, 0.35), at(0.31, 0.36)];
        let objects = [Object { anatomy: Anatomy::Wrist, outline }];
        let mut dice = Dice::new(seed, Stream::Plan);
        let lines = label_lines(&objects, fault.shape().unwrap_or(Shape::Polygon), &mut dice);
        label_file("train/labels/a.txt", lines, Some(fault), &mut dice)
    }

    #[test]
    fn expected_places_point_at_the_text_of_the_file() {
        for fault in all().filter(|fault| **fault != NotUtf8) {
            for seed in 0..20 {
                let file = file(*fault, seed);
                let text = String::from_utf8(file.bytes).unwrap();
                for expected in file.expected.iter().filter(|expected| expected.line.is_some()) {
                    let line = text.lines().nth(expected.line.unwrap() as usize - 1).unwrap();
                    assert_eq!(Some(line), expected.text.as_deref(), "{fault:?}");
                    if let Some(column) = expected.column {
                        let start = column as usize - 1;
                        assert!(
                            start == 0 || line[..start].ends_with(' '),
                            "{fault:?}: {line} column {column}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn a_good_neighbour_survives_beside_each_bad_line() {
        for fault in all().filter(|fault| !matches!(fault, NotUtf8 | ImageMissing | StemCollision))
        {
            for seed in 0..20 {
                let file = file(*fault, seed);
                assert!(file.lines.iter().any(|line| !line.dropped), "{fault:?}");
                let dropped = file.lines.iter().filter(|line| line.dropped).count();
                let expected = file
                    .expected
                    .iter()
                    .filter(|expected| expected.action == Action::Dropped)
                    .count();
                assert_eq!(dropped, expected, "{fault:?}");
            }
        }
    }

    #[test]
    fn at_least_eight_kinds_of_malformed_lines_are_planted() {
        let mut rules: Vec<String> = all()
            .flat_map(|fault| file(*fault, 1).expected)
            .map(|expected| expected.rule)
            .collect();
        rules.sort();
        rules.dedup();
        assert!(rules.len() >= 12, "{rules:?}");
    }

    #[test]
    fn a_fault_is_planted_once() {
        let mut all: Vec<String> = all().map(|fault| fault.name()).collect();
        all.sort();
        let count = all.len();
        all.dedup();
        assert_eq!(all.len(), count);
        assert!(all.contains(&"class-is-a-name".to_owned()), "{all:?}");
    }
}
