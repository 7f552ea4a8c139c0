//! Encodes pictures in several file formats.

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder, ImageError};

use crate::picture::Picture;

/// How a picture is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Three equal channels, as dataset exporters write.
    JpegRgb,
    /// One channel.
    JpegGray,
    /// One channel of 8 bits.
    Png8,
    /// One channel of 16 bits.
    Png16,
    /// Stored rotated by a quarter turn, with EXIF orientation 6, which makes it upright.
    JpegRotated,
    /// A JPEG without its second half.
    JpegCutShort,
}

impl Format {
    /// File name extension.
    pub fn extension(self) -> &'static str {
        match self {
            Format::Png8 | Format::Png16 => "png",
            _ => "jpg",
        }
    }

    /// The name used in `planted.json`.
    pub fn name(self) -> &'static str {
        match self {
            Format::JpegRgb => "jpeg-rgb",
            Format::JpegGray => "jpeg-gray",
            Format::Png8 => "png-8-bit",
            Format::Png16 => "png-16-bit",
            Format::JpegRotated => "jpeg-exif-rotated",
            Format::JpegCutShort => "jpeg-cut-short",
        }
    }
}

/// The file's bytes; `quality` is JPEG's, 1..=100.
///
/// # Errors
/// Fails if the encoder does.
pub fn encode(picture: &Picture, format: Format, quality: u8) -> Result<Vec<u8>, ImageError> {
    let (width, height) = (picture.width as u32, picture.height as u32);
    let gray = || picture.pixels.iter().map(|pixel| (pixel * 255.0 + 0.5) as u8);
    let mut file = Vec::new();
    match format {
        Format::JpegRgb | Format::JpegCutShort => {
            let rgb: Vec<u8> = gray().flat_map(|pixel| [pixel; 3]).collect();
            JpegEncoder::new_with_quality(&mut file, quality).encode(
                &rgb,
                width,
                height,
                ExtendedColorType::Rgb8,
            )?;
            if format == Format::JpegCutShort {
                file.truncate(file.len() * 11 / 20);
            }
        }
        Format::JpegGray => {
            let gray: Vec<u8> = gray().collect();
            JpegEncoder::new_with_quality(&mut file, quality).encode(
                &gray,
                width,
                height,
                ExtendedColorType::L8,
            )?;
        }
        Format::Png8 => {
            let gray: Vec<u8> = gray().collect();
            PngEncoder::new(&mut file).write_image(&gray, width, height, ExtendedColorType::L8)?;
        }
        Format::Png16 => {
            let samples: Vec<u8> = picture
                .pixels
                .iter()
                .flat_map(|pixel| ((pixel * 65_535.0 + 0.5) as u16).to_ne_bytes())
                .collect();
            PngEncoder::new(&mut file).write_image(
                &samples,
                width,
                height,
                ExtendedColorType::L16,
            )?;
        }
        Format::JpegRotated => {
            let upright: Vec<u8> = gray().collect();
            let lying: Vec<u8> = lay_down(&upright, picture.width, picture.height)
                .into_iter()
                .flat_map(|pixel| [pixel; 3])
                .collect();
            JpegEncoder::new_with_quality(&mut file, quality).encode(
                &lying,
                height,
                width,
                ExtendedColorType::Rgb8,
            )?;
            file.splice(2..2, exif_orientation(6));
        }
    }
    Ok(file)
}

/// Rotates a picture a quarter turn counter-clockwise, which orientation 6 undoes.
fn lay_down(upright: &[u8], width: usize, height: usize) -> Vec<u8> {
    (0..width).rev().flat_map(|x| (0..height).map(move |y| upright[y * width + x])).collect()
}

/// An APP1 segment with only the orientation tag.
fn exif_orientation(orientation: u8) -> Vec<u8> {
    let mut body = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01".to_vec();
    // Tag 0x0112, type SHORT, one value, left-justified in four bytes, no further directory.
    body.extend([0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, orientation, 0, 0, 0, 0, 0, 0]);
    let length = (body.len() + 2) as u16;
    let mut segment = vec![0xff, 0xe1];
    segment.extend(length.to_be_bytes());
    segment.extend(body);
    segment
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::ImageDecoder;
    use image::metadata::Orientation;

    /// Dark above, bright below.
    fn picture() -> Picture {
        let pixels = (0..40 * 24).map(|i| if i / 40 < 12 { 0.1 } else { 0.9 }).collect();
        Picture { width: 40, height: 24, pixels, objects: Vec::new() }
    }

    #[test]
    fn each_format_decodes_to_what_it_says() {
        for (format, color) in [
            (Format::JpegRgb, image::ColorType::Rgb8),
            (Format::JpegGray, image::ColorType::L8),
            (Format::Png8, image::ColorType::L8),
            (Format::Png16, image::ColorType::L16),
        ] {
            let image = image::load_from_memory(&encode(&picture(), format, 90).unwrap()).unwrap();
            assert_eq!(
                (image.width(), image.height(), image.color()),
                (40, 24, color),
                "{format:?}"
            );
            let gray = image.to_luma8();
            assert!(gray.get_pixel(20, 2)[0] < 60 && gray.get_pixel(20, 20)[0] > 200, "{format:?}");
        }
    }

    #[test]
    fn a_rotated_picture_stands_up_again() {
        let file = encode(&picture(), Format::JpegRotated, 90).unwrap();
        let mut decoder =
            image::codecs::jpeg::JpegDecoder::new(std::io::Cursor::new(&file)).unwrap();
        assert_eq!(decoder.orientation().unwrap(), Orientation::Rotate90);
        let mut image = image::load_from_memory(&file).unwrap();
        assert_eq!((image.width(), image.height()), (24, 40));
        image.apply_orientation(Orientation::Rotate90);
        let gray = image.to_luma8();
        assert!(gray.get_pixel(20, 2)[0] < 60 && gray.get_pixel(20, 20)[0] > 200);
    }

    #[test]
    fn a_cut_short_file_has_a_header_and_no_end() {
        let file = encode(&picture(), Format::JpegCutShort, 90).unwrap();
        assert!(file.starts_with(&[0xff, 0xd8]) && !file.ends_with(&[0xff, 0xd9]));
    }
}
