//! Geometry: pixels against a straightforward reference resize, and round trips of boxes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use ossify_contract::{Transform, UnitBox};
use ossify_imaging::{Pixels, to_tensor, transform};
use ossify_vocabulary::{Channels, Filter, Geometry, TensorSpec};
use proptest::prelude::*;

const GEOMETRIES: [Geometry; 3] = [Geometry::Stretch, Geometry::Letterbox, Geometry::CenterCrop];
const FILTERS: [Filter; 6] = [
    Filter::Nearest,
    Filter::Bilinear,
    Filter::Hamming,
    Filter::CatmullRom,
    Filter::Mitchell,
    Filter::Lanczos3,
];

fn spec(side_px: u32, channels: Channels, geometry: Geometry) -> TensorSpec {
    TensorSpec { side_px, channels, geometry, filter: Filter::Bilinear, antialias: true }
}

fn picture(width: u32, height: u32, channels: u8) -> Pixels {
    let value = |x: u32, y: u32, c: u8| {
        (128.0 + 100.0 * (f64::from(x) * 0.11 + f64::from(c)).sin() * (f64::from(y) * 0.07).cos())
            as u8
            ^ ((x * y) % 13) as u8
    };
    let data = (0..height)
        .flat_map(|y| (0..width).flat_map(move |x| (0..channels).map(move |c| value(x, y, c))))
        .collect();
    Pixels::new(width, height, channels, data).unwrap()
}

/// The weights of an antialiased triangle filter, by definition.
fn triangle_weights(
    from: f64,
    length: f64,
    source: usize,
    target: usize,
) -> Vec<Vec<(usize, f64)>> {
    let scale = length / target as f64;
    let support = scale.max(1.0);
    (0..target)
        .map(|at| {
            let center = from + (at as f64 + 0.5) * scale;
            let weight = |x: usize| (1.0 - ((x as f64 + 0.5 - center) / support).abs()).max(0.0);
            let found: Vec<_> =
                (0..source).filter(|x| weight(*x) > 0.0).map(|x| (x, weight(x))).collect();
            let sum: f64 = found.iter().map(|(_, weight)| weight).sum();
            found.into_iter().map(|(x, weight)| (x, weight / sum)).collect()
        })
        .collect()
}

fn reference_resize(pixels: &Pixels, target: (usize, usize)) -> Vec<f64> {
    let (width, height, channels) =
        (pixels.width() as usize, pixels.height() as usize, pixels.channels() as usize);
    let across = triangle_weights(0.0, width as f64, width, target.0);
    let down = triangle_weights(0.0, height as f64, height, target.1);
    let mut out = Vec::new();
    for rows in &down {
        for columns in &across {
            for c in 0..channels {
                let at =
                    |x: usize, y: usize| f64::from(pixels.data()[(y * width + x) * channels + c]);
                out.push(
                    rows.iter()
                        .map(|(y, wy)| {
                            wy * columns.iter().map(|(x, wx)| wx * at(*x, *y)).sum::<f64>()
                        })
                        .sum(),
                );
            }
        }
    }
    out
}

#[test]
fn stretching_agrees_with_the_plain_definition() {
    for (width, height) in [(97, 61), (40, 133), (20, 11), (48, 48)] {
        for (channels, wanted) in [(3, Channels::Rgb), (1, Channels::Gray)] {
            let pixels = picture(width, height, channels);
            let (tensor, _) = to_tensor(&pixels, &spec(48, wanted, Geometry::Stretch)).unwrap();
            let reference = reference_resize(&pixels, (48, 48));
            let worst = tensor
                .iter()
                .zip(&reference)
                .map(|(a, b)| (f64::from(*a) - b).abs())
                .fold(0.0, f64::max);
            // Both passes round to 8 bits.
            assert!(worst < 1.6, "{width}x{height}: {worst}");
        }
    }
}

#[test]
fn letterbox_is_the_stretch_of_its_inner_part_between_black_bars() {
    let pixels = picture(90, 30, 3);
    let (tensor, transform) =
        to_tensor(&pixels, &spec(60, Channels::Rgb, Geometry::Letterbox)).unwrap();
    assert_eq!(
        transform,
        Transform { scale_x: 60.0 / 90.0, scale_y: 20.0 / 30.0, offset_x: 0.0, offset_y: 20.0 }
    );
    let reference = reference_resize(&pixels, (60, 20));
    assert!(tensor[..20 * 60 * 3].iter().chain(&tensor[40 * 60 * 3..]).all(|value| *value == 0));
    let inner = &tensor[20 * 60 * 3..40 * 60 * 3];
    assert!(inner.iter().zip(&reference).all(|(a, b)| (f64::from(*a) - b).abs() < 1.6));
}

#[test]
fn center_crop_sees_the_middle_square_alone() {
    let mut data = vec![0; 60 * 20];
    for row in data.chunks_exact_mut(60) {
        row[20..40].fill(200);
    }
    let pixels = Pixels::new(60, 20, 1, data).unwrap();
    let (tensor, transform) =
        to_tensor(&pixels, &spec(40, Channels::Gray, Geometry::CenterCrop)).unwrap();
    assert_eq!(transform, Transform { scale_x: 2.0, scale_y: 2.0, offset_x: -40.0, offset_y: 0.0 });
    // At the edges the kernel extends beyond the crop.
    assert!(tensor.chunks_exact(40).all(|row| row[2..38].iter().all(|value| *value == 200)));
}

#[test]
fn channels_are_made_and_merged() {
    let gray = picture(30, 20, 1);
    let (tensor, _) = to_tensor(&gray, &spec(16, Channels::Rgb, Geometry::Letterbox)).unwrap();
    assert_eq!(tensor.len(), 16 * 16 * 3);
    assert!(tensor.as_chunks::<3>().0.iter().all(|[r, g, b]| r == g && g == b));
    let red = Pixels::new(2, 2, 3, [255, 0, 0].repeat(4)).unwrap();
    assert_eq!(to_tensor(&red, &spec(8, Channels::Gray, Geometry::Stretch)).unwrap().0, [76; 64]);
    let white = Pixels::new(2, 2, 3, vec![255; 12]).unwrap();
    assert_eq!(
        to_tensor(&white, &spec(8, Channels::Gray, Geometry::Stretch)).unwrap().0,
        [255; 64]
    );
}

#[test]
fn nearest_and_plain_bilinear_are_not_averaged() {
    let data: Vec<u8> = (0..64 * 64).map(|i| if (i % 64) % 4 == 1 { 255 } else { 0 }).collect();
    let stripes = Pixels::new(64, 64, 1, data).unwrap();
    let base = spec(16, Channels::Gray, Geometry::Stretch);
    let mean = |spec: &TensorSpec| {
        to_tensor(&stripes, spec).unwrap().0.iter().map(|value| f64::from(*value)).sum::<f64>()
            / 256.0
    };
    assert!((mean(&base) - 63.75).abs() < 3.0);
    assert!((mean(&TensorSpec { antialias: false, ..base }) - 127.5).abs() < 3.0);
    let (nearest, _) =
        to_tensor(&stripes, &TensorSpec { filter: Filter::Nearest, ..base }).unwrap();
    assert!(nearest.iter().all(|value| [0, 255].contains(value)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_size_gives_a_tensor_in_every_mode(
        width in 1u32..200,
        height in 1u32..200,
        side in 1u32..64,
        mode in 0usize..3,
        filter in 0usize..6,
        antialias: bool,
    ) {
        let spec = TensorSpec {
            side_px: side,
            channels: Channels::Rgb,
            geometry: GEOMETRIES[mode],
            filter: FILTERS[filter],
            antialias,
        };
        let data = vec![90; (width * height * 3) as usize];
        let pixels = Pixels::new(width, height, 3, data).unwrap();
        let (tensor, found) = to_tensor(&pixels, &spec).unwrap();
        prop_assert_eq!(tensor.len(), spec.bytes());
        prop_assert_eq!(found, transform(&spec, (width, height)));
        // A uniform picture stays uniform with every kernel.
        let has_bars = spec.geometry == Geometry::Letterbox;
        prop_assert!(
            tensor.iter().all(|value| value.abs_diff(90) <= 1 || (has_bars && *value == 0))
        );
    }

    #[test]
    fn boxes_go_to_the_tensor_and_come_back(
        width in 1u32..5000,
        height in 1u32..5000,
        mode in 0usize..3,
        corner in (0.0f32..0.7, 0.0f32..0.7),
        size in (0.01f32..0.3, 0.01f32..0.3),
    ) {
        let spec = spec(224, Channels::Rgb, GEOMETRIES[mode]);
        let (source, tensor) = ((width, height), (224, 224));
        let found = transform(&spec, source);
        let unit = UnitBox::new(corner.0, corner.1, corner.0 + size.0, corner.1 + size.1);
        let mapped = found.to_tensor(&unit, source, tensor);
        let back = found.to_source(&mapped, source, tensor);
        for (a, b) in back.to_array().into_iter().zip(unit.to_array()) {
            // Long thin pictures have offsets of thousands of tensor pixels, and floats have 24
            // bits.
            prop_assert!((a - b).abs() < 2e-4, "{unit:?} came back as {back:?}");
        }
        if spec.geometry != Geometry::CenterCrop {
            let whole = found.to_tensor(&UnitBox::new(0.0, 0.0, 1.0, 1.0), source, tensor);
            prop_assert!(whole.to_array().iter().all(|share| (-1e-4..=1.0001).contains(share)));
        }
    }

    /// A bright patch of the source appears in the tensor where the transform says.
    #[test]
    fn pixels_move_as_boxes_do(
        width in 60u32..300,
        height in 60u32..300,
        mode in 0usize..3,
        at in (0.25f32..0.6, 0.25f32..0.6),
    ) {
        let spec = spec(96, Channels::Gray, GEOMETRIES[mode]);
        let (left, top) = ((at.0 * width as f32) as u32, (at.1 * height as f32) as u32);
        let (patch_width, patch_height) = (width / 6, height / 6);
        let (columns, rows) = (left..left + patch_width, top..top + patch_height);
        let inside = |x: u32, y: u32| columns.contains(&x) && rows.contains(&y);
        let value = |i: u32| if inside(i % width, i / width) { 255 } else { 0 };
        let pixels = Pixels::new(width, height, 1, (0..width * height).map(value).collect());
        let (tensor, found) = to_tensor(&pixels.unwrap(), &spec).unwrap();
        let (across, down) = (|x: u32| x as f32 / width as f32, |y: u32| y as f32 / height as f32);
        let unit = UnitBox::new(
            across(left),
            down(top),
            across(left + patch_width),
            down(top + patch_height),
        );
        let mapped = found.to_tensor(&unit, (width, height), (96, 96)).clamped();
        let mass: f64 = tensor.iter().map(|value| f64::from(*value) / 255.0).sum();
        prop_assume!(mapped.width() > 0.08 && mapped.height() > 0.08);
        prop_assume!(mapped.xmin > 0.02 && mapped.ymin > 0.02);
        prop_assume!(mapped.xmax < 0.98 && mapped.ymax < 0.98);
        let center = |axis: fn(usize) -> usize| {
            let weighed = tensor
                .iter()
                .enumerate()
                .map(|(i, value)| f64::from(*value) / 255.0 * (axis(i) as f64 + 0.5));
            weighed.sum::<f64>() / mass
        };
        let expected_x = f64::from(mapped.xmin + mapped.xmax) / 2.0 * 96.0;
        let expected_y = f64::from(mapped.ymin + mapped.ymax) / 2.0 * 96.0;
        prop_assert!((center(|i| i % 96) - expected_x).abs() < 0.2, "x {} and not \
            {expected_x}", center(|i| i % 96));
        prop_assert!((center(|i| i / 96) - expected_y).abs() < 0.2, "y {} and not \
            {expected_y}", center(|i| i / 96));
        prop_assert!((mass - f64::from(mapped.area()) * 96.0 * 96.0).abs() < 0.05 * mass + 4.0);
    }
}
