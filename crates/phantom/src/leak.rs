//! Images of train that occur again in valid or test, as after careless splitting.

use std::io::Cursor;

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::imageops::flip_horizontal;
use image::{ExtendedColorType, GrayImage, ImageEncoder, ImageError, Luma, load_from_memory};
use ossify_contract::Split;
use serde::{Deserialize, Serialize};

use crate::dice::{Dice, Stream};
use crate::encode::Format;
use crate::item::Item;
use crate::parameters::Parameters;

/// What was done to an image before it was put into the other split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LeakKind {
    /// The same file.
    Copied,
    /// The same pixels in a PNG with another compression.
    Repacked,
    /// A JPEG of lower quality.
    Reencoded,
    /// A JPEG whose gray values are multiplied by a factor.
    Brightened,
    /// A JPEG, rotated within its frame by up to 15 degrees, with black corners, as Roboflow does.
    Rotated,
    /// A JPEG, mirrored left to right.
    Mirrored,
    /// Rotated, with its gray values multiplied, in a JPEG of lower quality.
    RotatedAndBrightened,
}

impl LeakKind {
    /// All kinds, in the order in which they are planted.
    pub const ALL: [LeakKind; 7] = [
        LeakKind::Copied,
        LeakKind::Repacked,
        LeakKind::Reencoded,
        LeakKind::Brightened,
        LeakKind::Rotated,
        LeakKind::Mirrored,
        LeakKind::RotatedAndBrightened,
    ];
}

/// A leak as listed in `planted.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlantedLeak {
    /// What was done to it.
    pub kind: LeakKind,
    /// The image, from the dataset root.
    pub path: String,
    /// The image of train that it copies.
    pub original: String,
    /// Rotation in degrees, counter-clockwise.
    pub rotation_degrees: f32,
    /// Factor of its gray values.
    pub brightness: f32,
}

/// A leak to be written.
#[derive(Clone, Debug)]
pub struct Leak<'a> {
    /// What is done to the original.
    pub kind: LeakKind,
    /// The image of train.
    pub original: &'a Item,
    /// The split that it is copied to.
    pub split: Split,
    /// File name without extension.
    pub name: String,
    /// Degrees, counter-clockwise.
    pub rotation_degrees: f32,
    /// Factor of the gray values.
    pub brightness: f32,
    quality: u8,
}

/// Whether an item is a sound image of train without objects, whose copies need no labels.
fn is_original(item: &Item) -> bool {
    item.split == Split::Train && item.order.fractures == 0 && item.fault.is_none()
}

/// Makes sure that originals that will be repacked are stored losslessly.
pub(crate) fn prepare_originals(items: &mut [Item], parameters: &Parameters) {
    let originals = items.iter_mut().filter(|item| is_original(item));
    for (number, original) in originals.enumerate().take(parameters.planted_leaks() as usize) {
        if LeakKind::ALL[number % LeakKind::ALL.len()] == LeakKind::Repacked {
            original.format = Format::Png8;
        }
    }
}

/// Plans the leaks: kinds and splits alternate, and originals are used in order, each at most once.
pub fn leaks<'a>(items: &'a [Item], parameters: &Parameters) -> Vec<Leak<'a>> {
    let originals = items.iter().filter(|item| is_original(item));
    let wanted = parameters.planted_leaks() as usize;
    originals
        .enumerate()
        .take(wanted)
        .map(|(number, original)| Leak::new(number, original, parameters.seed))
        .collect()
}

impl<'a> Leak<'a> {
    fn new(number: usize, original: &'a Item, seed: u64) -> Self {
        let mut dice = Dice::new(seed, Stream::Leak(number as u64));
        let kind = LeakKind::ALL[number % LeakKind::ALL.len()];
        let split = [Split::Valid, Split::Test][number / LeakKind::ALL.len() % 2];
        let stem =
            original.name.split_once(".rf.").map_or(original.name.as_str(), |(stem, _)| stem);
        let name = format!("{stem}.rf.{:016x}{:016x}", dice.bits(), dice.bits());
        let turn = dice.sign() * dice.within(3.0, 15.0);
        let factor = if dice.chance(0.5) { dice.within(0.5, 0.8) } else { dice.within(1.2, 1.5) };
        let low_quality = 55 + dice.below(25) as u8;
        let (rotation_degrees, brightness, quality) = match kind {
            LeakKind::Copied | LeakKind::Repacked => (0.0, 1.0, 100),
            LeakKind::Reencoded => (0.0, 1.0, low_quality),
            LeakKind::Brightened => (0.0, factor, 90),
            LeakKind::Rotated => (turn, 1.0, 90),
            LeakKind::Mirrored => (0.0, 1.0, 90),
            LeakKind::RotatedAndBrightened => (turn, factor, low_quality),
        };
        Leak { kind, original, split, name, rotation_degrees, brightness, quality }
    }

    /// How it is stored.
    pub fn format(&self) -> Format {
        match self.kind {
            LeakKind::Copied => self.original.format,
            LeakKind::Repacked => Format::Png8,
            _ => Format::JpegRgb,
        }
    }

    /// Path of the image from the dataset root.
    pub fn image_path(&self) -> String {
        format!("{}/images/{}.{}", self.split, self.name, self.format().extension())
    }

    /// Path of the label file from the dataset root.
    pub fn label_path(&self) -> String {
        format!("{}/labels/{}.txt", self.split, self.name)
    }

    /// The file's bytes, made from those of the original.
    ///
    /// # Errors
    /// Fails if the original cannot be decoded or the copy cannot be encoded.
    pub fn bytes(&self, original: Vec<u8>) -> Result<Vec<u8>, ImageError> {
        if self.kind == LeakKind::Copied {
            return Ok(original);
        }
        let mut picture = load_from_memory(&original)?.into_luma8();
        let mut file = Cursor::new(Vec::new());
        if self.kind == LeakKind::Repacked {
            let encoder =
                PngEncoder::new_with_quality(&mut file, CompressionType::Best, FilterType::Up);
            encoder.write_image(
                &picture,
                picture.width(),
                picture.height(),
                ExtendedColorType::L8,
            )?;
            return Ok(file.into_inner());
        }
        if self.kind == LeakKind::Mirrored {
            picture = flip_horizontal(&picture);
        }
        if self.rotation_degrees != 0.0 {
            picture = turned(&picture, self.rotation_degrees);
        }
        let rgb: Vec<u8> = picture
            .iter()
            .flat_map(|value| [(f32::from(*value) * self.brightness + 0.5) as u8; 3])
            .collect();
        JpegEncoder::new_with_quality(&mut file, self.quality).encode(
            &rgb,
            picture.width(),
            picture.height(),
            ExtendedColorType::Rgb8,
        )?;
        Ok(file.into_inner())
    }

    /// Its entry in `planted.json`.
    pub fn planted(&self) -> PlantedLeak {
        let Leak { kind, rotation_degrees, brightness, .. } = *self;
        PlantedLeak {
            kind,
            path: self.image_path(),
            original: self.original.image_path(),
            rotation_degrees,
            brightness,
        }
    }
}

/// Rotates a picture counter-clockwise around its centre; uncovered corners are black.
fn turned(picture: &GrayImage, degrees: f32) -> GrayImage {
    let (sin, cos) = degrees.to_radians().sin_cos();
    let (width, height) = picture.dimensions();
    let (middle_x, middle_y) = ((width - 1) as f32 / 2.0, (height - 1) as f32 / 2.0);
    let pixel = |x: i64, y: i64| match (u32::try_from(x), u32::try_from(y)) {
        (Ok(x), Ok(y)) if x < width && y < height => f32::from(picture.get_pixel(x, y).0[0]),
        _ => 0.0,
    };
    GrayImage::from_fn(width, height, |x, y| {
        let (across, down) = (x as f32 - middle_x, y as f32 - middle_y);
        let (from_x, from_y) =
            (middle_x + across * cos - down * sin, middle_y + across * sin + down * cos);
        let (left, top) = (from_x.floor(), from_y.floor());
        let (u, v) = (from_x - left, from_y - top);
        let (left, top) = (left as i64, top as i64);
        let above = pixel(left, top) + (pixel(left + 1, top) - pixel(left, top)) * u;
        let below = pixel(left, top + 1) + (pixel(left + 1, top + 1) - pixel(left, top + 1)) * u;
        Luma([(above + (below - above) * v + 0.5) as u8])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::plan;

    const PARAMETERS: Parameters =
        Parameters { images: 120, seed: 7, labels_only: false, leaks: 20 };

    #[test]
    fn leaks_are_of_all_kinds_in_both_splits_and_of_different_originals() {
        let items = plan(&PARAMETERS);
        let leaks = leaks(&items, &PARAMETERS);
        assert_eq!(leaks.len(), 20);
        for kind in LeakKind::ALL {
            for split in [Split::Valid, Split::Test] {
                assert!(
                    leaks.iter().any(|leak| (leak.kind, leak.split) == (kind, split)),
                    "{kind:?} {split}"
                );
            }
        }
        let mut originals: Vec<String> =
            leaks.iter().map(|leak| leak.original.image_path()).collect();
        originals.dedup();
        assert_eq!(originals.len(), 20);
        assert!(
            leaks
                .iter()
                .filter(|leak| leak.kind == LeakKind::Repacked)
                .all(|leak| leak.original.format == Format::Png8)
        );
    }

    #[test]
    fn a_dataset_of_no_leaks_is_planned_as_ever() {
        let planned = |leaks: u64| -> Vec<(String, Format)> {
            plan(&Parameters { leaks, ..PARAMETERS })
                .into_iter()
                .map(|item| (item.image_path(), item.format))
                .collect()
        };
        let differing =
            planned(0).into_iter().zip(planned(20)).filter(|(none, some)| none != some).count();
        assert!(differing <= 3, "{differing}");
    }

    #[test]
    fn a_turn_is_counter_clockwise_and_leaves_black_corners() {
        let bright_right = GrayImage::from_fn(41, 41, |x, y| {
            Luma([if x > 30 && (18..23).contains(&y) { 255 } else { 90 }])
        });
        let picture = turned(&bright_right, 15.0);
        // The right-hand middle moved up.
        assert!(picture.get_pixel(36, 16).0[0] > 200 && picture.get_pixel(36, 23).0[0] < 100);
        assert_eq!((picture.get_pixel(0, 0).0[0], picture.get_pixel(20, 20).0[0]), (0, 90));
    }
}
