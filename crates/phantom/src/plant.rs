//! Label lines, and the faults planted among them.

use ossify_contract::{Action, Severity, Split};
use serde::{Deserialize, Serialize};

use crate::dice::Dice;
use crate::picture::Object;

/// How objects are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelShape {
    /// Centre and size.
    Box,
    /// Corners.
    Polygon,
}

/// Something to be found: one kind of fault of one image or its label file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each name says what is planted; `Fault::plant` does it")]
pub enum Fault {
    ClassIsAName,
    ClassIsNegative,
    ClassHasAFraction,
    ClassUnknown,
    CoordinateIsNan,
    CoordinateIsInfinite,
    CoordinateHasAComma,
    ConfidenceColumn,
    OddCoordinate,
    TooFewCoordinates,
    Triangle,
    VertexOutOfRange,
    PixelBox,
    VertexClamped,
    BoxPastTheEdge,
    BoxWithoutWidth,
    FlatPolygon,
    CrossingEdges,
    SameLineTwice,
    SameBoxTwice,
    MixedShapes,
    NotUtf8,
    ByteOrderMark,
    WindowsLineEnds,
    BlankLines,
    SameBoxOtherPolygon,
    LabelMissing,
    ImageMissing,
    ImageCutShort,
    ImageTooSmall,
    StemCollision,
}

use Fault::*;

const TRAIN: &[Fault] = &[
    ClassIsAName,
    ClassIsNegative,
    ClassUnknown,
    CoordinateIsNan,
    ConfidenceColumn,
    OddCoordinate,
    VertexOutOfRange,
    VertexClamped,
    BoxPastTheEdge,
    BoxWithoutWidth,
    FlatPolygon,
    CrossingEdges,
    SameLineTwice,
    MixedShapes,
    NotUtf8,
    ByteOrderMark,
    WindowsLineEnds,
    SameBoxOtherPolygon,
    LabelMissing,
    ImageMissing,
    ImageCutShort,
    ImageTooSmall,
    StemCollision,
];
const VALID: &[Fault] = &[Triangle, CoordinateIsInfinite, TooFewCoordinates, ClassHasAFraction];
const TEST: &[Fault] = &[CoordinateHasAComma, SameBoxTwice, PixelBox, BlankLines];

/// What ingest is to say about a planted fault under its default configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Expected {
    /// Name of the rule.
    pub rule: String,
    /// How bad it is.
    pub severity: Severity,
    /// What happens to the line or the file.
    pub action: Action,
    /// Path from the dataset root.
    pub path: String,
    /// Line from 1; none for findings about a whole file.
    pub line: Option<u32>,
    /// Column of the offending value from 1, where one value offends.
    pub column: Option<u32>,
    /// The line as it is in the file.
    pub text: Option<String>,
}

/// A label line as it will be written, and what becomes of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// The values.
    pub tokens: Vec<String>,
    /// Whether it is a box or a polygon when it is accepted.
    pub shape: LabelShape,
    /// Whether ingest leaves it out.
    pub dropped: bool,
}

impl Line {
    /// The line as text.
    pub fn text(&self) -> String {
        self.tokens.join(" ")
    }
}

/// The label lines of `objects`.
pub fn label_lines(objects: &[Object], shape: LabelShape, dice: &mut Dice) -> Vec<Line> {
    // Some exporters repeat the first corner at the end.
    let is_closed = dice.chance(0.5);
    objects
        .iter()
        .map(|object| Line { tokens: tokens(object, shape, is_closed), shape, dropped: false })
        .collect()
}

fn tokens(object: &Object, shape: LabelShape, is_closed: bool) -> Vec<String> {
    let mut tokens = vec![object.anatomy.class_id().to_string()];
    match shape {
        LabelShape::Polygon => {
            let closing = object.outline.first().filter(|_| is_closed);
            tokens.extend(
                object
                    .outline
                    .iter()
                    .chain(closing)
                    .flat_map(|corner| [corner.x.to_string(), corner.y.to_string()]),
            );
        }
        LabelShape::Box => {
            let spread = |values: &mut dyn Iterator<Item = f32>| {
                values.fold((f64::MAX, f64::MIN), |(low, high), value| {
                    (low.min(value.into()), high.max(value.into()))
                })
            };
            let (left, right) = spread(&mut object.outline.iter().map(|corner| corner.x));
            let (top, bottom) = spread(&mut object.outline.iter().map(|corner| corner.y));
            tokens.extend(
                [(left + right) / 2.0, (top + bottom) / 2.0, right - left, bottom - top]
                    .map(|value| format!("{value:.6}")),
            );
        }
    }
    tokens
}

/// A label file with its faults.
#[derive(Debug, Default)]
pub struct LabelFile {
    /// Its lines that are not blank; none where there is nothing to find.
    pub lines: Vec<Line>,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What ingest is to find.
    pub expected: Vec<Expected>,
}

/// What a rule does by default.
fn outcome(rule: &str) -> (Severity, Action) {
    match rule {
        "coordinate-clamped" | "box-clipped" => (Severity::Warning, Action::Repaired),
        "self-intersecting" | "label-missing" | "class-rare" => (Severity::Warning, Action::Kept),
        "duplicate-label" => (Severity::Warning, Action::Dropped),
        "mixed-shapes" | "byte-order-mark" => (Severity::Note, Action::Kept),
        "image-unreadable" | "image-too-small" => (Severity::Error, Action::Kept),
        _ => (Severity::Error, Action::Dropped),
    }
}

impl Expected {
    /// A finding about a whole file with the rule's default severity and action.
    pub fn of_file(rule: &str, path: &str) -> Self {
        let (severity, action) = outcome(rule);
        Expected {
            rule: rule.to_owned(),
            severity,
            action,
            path: path.to_owned(),
            line: None,
            column: None,
            text: None,
        }
    }

    fn of_line(rule: &str, path: &str, line: usize, text: &str) -> Self {
        Expected {
            line: Some(line as u32 + 1),
            text: Some(text.to_owned()),
            ..Self::of_file(rule, path)
        }
    }
}

impl Fault {
    /// What is planted in a split, in order. The faults of valid leave its objects as they are.
    pub fn of_split(split: Split) -> &'static [Fault] {
        match split {
            Split::Train => TRAIN,
            Split::Valid => VALID,
            Split::Test => TEST,
        }
    }

    /// The shape that the file's labels must have for it.
    pub fn shape(self) -> Option<LabelShape> {
        match self {
            ConfidenceColumn | TooFewCoordinates | PixelBox | BoxPastTheEdge | BoxWithoutWidth
            | SameBoxTwice | CoordinateHasAComma => Some(LabelShape::Box),
            OddCoordinate | Triangle | VertexOutOfRange | VertexClamped | FlatPolygon
            | CrossingEdges | MixedShapes | SameBoxOtherPolygon => Some(LabelShape::Polygon),
            _ => None,
        }
    }

    /// Whether it can only be planted where there are pictures.
    pub fn needs_pictures(self) -> bool {
        matches!(self, ImageCutShort | ImageTooSmall)
    }

    /// Something odd that is no fault; nothing may be found.
    pub fn is_innocent(self) -> bool {
        matches!(self, WindowsLineEnds | BlankLines | SameBoxOtherPolygon | Triangle)
    }

    /// Its name in `planted.json`.
    pub fn name(self) -> String {
        let mut name = String::new();
        for c in format!("{self:?}").chars() {
            if c.is_ascii_uppercase() && !name.is_empty() {
                name.push('-');
            }
            name.push(c.to_ascii_lowercase());
        }
        name
    }
}

/// Writes a label file, with `fault` in it if it is one of labels. `lines` are those of its
/// objects.
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
        // As exporters do, the last line often has no end.
        None if dice.chance(0.5) => text = text.trim_end().to_owned(),
        _ => {}
    }
    let mut bytes = text.into_bytes();
    if fault == Some(NotUtf8) {
        // A byte of Latin-1 in the place of the last line's last digit.
        let place = bytes.len().saturating_sub(2);
        if let Some(byte) = bytes.get_mut(place) {
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

/// Plants a fault of one line: a new line beside good neighbours, or a change of one that stays.
fn plant_line(
    path: &str,
    lines: &mut Vec<Line>,
    fault: Fault,
    dice: &mut Dice,
) -> Option<Expected> {
    let host = dice.below(lines.len());
    let Line { mut tokens, shape, .. } = lines[host].clone();
    let mut nudged = tokens.clone();
    for token in nudged.iter_mut().skip(1) {
        // Towards the middle by a little: another object, as sound as the first.
        let value: f64 = token.parse().unwrap_or(0.5);
        *token = format!("{:.6}", 0.02 + 0.96 * value);
    }
    let last = nudged.len() - 1;
    let set = |tokens: &mut Vec<String>, at: usize, value: &str| {
        if let Some(token) = tokens.get_mut(at) {
            *token = value.to_owned();
        }
    };
    // The rule, and the offending value where there is one.
    let (rule, offender): (&str, Option<usize>) = match fault {
        ClassIsAName => {
            set(&mut nudged, 0, "fracture");
            ("class-not-integer", Some(0))
        }
        ClassIsNegative => {
            set(&mut nudged, 0, "-1");
            ("class-not-integer", Some(0))
        }
        ClassUnknown => {
            set(&mut nudged, 0, "7");
            ("class-unknown", Some(0))
        }
        CoordinateIsNan => {
            set(&mut nudged, last, "nan");
            ("coordinate-not-a-number", Some(last))
        }
        CoordinateIsInfinite => {
            set(&mut nudged, 2, "inf");
            ("coordinate-not-a-number", Some(2))
        }
        CoordinateHasAComma => {
            set(&mut nudged, 1, "0,4318");
            ("coordinate-not-a-number", Some(1))
        }
        ConfidenceColumn => {
            nudged.push("0.8731".into());
            ("coordinate-count", None)
        }
        OddCoordinate => {
            nudged.push("0.512".into());
            ("coordinate-count", None)
        }
        TooFewCoordinates => {
            nudged.truncate(4);
            ("coordinate-count", None)
        }
        VertexOutOfRange => {
            set(&mut nudged, 3, "1.0427");
            ("coordinate-out-of-range", Some(3))
        }
        PixelBox => {
            set(&mut nudged, 1, "187.5");
            ("coordinate-out-of-range", Some(1))
        }
        BoxWithoutWidth => {
            set(&mut nudged, 3, "0.000000");
            ("zero-area", None)
        }
        FlatPolygon => {
            nudged = [&tokens[0], "0.25", "0.3", "0.5", "0.3", "0.75", "0.3", "0.4", "0.3"]
                .map(String::from)
                .to_vec();
            ("zero-area", None)
        }
        SameLineTwice => {
            nudged.clone_from(&tokens);
            ("duplicate-label", None)
        }
        SameBoxTwice => {
            nudged = tokens
                .iter()
                .enumerate()
                .map(|(i, token)| if i == 0 { token.clone() } else { format!("{token}00") })
                .collect();
            ("duplicate-label", None)
        }
        // Lines that stay.
        ClassHasAFraction => {
            let class = format!("{}.0", tokens[0]);
            set(&mut tokens, 0, &class);
            ("class-not-integer", Some(0))
        }
        VertexClamped => {
            tokens = up_to_the_edge(&tokens);
            ("coordinate-clamped", Some(2))
        }
        BoxPastTheEdge => {
            let center: f64 = tokens.get(1).and_then(|x| x.parse().ok()).unwrap_or(0.5);
            let center = if (center - 0.5).abs() < 0.04 { 0.46 } else { center };
            set(&mut tokens, 1, &format!("{center:.6}"));
            set(
                &mut tokens,
                3,
                &format!("{:.6}", (2.0 * center.min(1.0 - center) + 0.05).min(1.0)),
            );
            ("box-clipped", None)
        }
        CrossingEdges => {
            tokens.swap(3, 5);
            tokens.swap(4, 6);
            ("self-intersecting", None)
        }
        // Lines beside which nothing is wrong.
        Triangle => {
            nudged.truncate(7);
            lines.push(Line { tokens: nudged, shape, dropped: false });
            return None;
        }
        SameBoxOtherPolygon => {
            lines.push(Line { tokens: other_polygon(&tokens), shape, dropped: false });
            return None;
        }
        MixedShapes => {
            lines.push(Line {
                tokens: box_around(&nudged),
                shape: LabelShape::Box,
                dropped: false,
            });
            return None;
        }
        _ => return None,
    };
    let is_dropped = outcome(rule).1 == Action::Dropped && fault != ClassHasAFraction;
    let place = if !is_dropped {
        lines[host].tokens = tokens;
        host
    } else {
        // A duplicate is the later of the two.
        let place =
            if rule == "duplicate-label" { lines.len() } else { dice.below(lines.len() + 1) };
        lines.insert(place, Line { tokens: nudged, shape, dropped: true });
        place
    };
    let line = &lines[place];
    let column = offender
        .map(|at| 1 + line.tokens.iter().take(at).map(|token| token.len() as u32 + 1).sum::<u32>());
    let mut expected = Expected { column, ..Expected::of_line(rule, path, place, &line.text()) };
    if fault == ClassHasAFraction {
        (expected.severity, expected.action) = (Severity::Note, Action::Kept);
    }
    Some(expected)
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

/// The box around a polygon's line, as a line of its own.
fn box_around(tokens: &[String]) -> Vec<String> {
    let (xs, ys) = corners(tokens);
    let ((left, right), (top, bottom)) = (spread(&xs), spread(&ys));
    let values = [(left + right) / 2.0, (top + bottom) / 2.0, right - left, bottom - top];
    tokens.iter().take(1).cloned().chain(values.map(|value| format!("{value:.6}"))).collect()
}

/// A polygon from a little above the image's upper edge down to the foot of a polygon's line.
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

/// A diamond in the box around a polygon's line.
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
    use super::*;
    use crate::anatomy::Anatomy;
    use crate::dice::Stream;
    use crate::geometry::at;

    const SPLITS: [&[Fault]; 3] = [TRAIN, VALID, TEST];

    fn file(fault: Fault, seed: u64) -> LabelFile {
        let outline = vec![at(0.3, 0.2), at(0.42, 0.21), at(0.43, 0.35), at(0.31, 0.36)];
        let objects = [Object { anatomy: Anatomy::Wrist, outline }];
        let mut dice = Dice::new(seed, Stream::Plan);
        let lines = label_lines(&objects, fault.shape().unwrap_or(LabelShape::Polygon), &mut dice);
        label_file("train/labels/a.txt", lines, Some(fault), &mut dice)
    }

    #[test]
    fn expected_places_point_at_the_text_of_the_file() {
        for fault in SPLITS.into_iter().flatten().filter(|fault| **fault != NotUtf8) {
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
        for fault in SPLITS
            .into_iter()
            .flatten()
            .filter(|fault| !matches!(fault, NotUtf8 | ImageMissing | StemCollision))
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
        let mut rules: Vec<String> = SPLITS
            .into_iter()
            .flatten()
            .flat_map(|fault| file(*fault, 1).expected)
            .map(|expected| expected.rule)
            .collect();
        rules.sort();
        rules.dedup();
        assert!(rules.len() >= 12, "{rules:?}");
    }

    #[test]
    fn a_fault_is_planted_once() {
        let mut all: Vec<String> = SPLITS.into_iter().flatten().map(|fault| fault.name()).collect();
        all.sort();
        let count = all.len();
        all.dedup();
        assert_eq!(all.len(), count);
        assert!(all.contains(&"class-is-a-name".to_owned()), "{all:?}");
    }
}
