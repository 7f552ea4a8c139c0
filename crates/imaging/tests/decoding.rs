//! Pixels of every kind of file, by the rules that `decode` documents.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::io::Cursor;
use std::path::Path;

use image::{DynamicImage, ImageBuffer, ImageFormat as Encoding};
use ossify_imaging::{DecodeError, Pixels, decode, read_file, read_header};
use ossify_vocabulary::Limits;

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)).unwrap()
}

fn encoded(image: impl Into<DynamicImage>, encoding: Encoding) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    image.into().write_to(&mut out, encoding).unwrap();
    out.into_inner()
}

fn decoded(bytes: &[u8]) -> Pixels {
    decode(bytes, &Limits::default()).unwrap()
}

fn rgb() -> image::RgbImage {
    image::RgbImage::from_fn(32, 24, |x, y| {
        image::Rgb([x as u8 * 8, y as u8 * 10, 255 - x as u8 * 8])
    })
}

fn mean_difference(a: &[u8], b: &[u8]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / a.len() as f64
}

#[test]
fn lossless_formats_give_the_pixels_back() {
    let gray = image::GrayImage::from_fn(19, 31, |x, y| image::Luma([(x * 13 + y) as u8]));
    for encoding in [Encoding::Png, Encoding::Bmp, Encoding::Tiff, Encoding::WebP] {
        let pixels = decoded(&encoded(rgb(), encoding));
        assert_eq!((pixels.size(), pixels.channels()), ((32, 24), 3));
        assert_eq!(pixels.data(), rgb().as_raw().as_slice(), "{encoding:?}");
    }
    for encoding in [Encoding::Png, Encoding::Tiff] {
        let pixels = decoded(&encoded(gray.clone(), encoding));
        assert_eq!((pixels.size(), pixels.channels()), ((19, 31), 1));
        assert_eq!(pixels.data(), gray.as_raw().as_slice(), "{encoding:?}");
    }
}

#[test]
fn jpegs_of_all_kinds_are_near_the_picture() {
    for name in ["baseline.jpg", "progressive.jpg", "restart-markers.jpg"] {
        assert!(mean_difference(decoded(&fixture(name)).data(), rgb().as_raw()) < 4.0, "{name}");
    }
    // CMYK loses more than the eye sees; inverted inks would be off by a hundred.
    assert!(mean_difference(decoded(&fixture("cmyk.jpg")).data(), rgb().as_raw()) < 12.0);
    let gray = image::GrayImage::from_fn(40, 40, |x, y| image::Luma([(x * 3 + y * 2) as u8]));
    let pixels = decoded(&encoded(gray.clone(), Encoding::Jpeg));
    assert_eq!(pixels.channels(), 1);
    assert!(mean_difference(pixels.data(), gray.as_raw()) < 4.0);
}

#[test]
fn palettes_become_colours() {
    let pixels = decoded(&fixture("palette.png"));
    assert_eq!(pixels.channels(), 3);
    assert!(mean_difference(pixels.data(), rgb().as_raw()) < 40.0);
}

#[test]
fn sixteen_bits_are_scaled_and_rounded() {
    let png = |values: Vec<u16>| {
        encoded(
            ImageBuffer::<image::Luma<u16>, _>::from_raw(values.len() as u32, 1, values).unwrap(),
            Encoding::Png,
        )
    };
    assert_eq!(
        decoded(&png(vec![0, 128, 129, 32768, 65406, 65407, 65535])).data(),
        [0, 0, 1, 128, 254, 255, 255]
    );
    // Twelve bits that were stored unscaled are scaled to the full range.
    assert_eq!(decoded(&png(vec![0, 2048, 4095])).data(), [0, 128, 255]);
    let tiff = encoded(
        ImageBuffer::<image::Rgb<u16>, _>::from_raw(1, 1, vec![65535u16, 0, 32768]).unwrap(),
        Encoding::Tiff,
    );
    assert_eq!(decoded(&tiff).data(), [255, 0, 128]);
}

#[test]
fn alpha_lies_over_black() {
    let rgba = ImageBuffer::<image::Rgba<u8>, _>::from_raw(
        3,
        1,
        vec![200u8, 100, 50, 255, 200, 100, 50, 128, 200, 100, 50, 0],
    )
    .unwrap();
    assert_eq!(decoded(&encoded(rgba, Encoding::Png)).data(), [200, 100, 50, 100, 50, 25, 0, 0, 0]);
    let gray =
        ImageBuffer::<image::LumaA<u16>, _>::from_raw(2, 1, vec![65535u16, 32768, 65535, 65535])
            .unwrap();
    assert_eq!(decoded(&encoded(gray, Encoding::Png)).data(), [128, 255]);
}

#[test]
fn a_turned_jpeg_comes_out_upright() {
    let jpeg = fixture("baseline.jpg");
    let lying = decoded(&jpeg);
    let exif =
        b"\xff\xe1\0\x22Exif\0\0II\x2a\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
    let turned = [&jpeg[..2], exif, &jpeg[2..]].concat();
    let upright = decoded(&turned);
    assert_eq!(upright.size(), (24, 32));
    // Orientation 6: the first row of the file is the right-hand column of the picture.
    let (at, width) = (|x: usize, y: usize, width: usize| (y * width + x) * 3, 24);
    for x in 0..32 {
        assert_eq!(
            upright.data()[at(width - 1, x, width)..][..3],
            lying.data()[at(x, 0, 32)..][..3]
        );
    }
}

#[test]
fn every_cut_file_is_an_error_and_none_panics() {
    let files = [
        fixture("baseline.jpg"),
        fixture("progressive.jpg"),
        fixture("palette.png"),
        fixture("lossless.webp"),
        encoded(rgb(), Encoding::Bmp),
        encoded(rgb(), Encoding::Png),
    ];
    for file in files {
        for length in 0..file.len() {
            assert!(
                decode(&file[..length], &Limits::default()).is_err(),
                "{length} of {} bytes",
                file.len()
            );
        }
    }
}

#[test]
fn flipped_bytes_never_panic_and_sizes_hold() {
    let mut seed = 7u64;
    let mut random = || {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (seed >> 33) as usize
    };
    let files = [
        fixture("baseline.jpg"),
        fixture("progressive.jpg"),
        fixture("cmyk.jpg"),
        fixture("palette.png"),
        fixture("exif-6.webp"),
        encoded(rgb(), Encoding::Bmp),
        encoded(rgb(), Encoding::Tiff),
    ];
    for file in files {
        for _ in 0..300 {
            let mut hostile = file.clone();
            for _ in 0..1 + random() % 4 {
                let at = random() % hostile.len();
                hostile[at] = random() as u8;
            }
            let limits = Limits::of_pixels(1_000_000);
            if let Ok(pixels) = decode(&hostile, &limits) {
                let header = read_header(&hostile).unwrap();
                assert_eq!(pixels.size(), (header.width, header.height));
            }
        }
    }
}

#[test]
fn padding_between_segments_is_forgiven_and_damage_is_not() {
    let jpeg = fixture("baseline.jpg");
    let tables = jpeg.windows(2).position(|pair| pair == [0xff, 0xdb]).unwrap();
    let padded = [&jpeg[..tables], &[0xff; 9], &jpeg[tables..]].concat();
    assert_eq!(decoded(&padded), decoded(&jpeg));
    let stray = [&jpeg[..tables], &[0; 9], &jpeg[tables..]].concat();
    assert_eq!(decoded(&stray), decoded(&jpeg));
}

#[test]
fn limits_hold_before_anything_is_decoded() {
    let png = encoded(rgb(), Encoding::Png);
    let few_pixels = decode(&png, &Limits::of_pixels(700)).unwrap_err();
    assert_eq!(
        few_pixels.to_string(),
        "32x24 pixels are more than the limit of 700 (resize.max_pixels)"
    );
    let little_memory =
        decode(&png, &Limits { max_pixels: 1000, max_memory_bytes: 5000 }).unwrap_err();
    assert!(matches!(little_memory, DecodeError::TooMuchMemory { needed_bytes: 9216, .. }));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.png");
    std::fs::write(&path, &png).unwrap();
    assert_eq!(read_file(&path, &Limits::default()).unwrap(), png);
    assert!(matches!(
        read_file(&path, &Limits { max_pixels: 1, max_memory_bytes: 10 }),
        Err(DecodeError::TooMuchMemory { .. })
    ));
    assert!(read_file(folder.path(), &Limits::default()).is_err());
}

#[test]
fn damage_is_said_without_the_names_of_decoders() {
    for encoding in [Encoding::Png, Encoding::Tiff, Encoding::WebP] {
        let whole = encoded(rgb(), encoding);
        let mut messages = 0;
        for at in (whole.len() / 4..whole.len()).step_by(7) {
            let mut bytes = whole.clone();
            bytes[at..].iter_mut().take(5).for_each(|byte| *byte ^= 0xff);
            let Err(error @ DecodeError::Damaged { .. }) = decode(&bytes, &Limits::default())
            else {
                continue;
            };
            let message = error.to_string();
            assert!(!message.contains("Format error"), "{message}");
            assert!(message.contains(" file is damaged: "), "{message}");
            messages += 1;
        }
        assert!(messages > 0 || encoding == Encoding::Tiff, "{encoding:?}");
    }
}
