use ossify_contract::UnitBox;

use crate::rounding::single;

/// Where a point goes: `x' = a x + b y + c`, `y' = d x + e y + f`.
pub type Affine = [f64; 6];

/// The corners of a convex shape, in shares of a side; none where nothing is left of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Outline(Vec<[f64; 2]>);

impl Outline {
    /// Of a box.
    pub fn of(unit_box: &UnitBox) -> Self {
        let [left, top, right, bottom] = unit_box.to_array().map(f64::from);
        Outline(vec![[left, top], [right, top], [right, bottom], [left, bottom]])
    }

    /// The shape after a move.
    pub fn moved(&self, &[a, b, c, d, e, f]: &Affine) -> Self {
        Outline(self.0.iter().map(|[x, y]| [a * x + b * y + c, d * x + e * y + f]).collect())
    }

    /// The part inside left, top, right and bottom edges, which may be infinite (Sutherland and
    /// Hodgman 1974).
    pub fn within(self, [left, top, right, bottom]: [f64; 4]) -> Self {
        let sides = [(0, left, 1.0), (1, top, 1.0), (0, right, -1.0), (1, bottom, -1.0)];
        let mut corners = self.0;
        for (axis, edge, sign) in sides.into_iter().filter(|(_, edge, _)| edge.is_finite()) {
            let is_inside = |corner: &[f64; 2]| sign * (corner[axis] - edge) >= 0.0;
            let mut kept = Vec::with_capacity(corners.len() + 1);
            for (index, corner) in corners.iter().enumerate() {
                let before = &corners[(index + corners.len() - 1) % corners.len()];
                if is_inside(before) != is_inside(corner) {
                    let share = (edge - before[axis]) / (corner[axis] - before[axis]);
                    let other = 1 - axis;
                    let mut crossing = [edge; 2];
                    crossing[other] = before[other] + share * (corner[other] - before[other]);
                    kept.push(crossing);
                }
                if is_inside(corner) {
                    kept.push(*corner);
                }
            }
            corners = kept;
        }
        Outline(corners)
    }

    /// Its area, by the shoelace formula.
    pub fn area(&self) -> f64 {
        let next = self.0.iter().cycle().skip(1);
        let twice: f64 = self.0.iter().zip(next).map(|([x, y], [p, q])| x * q - p * y).sum();
        twice.abs() / 2.0
    }

    /// The smallest box around it; `None` where nothing is left.
    pub fn bounds(&self) -> Option<UnitBox> {
        let corners: Vec<[f32; 2]> = self.0.iter().map(|corner| corner.map(single)).collect();
        UnitBox::around(&corners)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: [f64; 4] = [0.0, 0.0, 1.0, 1.0];

    #[test]
    fn a_shape_is_cut_at_each_edge_and_keeps_what_is_inside() {
        let whole = UnitBox::new(0.25, 0.25, 0.75, 0.5);
        let outline = Outline::of(&whole);
        assert_eq!(outline.clone().within(UNIT), outline);
        assert_eq!((outline.area(), outline.bounds()), (0.125, Some(whole)));
        let infinite = f64::INFINITY;
        for (edges, expected) in [
            ([0.5, -infinite, infinite, infinite], Some(UnitBox::new(0.5, 0.25, 0.75, 0.5))),
            ([-infinite, 0.375, infinite, infinite], Some(UnitBox::new(0.25, 0.375, 0.75, 0.5))),
            ([-infinite, -infinite, 0.5, 0.375], Some(UnitBox::new(0.25, 0.25, 0.5, 0.375))),
            ([0.8, -infinite, infinite, infinite], None),
        ] {
            assert_eq!(outline.clone().within(edges).bounds(), expected, "{edges:?}");
        }
    }

    #[test]
    fn the_box_of_a_turned_shape_is_that_of_its_visible_part() {
        // A square on its corner, half of it beyond the right edge: the corners at the top and at
        // the bottom lie on the edge, and nothing of it is wider there.
        let turned = Outline(vec![[1.0, 0.25], [1.25, 0.5], [1.0, 0.75], [0.75, 0.5]]);
        let left = turned.clone().within(UNIT);
        assert_eq!((turned.area(), left.area()), (0.125, 0.0625));
        assert_eq!(left.bounds(), Some(UnitBox::new(0.75, 0.25, 1.0, 0.75)));
        // Moved on, the visible corner alone is left, and the box is smaller than the cut box
        // around the corners.
        let moved = turned.moved(&[1.0, 0.0, 0.125, 0.0, 1.0, 0.0]).within(UNIT);
        assert_eq!(moved.bounds(), Some(UnitBox::new(0.875, 0.375, 1.0, 0.625)));
    }
}
