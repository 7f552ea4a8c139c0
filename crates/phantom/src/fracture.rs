//! Broken bones: a jagged gap, displaced fragments, sometimes a splinter.

use crate::dice::Dice;
use crate::draw::{Bone, Chain, Cut, Node};
use crate::geometry::{Point, Similarity, at};

/// A broken bone.
#[derive(Debug)]
pub struct Fracture {
    /// Two fragments, and sometimes a splinter.
    pub fragments: Vec<Bone>,
    /// A convex polygon around the break, as an annotator would draw it.
    pub outline: Vec<Point>,
}

/// Breaks `bone` at `share` of the length of its first chain. The shorter fragment is displaced.
///
/// `corners` is how many corners the outline has, at least 4.
pub fn fracture(bone: &Bone, share: f32, corners: usize, dice: &mut Dice) -> Option<Fracture> {
    let (center, along, radius) = along_axis(bone.chains.first()?, share)?;
    let across = along.across();
    let teeth_count = 6 + dice.below(4);
    let (slope, height) = (dice.within(-0.55, 0.55), dice.within(0.1, 0.3) * radius);
    let span = 1.5 * radius;
    let teeth: Vec<f32> = (0..=teeth_count)
        .map(|i| {
            let position = (i as f32 / teeth_count as f32 * 2.0 - 1.0) * span;
            let tooth = if i % 2 == 0 { height } else { -height };
            slope * position + tooth * dice.within(0.3, 1.0)
        })
        .collect();
    let gap = (0.5 * dice.within(0.16, 0.3) * radius).max(0.009);
    let far = Cut { origin: center, along, across, teeth, span, gap };
    let near = opposite(&far);

    let displaced = dice.chance(0.6);
    let sideways = dice.sign()
        * radius
        * if displaced { dice.within(0.15, 0.55) } else { dice.within(0.0, 0.08) };
    let apart = radius * dice.within(-0.05, 0.18);
    let angle =
        dice.sign() * if displaced { dice.within(0.04, 0.26) } else { dice.within(0.0, 0.03) };
    let outward = if share > 0.5 { 1.0 } else { -1.0 };
    let movement = Similarity::around(center, angle, across * sideways + along * (apart * outward));
    let (mut first, mut second) = (bone.clone(), bone.clone());
    first.cuts.push(near);
    second.cuts.push(far);
    let mut fragments = if share > 0.5 {
        vec![first, moved(&second, &movement)]
    } else {
        vec![moved(&first, &movement), second]
    };
    if dice.chance(0.3) {
        fragments.push(splinter(center, along, radius, dice));
    }
    let half_length = radius * (0.75 + 0.8 * slope.abs()) + height + gap + apart.abs();
    let half_width = radius * 1.3 + sideways.abs() * 0.8;
    let middle = center + across * (0.5 * sideways);
    Some(Fracture {
        fragments,
        outline: outline(middle, along * half_length, across * half_width, corners, dice),
    })
}

fn opposite(cut: &Cut) -> Cut {
    Cut {
        along: cut.along * -1.0,
        teeth: cut.teeth.iter().map(|tooth| -tooth).collect(),
        ..cut.clone()
    }
}

fn moved(bone: &Bone, movement: &Similarity) -> Bone {
    let chains = bone.chains.iter().map(|chain| {
        chain.iter().map(|node| Node { center: movement.point(node.center), ..*node }).collect()
    });
    let cuts = bone.cuts.iter().map(|cut| Cut {
        origin: movement.point(cut.origin),
        along: movement.vector(cut.along),
        across: movement.vector(cut.across),
        ..cut.clone()
    });
    Bone { chains: chains.collect(), cuts: cuts.collect(), ..bone.clone() }
}

fn splinter(center: Point, along: Point, radius: f32, dice: &mut Dice) -> Bone {
    let start = center
        + along.across() * (dice.sign() * radius * dice.within(0.85, 1.1))
        + along * (radius * dice.within(-0.3, 0.3));
    let end = start + along.turned(dice.within(-0.9, 0.9)) * (radius * dice.within(0.4, 0.8));
    let size = radius * dice.within(0.1, 0.2);
    Bone::new(&[(start.x, start.y, size), (end.x, end.y, 0.5 * size)])
}

/// Centre, direction and radius at `share` of the chain's length.
fn along_axis(chain: &Chain, share: f32) -> Option<(Point, Point, f32)> {
    let lengths: Vec<f32> =
        chain.windows(2).map(|pair| (pair[1].center - pair[0].center).length()).collect();
    let mut left = share.clamp(0.0, 1.0) * lengths.iter().sum::<f32>();
    for (pair, length) in chain.windows(2).zip(&lengths) {
        if left <= *length {
            let part = left / length.max(1e-9);
            let radius = pair[0].radius + (pair[1].radius - pair[0].radius) * part;
            return Some((
                pair[0].center.towards(pair[1].center, part),
                (pair[1].center - pair[0].center).unit(),
                radius,
            ));
        }
        left -= length;
    }
    let [.., before, last] = chain.as_slice() else { return None };
    Some((last.center, (last.center - before.center).unit(), last.radius))
}

/// A convex polygon around the box with these half axes.
fn outline(
    center: Point,
    along: Point,
    across: Point,
    corners: usize,
    dice: &mut Dice,
) -> Vec<Point> {
    if corners <= 4 {
        return [(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)]
            .iter()
            .map(|&(a, b)| {
                center
                    + along * (a * dice.within(0.94, 1.1))
                    + across * (b * dice.within(0.94, 1.1))
            })
            .collect();
    }
    // Corners on an ellipse that extends beyond the middle of each side: convex for any angles.
    let start = dice.within(0.0, std::f32::consts::TAU);
    (0..corners)
        .map(|i| {
            let angle = start
                + (i as f32 + dice.within(-0.2, 0.2)) / corners as f32 * std::f32::consts::TAU;
            let direction = at(angle.cos(), angle.sin());
            center + along * (1.22 * direction.x) + across * (1.22 * direction.y)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Stream;

    #[test]
    fn the_outline_surrounds_the_break() {
        let bone = Bone::new(&[(0.0, -1.0, 0.1), (0.0, 1.0, 0.1)]);
        for seed in 0..50 {
            let broken =
                fracture(&bone, 0.4, 4 + seed as usize % 5, &mut Dice::new(seed, Stream::Plan))
                    .unwrap();
            let (low, high) =
                broken.outline.iter().fold((f32::MAX, f32::MIN), |(low, high), point| {
                    (low.min(point.y), high.max(point.y))
                });
            assert!(low < -0.2 && high > -0.2 && high - low < 1.0, "seed {seed}: {low}..{high}");
            assert!(broken.fragments.len() >= 2);
        }
    }

    #[test]
    fn a_single_disc_does_not_break() {
        assert!(
            fracture(&Bone::new(&[(0.0, 0.0, 0.1)]), 0.5, 4, &mut Dice::new(1, Stream::Plan))
                .is_none()
        );
    }
}
