//! Pixels of DICOM files, by the formulas of PS3.3 sections C.7.6.3, C.11.1 and C.11.2.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use common::{Dicom, Value};
use dicom_core::Tag;
use dicom_dictionary_std::tags;
use ossify_imaging::{ImageFormat, Pixels, decode, read_header};
use ossify_vocabulary::Limits;

fn decoded(dicom: &Dicom) -> Pixels {
    decode(&dicom.bytes(), &Limits::default()).unwrap()
}

fn shades(dicom: &Dicom) -> Vec<u8> {
    let pixels = decoded(dicom);
    assert_eq!(pixels.channels(), 1);
    pixels.into_data()
}

fn error(dicom: &Dicom) -> String {
    decode(&dicom.bytes(), &Limits::default()).unwrap_err().to_string()
}

/// C.11.2.1.2.1, as it is written there, with a range of 0 to 255.
fn linear(x: f64, c: f64, w: f64) -> u8 {
    let y = if x <= c - 0.5 - (w - 1.0) / 2.0 {
        0.0
    } else if x > c - 0.5 + (w - 1.0) / 2.0 {
        255.0
    } else {
        ((x - (c - 0.5)) / (w - 1.0) + 0.5) * 255.0
    };
    y.round() as u8
}

/// C.11.2.1.3.2.
fn linear_exact(x: f64, c: f64, w: f64) -> u8 {
    let y = if x <= c - w / 2.0 {
        0.0
    } else if x > c + w / 2.0 {
        255.0
    } else {
        ((x - c) / w + 0.5) * 255.0
    };
    y.round() as u8
}

/// C.11.2.1.3.1.
fn sigmoid(x: f64, c: f64, w: f64) -> u8 {
    (255.0 / (1.0 + (-4.0 * (x - c) / w).exp())).round() as u8
}

const TWELVE_BITS: [i32; 12] = [0, 1, 500, 900, 901, 1000, 1023, 1024, 1500, 2047, 2048, 4095];

#[test]
fn the_header_gives_size_and_channels() {
    let bytes = Dicom::picture(5, 3, "MONOCHROME2", 1, (8, 8))
        .with((tags::PIXEL_DATA, b"OB", Value::Bytes(vec![7; 15])))
        .bytes();
    let header = read_header(&bytes).unwrap();
    assert_eq!((header.format, header.format.as_str()), (ImageFormat::Dicom, "dicom"));
    assert_eq!(
        (header.width, header.height, header.channels, header.exif_orientation),
        (5, 3, 1, 1)
    );
    assert_eq!(
        (header.complete, header.bytes, header.trailing_bytes),
        (true, bytes.len() as u64, 0)
    );
    let color = Dicom::picture(5, 3, "RGB", 3, (8, 8)).with((
        tags::PIXEL_DATA,
        b"OB",
        Value::Bytes(vec![7; 45]),
    ));
    assert_eq!(read_header(&color.bytes()).unwrap().channels, 3);
    // Elements after the pixels do not belong to them.
    let padded = color.with((Tag(0xfffc, 0xfffc), b"OB", Value::Bytes(vec![0; 10]))).bytes();
    assert!(read_header(&padded).unwrap().complete);
}

#[test]
fn windows_follow_the_formulas_of_the_standard() {
    for (center, width) in [
        (1000.0, 1000.0),
        (1024.0, 2048.0),
        (2047.5, 4095.0),
        (900.0, 1.0),
        (1000.5, 3.0),
        (-50.0, 700.0),
    ] {
        let windowed = |function: Option<&str>| {
            let dicom =
                Dicom::row(12, &TWELVE_BITS).window(&center.to_string(), &width.to_string());
            shades(&function.map_or(dicom.clone(), |function| {
                dicom.text(tags::VOILUT_FUNCTION, b"CS", function)
            }))
        };
        let expected = |formula: fn(f64, f64, f64) -> u8| {
            TWELVE_BITS.map(|value| formula(value.into(), center, width)).to_vec()
        };
        assert_eq!(windowed(None), expected(linear), "{center} {width}");
        assert_eq!(windowed(Some("LINEAR")), expected(linear), "{center} {width}");
        assert_eq!(windowed(Some("LINEAR_EXACT")), expected(linear_exact), "{center} {width}");
        assert_eq!(windowed(Some("SIGMOID")), expected(sigmoid), "{center} {width}");
    }
}

#[test]
fn the_first_of_several_windows_counts_and_one_of_width_0_does_not() {
    let row = Dicom::row(12, &TWELVE_BITS);
    assert_eq!(
        shades(&row.clone().window("1000\\50", "1000\\350")),
        TWELVE_BITS.map(|value| linear(value.into(), 1000.0, 1000.0))
    );
    assert_eq!(shades(&row.clone().window("0", "0")), shades(&row));
    assert_eq!(shades(&row.clone().window(" ", " ")), shades(&row));
    assert_eq!(shades(&row.clone().text(tags::WINDOW_CENTER, b"DS", "100")), shades(&row));
    // The linear function is not defined below a width of 1, where the exact one is meant.
    let small = Dicom::row(8, &[0, 50, 100]).rescaled("0.005", "0").window("0.25", "0.5");
    assert_eq!(shades(&small), [0.0, 0.25, 0.5].map(|value| linear_exact(value, 0.25, 0.5)));
}

#[test]
fn rescaling_comes_before_the_window() {
    let ct =
        Dicom::row(12, &[0, 1000, 1024, 1100, 1200]).rescaled("1", "-1024").window("40", "400");
    assert_eq!(
        shades(&ct),
        [-1024.0, -24.0, 0.0, 76.0, 176.0].map(|value| linear(value, 40.0, 400.0))
    );
    let halves = Dicom::row(12, &[0, 1, 2, 3]).rescaled("0.5", "10").window("10.75", "2").text(
        tags::VOILUT_FUNCTION,
        b"CS",
        "LINEAR_EXACT",
    );
    assert_eq!(
        shades(&halves),
        [10.0, 10.5, 11.0, 11.5].map(|value| linear_exact(value, 10.75, 2.0))
    );
    // A negative slope swaps black and white.
    assert_eq!(shades(&Dicom::row(8, &[0, 100, 200]).rescaled("-1", "0")), [255, 128, 0]);
}

#[test]
fn without_a_window_the_picture_s_own_range_is_filled_by_rounding() {
    assert_eq!(shades(&Dicom::row(12, &[100, 101, 150, 199, 200])), [0, 3, 128, 252, 255]);
    assert_eq!(shades(&Dicom::row(8, &[10, 11, 12])), [0, 128, 255]);
    assert_eq!(shades(&Dicom::row(16, &[0, 65535, 32768])), [0, 255, 128]);
    assert_eq!(shades(&Dicom::row(16, &[7, 7])), [0, 0]);
}

#[test]
fn monochrome1_is_inverted() {
    let inverted =
        |dicom: Dicom| dicom.text(tags::PHOTOMETRIC_INTERPRETATION, b"CS", "MONOCHROME1");
    assert_eq!(
        shades(&inverted(Dicom::row(12, &[100, 101, 150, 199, 200]))),
        [255, 252, 127, 3, 0]
    );
    let window = Dicom::row(12, &TWELVE_BITS).window("1000", "1000");
    assert_eq!(
        shades(&inverted(window.clone())),
        shades(&window).iter().map(|shade| 255 - shade).collect::<Vec<_>>()
    );
}

#[test]
fn padding_does_not_stretch_the_range() {
    let row = Dicom::row(12, &[0, 0, 1000, 1500, 2000, 4095]);
    assert_eq!(shades(&row.clone().number(tags::PIXEL_PADDING_VALUE, 0)), [0, 0, 0, 41, 82, 255]);
    let range =
        row.number(tags::PIXEL_PADDING_VALUE, 4095).number(tags::PIXEL_PADDING_RANGE_LIMIT, 1900);
    assert_eq!(shades(&range), [0, 0, 170, 255, 255, 255]);
    let signed = Dicom::row(16, &[-2000, -1000, 0, 1000]).signed().with((
        tags::PIXEL_PADDING_VALUE,
        b"SS",
        Value::Words(vec![-2000i16 as u16]),
    ));
    assert_eq!(shades(&signed), [0, 0, 128, 255]);
    assert_eq!(shades(&Dicom::row(8, &[9, 9]).number(tags::PIXEL_PADDING_VALUE, 9)), [0, 0]);
}

#[test]
fn samples_are_cut_out_of_their_bits() {
    // 12 bits, signed: 0xfff is -1, and the bits above it do not count.
    assert_eq!(
        shades(
            &Dicom::row(12, &[0x0fff, 0x7000, 0x0800, 0x07ff]).signed().window("0", "4096").text(
                tags::VOILUT_FUNCTION,
                b"CS",
                "LINEAR_EXACT"
            )
        ),
        [
            linear_exact(-1.0, 0.0, 4096.0),
            linear_exact(0.0, 0.0, 4096.0),
            0,
            linear_exact(2047.0, 0.0, 4096.0)
        ]
    );
    // 8 of 16 bits, the highest of them bit 11.
    let shifted = Dicom::row(16, &[0xf00f, 0x0ff0, 0x0800])
        .number(tags::BITS_STORED, 8)
        .number(tags::HIGH_BIT, 11);
    assert_eq!(shades(&shifted), [0, 255, 128]);
    assert_eq!(shades(&Dicom::row(8, &[0x80, 0xff, 0x7f]).signed()), [0, 127, 255]);
    let wide = |values: [u32; 3]| {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Dicom::picture(3, 1, "MONOCHROME2", 1, (32, 32)).with((
            tags::PIXEL_DATA,
            b"OW",
            Value::Bytes(bytes),
        ))
    };
    assert_eq!(shades(&wide([0, 4_000_000_000, 1_000_000_000])), [0, 255, 64]);
    assert_eq!(shades(&wide([-1_000_000_000i32 as u32, 1_000_000_000, 0]).signed()), [0, 255, 128]);
}

#[test]
fn modality_tables_map_stored_values_before_the_window() {
    let table = Dicom::row(8, &[0, 10, 11, 12, 13, 200]).table(
        tags::MODALITY_LUT_SEQUENCE,
        [4, 10, 16],
        &[100, 1000, 300, 2000],
    );
    assert_eq!(
        shades(&table.clone().window("1000", "2000")),
        [100.0, 100.0, 1000.0, 300.0, 2000.0, 2000.0].map(|value| linear(value, 1000.0, 2000.0))
    );
    assert_eq!(shades(&table), [0, 0, 121, 27, 255, 255]);
    // The first value is negative where pixels are signed.
    let signed = Dicom::row(16, &[-3, -2, -1, 5]).signed().table(
        tags::MODALITY_LUT_SEQUENCE,
        [3, -3i16 as u16, 16],
        &[0, 1000, 4000],
    );
    assert_eq!(shades(&signed), [0, 64, 255, 255]);
}

#[test]
fn voi_tables_map_where_there_is_no_window() {
    let row = Dicom::row(12, &[0, 100, 101, 102, 4000]);
    let table = row.clone().table(tags::VOILUT_SEQUENCE, [3, 100, 8], &[0, 51, 255]);
    assert_eq!(shades(&table), [0, 0, 51, 255, 255]);
    assert_eq!(
        shades(&table.clone().window("1000", "2000")),
        shades(&row.clone().window("1000", "2000"))
    );
    // Entries of 8 bits may be stored two per word.
    assert_eq!(
        shades(&row.clone().table(tags::VOILUT_SEQUENCE, [3, 100, 8], &[51 << 8, 255])),
        [0, 0, 51, 255, 255]
    );
    assert_eq!(
        shades(&row.clone().table(tags::VOILUT_SEQUENCE, [3, 100, 10], &[0, 512, 1023])),
        [0, 0, 128, 255, 255]
    );
    assert_eq!(
        shades(&row.clone().table(tags::VOILUT_SEQUENCE, [3, 100, 16], &[0, 32768, 65535])),
        [0, 0, 128, 255, 255]
    );
    // Twelve bits that are announced as 16 are scaled to the full range.
    assert_eq!(
        shades(&row.table(tags::VOILUT_SEQUENCE, [3, 100, 16], &[0, 2048, 4095])),
        [0, 0, 128, 255, 255]
    );
    let ct = Dicom::row(12, &[0, 24, 1024]).rescaled("1", "-1024").table(
        tags::VOILUT_SEQUENCE,
        [2, -1000i16 as u16, 8],
        &[17, 34],
    );
    assert_eq!(shades(&ct), [17, 17, 34]);
}

#[test]
fn colours_come_out_as_rgb() {
    let rgb = [200, 100, 50, 0, 255, 3];
    let of = |photometric: &str, width: u16, bytes: Vec<u8>| {
        Dicom::picture(width, 1, photometric, 3, (8, 8))
            .number(tags::PLANAR_CONFIGURATION, 0)
            .with((tags::PIXEL_DATA, b"OB", Value::Bytes(bytes)))
    };
    assert_eq!(decoded(&of("RGB", 2, rgb.to_vec())).data(), rgb);
    let planar = of("RGB", 2, vec![200, 0, 100, 255, 50, 3]).number(tags::PLANAR_CONFIGURATION, 1);
    assert_eq!(decoded(&planar).data(), rgb);
    // C.7.6.3.1.2, inverted: Y + 1.402 Cr, Y - 0.3441 Cb - 0.7141 Cr, Y + 1.772 Cb.
    assert_eq!(
        decoded(&of("YBR_FULL", 2, vec![100, 128, 128, 124, 86, 182])).data(),
        [100, 100, 100, 200, 100, 50]
    );
    assert_eq!(
        decoded(&of("YBR_FULL", 2, vec![255, 255, 255, 0, 0, 0])).data(),
        [255, 121, 255, 0, 135, 0]
    );
    assert_eq!(
        decoded(&of("YBR_FULL_422", 2, vec![124, 100, 86, 182])).data(),
        [200, 100, 50, 176, 76, 26]
    );
    let wide = Dicom::picture(1, 1, "RGB", 3, (16, 12)).with((
        tags::PIXEL_DATA,
        b"OW",
        Value::Words(vec![4095, 0, 2048]),
    ));
    assert_eq!(decoded(&wide).data(), [255, 0, 128]);
}

#[test]
fn palettes_become_colours() {
    let palette = |entries: [&[u16]; 3], bits: u16| {
        let mut dicom = Dicom::picture(4, 1, "PALETTE COLOR", 1, (8, 8)).with((
            tags::PIXEL_DATA,
            b"OB",
            Value::Bytes(vec![0, 5, 6, 255]),
        ));
        for (i, entries) in entries.iter().enumerate() {
            dicom = dicom
                .with((Tag(0x0028, 0x1101 + i as u16), b"US", Value::Words(vec![2, 5, bits])))
                .with((Tag(0x0028, 0x1201 + i as u16), b"OW", Value::Words(entries.to_vec())));
        }
        dicom
    };
    let expected = [10, 20, 255, 10, 20, 255, 30, 40, 0, 30, 40, 0];
    assert_eq!(decoded(&palette([&[10, 30], &[20, 40], &[255, 0]], 8)).data(), expected);
    assert_eq!(decoded(&palette([&[30 << 8 | 10], &[40 << 8 | 20], &[255]], 8)).data(), expected);
    assert_eq!(
        decoded(&palette([&[10 * 257, 30 * 257], &[20 * 257, 40 * 257], &[65535, 0]], 16)).data(),
        expected
    );
    let broken = palette([&[10, 30], &[20, 40], &[255, 0]], 8).without(Tag(0x0028, 0x1203));
    assert_eq!(
        error(&broken),
        "this dicom file's header cannot be right: its blue palette has 0 entries and announces 2"
    );
    let segmented = broken.with((Tag(0x0028, 0x1221), b"OW", Value::Words(vec![0])));
    assert_eq!(
        error(&segmented),
        "this kind of dicom is not supported: a segmented palette; convert it to PNG"
    );
}

#[test]
fn what_is_not_read_is_refused_with_what_to_do() {
    let row = || Dicom::row(8, &[1, 2]);
    let unsupported = [
        (
            row().text(tags::NUMBER_OF_FRAMES, b"IS", "24"),
            "it holds 24 frames; save the frame that is meant as a file of its own, for example \
            with dcmj2pnm +on2 +F 1",
        ),
        (
            row().text(tags::PHOTOMETRIC_INTERPRETATION, b"CS", "HSV"),
            "the photometric interpretation HSV; convert it to PNG",
        ),
        (
            row()
                .number(tags::BITS_ALLOCATED, 1)
                .number(tags::BITS_STORED, 1)
                .number(tags::HIGH_BIT, 0),
            "1 bits per sample of MONOCHROME2; convert it to PNG",
        ),
        (
            row().window("1", "2").text(tags::VOILUT_FUNCTION, b"CS", "CUBIC"),
            "the VOI LUT function CUBIC; export it to 16-bit PNG",
        ),
        (
            row().without(tags::PIXEL_DATA).with((
                tags::FLOAT_PIXEL_DATA,
                b"OF",
                Value::Bytes(vec![0; 8]),
            )),
            "floating-point pixels; export it to 16-bit PNG",
        ),
        (
            row().encoded("1.2.840.10008.1.2.4.90", &[0]),
            "its pixels are encoded as JPEG 2000 Image Compression (Lossless Only) \
            (1.2.840.10008.1.2.4.90); decompress it (gdcmconv --raw) or export it to 16-bit PNG",
        ),
        (
            row().encoded("1.2.840.10008.1.2.4.80", &[0]),
            "its pixels are encoded as JPEG-LS Lossless Image Compression \
            (1.2.840.10008.1.2.4.80); decompress it (gdcmconv --raw) or export it to 16-bit PNG",
        ),
        (
            row().in_syntax("1.2.3"),
            "its pixels are encoded as an unknown transfer syntax (1.2.3); decompress it \
            (gdcmconv --raw) or export it to 16-bit PNG",
        ),
        (
            Dicom::row(12, &[1, 2]).encoded("1.2.840.10008.1.2.4.51", &[0]),
            "12 bits per sample in a lossy JPEG; decompress it (gdcmconv --raw) or export it to \
            16-bit PNG",
        ),
    ];
    for (dicom, reason) in unsupported {
        assert_eq!(error(&dicom), format!("this kind of dicom is not supported: {reason}"));
        assert_eq!(read_header(&dicom.bytes()).unwrap_err().to_string(), error(&dicom));
    }
    assert_eq!(shades(&row().text(tags::NUMBER_OF_FRAMES, b"IS", "1")), [0, 255]);
}

#[test]
fn headers_that_contradict_themselves_are_refused_with_the_reason() {
    let row = || Dicom::row(8, &[1, 2]);
    let malformed = [
        (row().without(tags::ROWS), "it does not say its rows"),
        (row().number(tags::ROWS, 0), "it says 2x0 pixels"),
        (row().number(tags::ROWS, 2), "its 2x2 pixels take 4 bytes and it has 2"),
        (
            row().number(tags::SAMPLES_PER_PIXEL, 3),
            "it says 3 samples per pixel, and MONOCHROME2 has 1",
        ),
        (
            row().number(tags::BITS_STORED, 12),
            "it says that 12 of 8 bits per sample are stored, the highest being bit 7",
        ),
        (
            row().number(tags::HIGH_BIT, 8),
            "it says that 8 of 8 bits per sample are stored, the highest being bit 8",
        ),
        (row().rescaled("0", "0"), "its rescale slope is 0, which makes all pixels equal"),
        (row().rescaled("one", "0"), "its rescale slope is not a number"),
        (row().without(tags::PIXEL_DATA), "it ends without a picture"),
        (
            row().table(tags::MODALITY_LUT_SEQUENCE, [9, 0, 16], &[1]),
            "its modality look-up table has 1 entries and announces 9",
        ),
        (
            row().table(tags::VOILUT_SEQUENCE, [1, 0, 17], &[1]),
            "its VOI look-up table has entries of 17 bits; 8 to 16 are possible",
        ),
        (
            row().in_syntax("1.2.840.10008.1.2.5"),
            "its pixels are not in fragments although they are encoded",
        ),
        (
            row().encoded("1.2.840.10008.1.2.1", &[1, 2]),
            "its pixels have no length although they are not encoded",
        ),
    ];
    for (dicom, reason) in malformed {
        assert_eq!(error(&dicom), format!("this dicom file's header cannot be right: {reason}"));
    }
    assert_eq!(
        error(&Dicom { elements: Vec::new(), ..row() }),
        "this dicom file's header cannot be right: it ends without a picture"
    );
    let nameless = [&[0; 128][..], b"DICM", &row().data_set()].concat();
    assert_eq!(
        decode(&nameless, &Limits::default()).unwrap_err().to_string(),
        "this dicom file's header cannot be right: it does not say its transfer syntax"
    );
}
