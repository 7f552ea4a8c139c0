//! DICOM images among others.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use common::{Bench, encoded, picture};
use image::ImageFormat;
use ossify_contract::{ShardReader, Split};
use ossify_imaging::{Pixels, decode, to_tensor};
use ossify_vocabulary::{Channels, Filter, Geometry, Limits, TensorSpec};

/// A gray DICOM picture of 12 bits with a window that maps 16 stored values to each shade.
fn dicom(width: u16, height: u16, values: &[u16]) -> Vec<u8> {
    let number = |value: u16| value.to_le_bytes().to_vec();
    let elements: [(u16, Vec<u8>); 8] = [
        (0x0002, number(1)),
        (0x0004, b"MONOCHROME2 ".to_vec()),
        (0x0010, number(height)),
        (0x0011, number(width)),
        (0x0100, number(16)),
        (0x0101, number(12)),
        (0x1050, b"2048".to_vec()),
        (0x1051, b"4081".to_vec()),
    ];
    let mut file = [&[0; 128][..], b"DICM\x02\0\x10\0UI\x12\x001.2.840.10008.1.2\0"].concat();
    let pixels = ((0x7fe0, 0x0010), values.iter().flat_map(|value| value.to_le_bytes()).collect());
    for ((group, element), value) in
        elements.map(|(element, value)| ((0x0028u16, element), value)).into_iter().chain([pixels])
    {
        file.extend([group.to_le_bytes(), element.to_le_bytes()].concat());
        file.extend((value.len() as u32).to_le_bytes());
        file.extend(value);
    }
    file
}

#[test]
fn a_dicom_image_becomes_a_tensor_as_its_shades_would() {
    let shades: Vec<u8> = (0..64 * 48).map(|i| (i % 64 * 3 + i / 64) as u8).collect();
    // The window begins at 2047.5 - 2040.
    let values: Vec<u16> = shades.iter().map(|shade| u16::from(*shade) * 16 + 8).collect();
    let file = dicom(64, 48, &values);
    let expected = Pixels::new(64, 48, 1, shades).unwrap();
    assert_eq!(decode(&file, &Limits::default()).unwrap(), expected);

    let mut bench = Bench::new();
    bench.add(Split::Train, "a.jpg", &encoded(&picture(64, 48, 1), ImageFormat::Jpeg), (64, 48));
    bench.add(Split::Train, "b.dcm", &file, (64, 48));
    bench.add(Split::Train, "c.dcm", &file[..file.len() - 1], (64, 48));
    bench.write_tables();
    let summary = bench.summary(&[]);
    assert_eq!(summary["summary"]["images"], 2);
    let failure = &summary["summary"]["failed"][0];
    assert_eq!(failure["image_id"], "train/images/c.dcm");
    let cut = format!(
        "the dicom file was cut short: its end is missing after {} bytes; copy or download it \
        again",
        file.len() - 1
    );
    assert_eq!(failure["reason"], cut);

    let reader = ShardReader::open(bench.out().join("shards/train-00000.arrow")).unwrap();
    let (row, image) =
        reader.iter().enumerate().find(|(_, image)| image.image_id.ends_with("b.dcm")).unwrap();
    let spec = TensorSpec {
        side_px: 48,
        channels: Channels::Rgb,
        geometry: Geometry::Stretch,
        filter: Filter::Bilinear,
        antialias: true,
    };
    assert_eq!(&*reader.tensor(row).unwrap(), to_tensor(&expected, &spec).unwrap().0);
    assert_eq!((image.width, image.height), (64, 48));
}
