//! Sums the attenuation of rays through round bones, flat bones, soft tissue, air and metal on a
//! canvas.

use crate::dice::value_noise;
use crate::geometry::{Point, Similarity, at};

/// A disc of a chain.
#[derive(Clone, Copy, Debug)]
pub struct Node {
    /// Its centre.
    pub center: Point,
    /// Its radius.
    pub radius: f32,
}

/// Discs joined by a smooth curve whose thickness follows theirs: a shaft, a rib, an arm.
pub type Chain = Vec<Node>;

/// A chain from `(x, y, radius)`.
pub fn chain(nodes: &[(f32, f32, f32)]) -> Chain {
    nodes.iter().map(|&(x, y, radius)| Node { center: at(x, y), radius }).collect()
}

/// A jagged line across a bone, beyond which the bone is not drawn.
#[derive(Clone, Debug)]
pub struct Cut {
    /// A point of the line.
    pub origin: Point,
    /// Unit vector along the bone, towards the side that is drawn.
    pub along: Point,
    /// Unit vector along the line.
    pub across: Point,
    /// Offsets of the line along the bone, at equal steps from `-span` to `span` across it.
    pub teeth: Vec<f32>,
    /// Half the length of the jagged part; beyond it the line is straight.
    pub span: f32,
    /// How far the edge of the bone is from the line.
    pub gap: f32,
}

impl Cut {
    /// Signed distance of `point` to the line, positive on the drawn side.
    fn depth(&self, point: Point) -> f32 {
        let from_origin = point - self.origin;
        let steps = self.teeth.len().saturating_sub(1);
        let position = ((from_origin.dot(self.across) / self.span * 0.5 + 0.5) * steps as f32)
            .clamp(0.0, steps as f32);
        let before = position as usize;
        let tooth = |i: usize| self.teeth.get(i.min(steps)).copied().unwrap_or(0.0);
        let line = tooth(before) + (tooth(before + 1) - tooth(before)) * (position - before as f32);
        from_origin.dot(self.along) - line - self.gap
    }

    fn seen(&self, view: &Similarity) -> Cut {
        Cut {
            origin: view.point(self.origin),
            along: view.vector(self.along).unit(),
            across: view.vector(self.across).unit(),
            teeth: self.teeth.iter().map(|tooth| tooth * view.scale).collect(),
            span: self.span * view.scale,
            gap: self.gap * view.scale,
        }
    }
}

/// A bone: the union of its chains, with a dense shell around marrow, cut where it is broken.
#[derive(Clone, Debug)]
pub struct Bone {
    /// Its parts; the first one is the axis along which it breaks.
    pub chains: Vec<Chain>,
    /// Thickness of the shell.
    pub cortex: f32,
    /// How much it attenuates.
    pub density: f32,
    /// By how much the marrow attenuates less than the shell, as a share, 0..=1.
    pub marrow: f32,
    /// Where it is broken.
    pub cuts: Vec<Cut>,
}

impl Bone {
    /// An unbroken bone of one part.
    pub fn new(nodes: &[(f32, f32, f32)]) -> Self {
        let thinnest = nodes.iter().map(|node| node.2).fold(f32::INFINITY, f32::min);
        Bone {
            chains: vec![chain(nodes)],
            cortex: 0.24 * thinnest,
            density: 1.0,
            marrow: 0.8,
            cuts: Vec::new(),
        }
    }

    /// Adds a part.
    pub fn with(mut self, nodes: &[(f32, f32, f32)]) -> Self {
        self.chains.push(chain(nodes));
        self
    }

    /// Makes it spongy throughout, like the bones of the wrist.
    pub fn spongy(mut self) -> Self {
        self.cortex *= 0.45;
        self.marrow = 0.3;
        self
    }

    /// Multiplies its attenuation by `density`.
    pub fn with_density(mut self, density: f32) -> Self {
        self.density *= density;
        self
    }
}

/// A flat bone: a polygon with rounded corners and a dense rim.
#[derive(Clone, Debug)]
pub struct Plate {
    /// Its corners.
    pub outline: Vec<Point>,
    /// How far it extends beyond them.
    pub rounding: f32,
    /// How much it attenuates.
    pub density: f32,
}

/// A picture being drawn: the attenuation along each ray.
#[derive(Debug)]
pub struct Canvas {
    /// Pixels per row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Attenuation by bone and metal; 1 is bone of thickness 1.
    pub bone: Vec<f32>,
    /// Attenuation by soft tissue; 1 is tissue of thickness 1.
    pub tissue: Vec<f32>,
    depth: Vec<f32>,
    radius: Vec<f32>,
    texture_seed: u32,
}

/// Ranges of pixel columns and rows, ends excluded.
#[derive(Clone, Copy)]
struct Region {
    left: usize,
    top: usize,
    right: usize,
    bottom: usize,
}

const NOWHERE: f32 = -1e9;

impl Canvas {
    /// An empty canvas; the grain of the bones follows `texture_seed`.
    pub fn new(width: usize, height: usize, texture_seed: u32) -> Self {
        let empty = || vec![0.0; width * height];
        Canvas {
            width,
            height,
            bone: empty(),
            tissue: empty(),
            depth: empty(),
            radius: empty(),
            texture_seed,
        }
    }

    /// Adds a bone.
    pub fn draw_bone(&mut self, bone: &Bone, view: &Similarity) {
        let Some(region) = self.measure(&bone.chains, view, 1.5) else { return };
        let cuts: Vec<Cut> = bone.cuts.iter().map(|cut| cut.seen(view)).collect();
        let cortex = (bone.cortex * view.scale).max(1.0);
        let grain_size = 1.0 / (0.022 * view.scale);
        for y in region.top..region.bottom {
            for x in region.left..region.right {
                let i = y * self.width + x;
                let (depth, radius) = (self.depth[i], self.radius[i]);
                if depth <= -1.0 {
                    continue;
                }
                let pixel = at(x as f32, y as f32);
                let edge = cuts.iter().map(|cut| ramp(cut.depth(pixel), 1.0)).product::<f32>()
                    * ramp(depth, 0.8);
                if edge <= 0.0 {
                    continue;
                }
                let outer = chord(depth, radius);
                let inner = chord(depth - cortex, radius - cortex);
                let grain = 1.0
                    + 0.16
                        * value_noise(
                            pixel.x * grain_size,
                            pixel.y * grain_size,
                            self.texture_seed,
                        );
                let amount = (outer + 0.22
                    - bone.marrow * inner * (1.0 - cortex / radius.max(cortex)))
                    * grain;
                self.bone[i] +=
                    edge * bone.density * amount * (radius / view.scale).max(1e-3).powf(0.55);
            }
        }
    }

    /// Adds a flat bone.
    pub fn draw_plate(&mut self, plate: &Plate, view: &Similarity) {
        let outline: Vec<Point> = plate.outline.iter().map(|corner| view.point(*corner)).collect();
        let rounding = plate.rounding * view.scale;
        let Some(region) = self.region(outline.iter().map(|corner| (*corner, rounding + 2.0)))
        else {
            return;
        };
        let (rim, grain_size) = (0.03 * view.scale, 1.0 / (0.03 * view.scale));
        for y in region.top..region.bottom {
            for x in region.left..region.right {
                let pixel = at(x as f32, y as f32);
                let depth = rounding + depth_in_polygon(pixel, &outline);
                if depth > -1.0 {
                    let grain = 1.0
                        + 0.2
                            * value_noise(
                                pixel.x * grain_size,
                                pixel.y * grain_size,
                                self.texture_seed,
                            );
                    let edge = (-(depth / rim) * (depth / rim)).exp();
                    self.bone[y * self.width + x] +=
                        ramp(depth, 1.0) * plate.density * (0.5 + 0.6 * edge) * grain;
                }
            }
        }
    }

    /// Draws soft tissue; where limbs overlap, the thicker one counts.
    pub fn draw_tissue(&mut self, limb: &Chain, view: &Similarity) {
        let Some(region) = self.measure(std::slice::from_ref(limb), view, 1.5) else { return };
        self.each(region, |tissue, _, depth, radius| {
            *tissue =
                tissue.max(ramp(depth, 2.5) * (0.18 + chord(depth, radius)) * radius / view.scale)
        });
    }

    /// Removes the share `amount` of the soft tissue, like the air in a lung.
    pub fn draw_air(&mut self, cavity: &Chain, amount: f32, view: &Similarity) {
        let Some(region) = self.measure(std::slice::from_ref(cavity), view, 1.5) else { return };
        self.each(region, |tissue, _, depth, radius| {
            *tissue *= 1.0 - amount * chord(depth, radius)
        });
    }

    /// Adds metal of uniform thickness: an implant, or the letter that marks the side.
    pub fn draw_metal(&mut self, part: &Chain, amount: f32, view: &Similarity) {
        let Some(region) = self.measure(std::slice::from_ref(part), view, 1.5) else { return };
        self.each(region, |_, bone, depth, _| *bone = bone.max(ramp(depth, 0.8) * amount));
    }

    /// Calls `change` with the tissue, bone, depth and radius of each covered pixel.
    fn each(&mut self, region: Region, mut change: impl FnMut(&mut f32, &mut f32, f32, f32)) {
        for y in region.top..region.bottom {
            for i in y * self.width + region.left..y * self.width + region.right {
                if self.depth[i] > -2.5 {
                    change(&mut self.tissue[i], &mut self.bone[i], self.depth[i], self.radius[i]);
                }
            }
        }
    }

    /// Measures, for each pixel near the chains, how deep it is inside them and how thick they are
    /// there.
    fn measure(&mut self, chains: &[Chain], view: &Similarity, margin: f32) -> Option<Region> {
        let curves: Vec<Vec<Node>> = chains.iter().map(|chain| curve(chain, view)).collect();
        let region =
            self.region(curves.iter().flatten().map(|node| (node.center, node.radius + margin)))?;
        for y in region.top..region.bottom {
            self.depth[y * self.width + region.left..y * self.width + region.right].fill(NOWHERE);
        }
        for nodes in &curves {
            match nodes.as_slice() {
                [node] => self.measure_segment(*node, *node, margin),
                nodes => {
                    nodes.windows(2).for_each(|pair| self.measure_segment(pair[0], pair[1], margin))
                }
            }
        }
        Some(region)
    }

    fn measure_segment(&mut self, from: Node, to: Node, margin: f32) {
        let ends = [(from.center, from.radius + margin), (to.center, to.radius + margin)];
        let Some(region) = self.region(ends.into_iter()) else { return };
        let axis = to.center - from.center;
        let inverse_square = 1.0 / axis.dot(axis).max(1e-9);
        for y in region.top..region.bottom {
            for x in region.left..region.right {
                let from_start = at(x as f32, y as f32) - from.center;
                let share = (from_start.dot(axis) * inverse_square).clamp(0.0, 1.0);
                let radius = from.radius + (to.radius - from.radius) * share;
                let depth = radius - (from_start - axis * share).length();
                let i = y * self.width + x;
                if depth > self.depth[i] {
                    self.depth[i] = depth;
                    self.radius[i] = radius;
                }
            }
        }
    }

    /// The pixels within the given distances of the given points; `None` if all are off the canvas.
    fn region(&self, discs: impl Iterator<Item = (Point, f32)>) -> Option<Region> {
        let (mut low, mut high) =
            (at(f32::INFINITY, f32::INFINITY), at(f32::NEG_INFINITY, f32::NEG_INFINITY));
        for (center, radius) in discs {
            low = at(low.x.min(center.x - radius), low.y.min(center.y - radius));
            high = at(high.x.max(center.x + radius), high.y.max(center.y + radius));
        }
        let clip = |value: f32, limit: usize| value.clamp(0.0, limit as f32) as usize;
        let region = Region {
            left: clip(low.x.floor(), self.width),
            top: clip(low.y.floor(), self.height),
            right: clip(high.x.ceil() + 1.0, self.width),
            bottom: clip(high.y.ceil() + 1.0, self.height),
        };
        (region.left < region.right && region.top < region.bottom).then_some(region)
    }
}

/// 0 below `-width`, 1 above `width`, with a smooth transition.
fn ramp(depth: f32, width: f32) -> f32 {
    let share = (depth / (2.0 * width) + 0.5).clamp(0.0, 1.0);
    share * share * (3.0 - 2.0 * share)
}

/// Length of the ray through a round bar at `depth` inside its edge, as a share of the bar's
/// thickness.
fn chord(depth: f32, radius: f32) -> f32 {
    if depth <= 0.0 || radius <= 0.0 {
        return 0.0;
    }
    let depth = depth.min(radius);
    (depth * (2.0 * radius - depth)).sqrt() / radius
}

/// The chain as seen in the picture, with enough nodes on a Catmull-Rom spline to look smooth.
fn curve(nodes: &[Node], view: &Similarity) -> Vec<Node> {
    let seen: Vec<Node> = nodes
        .iter()
        .map(|node| Node { center: view.point(node.center), radius: node.radius * view.scale })
        .collect();
    let Some(last) = seen.last().copied() else { return Vec::new() };
    let node = |i: isize| seen[i.clamp(0, seen.len() as isize - 1) as usize];
    let mut smooth = Vec::new();
    for i in 0..seen.len() as isize - 1 {
        let (before, from, to, after) = (node(i - 1), node(i), node(i + 1), node(i + 2));
        let length = (to.center - from.center).length();
        let steps =
            (length / (0.5 * from.radius.min(to.radius)).max(3.0)).ceil().clamp(1.0, 16.0) as usize;
        for step in 0..steps {
            let t = step as f32 / steps as f32;
            let spline = |a: f32, b: f32, c: f32, d: f32| {
                0.5 * (2.0 * b
                    + (c - a) * t
                    + (2.0 * a - 5.0 * b + 4.0 * c - d) * t * t
                    + (3.0 * b - a - 3.0 * c + d) * t * t * t)
            };
            smooth.push(Node {
                center: at(
                    spline(before.center.x, from.center.x, to.center.x, after.center.x),
                    spline(before.center.y, from.center.y, to.center.y, after.center.y),
                ),
                radius: spline(before.radius, from.radius, to.radius, after.radius).max(0.5),
            });
        }
    }
    smooth.push(last);
    smooth
}

/// Signed distance to the polygon's edge, negative outside.
fn depth_in_polygon(point: Point, corners: &[Point]) -> f32 {
    let mut square = f32::INFINITY;
    let mut inside = false;
    for (i, to) in corners.iter().enumerate() {
        let from = corners[(i + corners.len() - 1) % corners.len()];
        let (edge, from_start) = (*to - from, point - from);
        let share = (from_start.dot(edge) / edge.dot(edge).max(1e-9)).clamp(0.0, 1.0);
        let offset = from_start - edge * share;
        square = square.min(offset.dot(offset));
        if (from.y > point.y) != (to.y > point.y)
            && point.x < from.x + (point.y - from.y) / (to.y - from.y) * edge.x
        {
            inside = !inside;
        }
    }
    if inside { square.sqrt() } else { -square.sqrt() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIEW: Similarity =
        Similarity { mirror: false, scale: 100.0, angle: 0.0, shift: Point { x: 50.0, y: 50.0 } };

    #[test]
    fn a_bone_is_denser_at_its_shell_than_in_its_marrow() {
        let mut canvas = Canvas::new(100, 100, 1);
        canvas.draw_bone(&Bone::new(&[(0.0, -1.0, 0.2), (0.0, 1.0, 0.2)]), &VIEW);
        let row = |x: usize| (20..80).map(|y| canvas.bone[y * 100 + x]).sum::<f32>();
        assert!(row(34) > row(50), "shell {} marrow {}", row(34), row(50));
        assert_eq!(row(5), 0.0);
    }

    #[test]
    fn a_cut_leaves_one_side_empty() {
        let mut bone = Bone::new(&[(0.0, -1.0, 0.2), (0.0, 1.0, 0.2)]);
        bone.cuts.push(Cut {
            origin: at(0.0, 0.0),
            along: at(0.0, 1.0),
            across: at(-1.0, 0.0),
            teeth: vec![0.0, 0.02, -0.02],
            span: 0.3,
            gap: 0.01,
        });
        let mut canvas = Canvas::new(100, 100, 1);
        canvas.draw_bone(&bone, &VIEW);
        assert_eq!(canvas.bone[30 * 100 + 50], 0.0);
        assert!(canvas.bone[70 * 100 + 50] > 0.1);
    }

    #[test]
    fn depth_in_a_polygon_is_the_distance_to_its_edge() {
        let square = [at(0.0, 0.0), at(10.0, 0.0), at(10.0, 10.0), at(0.0, 10.0)];
        assert_eq!(depth_in_polygon(at(5.0, 3.0), &square), 3.0);
        assert_eq!(depth_in_polygon(at(14.0, 5.0), &square), -4.0);
    }

    #[test]
    fn shapes_off_the_canvas_are_left_out() {
        let mut canvas = Canvas::new(20, 20, 1);
        canvas.draw_tissue(&chain(&[(50.0, 50.0, 0.2)]), &VIEW);
        canvas.draw_bone(&Bone::new(&[(-50.0, f32::NAN, 0.2)]), &VIEW);
        assert!(canvas.tissue.iter().chain(&canvas.bone).all(|value| *value == 0.0));
    }
}
