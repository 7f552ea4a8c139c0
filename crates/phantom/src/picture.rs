//! From a scene to a radiograph: view, exposure, grain.

use crate::anatomy::{Anatomy, Scene};
use crate::dice::{Dice, grain, value_noise};
use crate::draw::{Canvas, Chain, chain};
use crate::geometry::{Point, Similarity, at};

/// A radiograph in shades of gray, with the outlines that an annotator would draw.
#[derive(Debug)]
pub struct Picture {
    /// Pixels per row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Brightness, 0..=1, row by row.
    pub pixels: Vec<f32>,
    /// The fractures.
    pub objects: Vec<Object>,
}

/// A fracture in a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// The part of the body, and so the class.
    pub anatomy: Anatomy,
    /// Corners of its outline, in shares of width and height, inside 0..1.
    pub outline: Vec<Point>,
}

/// What a picture should show.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    /// Pixels per row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// The part of the body.
    pub anatomy: Anatomy,
    /// How many fractures, limited by what the anatomy has room for.
    pub fractures: usize,
    /// The part shown on the right half, if the picture is divided.
    pub beside: Option<Anatomy>,
}

/// A picture that is set up but not yet taken: its content and view are decided.
#[derive(Debug)]
pub struct Shot {
    width: usize,
    height: usize,
    halves: Vec<Half>,
    /// The fractures that it will show.
    pub objects: Vec<Object>,
}

#[derive(Debug)]
struct Half {
    width: usize,
    scene: Scene,
    eye: Similarity,
    dice: Dice,
}

impl Shot {
    /// Sets up the picture: `scene` decides the patient, `view` how the picture is taken.
    pub fn new(order: &Order, mut scene: Dice, view: Dice) -> Self {
        let left_width = if order.beside.is_some() { order.width / 2 } else { order.width };
        let first =
            Half::new(left_width, order.height, order.anatomy, order.fractures, &mut scene, view);
        let mut objects = first.objects(order.anatomy, order, 0);
        let mut halves = vec![first];
        if let Some(beside) = order.beside {
            let view = Dice::from_bits(scene.bits());
            let second = Half::new(
                order.width - left_width,
                order.height,
                beside,
                order.fractures.min(1),
                &mut scene,
                view,
            );
            objects.extend(second.objects(beside, order, left_width));
            halves.push(second);
        }
        Shot { width: order.width, height: order.height, halves, objects }
    }

    /// Draws the picture.
    pub fn take(self) -> Picture {
        let (width, height) = (self.width, self.height);
        let mut pixels = vec![0.0; width * height];
        let mut left = 0;
        for half in self.halves {
            let half_width = half.width;
            for (row, half_row) in
                pixels.chunks_exact_mut(width).zip(half.expose(height).chunks_exact(half_width))
            {
                row[left..left + half_width].copy_from_slice(half_row);
            }
            left += half_width;
        }
        Picture { width, height, pixels, objects: self.objects }
    }
}

impl Half {
    fn new(
        width: usize,
        height: usize,
        anatomy: Anatomy,
        fractures: usize,
        scene: &mut Dice,
        mut dice: Dice,
    ) -> Self {
        let scene = Scene::new(anatomy, fractures, scene);
        let eye = choose_view(width, height, &scene, &mut dice);
        Half { width, scene, eye, dice }
    }

    fn objects(&self, anatomy: Anatomy, order: &Order, left: usize) -> Vec<Object> {
        let share = |corner: &Point| {
            let seen = self.eye.point(*corner);
            let x = (seen.x + 0.5).clamp(1.0, self.width as f32 - 1.0) + left as f32;
            at(
                (x / order.width as f32).clamp(0.002, 0.998),
                ((seen.y + 0.5) / order.height as f32).clamp(0.002, 0.998),
            )
        };
        self.scene
            .fractures
            .iter()
            .map(|outline| Object { anatomy, outline: outline.iter().map(share).collect() })
            .collect()
    }

    fn expose(mut self, height: usize) -> Vec<f32> {
        let (scene, eye) = (&self.scene, &self.eye);
        let seed = self.dice.bits() as u32;
        let mut canvas = Canvas::new(self.width, height, seed);
        scene.tissue.iter().for_each(|limb| canvas.draw_tissue(limb, eye));
        scene.air.iter().for_each(|(cavity, amount)| canvas.draw_air(cavity, *amount, eye));
        scene.plates.iter().for_each(|plate| canvas.draw_plate(plate, eye));
        scene.bones.iter().for_each(|bone| canvas.draw_bone(bone, eye));
        let exposure = Exposure::choose(&mut self.dice, seed);
        let white = bright_level(&canvas, exposure.tissue);
        scene.metal.iter().for_each(|part| canvas.draw_metal(part, 2.2 * white, eye));
        if self.dice.chance(0.45) {
            letter(self.width, height, &mut self.dice)
                .iter()
                .for_each(|stroke| canvas.draw_metal(stroke, 1.8 * white, &PLAIN));
        }
        exposure.develop(&canvas, white)
    }
}

const PLAIN: Similarity =
    Similarity { mirror: false, scale: 1.0, angle: 0.0, shift: Point { x: 0.0, y: 0.0 } };

/// Chooses a view in which each fracture is inside the picture.
fn choose_view(width: usize, height: usize, scene: &Scene, dice: &mut Dice) -> Similarity {
    let size = at(width as f32, height as f32);
    let shorter = size.x.min(size.y);
    let corners: Vec<Point> = scene.fractures.iter().flatten().copied().collect();
    let middle = corners.iter().fold(at(0.0, 0.0), |sum, corner| sum + *corner)
        * (1.0 / corners.len().max(1) as f32);
    let mut view = Similarity {
        mirror: dice.chance(0.5),
        scale: 0.0,
        angle: dice.within(-0.38, 0.38),
        shift: at(0.0, 0.0),
    };
    for attempt in 0..12 {
        let zoom = dice.within(0.82, 1.15) * 0.97_f32.powi(attempt);
        view.scale = 0.5 * shorter * zoom;
        let drift = at(dice.within(-0.1, 0.1) * size.x, dice.within(-0.1, 0.1) * size.y);
        let focus = at(0.0, 0.0).towards(middle, dice.within(0.0, 0.45) + 0.045 * attempt as f32);
        view.shift = size * 0.5 + drift - view.vector(focus);
        let is_inside = |corner: &Point| {
            let seen = view.point(*corner);
            (0.03..0.97).contains(&(seen.x / size.x)) && (0.03..0.97).contains(&(seen.y / size.y))
        };
        if corners.iter().all(is_inside) {
            break;
        }
    }
    view
}

/// The attenuation of bright bone, to which the film's white level is set.
fn bright_level(canvas: &Canvas, tissue: f32) -> f32 {
    let mut levels: Vec<f32> = canvas
        .bone
        .iter()
        .zip(&canvas.tissue)
        .step_by(11)
        .map(|(bone, soft)| bone + tissue * soft)
        .collect();
    let index = levels.len() * 97 / 100;
    if levels.is_empty() {
        return 1.0;
    }
    levels.select_nth_unstable_by(index, f32::total_cmp).1.max(0.05)
}

/// L or R in lead, near a corner.
fn letter(width: usize, height: usize, dice: &mut Dice) -> Vec<Chain> {
    let size = 0.055 * width.min(height) as f32;
    let left = if dice.chance(0.5) { dice.within(0.03, 0.1) } else { dice.within(0.86, 0.93) }
        * width as f32;
    let top = dice.within(0.04, 0.2) * height as f32;
    let stroke = 0.13 * size;
    let line = |x0: f32, y0: f32, x1: f32, y1: f32| {
        chain(&[
            (left + x0 * size, top + y0 * size, stroke),
            (left + x1 * size, top + y1 * size, stroke),
        ])
    };
    if dice.chance(0.5) {
        vec![line(0.0, 0.0, 0.0, 1.0), line(0.0, 1.0, 0.6, 1.0)]
    } else {
        vec![
            line(0.0, 0.0, 0.0, 1.0),
            line(0.0, 0.0, 0.5, 0.05),
            line(0.5, 0.05, 0.5, 0.45),
            line(0.5, 0.45, 0.0, 0.5),
            line(0.2, 0.5, 0.6, 1.0),
        ]
    }
}

/// How the film renders the radiation.
#[derive(Debug)]
struct Exposure {
    tissue: f32,
    contrast: f32,
    gamma: f32,
    fog: f32,
    gain: f32,
    noise: f32,
    mottle: f32,
    vignette: f32,
    blur: usize,
    shutter: f32,
    shutter_angle: f32,
    seed: u32,
}

impl Exposure {
    fn choose(dice: &mut Dice, seed: u32) -> Self {
        Exposure {
            tissue: dice.within(0.28, 0.62),
            contrast: dice.within(0.7, 1.7),
            gamma: dice.within(0.85, 1.35),
            fog: dice.within(0.01, 0.09),
            gain: dice.within(0.72, 0.98),
            noise: dice.within(0.008, 0.032),
            mottle: dice.within(0.01, 0.035),
            vignette: dice.within(0.0, 0.45),
            blur: dice.below(3),
            shutter: if dice.chance(0.3) { dice.within(0.9, 1.0) } else { 2.0 },
            shutter_angle: dice.within(-0.05, 0.05),
            seed,
        }
    }

    /// From attenuation to brightness.
    fn develop(&self, canvas: &Canvas, white: f32) -> Vec<f32> {
        let (width, height) = (canvas.width, canvas.height);
        let full = 1.0 - (-self.contrast).exp();
        let mut pixels: Vec<f32> = canvas
            .bone
            .iter()
            .zip(&canvas.tissue)
            .map(|(bone, soft)| {
                let level = (bone + self.tissue * soft) / white;
                ((1.0 - (-self.contrast * level).exp()) / full).powf(self.gamma)
            })
            .collect();
        for _ in 0..self.blur {
            soften(&mut pixels, width, height);
        }
        let (sin, cos) = self.shutter_angle.sin_cos();
        for y in 0..height {
            let v = 2.0 * y as f32 / height as f32 - 1.0;
            for x in 0..width {
                let u = 2.0 * x as f32 / width as f32 - 1.0;
                let pixel = &mut pixels[y * width + x];
                let mottle = value_noise(x as f32 / 17.0, y as f32 / 17.0, self.seed ^ 1)
                    + 0.5 * value_noise(x as f32 / 5.0, y as f32 / 5.0, self.seed ^ 2);
                let lit = self.gain
                    * *pixel
                    * (1.0 - self.vignette * 0.5 * (u * u + v * v))
                    * (1.0 + self.mottle * mottle);
                let grain = self.noise * (0.5 + 0.8 * lit.max(0.0).sqrt()) * grain(x, y, self.seed);
                let (a, b) = (u * cos - v * sin, u * sin + v * cos);
                let open = ((self.shutter - a.abs().max(b.abs())) * 40.0).clamp(0.0, 1.0);
                *pixel = ((self.fog + lit * (1.0 - self.fog) + grain) * (0.15 + 0.85 * open))
                    .clamp(0.0, 1.0);
            }
        }
        pixels
    }
}

/// A 1-2-1 filter in both directions.
fn soften(pixels: &mut [f32], width: usize, height: usize) {
    let mut line = vec![0.0; width.max(height)];
    for row in pixels.chunks_exact_mut(width) {
        line[..width].copy_from_slice(row);
        for x in 0..width {
            row[x] =
                0.25 * (line[x.saturating_sub(1)] + 2.0 * line[x] + line[(x + 1).min(width - 1)]);
        }
    }
    let mut above = pixels[..width].to_vec();
    for y in 0..height {
        let below = (y + 1).min(height - 1) * width;
        for x in 0..width {
            let here = pixels[y * width + x];
            pixels[y * width + x] = 0.25 * (above[x] + 2.0 * here + pixels[below + x]);
            above[x] = here;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Stream;

    fn picture(anatomy: Anatomy, fractures: usize, number: u64) -> Picture {
        let order = Order { width: 360, height: 420, anatomy, fractures, beside: None };
        Shot::new(&order, Dice::new(5, Stream::Scene(number)), Dice::new(5, Stream::View(number)))
            .take()
    }

    #[test]
    fn each_anatomy_breaks_and_its_outlines_are_inside_the_picture() {
        for anatomy in Anatomy::ALL {
            for number in 0..12 {
                let picture = picture(anatomy, 1, number);
                assert_eq!(picture.objects.len(), 1, "{anatomy:?}");
                for corner in picture.objects.iter().flat_map(|object| &object.outline) {
                    assert!(
                        (0.0..=1.0).contains(&corner.x) && (0.0..=1.0).contains(&corner.y),
                        "{anatomy:?} {number}: {corner:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_picture_has_shadows_and_lights() {
        for anatomy in Anatomy::ALL {
            let picture = picture(anatomy, 1, 3);
            let bright = picture.pixels.iter().filter(|pixel| **pixel > 0.5).count();
            let dark = picture.pixels.iter().filter(|pixel| **pixel < 0.3).count();
            assert!(
                bright * 50 > picture.pixels.len() && dark * 50 > picture.pixels.len(),
                "{anatomy:?}: {bright} bright, {dark} dark"
            );
        }
    }

    #[test]
    fn a_divided_picture_has_objects_of_both_halves() {
        let order = Order {
            width: 500,
            height: 360,
            anatomy: Anatomy::Wrist,
            fractures: 1,
            beside: Some(Anatomy::Fingers),
        };
        let picture =
            Shot::new(&order, Dice::new(5, Stream::Scene(1)), Dice::new(5, Stream::View(1))).take();
        let [left, right] = picture.objects.as_slice() else { panic!("{:?}", picture.objects) };
        assert!(
            left.outline.iter().all(|corner| corner.x <= 0.5) && left.anatomy == Anatomy::Wrist
        );
        assert!(
            right.outline.iter().all(|corner| corner.x >= 0.5) && right.anatomy == Anatomy::Fingers
        );
    }

    /// The same patient in the same view without a fracture: the pictures differ only at the
    /// fracture.
    #[test]
    fn a_fracture_is_seen_inside_its_outline() {
        for anatomy in Anatomy::ALL {
            let (mut inside, mut outside) = (0.0, 0.0);
            for number in 0..6 {
                let dice =
                    || (Dice::new(9, Stream::Scene(number)), Dice::new(9, Stream::View(number)));
                let (mut scene, view) = dice();
                let broken = Half::new(380, 420, anatomy, 1, &mut scene, view);
                let order = Order { width: 380, height: 420, anatomy, fractures: 1, beside: None };
                let objects = broken.objects(anatomy, &order, 0);
                let whole = Half {
                    width: 380,
                    scene: Scene::new(anatomy, 0, &mut dice().0),
                    eye: broken.eye,
                    dice: broken.dice.clone(),
                };
                let (broken, whole) = (broken.expose(420), whole.expose(420));
                let spread = |values: Vec<f32>| {
                    values.iter().fold((f32::MAX, f32::MIN), |(low, high), value| {
                        (low.min(*value), high.max(*value))
                    })
                };
                let (left, right) =
                    spread(objects[0].outline.iter().map(|corner| corner.x * 380.0).collect());
                let (top, bottom) =
                    spread(objects[0].outline.iter().map(|corner| corner.y * 420.0).collect());
                let mut sums = [(0.0, 0usize); 2];
                for (i, (a, b)) in broken.iter().zip(&whole).enumerate() {
                    let (x, y) = ((i % 380) as f32, (i / 380) as f32);
                    let sum = &mut sums
                        [usize::from((left..right).contains(&x) && (top..bottom).contains(&y))];
                    *sum = (sum.0 + (a - b).abs(), sum.1 + 1);
                }
                outside += sums[0].0 / sums[0].1 as f32;
                inside += sums[1].0 / sums[1].1 as f32;
            }
            assert!(
                inside > 0.09 && inside > 2.5 * outside,
                "{anatomy:?}: {inside} inside, {outside} outside"
            );
        }
    }
}
