use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

/// Where the edges of a box can be, in shares of the image: a detector may let a box hang over.
const PLAUSIBLE_EDGES: RangeInclusive<f32> = -1.0..=2.0;

/// An axis-aligned box in shares of the image's width and height, corners at
/// (`xmin`, `ymin`) top left and (`xmax`, `ymax`) bottom right.
#[derive(Clone, Copy, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct UnitBox {
    /// Left edge.
    pub xmin: f32,
    /// Top edge.
    pub ymin: f32,
    /// Right edge.
    pub xmax: f32,
    /// Bottom edge.
    pub ymax: f32,
}

impl UnitBox {
    /// A box from its corners.
    pub fn new(xmin: f32, ymin: f32, xmax: f32, ymax: f32) -> Self {
        UnitBox { xmin, ymin, xmax, ymax }
    }

    /// A box from its centre and size.
    pub fn from_center(x: f32, y: f32, width: f32, height: f32) -> Self {
        UnitBox::new(x - width / 2.0, y - height / 2.0, x + width / 2.0, y + height / 2.0)
    }

    /// The smallest box around the points; `None` without points.
    pub fn around(points: &[[f32; 2]]) -> Option<Self> {
        let first = points.first()?;
        let mut found = UnitBox::new(first[0], first[1], first[0], first[1]);
        for [x, y] in &points[1..] {
            found.xmin = found.xmin.min(*x);
            found.ymin = found.ymin.min(*y);
            found.xmax = found.xmax.max(*x);
            found.ymax = found.ymax.max(*y);
        }
        Some(found)
    }

    /// Width; negative where the corners are swapped.
    pub fn width(&self) -> f32 {
        self.xmax - self.xmin
    }

    /// Height; negative where the corners are swapped.
    pub fn height(&self) -> f32 {
        self.ymax - self.ymin
    }

    /// Area; zero for an empty or inside-out box.
    pub fn area(&self) -> f32 {
        self.width().max(0.0) * self.height().max(0.0)
    }

    /// Whether the box lies so far outside the image that its edges must be something else.
    pub fn is_far_outside(&self) -> bool {
        !self.to_array().iter().all(|edge| PLAUSIBLE_EDGES.contains(edge))
    }

    /// Refuses what is no box of an image.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn check(&self) -> Result<(), String> {
        let edges = self.to_array();
        if edges.iter().any(|edge| !edge.is_finite()) {
            return Err(format!("the box {edges:?} is not made of finite numbers"));
        }
        if self.is_far_outside() {
            return Err(format!(
                "the box {edges:?} lies far outside the image, whose edges are 0 and 1; are these \
                 pixels? divide by its width and height"
            ));
        }
        if self.width() < 0.0 || self.height() < 0.0 {
            return Err(format!(
                "the box {edges:?} ends before it begins; wanted are xmin, ymin, xmax, ymax, not a \
                 corner or centre with a size"
            ));
        }
        Ok(())
    }

    /// The part inside the image.
    pub fn clamped(&self) -> Self {
        UnitBox::new(
            self.xmin.clamp(0.0, 1.0),
            self.ymin.clamp(0.0, 1.0),
            self.xmax.clamp(0.0, 1.0),
            self.ymax.clamp(0.0, 1.0),
        )
    }

    /// The same box with its corners in order.
    pub fn ordered(&self) -> Self {
        UnitBox::new(
            self.xmin.min(self.xmax),
            self.ymin.min(self.ymax),
            self.xmin.max(self.xmax),
            self.ymin.max(self.ymax),
        )
    }

    /// Intersection over union, 0..=1, in double precision; 0 where both boxes are empty.
    pub fn iou(&self, other: &UnitBox) -> f64 {
        let overlap = |low: f32, high: f32| (f64::from(high) - f64::from(low)).max(0.0);
        let area = |b: &UnitBox| overlap(b.xmin, b.xmax) * overlap(b.ymin, b.ymax);
        let intersection = overlap(self.xmin.max(other.xmin), self.xmax.min(other.xmax))
            * overlap(self.ymin.max(other.ymin), self.ymax.min(other.ymax));
        let union = area(self) + area(other) - intersection;
        if union > 0.0 { intersection / union } else { 0.0 }
    }

    /// Corners as `[xmin, ymin, xmax, ymax]`.
    pub fn to_array(self) -> [f32; 4] {
        [self.xmin, self.ymin, self.xmax, self.ymax]
    }
}

impl From<[f32; 4]> for UnitBox {
    fn from([xmin, ymin, xmax, ymax]: [f32; 4]) -> Self {
        UnitBox { xmin, ymin, xmax, ymax }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iou_of_a_box_with_itself_is_one_and_with_a_stranger_zero() {
        let a = UnitBox::new(0.1, 0.2, 0.5, 0.9);
        assert_eq!(a.iou(&a), 1.0);
        assert_eq!(a.iou(&UnitBox::new(0.6, 0.2, 0.9, 0.9)), 0.0);
        assert_eq!(UnitBox::default().iou(&UnitBox::default()), 0.0);
    }

    #[test]
    fn half_overlap_is_a_third() {
        let a = UnitBox::new(0.0, 0.0, 0.5, 1.0);
        let b = UnitBox::new(0.25, 0.0, 0.75, 1.0);
        assert!((a.iou(&b) - 1.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn around_is_the_hull_of_the_points() {
        let hull = UnitBox::around(&[[0.5, 0.1], [0.2, 0.4], [0.3, 0.9]]);
        assert_eq!(hull, Some(UnitBox::new(0.2, 0.1, 0.5, 0.9)));
        assert_eq!(UnitBox::around(&[]), None);
    }
}
