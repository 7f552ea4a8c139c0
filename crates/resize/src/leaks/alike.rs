//! Whether two pictures are one, turned or mirrored.

use std::sync::LazyLock;

use super::picture::{CIRCLES, Picture, SPOKES};
use crate::circle::unit_circle;
use crate::fingerprint::bilinear;

/// The least correlation of two pictures that count as one. In BoneFractureYolo8 none of 1.9
/// million pairs of different splits reaches 0.70, and with 0.84 the groups of one source are still
/// found to 99%; synthetic films that share their bones reach 0.80.
pub const MIN_CORRELATION: f32 = 0.82;
/// Pairs whose circles correlate less are let go without a closer look.
const MIN_COARSE_CORRELATION: f32 = 0.4;
/// Ratios of width to height that differ by a larger share belong to frames that no exporter made
/// of one.
const MAX_DISTORTION: f32 = 0.03;
/// Fewer pixels that both pictures show are no ground to compare them.
const MIN_PIXELS: f32 = 1000.0;
/// Angles that are distinguished, a turn.
const ANGLES: usize = 1024;

/// How two pictures lie on each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Alike {
    /// Normalised correlation of their local contrast where both show something, -1..=1.
    pub correlation: f32,
    /// Degrees by which the other is turned against the first, counter-clockwise, -180..180.
    pub rotation_degrees: f32,
    /// Whether the other is mirrored left to right after that.
    pub mirrored: bool,
}

impl Alike {
    /// How the first lies on the other. Two mirrored pictures are turned against each other by the
    /// same angle.
    pub(super) fn seen_from_the_other(self) -> Self {
        Alike {
            rotation_degrees: if self.mirrored {
                self.rotation_degrees
            } else {
                -self.rotation_degrees
            },
            ..self
        }
    }
}

/// Turns `other`, mirrored or not, onto `picture` as well as it can; `None` where that shows at a
/// first glance that they are two pictures.
///
/// A circular correlation along circles gives the turn to 2.8 degrees, and the correlation in the
/// plane is then climbed in steps down to a third of a degree.
pub fn lay_on(picture: &Picture, other: &Picture, mirrored: bool) -> Option<Alike> {
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
    Some(Alike { correlation, rotation_degrees: signed * 360.0 / ANGLES as f32, mirrored })
}

fn is_same_shape(picture: &Picture, other: &Picture, quarter_turned: bool) -> bool {
    let distortion = if quarter_turned {
        picture.width_to_height * other.width_to_height
    } else {
        picture.width_to_height / other.width_to_height
    };
    (1.0 - MAX_DISTORTION..=1.0 + MAX_DISTORTION).contains(&distortion)
}

/// The correlation along circles at the best turn of the other, counter-clockwise in spokes, and
/// that turn.
fn best_spoke(circles: &[f32], other: &[f32], mirrored: bool) -> (f32, usize) {
    // Each circle of the other twice in a row, so that a turn is a shift. Spokes run clockwise from
    // the right.
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

/// The sum of products, in lanes that a processor adds at once and in one order everywhere.
fn product(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; 8];
    for (a, b) in a.chunks_exact(8).zip(b.chunks_exact(8)) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += a * b;
        }
    }
    lanes.iter().sum()
}

/// Normalised correlation where both pictures can be compared, the other turned counter-clockwise
/// by `angle / ANGLES` turns; -1 where that is nearly nowhere.
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
            // What lies at (across, down) lies in the other, whose y runs down, here:
            let (at_x, at_y) =
                (other_x + flip * (across * cos + down * sin), other_y + down * cos - across * sin);
            // To the nearest pixel; a negative number becomes 0, which is never comparable.
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
