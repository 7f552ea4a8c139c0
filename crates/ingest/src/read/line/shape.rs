//! The shape of a label line: a box or a polygon.

use ossify_contract::UnitBox;

use super::report::{Line, NOTED, and_more, shortened};
use crate::read::geometry::{Crossing, find_crossing, is_on_one_line, polygon_area};
use crate::rules::Rule;

/// How far a derived edge may exceed the image's edge through rounding alone: a centre and half a
/// size with six decimals are each off by at most half a millionth.
const ROUNDING: f64 = 1e-6;

/// The geometry of a line that is not dropped.
pub(super) struct Geometry {
    pub vertices: Option<Vec<[f32; 2]>>,
    pub unit_box: UnitBox,
    pub area: f32,
    pub repaired: bool,
}

/// The geometry of a box; `None`, with a finding, if it has none.
pub(super) fn box_geometry(line: &mut Line, values: &[f64], in_range: bool) -> Option<Geometry> {
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
    // If the centre itself was moved to the edge, half of the box is outside anyway.
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

/// The geometry of a polygon; `None`, with a finding, if it has none.
pub(super) fn polygon_geometry(
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
    // The formula counts an area twice if the outline runs around it twice, but the object cannot
    // be larger than its box.
    let area = (polygon_area(&vertices) as f32).min(unit_box.width() * unit_box.height());
    Some(Geometry { vertices: Some(single), unit_box, area, repaired })
}
