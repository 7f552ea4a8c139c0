use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use ossify_torch_kernels::ops;

use crate::data::augment::{AugmentParams, Augmentation};
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

    /// Moves the changes of a batch to `device`, which is that of the images.
    pub fn upload(&self, changes: &[AugmentParams], device: &Device) -> Changes {
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
        }
    }

    /// Images `[N, C, side, side]` of values 0..255, each with its change; what comes in from
    /// outside is black.
    pub fn apply(&self, images: Tensor<4>, changes: &Changes) -> Tensor<4> {
        let mut images =
            if self.augmentation.moves() { self.moved(images, changes) } else { images };
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
        images
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
}

/// Columns of [`Changes::numbers`]: the six of [`AugmentParams::from`], then one or two each.
const FROM: usize = 0;
const BRIGHTNESS: usize = 6;
const CONTRAST: usize = 7;
/// Standard deviation of noise, 0..255.
const NOISE: usize = 8;
const CUTOUT: usize = 9;
const NUMBERS: usize = 11;

impl Changes {
    /// A number of each image, `[N, 1, 1]`.
    fn number(&self, column: usize) -> Tensor<3> {
        let [count, _] = self.numbers.dims();
        self.numbers.clone().narrow(1, column, 1).reshape([count, 1, 1])
    }
}

/// A number of pixels, which are at most as many as in two sides of a network input, as tensors of
/// indices have it.
#[expect(clippy::cast_possible_wrap, reason = "sides are at most 32,768 pixels")]
fn signed(pixels: usize) -> i64 {
    pixels as i64
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
        augmenter.apply(images, &augmenter.upload(changes, &device))
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
