//! Points of the plane, and similarity transforms.

use std::ops::{Add, Mul, Sub};

/// A point or vector of the drawing plane; y points down.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    /// Rightwards.
    pub x: f32,
    /// Downwards.
    pub y: f32,
}

/// Shorthand for a [`Point`].
pub fn at(x: f32, y: f32) -> Point {
    Point { x, y }
}

impl Add for Point {
    type Output = Point;
    fn add(self, other: Point) -> Point {
        at(self.x + other.x, self.y + other.y)
    }
}

impl Sub for Point {
    type Output = Point;
    fn sub(self, other: Point) -> Point {
        at(self.x - other.x, self.y - other.y)
    }
}

impl Mul<f32> for Point {
    type Output = Point;
    fn mul(self, factor: f32) -> Point {
        at(self.x * factor, self.y * factor)
    }
}

impl Point {
    /// Scalar product.
    pub fn dot(self, other: Point) -> f32 {
        self.x * other.x + self.y * other.y
    }

    /// Length.
    pub fn length(self) -> f32 {
        self.dot(self).sqrt()
    }

    /// The unit vector in this direction; straight down for a zero vector.
    pub fn unit(self) -> Point {
        let length = self.length();
        if length > 1e-9 { self * (1.0 / length) } else { at(0.0, 1.0) }
    }

    /// Rotated by a right angle.
    pub fn across(self) -> Point {
        at(-self.y, self.x)
    }

    /// Rotated by `angle` radians.
    pub fn turned(self, angle: f32) -> Point {
        let (sin, cos) = angle.sin_cos();
        at(self.x * cos - self.y * sin, self.x * sin + self.y * cos)
    }

    /// The point at `share` of the way to `other`.
    pub fn towards(self, other: Point, share: f32) -> Point {
        self + (other - self) * share
    }
}

/// A transform of the plane that preserves shapes: mirroring, scaling, rotation and translation, in
/// this order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Similarity {
    /// Whether x is mirrored first.
    pub mirror: bool,
    /// Factor on lengths.
    pub scale: f32,
    /// Radians.
    pub angle: f32,
    /// Added last.
    pub shift: Point,
}

impl Similarity {
    /// Rotates by `angle` around `center`, then translates by `shift`.
    pub fn around(center: Point, angle: f32, shift: Point) -> Self {
        Similarity {
            mirror: false,
            scale: 1.0,
            angle,
            shift: center + shift - center.turned(angle),
        }
    }

    /// Transforms a point.
    pub fn point(&self, point: Point) -> Point {
        self.vector(point) + self.shift
    }

    /// Transforms a vector: like [`Similarity::point`], but without the translation.
    pub fn vector(&self, vector: Point) -> Point {
        let mirrored = if self.mirror { at(-vector.x, vector.y) } else { vector };
        (mirrored * self.scale).turned(self.angle)
    }
}
