//! Label lines.

use ossify_contract::Shape;

use crate::dice::Dice;
use crate::picture::Object;

/// A label line as it will be written, and what ingest makes of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// The values.
    pub tokens: Vec<String>,
    /// Whether it is a box or a polygon, if it is accepted.
    pub shape: Shape,
    /// Whether ingest drops it.
    pub dropped: bool,
}

impl Line {
    /// The line as text.
    pub fn text(&self) -> String {
        self.tokens.join(" ")
    }
}

/// The label lines of `objects`.
pub fn label_lines(objects: &[Object], shape: Shape, dice: &mut Dice) -> Vec<Line> {
    // Some exporters repeat the first corner at the end.
    let is_closed = dice.chance(0.5);
    objects
        .iter()
        .map(|object| Line { tokens: tokens(object, shape, is_closed), shape, dropped: false })
        .collect()
}

fn tokens(object: &Object, shape: Shape, is_closed: bool) -> Vec<String> {
    let mut tokens = vec![object.anatomy.class_id().to_string()];
    match shape {
        Shape::Polygon => {
            let closing = object.outline.first().filter(|_| is_closed);
            tokens.extend(
                object
                    .outline
                    .iter()
                    .chain(closing)
                    .flat_map(|corner| [corner.x.to_string(), corner.y.to_string()]),
            );
        }
        Shape::Box => {
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
