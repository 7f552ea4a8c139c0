//! Decides whether two pictures are the same, up to rotation and mirroring.

use std::sync::LazyLock;

use super::picture::{CIRCLES, Picture, SPOKES};
use crate::circle::unit_circle;
use crate::fingerprint::bilinear;

/// Minimum correlation of two pictures that count as the same. In BoneFractureYolo8 none of 1.9
/// million pairs of different splits reaches 0.70, and with 0.84 still 99 % of the groups with one
/// source are found; synthetic films that share their bones reach 0.80.
pub const MIN_CORRELATION: f32 = 0.82;
/// Pairs whose circles correlate less are rejected without a closer look.
const MIN_COARSE_CORRELATION: f32 = 0.4;
/// Maximum relative difference of the aspect ratios; exporters do not distort pictures by more.
const MAX_DISTORTION: f32 = 0.03;
/// Minimum number of pixels that both pictures must show to be compared.
const MIN_PIXELS: f32 = 1000.0;
/// Number of angles per turn that are distinguished.
const ANGLES: usize = 1024;

/// How two pictures are aligned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Alignment {
    /// Normalised correlation of their local contrast over the pixels that both show, -1..=1.
    pub correlation: f32,
    /// Rotation of the other against the first, in degrees counter-clockwise, -180..180.
    pub rotation_degrees: f32,
    /// Whether the other is also mirrored left to right, after the rotation.
    pub mirrored: bool,
}

impl Alignment {
    /// The alignment of the first with the other. For mirrored pictures the angle is the same both
    /// ways.
    pub(super) fn inverse(self) -> Self {
        Alignment {
            rotation_degrees: if self.mirrored {
                self.rotation_degrees
            } else {
                -self.rotation_degrees
            },
            ..self
        }
    }
}

/// Rotates `other`, mirrored or not, to align it with `picture` as well as possible; `None` if a
/// first comparison already shows that they are different pictures.
///
/// A circular correlation along circles gives the angle to 2.8 degrees; hill climbing on the
/// correlation in the plane then refines it to a third of a degree.
pub fn align(picture: &Picture, other: &Picture, mirrored: bool) -> Option<Alignment> {
    let (coarse, spoke) = best_spoke(&picture.circles, &other.circles, mirrored);
    if coarse < MIN_COARSE_CORRELATION {
        return None;
    }
    let step = ANGLES / SPOKES;
    let quarter_turned = (spoke + SPOKES / 8) / (SPOKES / 4) % 2 == 1;
    if !is_same_shape(picture, other, quarter_turned) {
        return None;
    }
    let mut angle = spoke * step;
    let mut correlation = correlation_at(picture, other, angle, mirrored);
    let mut stride = step / 2;
    while stride >= 1 {
        for next in [(angle + ANGLES - stride) % ANGLES, (angle + stride) % ANGLES] {
            let found = correlation_at(picture, other, next, mirrored);
            if found > correlation {
                (correlation, angle) = (found, next);
            }
        }
        stride /= 2;
    }
    let signed = if angle >= ANGLES / 2 { angle as f32 - ANGLES as f32 } else { angle as f32 };
    Some(Alignment { correlation, rotation_degrees: signed * 360.0 / ANGLES as f32, mirrored })
}

fn is_same_shape(picture: &Picture, other: &Picture, quarter_turned: bool) -> bool {
    let distortion = if quarter_turned {
        picture.width_to_height * other.width_to_height
    } else {
        picture.width_to_height / other.width_to_height
    };
    (1.0 - MAX_DISTORTION..=1.0 + MAX_DISTORTION).contains(&distortion)
}

/// The correlation along circles at the best rotation of the other, and that rotation,
/// counter-clockwise in spokes.
fn best_spoke(circles: &[f32], other: &[f32], mirrored: bool) -> (f32, usize) {
    // Each circle of the other is repeated twice, so that a rotation is a shift. Spokes run
    // clockwise from the right.
    let mut unrolled = Vec::with_capacity(2 * CIRCLES * SPOKES);
    for circle in other.chunks_exact(SPOKES) {
        for i in 0..2 * SPOKES {
            unrolled.push(if mirrored {
                circle[(SPOKES / 2 + 2 * SPOKES - i) % SPOKES]
            } else {
                circle[i % SPOKES]
            });
        }
    }
    let mut best = (f32::MIN, 0);
    for clockwise in 0..SPOKES {
        let pairs = circles.chunks_exact(SPOKES).zip(unrolled.chunks_exact(2 * SPOKES));
        let correlation = pairs
            .map(|(circle, other)| product(circle, &other[clockwise..clockwise + SPOKES]))
            .sum();
        if correlation > best.0 {
            best = (correlation, (SPOKES - clockwise) % SPOKES);
        }
    }
    best
}

/// The dot product, in lanes that processors add at once, and in a fixed order.
fn product(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; 8];
    for (a, b) in a.chunks_exact(8).zip(b.chunks_exact(8)) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += a * b;
        }
    }
    lanes.iter().sum()
}

/// Normalised correlation over the comparable pixels of both pictures, with the other rotated
/// counter-clockwise by `angle / ANGLES` turns; -1 if there are too few such pixels.
fn correlation_at(picture: &Picture, other: &Picture, angle: usize, mirrored: bool) -> f32 {
    static CIRCLE: LazyLock<[(f32, f32); ANGLES]> = LazyLock::new(unit_circle::<ANGLES>);
    let (cos, sin) = CIRCLE[angle];
    let flip = if mirrored { -1.0 } else { 1.0 };
    let (middle_x, middle_y) =
        ((picture.width - 1) as f32 / 2.0, (picture.height - 1) as f32 / 2.0);
    let (other_x, other_y) = ((other.width - 1) as f32 / 2.0, (other.height - 1) as f32 / 2.0);
    let (mut count, mut sum_a, mut sum_b, mut sum_aa, mut sum_bb, mut sum_ab) =
        (0.0_f32, 0.0_f64, 0.0_f64, 0.0_f64, 0.0_f64, 0.0_f64);
    for y in 0..picture.height {
        let down = y as f32 - middle_y;
        let row = y * picture.width..(y + 1) * picture.width;
        for ((x, a), comparable) in
            picture.contrast[row.clone()].iter().enumerate().zip(&picture.comparable[row])
        {
            if !comparable {
                continue;
            }
            let across = x as f32 - middle_x;
            // The point at (across, down) is at this position in the other picture, whose y axis
            // points down:
            let (at_x, at_y) =
                (other_x + flip * (across * cos + down * sin), other_y + down * cos - across * sin);
            // Rounded to the nearest pixel; negative numbers become 0, which is never comparable.
            let (near_x, near_y) = ((at_x + 0.5) as usize, (at_y + 0.5) as usize);
            if near_x >= other.width
                || near_y >= other.height
                || !other.comparable[near_y * other.width + near_x]
            {
                continue;
            }
            let b = f64::from(bilinear(&other.contrast, other.width, other.height, at_x, at_y));
            let a = f64::from(*a);
            count += 1.0;
            (sum_a, sum_b, sum_aa, sum_bb, sum_ab) =
                (sum_a + a, sum_b + b, sum_aa + a * a, sum_bb + b * b, sum_ab + a * b);
        }
    }
    if count < MIN_PIXELS {
        return -1.0;
    }
    let n = f64::from(count);
    let (spread_a, spread_b) = (sum_aa - sum_a * sum_a / n, sum_bb - sum_b * sum_b / n);
    if spread_a <= 0.0 || spread_b <= 0.0 {
        return -1.0;
    }
    ((sum_ab - sum_a * sum_b / n) / (spread_a * spread_b).sqrt()) as f32
}
