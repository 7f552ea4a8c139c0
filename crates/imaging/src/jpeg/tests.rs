use std::path::Path;

use ossify_vocabulary::{Channels, Filter, Geometry, Limits, TensorSpec};

use super::*;
use crate::{Pixels, decode as decode_whole, decode_picture, to_tensor, to_tensor_into};

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)).unwrap()
}

fn whole(bytes: &[u8]) -> Pixels {
    decode_whole(bytes, &Limits::default()).unwrap()
}

/// Luma of each pixel, before rounding.
fn luma(pixels: &Pixels) -> Vec<f64> {
    pixels
        .data()
        .as_chunks::<3>()
        .0
        .iter()
        .map(|[r, g, b]| 0.299 * f64::from(*r) + 0.587 * f64::from(*g) + 0.114 * f64::from(*b))
        .collect()
}

const SAMPLINGS: [&str; 5] = [
    "chroma-444.jpg",
    "chroma-422.jpg",
    "chroma-420.jpg",
    "chroma-420-restarts.jpg",
    "chroma-420-optimized.jpg",
];

#[test]
fn the_whole_size_is_that_of_a_general_decoder() {
    for name in SAMPLINGS {
        let bytes = fixture(name);
        let planes = decode(&bytes, 8).unwrap();
        let expected = luma(&whole(&bytes));
        assert_eq!((planes.len(), planes[0].width, planes[0].height), (3, 83, 61), "{name}");
        let worst = planes[0]
            .data
            .iter()
            .zip(&expected)
            .map(|(a, b)| (f64::from(*a) - b).abs())
            .fold(0.0, f64::max);
        // The general decoder rounds three times: in its transform, in the colours, and here back
        // to luma. Saturated colours lose luma.
        assert!(worst < 4.0, "{name}: {worst}");
    }
}

#[test]
fn gray_that_is_stored_as_colour_is_one_plane_and_exact() {
    let bytes = fixture("gray-as-color.jpg");
    let planes = decode(&bytes, 8).unwrap();
    assert_eq!(planes.len(), 1);
    let expected: Vec<u8> = whole(&bytes).data().iter().step_by(3).copied().collect();
    let worst = planes[0].data.iter().zip(&expected).map(|(a, b)| a.abs_diff(*b)).max();
    assert!(worst <= Some(1), "{worst:?}");
}

/// On a smooth picture, each sample of a reduced plane is the mean of the pixels that it covers.
#[test]
fn fractions_are_the_means_of_what_they_cover() {
    for name in SAMPLINGS {
        let bytes = fixture(name);
        let pixels = whole(&bytes);
        let all = luma(&pixels);
        let (width, height) = (pixels.width() as usize, pixels.height() as usize);
        for n in 1..=8 {
            let plane = &decode(&bytes, n).unwrap()[0];
            assert_eq!(
                (plane.width as usize, plane.height as usize),
                ((width * n).div_ceil(8), (height * n).div_ceil(8))
            );
            assert_eq!(plane.scale, (n as f64 / 8.0, n as f64 / 8.0));
            let covered = |at: usize, length: usize| {
                let (from, to) = (at as f64 * 8.0 / n as f64, (at + 1) as f64 * 8.0 / n as f64);
                (from as usize..(to.ceil() as usize).min(length))
                    .map(move |i| (i, to.min(i as f64 + 1.0) - from.max(i as f64)))
            };
            let mut sum = 0.0;
            let (inner_width, inner_height) = (width * n / 8, height * n / 8);
            for y in 0..inner_height {
                for x in 0..inner_width {
                    let parts = covered(y, height).flat_map(|(j, h)| {
                        covered(x, width).map(move |(i, w)| (j * width + i, w * h))
                    });
                    let (total, weight) = parts.fold((0.0, 0.0), |(total, weight), (at, share)| {
                        (total + share * all[at], weight + share)
                    });
                    sum += (f64::from(plane.data[y * plane.width as usize + x]) - total / weight)
                        .abs();
                }
            }
            let mean = sum / (inner_width * inner_height) as f64;
            assert!(mean < 1.5, "{name} at {n}/8: {mean}");
        }
    }
}

/// Including colours: the tensor from a reduced picture against that from the whole picture, in
/// every geometry.
#[test]
fn tensors_of_fractions_are_those_of_whole_pictures() {
    for name in SAMPLINGS.into_iter().chain(["gray-as-color.jpg"]) {
        let bytes = fixture(name);
        for side_px in [8, 16, 30, 48, 61] {
            for geometry in [Geometry::Stretch, Geometry::Letterbox, Geometry::CenterCrop] {
                for channels in [Channels::Rgb, Channels::Gray] {
                    let spec = TensorSpec {
                        side_px,
                        channels,
                        geometry,
                        filter: Filter::Bilinear,
                        antialias: true,
                    };
                    let picture = decode_picture(&bytes, &Limits::default(), &spec).unwrap();
                    let mut tensor = vec![0; spec.bytes()];
                    let transform = to_tensor_into(&picture, &spec, &mut tensor).unwrap();
                    let (expected, expected_transform) = to_tensor(&whole(&bytes), &spec).unwrap();
                    assert_eq!(transform, expected_transform);
                    let mean = tensor
                        .iter()
                        .zip(&expected)
                        .map(|(a, b)| f64::from(a.abs_diff(*b)))
                        .sum::<f64>()
                        / expected.len() as f64;
                    assert!(mean < 2.5, "{name}, {side_px} px, {geometry:?}, {channels:?}: {mean}");
                }
            }
        }
    }
}

/// EXIF orientations turn reduced pictures like whole ones, including partial samples at the far
/// edge.
#[test]
fn turned_fractions_are_those_of_turned_pictures() {
    let jpeg = fixture("chroma-420.jpg");
    for orientation in 1..=8u8 {
        let exif = [
            b"\xff\xe1\0\x22Exif\0\0II\x2a\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".as_slice(),
            &[orientation],
            b"\0\0\0\0\0\0\0",
        ]
        .concat();
        let turned = [&jpeg[..2], &exif, &jpeg[2..]].concat();
        let spec = TensorSpec {
            side_px: 30,
            channels: Channels::Rgb,
            geometry: Geometry::Stretch,
            filter: Filter::Bilinear,
            antialias: true,
        };
        let picture = decode_picture(&turned, &Limits::default(), &spec).unwrap();
        let pixels = whole(&turned);
        assert_eq!(picture.size(), pixels.size());
        let mut tensor = vec![0; spec.bytes()];
        to_tensor_into(&picture, &spec, &mut tensor).unwrap();
        let (expected, _) = to_tensor(&pixels, &spec).unwrap();
        let mean =
            tensor.iter().zip(&expected).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>()
                / expected.len() as f64;
        assert!(mean < 1.5, "orientation {orientation}: {mean}");
    }
}

#[test]
fn other_kinds_are_left_to_the_general_decoder() {
    for name in ["progressive.jpg", "cmyk.jpg"] {
        assert!(decode(&fixture(name), 8) == Err(Refusal::NotReadHere), "{name}");
        let picture = decode_picture(
            &fixture(name),
            &Limits::default(),
            &TensorSpec {
                side_px: 16,
                channels: Channels::Rgb,
                geometry: Geometry::Stretch,
                filter: Filter::Bilinear,
                antialias: true,
            },
        );
        assert_eq!(picture.unwrap().size(), (32, 24));
    }
}

#[test]
fn cut_and_damaged_files_are_refused_or_of_the_right_size() {
    for name in ["chroma-420.jpg", "chroma-420-restarts.jpg", "gray-as-color.jpg"] {
        let bytes = fixture(name);
        for length in 0..bytes.len() {
            assert!(decode(&bytes[..length], 4).is_err(), "{name} cut to {length}");
        }
        let mut seed = 11u64;
        let mut random = || {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize
        };
        for _ in 0..2000 {
            let mut hostile = bytes.clone();
            for _ in 0..1 + random() % 3 {
                let at = random() % hostile.len();
                hostile[at] = random() as u8;
            }
            let too_large = hostile.windows(2).any(|pair| pair == [0xff, 0xc0]) && {
                let at = hostile.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap_or(0);
                hostile.get(at + 5..at + 9).is_none_or(|size| size[0] > 8 || size[2] > 8)
            };
            // The caller enforces the limits on pictures.
            if too_large {
                continue;
            }
            for plane in decode(&hostile, 1 + random() % 8).unwrap_or_default() {
                assert_eq!(plane.data.len(), (plane.width * plane.height) as usize);
            }
        }
    }
}
