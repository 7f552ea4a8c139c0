use ossify_contract::UnitBox;
use ossify_settings::TrainSettings;

use crate::random::{Purpose, Stream};
use crate::rounding::single;

/// How training images are varied. What happens to a sample is a pure function of (seed, epoch,
/// number of the draw): a resumed run sees the same pictures, and so does one with batches of
/// another size.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Augmentation {
    /// Seed of the run.
    pub seed: u64,
    /// Mirror half of the images left to right.
    pub flip: bool,
    /// Largest rotation to either side, degrees.
    pub rotation: f64,
    /// Size is multiplied by 1 - this to 1 + this.
    pub scale: f64,
    /// Images move by up to this share of each side.
    pub shift: f64,
    /// Brightness is multiplied by 1 - this to 1 + this.
    pub brightness: f64,
    /// Contrast is multiplied by 1 - this to 1 + this.
    pub contrast: f64,
    /// Largest standard deviation of noise, share of white.
    pub noise: f64,
    /// Side of a black square, share of the side.
    pub cutout: f64,
}

/// What happens to one image in one epoch. Points are in shares of the side, from the upper left
/// corner.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AugmentParams {
    /// Where a point of the image goes: `x' = a x + b y + c`, `y' = d x + e y + f`.
    pub to: [f32; 6],
    /// Where a point of the changed image comes from, in the same form.
    pub from: [f32; 6],
    /// Factor of all values.
    pub brightness: f32,
    /// Factor of their distance from the image's mean.
    pub contrast: f32,
    /// Standard deviation of noise, share of white.
    pub noise: f32,
    /// Where in its field the noise is cut out, and with which sign; shares of a side.
    pub noise_offset: [f32; 2],
    /// Upper left corner of the black square.
    pub cutout: [f32; 2],
}

/// How often a move is drawn until one leaves most of each box in the picture; after that the image
/// stays where it is.
const ATTEMPTS: usize = 10;
/// Share of a box's area that has to stay in the picture.
const MIN_VISIBLE_SHARE: f32 = 0.6;

impl Augmentation {
    /// What the settings ask for.
    pub fn new(settings: &TrainSettings, seed: u64) -> Self {
        Augmentation {
            seed,
            flip: settings.augment.flip,
            rotation: settings.augment.rotation,
            scale: settings.augment.scale,
            shift: settings.augment.shift,
            brightness: settings.augment.brightness,
            contrast: settings.augment.contrast,
            noise: settings.augment.noise,
            cutout: settings.augment.cutout,
        }
    }

    /// Whether pixels move.
    pub fn moves(&self) -> bool {
        self.flip || self.rotation > 0.0 || self.scale > 0.0 || self.shift > 0.0
    }

    /// Whether pixels change their values.
    pub fn tones(&self) -> bool {
        self.brightness > 0.0 || self.contrast > 0.0
    }

    /// Whether images are varied at all.
    pub fn is_on(&self) -> bool {
        self.moves() || self.tones() || self.noise > 0.0 || self.cutout > 0.0
    }

    /// What happens in `epoch` to the draw of this number, which has these boxes.
    pub fn change(&self, epoch: u32, number: u64, boxes: &[UnitBox]) -> AugmentParams {
        let mut stream = Stream::new(self.seed, Purpose::Augmentation, u64::from(epoch), number);
        // All numbers are drawn, also for what is switched off, so that no choice changes
        // another.
        let mirrored = stream.unit() < 0.5 && self.flip;
        let brightness = 1.0 + self.brightness * stream.signed();
        let contrast = 1.0 + self.contrast * stream.signed();
        let noise = self.noise * stream.unit();
        let noise_offset = [single(stream.unit()), single(stream.unit())];
        let cutout = [0, 1].map(|_| single(stream.unit() * (1.0 - self.cutout)));
        let mut to = affine(mirrored, 0.0, 1.0, [0.0, 0.0]);
        for _ in 0..ATTEMPTS {
            let angle = (self.rotation * stream.signed()).to_radians();
            let size = 1.0 + self.scale * stream.signed();
            let shift = [0, 1].map(|_| self.shift * stream.signed());
            let drawn = affine(mirrored, angle, size, shift);
            let is_visible = |unit_box: &UnitBox| {
                let moved = around(&drawn, unit_box);
                moved.clamped().area() >= MIN_VISIBLE_SHARE * moved.area()
            };
            if boxes.iter().all(is_visible) {
                to = drawn;
                break;
            }
        }
        AugmentParams {
            to: to.map(single),
            from: inverse(&to).map(single),
            brightness: single(brightness),
            contrast: single(contrast),
            noise: single(noise),
            noise_offset,
            cutout,
        }
    }
}

impl AugmentParams {
    /// The box of the changed image: around the four moved corners, cut at the borders.
    pub fn transform_box(&self, unit_box: &UnitBox) -> UnitBox {
        around(&self.to.map(f64::from), unit_box).clamped()
    }

    /// All numbers, for digests.
    pub fn numbers(&self) -> impl Iterator<Item = f32> {
        let rest = [
            self.brightness,
            self.contrast,
            self.noise,
            self.noise_offset[0],
            self.noise_offset[1],
            self.cutout[0],
            self.cutout[1],
        ];
        self.from.into_iter().chain(rest)
    }
}

/// Mirrors, turns and scales about the middle, then moves.
fn affine(mirrored: bool, angle: f64, size: f64, shift: [f64; 2]) -> [f64; 6] {
    let (sine, cosine) = angle.sin_cos();
    let mirror = if mirrored { -1.0 } else { 1.0 };
    let (a, b, d, e) = (size * cosine * mirror, -size * sine, size * sine * mirror, size * cosine);
    [a, b, 0.5 + shift[0] - 0.5 * (a + b), d, e, 0.5 + shift[1] - 0.5 * (d + e)]
}

fn inverse(&[a, b, c, d, e, f]: &[f64; 6]) -> [f64; 6] {
    let determinant = a * e - b * d;
    let [ia, ib, id, ie] = [e, -b, -d, a].map(|value| value / determinant);
    [ia, ib, -(ia * c + ib * f), id, ie, -(id * c + ie * f)]
}

/// The box around the moved corners of a box.
fn around(&[a, b, c, d, e, f]: &[f64; 6], unit_box: &UnitBox) -> UnitBox {
    let [left, top, right, bottom] = unit_box.to_array().map(f64::from);
    let corners = [(left, top), (right, top), (left, bottom), (right, bottom)];
    let xs = corners.map(|(x, y)| a * x + b * y + c);
    let ys = corners.map(|(x, y)| d * x + e * y + f);
    let least = |values: [f64; 4]| single(values.into_iter().fold(f64::INFINITY, f64::min));
    let most = |values: [f64; 4]| single(values.into_iter().fold(f64::NEG_INFINITY, f64::max));
    UnitBox::new(least(xs), least(ys), most(xs), most(ys))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: UnitBox = UnitBox { xmin: 0.3, ymin: 0.4, xmax: 0.55, ymax: 0.65 };

    fn all() -> Augmentation {
        Augmentation {
            seed: 3,
            flip: true,
            rotation: 30.0,
            scale: 0.3,
            shift: 0.4,
            brightness: 0.3,
            contrast: 0.2,
            noise: 0.1,
            cutout: 0.25,
        }
    }

    #[test]
    fn there_and_back_again() {
        let change = all().change(1, 9, &[UNIT]);
        let at = |[a, b, c, d, e, f]: [f32; 6], (x, y): (f32, f32)| {
            (a * x + b * y + c, d * x + e * y + f)
        };
        let back = at(change.from, at(change.to, (0.2, 0.7)));
        assert!((back.0 - 0.2).abs() < 1e-5 && (back.1 - 0.7).abs() < 1e-5, "{back:?}");
    }

    #[test]
    fn known_moves_move_the_box() {
        let close = |found: [f64; 4], expected: [f64; 4]| {
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?}")
        };
        let moved = |affine: [f64; 6]| {
            around(&affine, &UnitBox::new(0.1, 0.2, 0.3, 0.6))
                .to_array()
                .map(|value| f64::from((value * 1e6).round()) / 1e6)
        };
        close(moved(affine(true, 0.0, 1.0, [0.0, 0.0])), [0.7, 0.2, 0.9, 0.6]);
        close(moved(affine(false, 0.0, 1.0, [0.1, -0.1])), [0.2, 0.1, 0.4, 0.5]);
        close(moved(affine(false, 0.0, 2.0, [0.0, 0.0])), [-0.3, -0.1, 0.1, 0.7]);
        // A quarter turn: right becomes down.
        close(moved(affine(false, 90f64.to_radians(), 1.0, [0.0, 0.0])), [0.4, 0.1, 0.8, 0.3]);
    }

    #[test]
    fn most_of_the_box_stays_in_the_picture() {
        let augmentation = Augmentation { shift: 0.9, ..all() };
        let mut flips = 0;
        for number in 0..500 {
            let change = augmentation.change(1, number, &[UNIT]);
            flips += usize::from(change.to[0] * change.to[4] < 0.0);
            let whole = around(&change.to.map(f64::from), &UNIT).area();
            assert!(change.transform_box(&UNIT).area() >= 0.599 * whole, "{change:?}");
        }
        assert!((200..300).contains(&flips), "{flips} of 500");
    }

    #[test]
    fn nothing_configured_changes_nothing() {
        let augmentation = Augmentation { seed: 3, ..Augmentation::default() };
        assert!(!augmentation.is_on());
        let change = augmentation.change(5, 9, &[UNIT]);
        assert_eq!(
            (change.to, change.from),
            ([1.0, 0.0, 0.0, 0.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0, 1.0, 0.0])
        );
        assert_eq!((change.brightness, change.contrast, change.noise), (1.0, 1.0, 0.0));
        assert_eq!(change.transform_box(&UNIT), UNIT);
    }

    #[test]
    fn draws_differ_and_repeat_themselves_and_stand_for_themselves() {
        assert_eq!(all().change(1, 5, &[UNIT]), all().change(1, 5, &[UNIT]));
        assert_ne!(all().change(1, 5, &[UNIT]), all().change(2, 5, &[UNIT]));
        assert_ne!(all().change(1, 5, &[UNIT]), all().change(1, 6, &[UNIT]));
        let without_flip = Augmentation { flip: false, ..all() };
        assert_eq!(
            all().change(1, 5, &[UNIT]).brightness,
            without_flip.change(1, 5, &[UNIT]).brightness
        );
    }
}
