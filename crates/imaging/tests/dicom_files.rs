//! DICOM files in all supported transfer syntaxes, and deliberately invalid files.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use std::io::Write as _;

use common::{BIG_ENDIAN, Dicom, Value, file_start, lossless_jpeg, rle};
use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};
use image::{ExtendedColorType, ImageEncoder as _};
use ossify_imaging::{DecodeError, decode, probe, read_header};
use ossify_vocabulary::Limits;

const VALUES: [i32; 6] = [0, 300, 1000, 2000, 3000, 4095];
const SHADES: [u8; 6] = [0, 19, 62, 125, 187, 255];

fn shades(bytes: &[u8]) -> Vec<u8> {
    decode(bytes, &Limits::default()).unwrap().into_data()
}

fn error(bytes: &[u8]) -> String {
    decode(bytes, &Limits::default()).unwrap_err().to_string()
}

fn deflated(dicom: &Dicom) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(
        file_start(uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN),
        flate2::Compression::best(),
    );
    encoder.write_all(&dicom.data_set()).unwrap();
    encoder.finish().unwrap()
}

/// Twelve-bit values as two segments: high bytes, low bytes.
fn rle_frame(values: &[i32]) -> Vec<u8> {
    let bytes = |shift: u32| values.iter().map(|value| (value >> shift) as u8).collect::<Vec<_>>();
    rle(&[&bytes(8), &bytes(0)])
}

/// The same picture in each transfer syntax.
fn in_all_syntaxes() -> Vec<(&'static str, Vec<u8>)> {
    let row = Dicom::row(12, &VALUES)
        .table(tags::MODALITY_LUT_SEQUENCE, [2, 0, 16], &[0, 1])
        .without(tags::MODALITY_LUT_SEQUENCE);
    let words: Vec<u16> = VALUES.iter().map(|value| *value as u16).collect();
    let native: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    vec![
        ("explicit", row.bytes()),
        ("implicit", row.clone().in_syntax(uids::IMPLICIT_VR_LITTLE_ENDIAN).bytes()),
        ("big endian", row.clone().in_syntax(BIG_ENDIAN).bytes()),
        ("deflated", deflated(&row)),
        (
            "fragments",
            row.clone()
                .encoded(uids::ENCAPSULATED_UNCOMPRESSED_EXPLICIT_VR_LITTLE_ENDIAN, &native)
                .bytes(),
        ),
        ("rle", row.clone().encoded(uids::RLE_LOSSLESS, &rle_frame(&VALUES)).bytes()),
        (
            "lossless jpeg",
            row.clone().encoded(uids::JPEG_LOSSLESS, &lossless_jpeg(6, &words, 12)).bytes(),
        ),
        (
            "lossless jpeg, first predictor",
            row.encoded(uids::JPEG_LOSSLESS_SV1, &lossless_jpeg(3, &words, 16))
                .clone()
                .number(tags::ROWS, 2)
                .number(tags::COLUMNS, 3)
                .bytes(),
        ),
    ]
}

#[test]
fn every_transfer_syntax_gives_the_same_picture() {
    for (name, bytes) in in_all_syntaxes() {
        assert!(read_header(&bytes).unwrap().complete, "{name}");
        assert_eq!(shades(&bytes), SHADES, "{name}");
    }
}

#[test]
fn tables_are_read_in_every_encoding() {
    let row =
        Dicom::row(8, &[4, 5, 6]).table(tags::MODALITY_LUT_SEQUENCE, [3, 4, 16], &[0, 1000, 4000]);
    for syntax in [uids::EXPLICIT_VR_LITTLE_ENDIAN, uids::IMPLICIT_VR_LITTLE_ENDIAN, BIG_ENDIAN] {
        assert_eq!(shades(&row.clone().in_syntax(syntax).bytes()), [0, 64, 255], "{syntax}");
    }
    // Bytes in big-endian words are swapped.
    let swapped = Dicom::row(8, &[1, 0, 3, 2]).in_syntax(BIG_ENDIAN);
    let (words, bytes) = (
        (tags::PIXEL_DATA, b"OW", Value::Bytes(vec![1, 0, 3, 2])),
        (tags::PIXEL_DATA, b"OB", Value::Bytes(vec![1, 0, 3, 2])),
    );
    assert_eq!(shades(&swapped.clone().with(words).bytes()), [0, 85, 170, 255]);
    assert_eq!(shades(&swapped.with(bytes).bytes()), [85, 0, 255, 170]);
}

#[test]
fn files_that_announce_the_other_way_to_write_elements_are_read() {
    let row = Dicom::row(12, &VALUES);
    let (explicit, implicit) = (uids::EXPLICIT_VR_LITTLE_ENDIAN, uids::IMPLICIT_VR_LITTLE_ENDIAN);
    assert_eq!(
        shades(&[file_start(explicit), row.clone().in_syntax(implicit).data_set()].concat()),
        SHADES
    );
    assert_eq!(
        shades(&[file_start(implicit), row.in_syntax(explicit).data_set()].concat()),
        SHADES
    );
}

#[test]
fn a_file_that_dicom_object_writes_is_read() {
    let mut object = InMemDicomObject::new_empty();
    object.put(DataElement::new(
        tags::SOP_CLASS_UID,
        VR::UI,
        uids::DIGITAL_X_RAY_IMAGE_STORAGE_FOR_PRESENTATION,
    ));
    object.put(DataElement::new(tags::SOP_INSTANCE_UID, VR::UI, "1.2.3"));
    for (tag, value) in [
        (tags::ROWS, 1),
        (tags::COLUMNS, 6),
        (tags::SAMPLES_PER_PIXEL, 1),
        (tags::BITS_ALLOCATED, 16),
        (tags::BITS_STORED, 12),
        (tags::HIGH_BIT, 11),
        (tags::PIXEL_REPRESENTATION, 0u16),
    ] {
        object.put(DataElement::new(tag, VR::US, PrimitiveValue::from(value)));
    }
    object.put(DataElement::new(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2"));
    object.put(DataElement::new(
        tags::PIXEL_DATA,
        VR::OW,
        PrimitiveValue::U16(VALUES.iter().map(|value| *value as u16).collect()),
    ));
    for syntax in [uids::EXPLICIT_VR_LITTLE_ENDIAN, uids::IMPLICIT_VR_LITTLE_ENDIAN, BIG_ENDIAN] {
        let file =
            object.clone().with_meta(FileMetaTableBuilder::new().transfer_syntax(syntax)).unwrap();
        let mut bytes = Vec::new();
        file.write_all(&mut bytes).unwrap();
        assert_eq!(shades(&bytes), SHADES, "{syntax}");
    }
}

#[test]
fn lossy_jpeg_takes_its_colours_from_adobe_s_marker_or_from_the_header() {
    let rgb: Vec<u8> =
        (0..16 * 16).flat_map(|i| [(i % 16 * 15) as u8, (i / 16 * 15) as u8, 90]).collect();
    let mut jpeg = Vec::new();
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut jpeg, 95)
        .write_image(&rgb, 16, 16, ExtendedColorType::Rgb8)
        .unwrap();
    let distance = |data: &[u8]| {
        data.iter().zip(&rgb).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>()
            / rgb.len() as f64
    };
    let of = |photometric: &str, jpeg: &[u8]| {
        shades(
            &Dicom::picture(16, 16, photometric, 3, (8, 8))
                .encoded(uids::JPEG_BASELINE8_BIT, jpeg)
                .bytes(),
        )
    };
    assert!(distance(&of("YBR_FULL_422", &jpeg)) < 4.0);
    assert!(distance(&of("YBR_FULL", &jpeg)) < 4.0);
    assert!(distance(&of("RGB", &jpeg)) > 30.0);
    let adobe = [&jpeg[..2], b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\x01", &jpeg[2..]].concat();
    assert!(distance(&of("RGB", &adobe)) < 4.0);
    // A frame may consist of several fragments.
    let pieces = Value::Fragments(
        [vec![Vec::new()], jpeg.chunks(100).map(<[u8]>::to_vec).collect()].concat(),
    );
    let dicom = Dicom::picture(16, 16, "YBR_FULL_422", 3, (8, 8))
        .in_syntax(uids::JPEG_BASELINE8_BIT)
        .with((tags::PIXEL_DATA, b"OB", pieces));
    assert_eq!(shades(&dicom.bytes()), of("YBR_FULL_422", &jpeg));

    let gray: Vec<u8> = (0..16 * 16).map(|i| (i % 16 * 17) as u8).collect();
    let mut jpeg = Vec::new();
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut jpeg, 95)
        .write_image(&gray, 16, 16, ExtendedColorType::L8)
        .unwrap();
    let pixels = shades(
        &Dicom::picture(16, 16, "MONOCHROME2", 1, (8, 8))
            .encoded(uids::JPEG_BASELINE8_BIT, &jpeg)
            .bytes(),
    );
    assert!(pixels.iter().zip(&gray).all(|(a, b)| a.abs_diff(*b) < 8));
}

#[test]
fn pixels_whose_inner_size_differs_are_an_error() {
    let row = Dicom::row(12, &VALUES);
    let words = [1u16; 8];
    let larger = row.clone().encoded(uids::JPEG_LOSSLESS, &lossless_jpeg(8, &words, 12)).bytes();
    assert_eq!(
        error(&larger),
        "the dicom file is damaged: the header says 6x1 pixels with 1 samples each and its JPEG \
        8x1 with 1"
    );
    let mut huge = lossless_jpeg(6, &words[..6], 12);
    huge[7..11].fill(0xff);
    let huge = row.clone().encoded(uids::JPEG_LOSSLESS, &huge).bytes();
    assert_eq!(
        error(&huge),
        "the dicom file is damaged: the header says 6x1 pixels with 1 samples each and its JPEG \
        65535x65535 with 1"
    );
    let short = row.clone().encoded(uids::RLE_LOSSLESS, &rle_frame(&VALUES[..5])).bytes();
    assert_eq!(
        error(&short),
        "the dicom file is damaged: its RLE segment 1 ends after 5 of 6 pixels"
    );
    let fewer = row.clone().encoded(uids::RLE_LOSSLESS, &rle(&[&[0; 6]])).bytes();
    assert_eq!(
        error(&fewer),
        "the dicom file is damaged: it has 1 RLE segments where its samples make 2"
    );
    let mut outside = rle_frame(&VALUES);
    outside[4..8].fill(0xff);
    assert_eq!(
        error(&row.clone().encoded(uids::RLE_LOSSLESS, &outside).bytes()),
        "the dicom file is damaged: its RLE segment 1 lies outside the frame"
    );
    let few = row
        .clone()
        .encoded(uids::ENCAPSULATED_UNCOMPRESSED_EXPLICIT_VR_LITTLE_ENDIAN, &[0; 10])
        .bytes();
    assert_eq!(error(&few), "the dicom file is damaged: its pixels take 12 bytes and it has 10");
    let none = row
        .in_syntax(uids::RLE_LOSSLESS)
        .with((tags::PIXEL_DATA, b"OB", Value::Fragments(vec![Vec::new()])))
        .bytes();
    assert_eq!(error(&none), "the dicom file is damaged: it announces encoded pixels and has none");
    let scans = [lossless_jpeg(6, &words[..6], 12), [0xff, 0xda].repeat(200)].concat();
    assert_eq!(
        error(&Dicom::row(12, &VALUES).encoded(uids::JPEG_LOSSLESS, &scans).bytes()),
        "the dicom file is damaged: its JPEG has more than 128 scans"
    );
}

#[test]
fn every_cut_file_is_an_error_and_none_panics() {
    for (name, bytes) in in_all_syntaxes() {
        for length in 0..bytes.len() {
            let cut = &bytes[..length];
            assert!(
                decode(cut, &Limits::default()).is_err(),
                "{name}: {length} of {} bytes",
                bytes.len()
            );
            if let Ok(header) = read_header(cut) {
                assert!(!header.complete, "{name}: {length} of {} bytes", bytes.len());
            }
        }
    }
    let cut = &Dicom::row(12, &VALUES).bytes();
    let cut = &cut[..cut.len() - 1];
    assert_eq!(
        error(cut),
        format!(
            "the dicom file was cut short: its end is missing after {} bytes; copy or download it \
            again",
            cut.len()
        )
    );
}

#[test]
fn flipped_bytes_never_panic_and_sizes_hold() {
    let mut seed = 11u64;
    let mut random = || {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (seed >> 33) as usize
    };
    for (name, file) in in_all_syntaxes() {
        for _ in 0..400 {
            let mut hostile = file.clone();
            for _ in 0..1 + random() % 4 {
                // The content of the preamble is arbitrary.
                let at = 132 + random() % (hostile.len() - 132);
                hostile[at] = random() as u8;
            }
            let outcome = decode(&hostile, &Limits::of_pixels(1_000_000));
            match outcome {
                Ok(pixels) => assert_eq!(
                    pixels.size(),
                    read_header(&hostile).map(|header| (header.width, header.height)).unwrap(),
                    "{name}"
                ),
                Err(e) => assert!(!e.to_string().contains("gave up"), "{name}: a decoder panicked"),
            }
        }
    }
}

#[test]
fn announced_lengths_are_not_believed() {
    let start = file_start(uids::EXPLICIT_VR_LITTLE_ENDIAN);
    let ends = "this dicom file's header cannot be right: the file ends inside its header";
    // Four gigabytes in an element that is skipped, and in one that is read.
    let long =
        [&start[..], &[0x09, 0, 0x10, 0], b"OB\0\0", &0xffff_fff0u32.to_le_bytes(), &[0; 100]]
            .concat();
    assert_eq!(error(&long), ends);
    let rows = [
        &file_start(uids::IMPLICIT_VR_LITTLE_ENDIAN)[..],
        &[0x28, 0, 0x10, 0],
        &0xffff_fff0u32.to_le_bytes(),
        &[0; 100],
    ]
    .concat();
    assert_eq!(error(&rows), ends);
    // Nested sequences.
    let deep = [
        &start[..],
        &[0x08, 0, 0x40, 0x11],
        b"SQ\0\0\xff\xff\xff\xff",
        &b"\xfe\xff\0\xe0\xff\xff\xff\xff\x08\0\x40\x11SQ\0\0\xff\xff\xff\xff".repeat(50_000),
    ]
    .concat();
    assert_eq!(
        error(&deep),
        "this dicom file's header cannot be right: its sequences are nested more than 64 \
        deep"
    );
    let many = [&start[..], &b"\x08\0\x05\0CS\0\0".repeat(300_000)].concat();
    assert_eq!(
        error(&many),
        "this dicom file's header cannot be right: it has more than 200000 elements"
    );
    let repeated = [
        &start[..],
        &[&[0x28, 0, 0x06, 0x30][..], b"OW\0\0", &[0, 0, 1, 0], &[0; 1 << 16]].concat(),
    ]
    .concat();
    assert!(error(&repeated).ends_with("it ends without a picture"));
    let palette =
        [&[0x28, 0, 0x01, 0x12][..], b"OW\0\0", &[0, 0, 1, 0], &[0; 1 << 16]].concat().repeat(40);
    assert_eq!(
        error(&[&start[..], &palette].concat()),
        "this dicom file's header cannot be right: element (0028,1201) has 65536 bytes"
    );
    let garbage = [&start[..], b"\x08\0\x05\0CS\0\0\x08\0\x08\0\x01\x02\0\0"].concat();
    assert_eq!(
        error(&garbage),
        format!(
            "this dicom file's header cannot be right: no element begins at byte {}, where one \
            should",
            start.len() + 8
        )
    );
}

#[test]
fn a_deflated_bomb_costs_no_memory() {
    let mut encoder = flate2::write::DeflateEncoder::new(
        file_start(uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN),
        flate2::Compression::best(),
    );
    encoder
        .write_all(&[&[0x09, 0, 0x10, 0][..], b"OB\0\0", &0x7fff_fff0u32.to_le_bytes()].concat())
        .unwrap();
    for _ in 0..64 {
        encoder.write_all(&vec![0; 1 << 20]).unwrap();
    }
    let bomb = encoder.finish().unwrap();
    assert!(bomb.len() < 100_000);
    assert_eq!(
        error(&bomb),
        "this dicom file's header cannot be right: the file ends inside its header"
    );
    // Zeros after the pixels are skipped.
    let mut encoder = flate2::write::DeflateEncoder::new(
        file_start(uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN),
        flate2::Compression::best(),
    );
    encoder.write_all(&Dicom::row(12, &VALUES).data_set()).unwrap();
    for _ in 0..32 {
        encoder.write_all(&vec![0; 1 << 20]).unwrap();
    }
    assert_eq!(shades(&encoder.finish().unwrap()), SHADES);
}

#[test]
fn limits_hold_before_anything_is_decoded() {
    let row = Dicom::row(12, &VALUES).bytes();
    assert_eq!(
        decode(&row, &Limits::of_pixels(5)).unwrap_err().to_string(),
        "6x1 pixels are more than the limit of 5 (resize.max_pixels)"
    );
    let huge = Dicom::row(12, &VALUES)
        .encoded(uids::RLE_LOSSLESS, &rle_frame(&VALUES))
        .number(tags::ROWS, 65535)
        .number(tags::COLUMNS, 65535)
        .bytes();
    assert!(matches!(
        decode(&huge, &Limits::default()),
        Err(DecodeError::TooManyPixels { width: 65535, height: 65535, .. })
    ));
}

#[test]
fn a_large_file_is_probed_by_its_first_elements() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.dcm");
    let dicom = Dicom::picture(60000, 30000, "MONOCHROME2", 1, (16, 12)).with((
        tags::PIXEL_DATA,
        b"OW",
        Value::Bytes(Vec::new()),
    ));
    let mut start = dicom.bytes();
    let at = start.len() - 4;
    start[at..].copy_from_slice(&3_600_000_000u32.to_le_bytes());
    let mut file = std::fs::File::create(&path).unwrap();
    file.write_all(&start).unwrap();
    // A sparse file: it takes no space on the disk.
    file.set_len(start.len() as u64 + 3_600_000_000).unwrap();
    let header = probe(&path).unwrap();
    assert_eq!((header.width, header.height, header.complete), (60000, 30000, true));
    file.set_len(start.len() as u64 + 3_599_999_999).unwrap();
    assert!(!probe(&path).unwrap().complete);
}

#[test]
fn a_file_without_preamble_is_not_taken_for_dicom() {
    let bytes = Dicom::row(12, &VALUES).bytes();
    assert_eq!(
        read_header(&bytes[132..]).unwrap_err().to_string(),
        "not a JPEG, PNG, BMP, TIFF, WebP or DICOM by its first bytes, whatever its name says"
    );
    // A TIFF header in the preamble does not make it a TIFF.
    let mut dual = bytes.clone();
    dual[..4].copy_from_slice(b"II\x2a\0");
    assert_eq!(shades(&dual), shades(&bytes));
}
