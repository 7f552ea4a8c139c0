//! `probe` on every format, and on files that are not what they seem.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::io::Cursor;
use std::path::Path;

use image::{DynamicImage, ImageFormat as Encoding};
use ossify_imaging::{HeaderError, ImageFormat, ImageHeader, probe, read_header};

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)).unwrap()
}

fn encoded(image: impl Into<DynamicImage>, encoding: Encoding) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    image.into().write_to(&mut out, encoding).unwrap();
    out.into_inner()
}

fn rgb() -> image::RgbImage {
    image::RgbImage::from_fn(37, 21, |x, y| image::Rgb([x as u8 * 6, y as u8 * 11, 90]))
}

fn gray() -> image::GrayImage {
    image::GrayImage::from_fn(37, 21, |x, y| image::Luma([(x * 5 + y) as u8]))
}

/// A JPEG with an EXIF segment that holds the orientation.
fn with_exif(jpeg: &[u8], orientation: u8) -> Vec<u8> {
    let mut block = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    block.extend([orientation, 0, 0, 0, 0, 0, 0]);
    let length = (block.len() + 2) as u16;
    [&jpeg[..2], &[0xff, 0xe1], &length.to_be_bytes(), &block, &jpeg[2..]].concat()
}

/// A PNG with an eXIf chunk after IHDR; its checksum is that of orientation 8.
fn png_with_exif(png: &[u8]) -> Vec<u8> {
    let chunk = [
        &[0, 0, 0, 26][..],
        b"eXIfMM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x08\0\0\0\0\0\0",
        &[0; 4],
    ]
    .concat();
    [&png[..33], &chunk, &png[33..]].concat()
}

#[test]
fn every_format_gives_its_size_and_channels() {
    let cases = [
        (encoded(rgb(), Encoding::Jpeg), ImageFormat::Jpeg, 3),
        (encoded(gray(), Encoding::Jpeg), ImageFormat::Jpeg, 1),
        (encoded(rgb(), Encoding::Png), ImageFormat::Png, 3),
        (encoded(gray(), Encoding::Png), ImageFormat::Png, 1),
        (encoded(DynamicImage::from(rgb()).to_rgba8(), Encoding::Png), ImageFormat::Png, 4),
        (encoded(DynamicImage::from(gray()).to_luma_alpha16(), Encoding::Png), ImageFormat::Png, 2),
        (encoded(rgb(), Encoding::Bmp), ImageFormat::Bmp, 3),
        (encoded(rgb(), Encoding::Tiff), ImageFormat::Tiff, 3),
        (encoded(DynamicImage::from(gray()).to_luma16(), Encoding::Tiff), ImageFormat::Tiff, 1),
        (encoded(rgb(), Encoding::WebP), ImageFormat::Webp, 3),
    ];
    for (bytes, format, channels) in cases {
        let expected = ImageHeader {
            format,
            width: 37,
            height: 21,
            channels,
            exif_orientation: 1,
            bytes: bytes.len() as u64,
            complete: true,
            trailing_bytes: 0,
        };
        assert_eq!(read_header(&bytes).unwrap(), expected);
    }
    for (name, channels) in [
        ("cmyk.jpg", 4),
        ("progressive.jpg", 3),
        ("restart-markers.jpg", 3),
        ("palette.png", 3),
        ("lossless.webp", 3),
    ] {
        let header = read_header(&fixture(name)).unwrap();
        assert_eq!(
            (header.width, header.height, header.channels, header.complete),
            (32, 24, channels, true),
            "{name}"
        );
    }
}

#[test]
fn a_quarter_turn_swaps_the_sides() {
    for orientation in 1..=8 {
        let header = read_header(&with_exif(&encoded(rgb(), Encoding::Jpeg), orientation)).unwrap();
        assert_eq!(header.exif_orientation, orientation as i8);
        assert_eq!(
            (header.width, header.height),
            if orientation >= 5 { (21, 37) } else { (37, 21) }
        );
    }
    let png = read_header(&png_with_exif(&encoded(rgb(), Encoding::Png))).unwrap();
    assert_eq!((png.exif_orientation, png.width, png.height), (8, 21, 37));
    let webp = read_header(&fixture("exif-6.webp")).unwrap();
    assert_eq!((webp.exif_orientation, webp.width, webp.height), (6, 24, 32));
}

#[test]
fn an_exif_block_larger_than_the_first_read_is_found() {
    let jpeg = with_exif(&encoded(rgb(), Encoding::Jpeg), 6);
    let padding = [&[0xff, 0xed, 0x75, 0x30][..], &vec![7; 0x7530 - 2]].concat();
    let header = read_header(&[&jpeg[..2], &padding, &jpeg[2..]].concat()).unwrap();
    assert_eq!((header.exif_orientation, header.width), (6, 21));
}

#[test]
fn a_file_cut_anywhere_is_incomplete_or_an_error() {
    let wholes = [
        encoded(rgb(), Encoding::Jpeg),
        encoded(rgb(), Encoding::Png),
        encoded(rgb(), Encoding::Bmp),
        encoded(rgb(), Encoding::Tiff),
        encoded(rgb(), Encoding::WebP),
        fixture("progressive.jpg"),
        fixture("exif-6.webp"),
    ];
    for whole in wholes {
        for length in 0..whole.len() {
            match read_header(&whole[..length]) {
                Ok(header) => {
                    assert!(!header.complete, "{length} of {} bytes: {header:?}", whole.len())
                }
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        }
        assert!(read_header(&whole).unwrap().complete);
    }
}

#[test]
fn what_follows_the_end_mark_is_reported_and_ignored() {
    for encoding in [Encoding::Jpeg, Encoding::Png] {
        let mut bytes = encoded(rgb(), encoding);
        bytes.extend([0; 300]);
        let header = read_header(&bytes).unwrap();
        assert!(header.complete);
        assert_eq!(header.trailing_bytes, 300);
    }
    let mut progressive = fixture("progressive.jpg");
    progressive.extend(b"padding");
    assert_eq!(read_header(&progressive).unwrap().trailing_bytes, 7);
}

#[test]
fn a_thumbnail_s_end_mark_is_not_the_picture_s() {
    let jpeg = encoded(rgb(), Encoding::Jpeg);
    let thumbnail = [&[0xff, 0xec, 0, 4][..], &[0xff, 0xd9]].concat();
    let whole = [&jpeg[..2], &thumbnail, &jpeg[2..]].concat();
    let cut = &whole[..whole.len() - 40];
    assert!(read_header(&whole).unwrap().complete);
    assert!(!read_header(cut).unwrap().complete);
}

#[test]
fn headers_that_lie_are_refused_with_the_reason() {
    let message = |bytes: &[u8]| read_header(bytes).unwrap_err().to_string();
    let mut png = encoded(rgb(), Encoding::Png);
    png[16..24].copy_from_slice(&[0, 0, 0xea, 0x60, 0, 0, 0xea, 0x60]);
    assert_eq!(
        message(&png),
        format!(
            "this png file's header cannot be right: it says 60000x60000 pixels, which {} bytes \
            cannot hold",
            png.len()
        )
    );
    png[16..20].fill(0);
    assert_eq!(message(&png), "this png file's header cannot be right: it says 0x60000 pixels");
    png[24] = 5;
    assert_eq!(
        message(&png),
        "this png file's header cannot be right: colour type 2 with 5 bits per sample does \
        not exist"
    );

    let mut jpeg = fixture("baseline.jpg");
    let frame = jpeg.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0xff, 0xff, 0xff, 0xff]);
    assert_eq!(
        message(&jpeg),
        format!(
            "this jpeg file's header cannot be right: it says 65535x65535 pixels, which {} bytes \
            cannot hold",
            jpeg.len()
        )
    );
    jpeg[frame + 5..frame + 7].fill(0);
    assert!(message(&jpeg).contains("(DNL)"));
    jpeg[frame + 4] = 12;
    assert_eq!(
        message(&jpeg),
        "this kind of jpeg is not supported: 12 bits per sample; convert it to PNG"
    );
    jpeg[frame + 1] = 0xc9;
    assert_eq!(
        message(&jpeg),
        "this kind of jpeg is not supported: arithmetic coding; convert it to PNG"
    );
}

#[test]
fn files_that_are_no_images_say_what_they_are() {
    let message = |bytes: &[u8]| read_header(bytes).unwrap_err().to_string();
    assert_eq!(message(b""), "the file is empty (0 bytes)");
    assert_eq!(
        message(&[0; 500]),
        "not an image: it begins with zeros only, as after a failed download or copy"
    );
    assert_eq!(
        message(b"<html>404</html>"),
        "not a JPEG, PNG, BMP, TIFF, WebP or DICOM by its first bytes, whatever its name says"
    );
    assert!(message(b"GIF89a").starts_with("GIF is not supported"));
    assert_eq!(
        message(&[&[0; 128][..], b"DICM"].concat()),
        "this dicom file's header cannot be right: it ends without a picture"
    );
    assert_eq!(
        message(&[0xff, 0xd8, 0xff, 0xd9]),
        "this jpeg file's header cannot be right: it ends without a picture"
    );
}

#[test]
fn files_are_probed_as_bytes_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.png");
    // The extension is wrong; the content counts.
    let bytes = encoded(rgb(), Encoding::Jpeg);
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(probe(&path).unwrap(), read_header(&bytes).unwrap());

    std::fs::write(&path, b"").unwrap();
    assert!(matches!(probe(&path), Err(HeaderError::Empty)));
    assert!(matches!(probe(folder.path()), Err(HeaderError::Folder)));
    let missing = probe(folder.path().join("missing.jpg")).unwrap_err();
    assert!(
        missing.to_string().starts_with("the file cannot be opened or read: No such file"),
        "{missing}"
    );
}

#[test]
fn a_pipe_does_not_block_the_probe() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe.jpg");
    let made = std::process::Command::new("mkfifo").arg(&path).status();
    if !made.is_ok_and(|status| status.success()) {
        eprintln!("skipped: mkfifo is not there");
        return;
    }
    assert!(matches!(probe(&path), Err(HeaderError::NotAFile)));
}
