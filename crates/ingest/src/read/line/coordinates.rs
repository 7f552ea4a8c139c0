//! The coordinates of a label line.

use super::report::{Line, and_more, shortened};
use crate::rules::Rule;

/// The meaning of a line's coordinates, judging by their number.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Coordinates {
    Box,
    Polygon,
    Unclear,
}

/// Tells box from polygon; adds a finding if the number of coordinates fits neither.
pub(super) fn check_count(line: &mut Line) -> Coordinates {
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

/// Parses the coordinates; returns false and adds a finding if one is not a finite number.
pub(super) fn parse_numbers(line: &mut Line, values: &mut Vec<f64>) -> bool {
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
    let problem = if is_number { "is not a finite number" } else { "is not a number" };
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

/// The meaning of the number at this position, for messages.
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

/// Checks every raw coordinate against 0..1; returns false and adds a finding if one is outside by
/// more than the tolerance and the rule drops the line. Sizes of zero or less are left to the rule
/// about areas.
pub(super) fn check_range(
    line: &mut Line,
    coordinates: Coordinates,
    values: &[f64],
    tolerance: f64,
) -> bool {
    // A fifth number is not a coordinate.
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
            format!("{role} {shown} is not between 0 and 1{}", and_more(outside.len() - 1)),
            &format!(
                "{role} is {}; a share of {side} runs from 0 to 1",
                shortened(&value.to_string())
            ),
            &help,
        );
    }
    if let (Some(&first), true) = (nearly.first(), coordinates != Coordinates::Unclear) {
        let what = match line.book.drops(Rule::CoordinateClamped) {
            true => "is not between 0 and 1".to_owned(),
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
