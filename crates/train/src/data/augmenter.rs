use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use ossify_torch_kernels::ops;

use crate::data::augment::{AugmentParams, Augmentation};
use crate::random::{Purpose, Stream};

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
            let values: Vec<f32> = (0..4 * side * side).map(|_| stream.normal() as f32).collect();
            Tensor::from_data(TensorData::new(values, [4 * side * side]), (device, DType::F32))
        });
        Augmenter { augmentation, side, noise }
    }

    /// Images `[N, C, side, side]` of values 0..255, each with its change; what comes in from
    /// outside is black.
    pub fn apply(&self, images: Tensor<4>, changes: &[AugmentParams]) -> Tensor<4> {
        let mut images =
            if self.augmentation.moves() { self.moved(images, changes) } else { images };
        if self.augmentation.tones() {
            images = toned(images, changes);
        }
        if let Some(field) = &self.noise {
            images = images + self.noise_of(field, changes);
        }
        if self.augmentation.tones() || self.noise.is_some() {
            images = images.clamp(0.0, WHITE);
        }
        if self.augmentation.cutout > 0.0 {
            let device = images.device();
            images = images * self.uncovered(changes, &device);
        }
        images
    }

    /// Each pixel of the result is interpolated between the four that are nearest to where it comes
    /// from.
    fn moved(&self, images: Tensor<4>, changes: &[AugmentParams]) -> Tensor<4> {
        let [count, ..] = images.dims();
        let (side, device) = (self.side, images.device());
        let (x, y) = self.places(&device);
        let coefficient = |index: usize| {
            per_image(changes.iter().map(|change| change.from[index]).collect(), &device)
        };
        let at = |first: usize| {
            let place = x.clone() * coefficient(first)
                + y.clone() * coefficient(first + 1)
                + coefficient(first + 2);
            (place * 2.0 - 1.0).reshape([count, side, side, 1])
        };
        ops::sample(images, Tensor::cat(vec![at(0), at(3)], 3))
    }

    /// Middles of columns `[1, 1, side]` and of rows `[1, side, 1]`, in shares of the side.
    fn places(&self, device: &Device) -> (Tensor<3>, Tensor<3>) {
        let middles = (Tensor::<1, Int>::arange(0..self.side as i64, device).float() + 0.5)
            / self.side as f64;
        (middles.clone().reshape([1, 1, self.side]), middles.reshape([1, self.side, 1]))
    }

    /// Noise `[N, 1, side, side]`, the same for all channels: radiographs are gray.
    fn noise_of(&self, field: &Tensor<1>, changes: &[AugmentParams]) -> Tensor<4> {
        let (side, device) = (self.side, field.device());
        let corner = |axis: usize| -> Tensor<3, Int> {
            let numbers: Vec<i32> = changes
                .iter()
                .map(|change| {
                    ((change.noise_place[axis] * (side + 1) as f32) as i32).min(side as i32)
                })
                .collect();
            Tensor::<1, Int>::from_ints(TensorData::new(numbers, [changes.len()]), &device)
                .reshape([changes.len(), 1, 1])
        };
        let line = Tensor::<1, Int>::arange(0..side as i64, &device);
        let columns = corner(0) + line.clone().reshape([1, 1, side]);
        let rows = corner(1) + line.reshape([1, side, 1]);
        let cut = field
            .clone()
            .select(0, (rows * (2 * side) as i64 + columns).reshape([changes.len() * side * side]));
        let deviation =
            per_image(changes.iter().map(|change| change.noise * WHITE as f32).collect(), &device);
        (cut.reshape([changes.len(), side, side]) * deviation).reshape([
            changes.len(),
            1,
            side,
            side,
        ])
    }

    /// 0 inside the square of each image, 1 outside: `[N, 1, side, side]`.
    fn uncovered(&self, changes: &[AugmentParams], device: &Device) -> Tensor<4> {
        let (x, y) = self.places(device);
        let covered = |place: Tensor<3>, axis: usize| {
            let from =
                per_image(changes.iter().map(|change| change.cutout[axis]).collect(), device);
            let distance = place - from;
            distance
                .clone()
                .greater_equal_elem(0.0)
                .bool_and(distance.lower_elem(self.augmentation.cutout))
                .float()
        };
        (covered(x, 0) * covered(y, 1)).neg().add_scalar(1.0).reshape([
            changes.len(),
            1,
            self.side,
            self.side,
        ])
    }
}

/// Brightness and contrast.
fn toned(images: Tensor<4>, changes: &[AugmentParams]) -> Tensor<4> {
    let device = images.device();
    let factor = |of: fn(&AugmentParams) -> f32| {
        per_image(changes.iter().map(of).collect(), &device).reshape([changes.len(), 1, 1, 1])
    };
    let images = images * factor(|change| change.brightness);
    let mean = images.clone().mean_dims(&[1, 2, 3]);
    (images - mean.clone()) * factor(|change| change.contrast) + mean
}

/// One number an image: `[N, 1, 1]`.
fn per_image(values: Vec<f32>, device: &Device) -> Tensor<3> {
    let count = values.len();
    Tensor::<3>::from_data(TensorData::new(values, [count, 1, 1]), (device, DType::F32))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIDE: usize = 20;
    const UNIT: [f32; 4] = [0.25, 0.4, 0.6, 0.7];

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
        let [left, top, right, bottom] = UNIT.map(|edge| (edge * SIDE as f32).round() as usize);
        let mut values = vec![0.0f32; 3 * SIDE * SIDE];
        for channel in 0..3 {
            for y in top..bottom {
                values[(channel * SIDE + y) * SIDE + left..][..right - left].fill(200.0);
            }
        }
        Tensor::from_data(TensorData::new(values, [1, 3, SIDE, SIDE]), (device, DType::F32))
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
            let augmenter = Augmenter::new(augmentation, SIDE, &device);
            for number in 0..60 {
                let change = augmentation.change(1, number, &UNIT);
                let moved = numbers(augmenter.apply(rectangle(&device), &[change]));
                // Half-lit pixels count by their share, so that edges are found between pixels.
                let lit = |line: &dyn Fn(usize) -> f32| -> Vec<usize> {
                    (0..SIDE).filter(|at| line(*at) > 1.0).collect()
                };
                let columns = lit(&|x| (0..SIDE).map(|y| moved[y * SIDE + x]).fold(0.0, f32::max));
                let rows = lit(&|y| (0..SIDE).map(|x| moved[y * SIDE + x]).fold(0.0, f32::max));
                let found =
                    [columns[0], rows[0], columns[columns.len() - 1] + 1, rows[rows.len() - 1] + 1]
                        .map(|at| at as f32 / SIDE as f32);
                let expected = change.transform_box(&UNIT);
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
            .map(|number| augmentation.change(1, number, &UNIT))
            .find(|change| change.from[0] < 0.0)
            .unwrap();
        let (before, after) = (
            numbers(rectangle(&device)),
            numbers(
                Augmenter::new(augmentation, SIDE, &device).apply(rectangle(&device), &[change]),
            ),
        );
        for (row_before, row_after) in before.chunks(SIDE).zip(after.chunks(SIDE)) {
            assert!(row_before.iter().rev().zip(row_after).all(|(a, b)| (a - b).abs() < 1e-2));
        }
    }

    #[test]
    fn what_happens_to_a_sample_does_not_depend_on_its_neighbours() {
        let device = Device::flex();
        let augmenter = Augmenter::new(augmentation(), SIDE, &device);
        let changes: Vec<AugmentParams> =
            (0..4).map(|number| augmentation().change(1, number, &UNIT)).collect();
        let together = augmenter.apply(Tensor::cat(vec![rectangle(&device); 4], 0), &changes);
        for (index, change) in changes.iter().enumerate() {
            let alone = numbers(augmenter.apply(rectangle(&device), &[*change]));
            assert_eq!(numbers(together.clone().narrow(0, index, 1)), alone);
        }
    }

    #[test]
    fn tones_noise_and_cutout_do_what_they_say() {
        let device = Device::flex();
        let flat = || Tensor::<4>::full([1, 3, SIDE, SIDE], 100.0, &device);
        let identity = Augmentation { seed: 3, ..Default::default() };
        let change = identity.change(1, 1, &UNIT);
        let with = |augmentation: Augmentation, change: AugmentParams| {
            numbers(Augmenter::new(augmentation, SIDE, &device).apply(flat(), &[change]))
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
