use ossify_contract::UnitBox;
use ossify_settings::TrainSettings;
use ossify_vocabulary::Task;

use crate::data::composition::{Composition, Tile};
use crate::data::outline::{Affine, Outline};
use crate::data::sampler::Draw;
use crate::random::{Purpose, Stream};
use crate::rounding::single;

/// How training images are varied. What happens to a sample is a pure function of (seed, epoch,
/// number of the draw): a resumed run sees the same pictures, and so does one with batches of
/// another size, as long as no sample is made of several images: see [`Composition`].
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
    /// Share of the samples that are mosaics.
    pub mosaic: f64,
    /// Share of the samples that another one is blended into.
    pub mixup: f64,
    /// What becomes of objects that a move hides.
    pub hiding: Hiding,
    /// Side of the network's input, pixels.
    pub input_px: u32,
}

/// What becomes of objects that a move hides in part or as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hiding {
    /// Another move is drawn, until one leaves most of each in the picture: a classifier's images
    /// have one object, which has to be seen.
    #[default]
    DrawsAgain,
    /// They are cut, and left out where too little is left: see [`Augmentation::shown`].
    Cuts,
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
/// Share of an object's area that has to be left, or a detector is not to find it: `min_area_ratio`
/// of MMDetection's `RandomAffine` (Chen et al. 2019).
const MIN_SHOWN_SHARE: f64 = 0.2;
/// Shortest side of what is left of an object, pixels of the network's input.
const MIN_SHOWN_PX: f64 = 1.0;

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
            mosaic: settings.augment.mosaic,
            mixup: settings.augment.mixup,
            hiding: match settings.task {
                Task::Classify => Hiding::DrawsAgain,
                Task::Detect => Hiding::Cuts,
            },
            input_px: settings.model.input_px,
        }
    }

    /// The same without mosaics and mixed images.
    pub fn plain(self) -> Self {
        Augmentation { mosaic: 0.0, mixup: 0.0, ..self }
    }

    /// Whether samples are made of several images.
    pub fn composes(&self) -> bool {
        self.mosaic > 0.0 || self.mixup > 0.0
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
        self.moves() || self.tones() || self.noise > 0.0 || self.cutout > 0.0 || self.composes()
    }

    /// What each sample of a batch of `epoch` is made of; empty where it is its image alone.
    pub fn compositions(&self, epoch: u32, draws: &[Draw]) -> Vec<Composition> {
        if !self.composes() {
            return Vec::new();
        }
        Composition::of_batch(self.seed, [self.mosaic, self.mixup], epoch, draws)
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
            if self.hiding == Hiding::Cuts || boxes.iter().all(is_visible) {
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

    /// What a sample shows of an object of one of its images, `tile` being where a mosaic has that
    /// image: the box around what is left of the object's box once it has moved with the image and
    /// was cut at the edges of the tile and of the picture. `None` where that, less what the black
    /// square covers, is under a fifth of the area that the box would have without cuts, or where
    /// its box is under a pixel wide or high.
    pub fn shown(
        &self,
        unit_box: &UnitBox,
        tile: Option<&Tile>,
        change: &AugmentParams,
    ) -> Option<UnitBox> {
        let to = change.to.map(f64::from);
        let own = Outline::of(unit_box);
        let (whole, cut) = match tile {
            None => (own.moved(&to), own.moved(&to)),
            Some(tile) => {
                let placed = own.moved(&tile.to);
                (placed.moved(&to), placed.within(tile.edges).moved(&to))
            }
        };
        let left = cut.within([0.0, 0.0, 1.0, 1.0]);
        let [x, y] = change.cutout.map(f64::from);
        let covered = if self.cutout > 0.0 {
            left.clone().within([x, y, x + self.cutout, y + self.cutout]).area()
        } else {
            0.0
        };
        let shown = left.bounds()?;
        let is_wide = [shown.width(), shown.height()]
            .iter()
            .all(|side| f64::from(*side) * f64::from(self.input_px) >= MIN_SHOWN_PX);
        let is_seen = left.area() - covered >= MIN_SHOWN_SHARE * whole.area();
        (is_wide && is_seen).then_some(shown)
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
fn affine(mirrored: bool, angle: f64, size: f64, shift: [f64; 2]) -> Affine {
    let (sine, cosine) = angle.sin_cos();
    let mirror = if mirrored { -1.0 } else { 1.0 };
    let (a, b, d, e) = (size * cosine * mirror, -size * sine, size * sine * mirror, size * cosine);
    [a, b, 0.5 + shift[0] - 0.5 * (a + b), d, e, 0.5 + shift[1] - 0.5 * (d + e)]
}

fn inverse(&[a, b, c, d, e, f]: &Affine) -> Affine {
    let determinant = a * e - b * d;
    let [ia, ib, id, ie] = [e, -b, -d, a].map(|value| value / determinant);
    [ia, ib, -(ia * c + ib * f), id, ie, -(id * c + ie * f)]
}

/// The box around the moved corners of a box.
fn around(&[a, b, c, d, e, f]: &Affine, unit_box: &UnitBox) -> UnitBox {
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
            ..Augmentation::default()
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

    fn detector() -> Augmentation {
        Augmentation { hiding: Hiding::Cuts, input_px: 100, cutout: 0.0, ..all() }
    }

    /// What is shown of a box in an image that is only moved by so much to the right and down.
    fn shown_after(
        shift: [f64; 2],
        unit_box: [f32; 4],
        cutout: Option<[f32; 2]>,
    ) -> Option<UnitBox> {
        let still = Augmentation { input_px: 100, hiding: Hiding::Cuts, ..Augmentation::default() };
        let augmentation =
            Augmentation { cutout: if cutout.is_some() { 0.25 } else { 0.0 }, ..still };
        let to = affine(false, 0.0, 1.0, shift);
        let change = AugmentParams {
            to: to.map(single),
            from: inverse(&to).map(single),
            cutout: cutout.unwrap_or_default(),
            ..augmentation.change(1, 1, &[])
        };
        augmentation.shown(&UnitBox::from(unit_box), None, &change)
    }

    #[test]
    fn a_box_is_moved_and_cut_and_left_out_where_under_a_fifth_of_it_is_left() {
        let inside = [0.25, 0.5, 0.5, 0.75];
        assert_eq!(shown_after([0.0, 0.0], inside, None), Some(UnitBox::from(inside)));
        assert_eq!(
            shown_after([0.25, -0.25], inside, None),
            Some(UnitBox::new(0.5, 0.25, 0.75, 0.5))
        );
        assert_eq!(
            shown_after([-0.375, 0.0], inside, None),
            Some(UnitBox::new(0.0, 0.5, 0.125, 0.75)),
            "half of it"
        );
        // 0.06 and 0.04 of its width of 0.25 are left.
        assert!(shown_after([-0.44, 0.0], inside, None).is_some());
        assert_eq!(shown_after([-0.46, 0.0], inside, None), None);
        assert_eq!(shown_after([0.0, 0.75], inside, None), None, "all of it is outside");
        // At the edge from the start.
        let corner = [0.75, 0.75, 1.0, 1.0];
        assert_eq!(shown_after([0.0, 0.0], corner, None), Some(UnitBox::from(corner)));
        assert_eq!(shown_after([0.125, 0.125], corner, None).unwrap().area(), 0.125 * 0.125);
        // Under a pixel of 100 wide.
        assert_eq!(shown_after([0.0, 0.0], [0.5, 0.5, 0.509, 0.75], None), None);
        assert!(shown_after([0.0, 0.0], [0.5, 0.5, 0.511, 0.75], None).is_some());
        // The black square covers it, half of it, and none of it.
        assert_eq!(shown_after([0.0, 0.0], inside, Some([0.25, 0.5])), None);
        for at in [[0.375, 0.5], [0.75, 0.0]] {
            assert_eq!(shown_after([0.0, 0.0], inside, Some(at)), Some(UnitBox::from(inside)));
        }
    }

    #[test]
    fn a_tile_cuts_what_lies_in_other_quarters() {
        let augmentation =
            Augmentation { input_px: 100, hiding: Hiding::Cuts, ..Augmentation::default() };
        let still = augmentation.change(1, 1, &[]);
        // The image at three quarters of its size, from the left upper corner, cut at the middle.
        let tile = Tile {
            to: [0.75, 0.0, 0.0, 0.0, 0.75, 0.0],
            edges: [f64::NEG_INFINITY, f64::NEG_INFINITY, 0.5, 0.5],
        };
        let shown =
            |unit_box: [f32; 4]| augmentation.shown(&UnitBox::from(unit_box), Some(&tile), &still);
        assert_eq!(shown([0.0, 0.0, 0.5, 0.5]), Some(UnitBox::new(0.0, 0.0, 0.375, 0.375)));
        assert_eq!(shown([0.5, 0.0, 1.0, 0.5]), Some(UnitBox::new(0.375, 0.0, 0.5, 0.375)));
        assert_eq!(shown([0.625, 0.0, 1.0, 0.5]), None, "a ninth of it");
    }

    #[test]
    fn a_detector_takes_the_first_move_and_a_classifier_one_that_hides_little() {
        let (classifier, detector) = (Augmentation { shift: 0.9, ..all() }, detector());
        let detector = Augmentation { shift: 0.9, ..detector };
        let mut differ = 0;
        for number in 0..200 {
            let first = classifier.change(1, number, &[]);
            assert_eq!(detector.change(1, number, &[UNIT]).to, first.to);
            differ += usize::from(classifier.change(1, number, &[UNIT]).to != first.to);
        }
        assert!((50..190).contains(&differ), "{differ} of 200 hide too much of the box");
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
