//! Leaks between splits, from files to the reported pairs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use common::{encoded, pool};
use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, ImageFormat, RgbImage};
use ossify_contract::{LeakTier, ShardShape, Split, Transform};
use ossify_imaging::{decode, to_tensor};
use ossify_resize::leaks::{ImageHashes, Leaks, Picture, find_leaks};
use ossify_resize::{MIRRORED_BITS, TensorView, perceptual_hash};
use ossify_vocabulary::{Channels, Filter, Geometry, Limits, TensorSpec};
use xxhash_rust::xxh3::xxh3_64;

const STRETCHED: TensorSpec = TensorSpec {
    side_px: 224,
    channels: Channels::Rgb,
    geometry: Geometry::Stretch,
    filter: Filter::Bilinear,
    antialias: true,
};

/// A limb on a dark film: shade, bones, and details that depend on the seed.
fn film(seed: u32) -> RgbImage {
    let (width, height) = (330 + seed % 3 * 40, 420);
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    let mut chance = move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as f32 / u32::MAX as f32
    };
    // All have the same two bones in nearly the same position, like forearms.
    let lean = 0.1 * chance();
    let marks: Vec<[f32; 5]> = (0..24)
        .map(|_| {
            [
                chance(),
                chance(),
                0.01 + 0.06 * chance(),
                0.01 + 0.06 * chance(),
                60.0 * chance() - 20.0,
            ]
        })
        .collect();
    RgbImage::from_fn(width, height, |x, y| {
        let (u, v) = (x as f32 / width as f32, y as f32 / height as f32);
        let across = u - 0.5 - lean * (v - 0.5);
        let mut value = 18.0 + 40.0 * (1.0 - (across / 0.3).powi(2)).max(0.0);
        for bone in [-0.09, 0.08] {
            value += 55.0 * (1.0 - ((across - bone) / 0.05).powi(2)).max(0.0).sqrt();
        }
        for [left, top, wide, high, tone] in &marks {
            if (u - left).abs() < *wide && (v - top).abs() < *high {
                value += tone;
            }
        }
        image::Rgb([value.clamp(0.0, 255.0) as u8; 3])
    })
}

fn jpeg(picture: &RgbImage, quality: u8) -> Vec<u8> {
    let mut file = Vec::new();
    JpegEncoder::new_with_quality(&mut file, quality).encode_image(picture).unwrap();
    file
}

fn png(picture: &RgbImage) -> Vec<u8> {
    encoded(&DynamicImage::from(picture.clone()), ImageFormat::Png)
}

fn brightened(picture: &RgbImage, factor: f32) -> RgbImage {
    RgbImage::from_fn(picture.width(), picture.height(), |x, y| {
        picture.get_pixel(x, y).0.map(|value| (f32::from(value) * factor) as u8).into()
    })
}

/// Rotated counter-clockwise in its frame with black corners, as Roboflow does.
fn turned(picture: &RgbImage, degrees: f32) -> RgbImage {
    let (sin, cos) = degrees.to_radians().sin_cos();
    let (width, height) = picture.dimensions();
    let (middle_x, middle_y) = ((width - 1) as f32 / 2.0, (height - 1) as f32 / 2.0);
    RgbImage::from_fn(width, height, |x, y| {
        let (across, down) = (x as f32 - middle_x, y as f32 - middle_y);
        let (from_x, from_y) =
            (middle_x + across * cos - down * sin, middle_y + across * sin + down * cos);
        image::imageops::interpolate_bilinear(picture, from_x, from_y).unwrap_or(image::Rgb([0; 3]))
    })
}

struct Image {
    hashes: ImageHashes,
    tensor: Vec<u8>,
    shape: ShardShape,
    source: (u32, u32),
    transform: Transform,
}

impl Image {
    fn view(&self) -> TensorView<'_> {
        TensorView {
            pixels: &self.tensor,
            shape: self.shape,
            source: self.source,
            transform: self.transform,
        }
    }
}

fn read(split: Split, file: &[u8], spec: &TensorSpec) -> Image {
    let pixels = decode(file, &Limits::default()).unwrap();
    let (tensor, transform) = to_tensor(&pixels, spec).unwrap();
    let shape = ShardShape {
        height: spec.side_px,
        width: spec.side_px,
        channels: spec.channels.count() as u32,
    };
    let hashes = ImageHashes {
        split,
        bytes_xxh3: xxh3_64(file),
        pixels_xxh3: xxh3_64(pixels.data()),
        perceptual_hash: 0,
    };
    let mut image = Image { hashes, tensor, shape, source: pixels.size(), transform };
    image.hashes.perceptual_hash = perceptual_hash(&image.view());
    image
}

fn search(images: &[Image]) -> Leaks {
    let hashes: Vec<ImageHashes> = images.iter().map(|image| image.hashes).collect();
    find_leaks::<()>(&hashes, 1.0, |row| Ok(Picture::new(&images[row].view()))).unwrap()
}

/// Forty films in train, sixty in valid and test.
fn strangers() -> Vec<(Split, Vec<u8>)> {
    let split = |number: u32| {
        [Split::Train, Split::Valid, Split::Train, Split::Test, Split::Valid][number as usize % 5]
    };
    (100..200).map(|number| (split(number), jpeg(&film(number), 90))).collect()
}

#[test]
fn each_kind_of_leak_is_found_and_strangers_are_not() {
    for spec in [
        STRETCHED,
        TensorSpec { channels: Channels::Gray, ..STRETCHED },
        TensorSpec { geometry: Geometry::Letterbox, ..STRETCHED },
        TensorSpec { geometry: Geometry::CenterCrop, filter: Filter::Lanczos3, ..STRETCHED },
        TensorSpec { side_px: 130, ..STRETCHED },
    ] {
        let originals: Vec<RgbImage> = (1..=9).map(film).collect();
        let large =
            image::imageops::resize(&originals[8], 660, 840, image::imageops::FilterType::Triangle);
        let leaks = [
            (LeakTier::SameBytes, png(&originals[0]), 0.0, false),
            (
                LeakTier::SamePixels,
                encoded(&DynamicImage::from(originals[1].clone()), ImageFormat::Bmp),
                0.0,
                false,
            ),
            (LeakTier::Near, jpeg(&originals[2], 60), 0.0, false),
            (LeakTier::Near, jpeg(&brightened(&originals[3], 1.5), 90), 0.0, false),
            (LeakTier::Near, jpeg(&brightened(&originals[4], 0.5), 90), 0.0, false),
            (LeakTier::Near, jpeg(&turned(&originals[5], 14.0), 90), 14.0, false),
            (LeakTier::Near, jpeg(&brightened(&turned(&originals[6], -9.0), 1.3), 70), -9.0, false),
            (LeakTier::Near, jpeg(&image::imageops::flip_horizontal(&originals[7]), 90), 0.0, true),
            (LeakTier::Near, jpeg(&large, 90), 0.0, false),
        ];
        let mut images: Vec<Image> =
            originals.iter().map(|original| read(Split::Train, &png(original), &spec)).collect();
        images.extend(
            leaks
                .iter()
                .enumerate()
                .map(|(at, (_, file, ..))| read([Split::Valid, Split::Test][at % 2], file, &spec)),
        );
        images.extend(strangers().iter().map(|(split, file)| read(*split, file, &spec)));

        let found = search(&images);
        let pairs: Vec<(u32, u32, LeakTier)> =
            found.pairs.iter().map(|pair| (pair.row, pair.other_row, pair.tier)).collect();
        let expected: Vec<(u32, u32, LeakTier)> =
            (0..9).map(|at| (at, at + 9, leaks[at as usize].0)).collect();
        assert_eq!(pairs, expected, "{spec:?}");
        for (pair, (_, _, degrees, mirrored)) in found.pairs.iter().zip(&leaks) {
            if let Some(alignment) = pair.alignment {
                assert!(
                    (alignment.rotation_degrees - degrees).abs() < 1.0
                        && alignment.mirrored == *mirrored,
                    "{spec:?}: {pair:?} for {degrees}"
                );
            }
        }
        let counts = found.counts();
        assert_eq!(
            (counts.groups, counts.images, counts.same_bytes, counts.same_pixels, counts.near),
            (9, 18, 1, 1, 7)
        );
    }
}

#[test]
fn quarter_turns_are_found() {
    let original = film(3);
    let files = [
        png(&original),
        png(&image::imageops::rotate90(&original)),
        png(&image::imageops::rotate180(&film(4))),
        png(&film(4)),
    ];
    let images: Vec<Image> = files
        .iter()
        .zip([Split::Train, Split::Valid, Split::Test, Split::Train])
        .map(|(file, split)| read(split, file, &STRETCHED))
        .collect();
    let found = search(&images);
    // `rotate90` rotates clockwise.
    let turns: Vec<(u32, u32, f32)> = found
        .pairs
        .iter()
        .map(|pair| (pair.row, pair.other_row, pair.alignment.unwrap().rotation_degrees))
        .collect();
    assert_eq!(turns, [(0, 1, -90.0), (2, 3, -180.0)]);
}

#[test]
fn the_result_depends_on_neither_threads_nor_the_order_of_rows() {
    let mut files: Vec<(Split, Vec<u8>)> = strangers();
    for number in 1..=8 {
        let original = film(number);
        files.push((Split::Train, png(&original)));
        files.push((Split::Train, jpeg(&turned(&original, 8.0), 80)));
        files.push((Split::Valid, jpeg(&turned(&original, -11.0), 80)));
        files.push((Split::Valid, png(&original)));
        files.push((Split::Test, jpeg(&brightened(&original, 0.6), 80)));
    }
    let names = |leaks: &Leaks, order: &[usize]| -> Vec<Vec<usize>> {
        let mut groups: Vec<Vec<usize>> = vec![Vec::new(); leaks.counts().groups];
        leaks
            .members
            .iter()
            .for_each(|(row, group)| groups[*group as usize].push(order[*row as usize]));
        groups.iter_mut().for_each(|group| group.sort_unstable());
        groups.sort();
        groups
    };
    let images = |order: &[usize]| -> Vec<Image> {
        order.iter().map(|at| read(files[*at].0, &files[*at].1, &STRETCHED)).collect()
    };
    let straight: Vec<usize> = (0..files.len()).collect();
    let rows = images(&straight);
    let expected = pool(1).install(|| search(&rows));
    for threads in [2, 5] {
        assert_eq!(pool(threads).install(|| search(&rows)), expected, "{threads} threads");
    }
    assert_eq!(expected.counts().groups, 8);
    assert_eq!(expected.counts().images, 40);
    assert_eq!(expected.pairs.len(), 32);
    let shuffled: Vec<usize> = straight.iter().map(|at| at * 37 % files.len()).collect();
    let found = search(&images(&shuffled));
    assert_eq!(names(&found, &shuffled), names(&expected, &straight));
}

#[test]
fn copies_within_a_split_are_no_leak_and_all_of_them_belong_to_one_that_is() {
    let (twice, leaked) = (png(&film(1)), png(&film(2)));
    let rows = [
        (Split::Train, &twice),
        (Split::Train, &twice),
        (Split::Train, &leaked),
        (Split::Train, &leaked),
        (Split::Valid, &jpeg(&brightened(&film(2), 1.2), 80)),
    ];
    let images: Vec<Image> =
        rows.iter().map(|(split, file)| read(*split, file, &STRETCHED)).collect();
    let found = search(&images);
    let pairs: Vec<(u32, u32, LeakTier)> =
        found.pairs.iter().map(|pair| (pair.row, pair.other_row, pair.tier)).collect();
    assert_eq!(pairs, [(2, 4, LeakTier::Near), (3, 4, LeakTier::Near)]);
    assert_eq!(found.members, [(2, 0), (3, 0), (4, 0)]);
}

#[test]
fn even_pictures_are_leaks_only_where_they_are_the_same() {
    let even = |value: u8| png(&RgbImage::from_pixel(200, 150, image::Rgb([value; 3])));
    let rows = [
        (Split::Train, even(0)),
        (Split::Valid, even(9)),
        (Split::Test, even(0)),
        (Split::Train, even(9)),
    ];
    let images: Vec<Image> =
        rows.iter().map(|(split, file)| read(*split, file, &STRETCHED)).collect();
    let pairs: Vec<(u32, u32)> =
        search(&images).pairs.iter().map(|pair| (pair.row, pair.other_row)).collect();
    assert_eq!(pairs, [(0, 2), (1, 3)]);
}

#[test]
fn hashes_stay_when_a_picture_is_brightened_turned_scaled_and_encoded_again() {
    let hash = |picture: &RgbImage, quality: u8, spec: &TensorSpec| {
        read(Split::Train, &jpeg(picture, quality), spec).hashes.perceptual_hash
    };
    for seed in 1..20 {
        let original = film(seed);
        let expected = read(Split::Train, &png(&original), &STRETCHED).hashes.perceptual_hash;
        let distance = |other: u64| (expected ^ other).count_ones();
        assert!(distance(hash(&original, 60, &STRETCHED)) <= 12, "{seed}");
        for factor in [0.5, 0.8, 1.3] {
            assert!(
                distance(hash(&brightened(&original, factor), 90, &STRETCHED)) <= 12,
                "{seed}: {factor}"
            );
        }
        for degrees in [-15.0, -4.0, 9.0, 15.0, 120.0] {
            assert!(
                distance(hash(&turned(&original, degrees), 90, &STRETCHED)) <= 12,
                "{seed}: {degrees}"
            );
        }
        let half = image::imageops::resize(
            &original,
            original.width() / 2,
            original.height() / 2,
            image::imageops::FilterType::Triangle,
        );
        assert!(distance(hash(&half, 90, &STRETCHED)) <= 12, "{seed}");
        let mirrored = hash(&image::imageops::flip_horizontal(&original), 90, &STRETCHED);
        assert!(distance(mirrored ^ MIRRORED_BITS) <= 12, "{seed}");
        // The disc is the same for every geometry.
        for geometry in [Geometry::Letterbox, Geometry::CenterCrop] {
            assert!(
                distance(hash(&original, 95, &TensorSpec { geometry, ..STRETCHED })) <= 12,
                "{seed}: {geometry:?}"
            );
        }
        assert_eq!(
            hash(&original, 95, &TensorSpec { channels: Channels::Gray, ..STRETCHED }),
            hash(&original, 95, &STRETCHED),
            "{seed}"
        );
    }
}
