use burn::tensor::{Bool, DType, Device, Int, Tensor, TensorData};
use ossify_torch_kernels::ops;

use crate::data::augment::{AugmentParams, Augmentation};
use crate::data::composition::Composition;
use crate::random::{Purpose, Stream};
use crate::rounding::single;

/// White on the scale of the bytes.
const WHITE: f64 = 255.0;

/// Varies batches of images on the device.
pub struct Augmenter {
    augmentation: Augmentation,
    side: usize,
    /// Values of mean 0 and deviation 1, `[2 side, 2 side]` flat, from which each sample's noise is
    /// cut.
    noise: Option<Tensor<1>>,
}

impl Augmenter {
    /// For images of `side` by `side` pixels on `device`, which has no gradients.
    pub fn new(augmentation: Augmentation, side: usize, device: &Device) -> Self {
        let noise = (augmentation.noise > 0.0).then(|| {
            let mut stream = Stream::new(augmentation.seed, Purpose::Noise, 0, 0);
            let values: Vec<f32> = (0..4 * side * side).map(|_| single(stream.normal())).collect();
            Tensor::from_data(TensorData::new(values, [4 * side * side]), (device, DType::F32))
        });
        Augmenter { augmentation, side, noise }
    }

    /// Moves the changes of a batch to `device`, which is that of the images. `compositions` has
    /// one of each sample, or none.
    pub fn upload(
        &self,
        changes: &[AugmentParams],
        compositions: &[Composition],
        device: &Device,
    ) -> Changes {
        let numbers: Vec<f32> = changes
            .iter()
            .flat_map(|change| {
                let [a, b, c, d, e, f] = change.from;
                let [left, top] = change.cutout;
                let deviation = change.noise * single(WHITE);
                [a, b, c, d, e, f, change.brightness, change.contrast, deviation, left, top]
            })
            .collect();
        let offsets: Vec<i32> = changes
            .iter()
            .flat_map(|change| change.noise_offset.map(|offset| noise_row(offset, self.side)))
            .collect();
        let count = changes.len();
        Changes {
            numbers: Tensor::from_data(
                TensorData::new(numbers, [count, NUMBERS]),
                (device, DType::F32),
            ),
            offsets: self.noise.is_some().then(|| {
                Tensor::<1, Int>::from_ints(TensorData::new(offsets, [2 * count]), device)
                    .reshape([count, 2])
            }),
            tiles: compositions
                .iter()
                .any(|composition| composition.mosaic.is_some())
                .then(|| self.tiles(changes, compositions, device)),
            mixed: mixed(compositions, device),
        }
    }

    /// The numbers of [`Changes::tiles`].
    fn tiles(
        &self,
        changes: &[AugmentParams],
        compositions: &[Composition],
        device: &Device,
    ) -> Tensor<2> {
        let count = compositions.len();
        let (height, stride) = self.stack_px(count);
        let of_sample = |(row, (change, composition)): (usize, (&AugmentParams, &Composition))| {
            // A sample without a mosaic is one of four times its own image, at its own size.
            let (rows, centre, size, lefts, tops) = match composition.mosaic {
                None => ([row; 4], [0.5; 2], 1.0, [0.0; 2], [0.0; 2]),
                Some(mosaic) => {
                    (mosaic.rows, mosaic.centre, mosaic.size, mosaic.lefts, mosaic.tops)
                }
            };
            let larger = change.from.into_iter().chain(centre).map(move |number| number / size);
            let begins = lefts.into_iter().chain(tops).map(move |edge| -edge / size);
            let stacked = rows
                .into_iter()
                .map(move |row| single((row * stride + 1) as f64 / height as f64 * 2.0 - 1.0));
            larger.chain(begins).chain(stacked)
        };
        let numbers: Vec<f32> =
            changes.iter().zip(compositions).enumerate().flat_map(of_sample).collect();
        Tensor::from_data(TensorData::new(numbers, [count, TILE_NUMBERS]), (device, DType::F32))
    }

    /// Height of so many images below each other, each between two black rows, and from one to the
    /// next, pixels.
    fn stack_px(&self, count: usize) -> (usize, usize) {
        (count * (self.side + 2), self.side + 2)
    }

    /// Images `[N, C, side, side]` of values 0..255, each with its change; what comes in from
    /// outside is black.
    pub fn apply(&self, images: Tensor<4>, changes: &Changes) -> Tensor<4> {
        let mut images = match &changes.tiles {
            Some(tiles) => self.composed(images, tiles),
            None if self.augmentation.moves() => self.moved(images, changes),
            None => images,
        };
        if self.augmentation.tones() {
            images = toned(images, changes);
        }
        if let (Some(field), Some(offsets)) = (&self.noise, &changes.offsets) {
            images = images + self.noise_of(field, offsets, changes);
        }
        if self.augmentation.tones() || self.noise.is_some() {
            images = images.clamp(0.0, WHITE);
        }
        if self.augmentation.cutout > 0.0 {
            images = images * self.uncovered(changes);
        }
        match &changes.mixed {
            None => images,
            Some((rows, shares)) => {
                let others = images.clone().select(0, rows.clone());
                images * shares.clone() + others * (shares.clone().neg() + 1.0)
            }
        }
    }

    /// Each pixel of the result is interpolated between the four that are nearest to where it comes
    /// from.
    fn moved(&self, images: Tensor<4>, changes: &Changes) -> Tensor<4> {
        let [count, ..] = images.dims();
        let side = self.side;
        let (x, y) = self.pixel_centres(&images.device());
        let at = |first: usize| {
            let source = x.clone() * changes.number(first)
                + y.clone() * changes.number(first + 1)
                + changes.number(first + 2);
            (source * 2.0 - 1.0).reshape([count, side, side, 1])
        };
        ops::sample(images, Tensor::cat(vec![at(FROM), at(FROM + 3)], 3))
    }

    /// As [`Self::moved`], of which image of the batch the quarter says that a pixel comes from. A
    /// quarter shows more of its image, and then black, where the mosaic is moved into the picture.
    fn composed(&self, images: Tensor<4>, tiles: &Tensor<2>) -> Tensor<4> {
        let ([count, channels, ..], side, device) = (images.dims(), self.side, images.device());
        let (height, _) = self.stack_px(count);
        let number = |column: usize| tiles.clone().narrow(1, column, 1).reshape([count, 1, 1]);
        let plane = [count, side, side];
        let choose = |first: &Tensor<3, Bool>, numbers: [Tensor<3>; 2]| {
            let [first_number, second_number] = numbers.map(|number| number.expand(plane));
            second_number.mask_where(first.clone(), first_number)
        };
        let (x, y) = self.pixel_centres(&device);
        // In shares of an image's side, from the mosaic's corner.
        let at = |first: usize| {
            x.clone() * number(first) + y.clone() * number(first + 1) + number(first + 2)
        };
        let (across, down) = (at(TILE_FROM), at(TILE_FROM + 3));
        let is_left = across.clone().lower(number(TILE_CENTRE));
        let is_above = down.clone().lower(number(TILE_CENTRE + 1));
        let pair = |first: usize| [number(first), number(first + 1)];
        let across = across + choose(&is_left, pair(TILE_LEFTS));
        // Beyond the black rows there are other images.
        let margin = 1.0 / side as f64;
        let down = (down + choose(&is_above, pair(TILE_TOPS))).clamp(-margin, 1.0 + margin);
        let row = choose(
            &is_above,
            [choose(&is_left, pair(TILE_ROWS)), choose(&is_left, pair(TILE_ROWS + 2))],
        );
        let points = [across * 2.0 - 1.0, down * (2.0 * side as f64 / height as f64) + row];
        let points = points.map(|points| points.reshape([count, side, side, 1]));
        // One image that all samples take their pixels from.
        let black = Tensor::zeros([count, 1, side, channels], &device);
        let rows = vec![black.clone(), images.permute([0, 2, 3, 1]), black];
        let stack = Tensor::cat(rows, 1).reshape([1, height, side, channels]);
        let stack = stack.permute([0, 3, 1, 2]).expand([count, channels, height, side]);
        ops::sample(stack, Tensor::cat(points.into(), 3))
    }

    /// Middles of columns `[1, 1, side]` and of rows `[1, side, 1]`, in shares of the side.
    fn pixel_centres(&self, device: &Device) -> (Tensor<3>, Tensor<3>) {
        let middles = (Tensor::<1, Int>::arange(0..signed(self.side), device).float() + 0.5)
            / self.side as f64;
        (middles.clone().reshape([1, 1, self.side]), middles.reshape([1, self.side, 1]))
    }

    /// Noise `[N, 1, side, side]`, the same for all channels: radiographs are gray.
    fn noise_of(
        &self,
        field: &Tensor<1>,
        offsets: &Tensor<2, Int>,
        changes: &Changes,
    ) -> Tensor<4> {
        let (side, device) = (self.side, field.device());
        let [count, _] = offsets.dims();
        let corner = |axis: usize| offsets.clone().narrow(1, axis, 1).reshape([count, 1, 1]);
        let line = Tensor::<1, Int>::arange(0..signed(side), &device);
        let columns = corner(0) + line.clone().reshape([1, 1, side]);
        let rows = corner(1) + line.reshape([1, side, 1]);
        let cut = field
            .clone()
            .select(0, (rows * signed(2 * side) + columns).reshape([count * side * side]));
        let noise = cut.reshape([count, side, side]) * changes.number(NOISE);
        noise.reshape([count, 1, side, side])
    }

    /// 0 inside the square of each image, 1 outside: `[N, 1, side, side]`.
    fn uncovered(&self, changes: &Changes) -> Tensor<4> {
        let (x, y) = self.pixel_centres(&changes.numbers.device());
        let covered = |centres: Tensor<3>, axis: usize| {
            let distance = centres - changes.number(CUTOUT + axis);
            distance
                .clone()
                .greater_equal_elem(0.0)
                .bool_and(distance.lower_elem(self.augmentation.cutout))
                .float()
        };
        let [count, _] = changes.numbers.dims();
        (covered(x, 0) * covered(y, 1))
            .neg()
            .add_scalar(1.0)
            .reshape([count, 1, self.side, self.side])
    }
}

/// The changes of a batch on the device.
pub struct Changes {
    /// `[N, NUMBERS]`: see [`FROM`] and what follows.
    numbers: Tensor<2>,
    /// First column and row of each image's noise in the field, `[N, 2]`; `None` without noise.
    offsets: Option<Tensor<2, Int>>,
    /// `[N, TILE_NUMBERS]`: see [`TILE_FROM`] and what follows; `None` without mosaics.
    tiles: Option<Tensor<2>>,
    /// Row of the other image of each sample, `[N]`, and share of its own, `[N, 1, 1, 1]`; `None`
    /// where none is mixed.
    mixed: Option<(Tensor<1, Int>, Tensor<4>)>,
}

/// Columns of [`Changes::numbers`]: the six of [`AugmentParams::from`], then one or two each.
const FROM: usize = 0;
const BRIGHTNESS: usize = 6;
const CONTRAST: usize = 7;
/// Standard deviation of noise, 0..255.
const NOISE: usize = 8;
const CUTOUT: usize = 9;
const NUMBERS: usize = 11;

/// Columns of [`Changes::tiles`]: the six of [`AugmentParams::from`]; where the quarters meet, two;
/// both in shares of the side that images have in the mosaic, as all lengths here.
const TILE_FROM: usize = 0;
const TILE_CENTRE: usize = 6;
/// From the left edges of the images on the left and on the right to that of the mosaic; then from
/// the top edges of those above and below.
const TILE_LEFTS: usize = 8;
const TILE_TOPS: usize = 10;
/// Where the images begin in the stack, -1 at its top to 1 at its bottom: top left, top right,
/// bottom left, bottom right.
const TILE_ROWS: usize = 12;
const TILE_NUMBERS: usize = 16;

/// See [`Changes::mixed`].
fn mixed(compositions: &[Composition], device: &Device) -> Option<(Tensor<1, Int>, Tensor<4>)> {
    compositions.iter().find_map(|composition| composition.mixup)?;
    let count = compositions.len();
    let (rows, shares): (Vec<i64>, Vec<f32>) = compositions
        .iter()
        .enumerate()
        .map(|(own, composition)| {
            let (row, share) =
                composition.mixup.map_or((own, 1.0), |mixup| (mixup.row, mixup.share));
            (signed(row), share)
        })
        .unzip();
    let rows = Tensor::from_ints(TensorData::new(rows, [count]), device);
    let shares = TensorData::new(shares, [count, 1, 1, 1]);
    Some((rows, Tensor::from_data(shares, (device, DType::F32))))
}

impl Changes {
    /// A number of each image, `[N, 1, 1]`.
    fn number(&self, column: usize) -> Tensor<3> {
        let [count, _] = self.numbers.dims();
        self.numbers.clone().narrow(1, column, 1).reshape([count, 1, 1])
    }
}

/// A number of pixels, or of images of a batch, as tensors of indices have it.
#[expect(
    clippy::cast_possible_wrap,
    reason = "sides are at most 32,768 pixels, and batches 65,536 images"
)]
fn signed(number: usize) -> i64 {
    number as i64
}

/// The first row, or column, of the noise's field that is cut out; `offset` is in 0..1.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "sides are at most 32,768 pixels, and the fraction is to be cut off"
)]
fn noise_row(offset: f32, side: usize) -> i32 {
    ((offset * (side + 1) as f32) as i32).min(side as i32)
}

/// Brightness and contrast.
fn toned(images: Tensor<4>, changes: &Changes) -> Tensor<4> {
    let [count, ..] = images.dims();
    let factor = |column: usize| changes.number(column).reshape([count, 1, 1, 1]);
    let images = images * factor(BRIGHTNESS);
    let mean = images.clone().mean_dims(&[1, 2, 3]);
    (images - mean.clone()) * factor(CONTRAST) + mean
}

#[cfg(test)]
mod tests {
    use ossify_contract::UnitBox;

    use super::*;
    use crate::data::augment::Hiding;
    use crate::data::composition::{Mixup, Tile};
    use crate::data::sampler::{Draw, number};

    const SIDE: usize = 20;
    const UNIT: UnitBox = UnitBox { xmin: 0.25, ymin: 0.4, xmax: 0.6, ymax: 0.7 };

    fn augmentation() -> Augmentation {
        Augmentation {
            seed: 3,
            flip: true,
            rotation: 25.0,
            scale: 0.3,
            shift: 0.3,
            brightness: 0.3,
            contrast: 0.2,
            noise: 0.05,
            cutout: 0.2,
            ..Augmentation::default()
        }
    }

    /// Black with one bright rectangle, as `[1, 3, side, side]`.
    fn rectangle(device: &Device) -> Tensor<4> {
        let [left, top, right, bottom] =
            UNIT.to_array().map(|edge| (edge * SIDE as f32).round() as usize);
        let mut values = vec![0.0f32; 3 * SIDE * SIDE];
        for channel in 0..3 {
            for y in top..bottom {
                values[(channel * SIDE + y) * SIDE + left..][..right - left].fill(200.0);
            }
        }
        Tensor::from_data(TensorData::new(values, [1, 3, SIDE, SIDE]), (device, DType::F32))
    }

    /// The images after their changes.
    fn changed(
        augmentation: Augmentation,
        images: Tensor<4>,
        changes: &[AugmentParams],
    ) -> Tensor<4> {
        let device = images.device();
        let augmenter = Augmenter::new(augmentation, SIDE, &device);
        augmenter.apply(images, &augmenter.upload(changes, &[], &device))
    }

    fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        tensor.into_data().try_into_vec().unwrap()
    }

    #[test]
    fn the_box_moves_with_the_pixels() {
        let device = Device::flex();
        let only_moves = Augmentation {
            brightness: 0.0,
            contrast: 0.0,
            noise: 0.0,
            cutout: 0.0,
            ..augmentation()
        };
        for augmentation in [Augmentation { rotation: 0.0, ..only_moves }, only_moves] {
            for number in 0..60 {
                let change = augmentation.change(1, number, &[UNIT]);
                let moved = numbers(changed(augmentation, rectangle(&device), &[change]));
                // Half-lit pixels count by their share, so that edges are found between pixels.
                let lit = |line: &dyn Fn(usize) -> f32| -> Vec<usize> {
                    (0..SIDE).filter(|at| line(*at) > 1.0).collect()
                };
                let columns = lit(&|x| (0..SIDE).map(|y| moved[y * SIDE + x]).fold(0.0, f32::max));
                let rows = lit(&|y| (0..SIDE).map(|x| moved[y * SIDE + x]).fold(0.0, f32::max));
                let found =
                    [columns[0], rows[0], columns[columns.len() - 1] + 1, rows[rows.len() - 1] + 1]
                        .map(|at| at as f32 / SIDE as f32);
                let expected = change.transform_box(&UNIT).to_array();
                for (found, expected) in found.iter().zip(expected) {
                    assert!(
                        (found - expected).abs() < 1.6 / SIDE as f32,
                        "{change:?}: {found:?} against {expected:?}"
                    );
                }
            }
        }
    }

    /// Black with a bright rectangle of these pixels, as `[1, 1, side, side]`.
    fn painted([left, top, right, bottom]: [usize; 4], side: usize, device: &Device) -> Tensor<4> {
        let mut values = vec![0.0f32; side * side];
        for row in values.chunks_mut(side).take(bottom).skip(top) {
            row[left..right].fill(200.0);
        }
        Tensor::from_data(TensorData::new(values, [1, 1, side, side]), (device, DType::F32))
    }

    /// Devices that this build has.
    fn devices() -> Vec<Device> {
        let chosen = ossify_model::device::choose(ossify_vocabulary::DeviceChoice::Auto).unwrap();
        vec![Device::flex(), chosen.inference()]
    }

    /// A detector's moves, of pixels alone.
    fn detector(mosaic: f64, side: usize) -> Augmentation {
        Augmentation {
            rotation: 20.0,
            shift: 0.45,
            brightness: 0.0,
            contrast: 0.0,
            noise: 0.0,
            cutout: 0.0,
            mosaic,
            hiding: Hiding::Cuts,
            input_px: u32::try_from(side).unwrap(),
            ..augmentation()
        }
    }

    /// A batch in which one image, whose number goes round, has a rectangle at a place that changes
    /// with the epoch; calls `check` with the rectangle's box, where each sample has it in its
    /// mosaic, its change, and the sample's pixels.
    fn each_rectangle(
        augmentation: Augmentation,
        side: usize,
        device: &Device,
        check: impl Fn(&UnitBox, Option<Option<Tile>>, &AugmentParams, &[f32]),
    ) {
        const BATCH: u32 = 6;
        let draws: Vec<Draw> = (0..BATCH).map(|sample| Draw { sample, repeat: 0 }).collect();
        let augmenter = Augmenter::new(augmentation, side, device);
        for epoch in 0..96_u32 {
            let marked = (epoch % BATCH) as usize;
            let mut stream = Stream::new(5, Purpose::Order, u64::from(epoch), 0);
            let [left, top] = [0, 1].map(|_| (stream.unit() * 0.7 * side as f64) as usize);
            let [width, height] =
                [0, 1].map(|_| side / 8 + (stream.unit() * 0.17 * side as f64) as usize);
            let pixels = [left, top, left + width, top + height];
            let unit_box = UnitBox::from(pixels.map(|edge| edge as f32 / side as f32));
            let images = (0..BATCH as usize)
                .map(|row| painted(if row == marked { pixels } else { [0; 4] }, side, device))
                .collect();
            let compositions = augmentation.compositions(epoch, &draws);
            let changes: Vec<AugmentParams> =
                draws.iter().map(|draw| augmentation.change(epoch, number(draw), &[])).collect();
            let uploaded = augmenter.upload(&changes, &compositions, device);
            let found = numbers(augmenter.apply(Tensor::cat(images, 0), &uploaded));
            for (row, (change, pixels)) in changes.iter().zip(found.chunks(side * side)).enumerate()
            {
                let tile = match compositions.get(row).and_then(|composition| composition.mosaic) {
                    None => (row == marked).then_some(None),
                    Some(mosaic) => {
                        let mut tiles = mosaic.tiles().into_iter();
                        tiles.find_map(|(of, tile)| (of == marked).then_some(Some(tile)))
                    }
                };
                check(&unit_box, tile, change, pixels);
            }
        }
    }

    #[test]
    fn boxes_of_a_detector_are_around_what_the_pixels_show() {
        const SIDE: usize = 48;
        for (device, mosaic) in devices().iter().flat_map(|device| [(device, 0.0), (device, 0.6)]) {
            let augmentation = detector(mosaic, SIDE);
            let counts = [const { std::cell::Cell::new(0) }; 3];
            let count = |of: usize| counts[of].set(counts[of].get() + 1);
            each_rectangle(augmentation, SIDE, device, |unit_box, tile, change, pixels| {
                let lit: f32 = pixels.iter().sum::<f32>() / 200.0;
                let Some(tile) = tile else {
                    assert_eq!(lit, 0.0, "a sample without the image shows nothing of it");
                    return;
                };
                let to = change.to.map(f64::from);
                let size = tile.map_or(1.0, |tile| tile.to[0]);
                let whole = f64::from(unit_box.area())
                    * (size * size * (to[0] * to[4] - to[1] * to[3]).abs())
                    * (SIDE * SIDE) as f64;
                let share = f64::from(lit) / whole;
                let Some(shown) = augmentation.shown(unit_box, tile.as_ref(), change) else {
                    count(0);
                    assert!(
                        share < 0.3,
                        "{share} of it are seen: {unit_box:?} {tile:?} {change:?}"
                    );
                    return;
                };
                count(if share > 0.95 { 1 } else { 2 });
                assert!(share > 0.1, "{share} of it are seen: {unit_box:?} {tile:?} {change:?}");
                // A pixel that is lit in part is in by more than an eighth.
                let is_lit = |x: usize, y: usize| pixels[y * SIDE + x] > 25.0;
                let lines = |is_lit: &dyn Fn(usize) -> bool| {
                    let lit: Vec<usize> = (0..SIDE).filter(|at| is_lit(*at)).collect();
                    [lit[0], lit[lit.len() - 1] + 1]
                };
                let [left, right] = lines(&|x| (0..SIDE).any(|y| is_lit(x, y)));
                let [top, bottom] = lines(&|y| (0..SIDE).any(|x| is_lit(x, y)));
                for (found, expected) in [left, top, right, bottom].iter().zip(shown.to_array()) {
                    let distance = *found as f32 - expected * SIDE as f32;
                    assert!(
                        distance.abs() <= 1.0,
                        "{distance} px: {unit_box:?} {tile:?} {change:?} {shown:?}"
                    );
                }
            });
            let counts = counts.map(|count| count.get());
            assert!(counts.iter().all(|count| *count > 2), "hidden, whole and cut: {counts:?}");
        }
    }

    #[test]
    fn an_object_under_the_black_square_is_none() {
        const SIDE: usize = 48;
        let augmentation = Augmentation { cutout: 0.5, ..detector(0.6, SIDE) };
        let counts = [const { std::cell::Cell::new(0) }; 2];
        each_rectangle(augmentation, SIDE, &Device::flex(), |unit_box, tile, change, pixels| {
            let Some(tile) = tile else { return };
            let lit: f32 = pixels.iter().sum::<f32>() / 200.0;
            let bare = Augmentation { cutout: 0.0, ..augmentation };
            let with = augmentation.shown(unit_box, tile.as_ref(), change);
            let without = bare.shown(unit_box, tile.as_ref(), change);
            assert!(with.is_none() || with == without, "the square does not cut boxes");
            if without.is_some() {
                let is_seen = with.is_some();
                counts[usize::from(is_seen)].set(counts[usize::from(is_seen)].get() + 1);
                assert!(if is_seen { lit > 1.0 } else { lit < 40.0 }, "{lit} px, {is_seen}");
            }
        });
        assert!(counts.iter().all(|count| count.get() > 2), "{counts:?}");
    }

    #[test]
    fn a_batch_with_mosaics_leaves_its_other_samples_as_they_are() {
        const SIDE: usize = 48;
        for device in devices() {
            let augmentation = detector(0.5, SIDE);
            let draws: Vec<Draw> = (0..8).map(|sample| Draw { sample, repeat: 0 }).collect();
            let compositions = augmentation.compositions(1, &draws);
            let images = || {
                let painted =
                    |at: usize| painted([at, 3 * at, at + 20, 3 * at + 10], SIDE, &device);
                Tensor::cat((0..8).map(painted).collect(), 0)
            };
            let changes: Vec<AugmentParams> =
                draws.iter().map(|draw| augmentation.change(1, number(draw), &[])).collect();
            let augmenter = Augmenter::new(augmentation, SIDE, &device);
            let of = |compositions| {
                let uploaded = augmenter.upload(&changes, compositions, &device);
                numbers(augmenter.apply(images(), &uploaded))
            };
            let (composed, plain) = (of(&compositions), of(&[]));
            let samples = composed.chunks(SIDE * SIDE).zip(plain.chunks(SIDE * SIDE));
            for (composition, (composed, plain)) in compositions.iter().zip(samples) {
                let furthest = composed.iter().zip(plain).map(|(a, b)| (a - b).abs());
                let furthest = furthest.fold(0.0, f32::max);
                assert_eq!(composition.mosaic.is_none(), furthest < 0.1, "{furthest}");
            }
        }
    }

    #[test]
    fn mixed_images_are_sums_by_their_shares() {
        for device in devices() {
            let augmentation =
                Augmentation { mixup: 0.5, seed: 3, hiding: Hiding::Cuts, ..Default::default() };
            let draws: Vec<Draw> = (0..8).map(|sample| Draw { sample, repeat: 0 }).collect();
            let compositions = augmentation.compositions(1, &draws);
            let gray = |row: usize| 10.0 * row as f32;
            let images = (0..8)
                .map(|row| Tensor::<4>::full([1, 3, SIDE, SIDE], gray(row), &device))
                .collect();
            let changes: Vec<AugmentParams> =
                draws.iter().map(|draw| augmentation.change(1, number(draw), &[])).collect();
            let augmenter = Augmenter::new(augmentation, SIDE, &device);
            let uploaded = augmenter.upload(&changes, &compositions, &device);
            let found = numbers(augmenter.apply(Tensor::cat(images, 0), &uploaded));
            let mut mixed = 0;
            for (row, (composition, found)) in
                compositions.iter().zip(found.chunks(3 * SIDE * SIDE)).enumerate()
            {
                let expected =
                    composition.mixup.map_or(gray(row), |Mixup { row: other, share }| {
                        mixed += 1;
                        share * gray(row) + (1.0 - share) * gray(other)
                    });
                assert!(found.iter().all(|value| (value - expected).abs() < 1e-3), "{row}");
            }
            assert!((1..8).contains(&mixed), "{mixed}");
        }
    }

    #[test]
    fn a_mirrored_image_is_exact() {
        let device = Device::flex();
        let augmentation = Augmentation { seed: 1, flip: true, ..Default::default() };
        let change = (0..20)
            .map(|number| augmentation.change(1, number, &[UNIT]))
            .find(|change| change.from[0] < 0.0)
            .unwrap();
        let (before, after) = (
            numbers(rectangle(&device)),
            numbers(changed(augmentation, rectangle(&device), &[change])),
        );
        for (row_before, row_after) in before.chunks(SIDE).zip(after.chunks(SIDE)) {
            assert!(row_before.iter().rev().zip(row_after).all(|(a, b)| (a - b).abs() < 1e-2));
        }
    }

    #[test]
    fn what_happens_to_a_sample_does_not_depend_on_its_neighbours() {
        let device = Device::flex();
        let changes: Vec<AugmentParams> =
            (0..4).map(|number| augmentation().change(1, number, &[UNIT])).collect();
        let images = Tensor::cat(vec![rectangle(&device); 4], 0);
        let together = changed(augmentation(), images, &changes);
        for (index, change) in changes.iter().enumerate() {
            let alone = numbers(changed(augmentation(), rectangle(&device), &[*change]));
            assert_eq!(numbers(together.clone().narrow(0, index, 1)), alone);
        }
    }

    #[test]
    fn tones_noise_and_cutout_do_what_they_say() {
        let device = Device::flex();
        let flat = || Tensor::<4>::full([1, 3, SIDE, SIDE], 100.0, &device);
        let identity = Augmentation { seed: 3, ..Default::default() };
        let change = identity.change(1, 1, &[UNIT]);
        let with = |augmentation: Augmentation, change: AugmentParams| {
            numbers(changed(augmentation, flat(), &[change]))
        };
        let bright = with(
            Augmentation { brightness: 0.5, ..identity },
            AugmentParams { brightness: 1.5, contrast: 0.5, ..change },
        );
        assert!(
            bright.iter().all(|value| (value - 150.0).abs() < 1e-3),
            "contrast leaves a flat image alone"
        );
        let noisy =
            with(Augmentation { noise: 0.1, ..identity }, AugmentParams { noise: 0.1, ..change });
        let mean = noisy.iter().sum::<f32>() / noisy.len() as f32;
        let deviation = (noisy.iter().map(|value| (value - mean).powi(2)).sum::<f32>()
            / noisy.len() as f32)
            .sqrt();
        assert!(
            (deviation - 25.5).abs() < 4.0 && (mean - 100.0).abs() < 4.0,
            "mean {mean}, deviation {deviation}"
        );
        let covered = with(
            Augmentation { cutout: 0.25, ..identity },
            AugmentParams { cutout: [0.5, 0.25], ..change },
        );
        assert_eq!(covered.iter().filter(|value| **value == 0.0).count(), 3 * 25);
        assert_eq!(covered[5 * SIDE + 10], 0.0);
        assert_eq!(covered[5 * SIDE + 9], 100.0);
    }
}
