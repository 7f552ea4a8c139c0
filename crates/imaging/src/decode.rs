use std::io::Cursor;
use std::panic::AssertUnwindSafe;
use std::path::Path;

use image::{DynamicImage, ImageError, ImageReader};
use ossify_vocabulary::Limits;
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;

use crate::dicom;
use crate::error::{DecodeError, HeaderError};
use crate::format::ImageFormat;
use crate::header::read_header;
use crate::image_header::ImageHeader;
use crate::jpeg::{self, Refusal};
use crate::limits;
use crate::pixels::Pixels;

/// Reads an image file, or an object at a URL, into memory, if it is a regular file within the
/// limit.
///
/// # Errors
/// [`DecodeError::Header`] if the file does not exist or cannot be read,
/// [`DecodeError::TooMuchMemory`].
pub fn read_file(path: impl AsRef<Path>, limits: &Limits) -> Result<Vec<u8>, DecodeError> {
    let path = path.as_ref();
    // Checking first prevents a pipe from blocking and an endless file from filling the memory.
    let stat = ossify_storage::stat(path).map_err(HeaderError::Io)?;
    if stat.is_dir() {
        return Err(HeaderError::Folder.into());
    }
    if !stat.is_file() {
        return Err(HeaderError::NotAFile.into());
    }
    if stat.bytes() > limits.max_memory_bytes {
        return Err(DecodeError::TooMuchMemory {
            needed_bytes: stat.bytes(),
            max_memory_bytes: limits.max_memory_bytes,
        });
    }
    Ok(ossify_storage::read(path, limits.max_memory_bytes).map_err(HeaderError::Io)?)
}

/// Decodes a file of any supported format into upright 8-bit RGB, or 8-bit gray if the file is
/// gray.
///
/// - 16-bit samples fill 0..=255 by rounding `value * 255 / full`; `full` is 65535, or 4095 if no
///   colour sample exceeds that: 12-bit detectors often store their values unscaled, and such a
///   picture would be almost black.
/// - Alpha is composited over black. Palettes and gray of 1, 2 and 4 bits are expanded to 8 bits.
///   CMYK becomes RGB.
/// - DICOM: stored values go through the modality's rescaling or table, and then through the first
///   window (LINEAR, LINEAR_EXACT, SIGMOID), else the VOI table, else the picture's own range
///   without its padding; MONOCHROME1 is inverted. These transforms follow PS3.3 sections C.11.1
///   and C.11.2, and are rounded to 0..=255. Palettes and YCbCr become RGB.
/// - EXIF orientation is applied, so width and height are those of [`crate::probe`].
///
/// # Errors
/// [`DecodeError`] says in a sentence why there is no picture. A truncated file is an error, and so
/// is detectable damage in the coded data; a picture that is partly gray is never returned for
/// these.
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Pixels, DecodeError> {
    decode_with_header(bytes, &read_header(bytes)?, limits)
}

/// Like [`decode`], for a file whose header has been read.
pub(crate) fn decode_with_header(
    bytes: &[u8],
    header: &ImageHeader,
    limits: &Limits,
) -> Result<Pixels, DecodeError> {
    limits::check(limits, header)?;
    // A third-party decoder that panics on a hostile file only costs that file.
    let decoded = std::panic::catch_unwind(AssertUnwindSafe(|| match header.format {
        ImageFormat::Jpeg => decode_jpeg(bytes, header),
        _ => decode_other(bytes, header, limits),
    }));
    let damaged = |reason: String| DecodeError::Damaged { format: header.format, reason };
    let pixels = decoded
        .map_err(|_| damaged("its decoder gave up".into()))??
        .turned_upright(header.exif_orientation);
    if pixels.size() != (header.width, header.height) {
        return Err(damaged(format!(
            "the header says {}x{} pixels and {}x{} were decoded",
            header.width,
            header.height,
            pixels.width(),
            pixels.height()
        )));
    }
    Ok(pixels)
}

fn decode_jpeg(bytes: &[u8], header: &ImageHeader) -> Result<Pixels, DecodeError> {
    const MAX_SIDE_PX: usize = u16::MAX as usize;
    let damaged = |reason: String| DecodeError::Damaged { format: ImageFormat::Jpeg, reason };
    // The general decoder fills up a picture whose data ends early; our decoder detects that, and
    // costs little at its smallest scale.
    if let Err(Refusal::WrongSize(reason)) = jpeg::decode(bytes, 1) {
        return Err(damaged(reason.to_owned()));
    }
    let (color, channels) =
        if header.channels == 1 { (ColorSpace::Luma, 1) } else { (ColorSpace::RGB, 3) };
    let decode = |strict: bool| -> Result<Option<Pixels>, zune_jpeg::errors::DecodeErrors> {
        let options = DecoderOptions::default()
            .set_strict_mode(strict)
            .set_max_width(MAX_SIDE_PX)
            .set_max_height(MAX_SIDE_PX)
            .jpeg_set_out_colorspace(color);
        let mut decoder = zune_jpeg::JpegDecoder::new_with_options(ZCursor::new(bytes), options);
        let data = decoder.decode()?;
        Ok(decoder
            .dimensions()
            .and_then(|(width, height)| Pixels::new(width as u32, height as u32, channels, data)))
    };
    // The strict mode finds damage that the lenient mode fills with gray. It also rejects padding
    // between segments, which is harmless.
    let decoded = match decode(true) {
        Err(e) if e.to_string().contains("Extra bytes between headers") => decode(false),
        decoded => decoded,
    };
    decoded
        .map_err(|e| damaged(e.to_string()))?
        .ok_or_else(|| damaged("its pixels do not fill its size".into()))
}

fn decode_other(
    bytes: &[u8],
    header: &ImageHeader,
    limits: &Limits,
) -> Result<Pixels, DecodeError> {
    let format = match header.format {
        ImageFormat::Jpeg => image::ImageFormat::Jpeg,
        ImageFormat::Png => image::ImageFormat::Png,
        ImageFormat::Bmp => image::ImageFormat::Bmp,
        ImageFormat::Tiff => image::ImageFormat::Tiff,
        ImageFormat::Webp => image::ImageFormat::WebP,
        ImageFormat::Dicom => return dicom::decode(bytes, limits),
    };
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut image_limits = image::Limits::default();
    image_limits.max_alloc = Some(limits.max_memory_bytes);
    reader.limits(image_limits);
    let image = reader.decode().map_err(|e| match e {
        ImageError::Unsupported(e) => {
            DecodeError::Unsupported { format: header.format, reason: e.to_string() }
        }
        e => DecodeError::Damaged { format: header.format, reason: in_words(&e, limits) },
    })?;
    let (width, height) = (image.width(), image.height());
    let (channels, data) = to_8_bit(image).ok_or_else(|| DecodeError::Unsupported {
        format: header.format,
        reason: "floating-point samples".into(),
    })?;
    Pixels::new(width, height, channels, data).ok_or_else(|| DecodeError::Damaged {
        format: header.format,
        reason: "its pixels do not fill its size".into(),
    })
}

/// What a decoder says. Of a chain of causes only the last counts: the others repeat the format and
/// name parts of the library.
fn in_words(error: &ImageError, limits: &Limits) -> String {
    match error {
        ImageError::IoError(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
            "its data ends early".to_owned()
        }
        ImageError::Limits(_) => format!(
            "decoding it would take more memory than the limit of {} bytes \
             (resize.max_memory_bytes)",
            limits.max_memory_bytes
        ),
        error => {
            let mut cause: &dyn std::error::Error = error;
            while let Some(source) = cause.source() {
                cause = source;
            }
            format!("its data cannot be decoded ({cause})")
        }
    }
}

/// Gray or RGB with 8 bits by the rules of [`decode`]; `None` for sample types that they do not
/// cover.
fn to_8_bit(image: DynamicImage) -> Option<(u8, Vec<u8>)> {
    Some(match image {
        DynamicImage::ImageLuma8(image) => (1, image.into_raw()),
        DynamicImage::ImageRgb8(image) => (3, image.into_raw()),
        DynamicImage::ImageLumaA8(image) => (1, over_black::<1, 2>(image.as_raw())),
        DynamicImage::ImageRgba8(image) => (3, over_black::<3, 4>(image.as_raw())),
        DynamicImage::ImageLuma16(image) => (1, from_16_bit::<1, 1>(image.as_raw())),
        DynamicImage::ImageRgb16(image) => (3, from_16_bit::<3, 3>(image.as_raw())),
        DynamicImage::ImageLumaA16(image) => (1, from_16_bit::<1, 2>(image.as_raw())),
        DynamicImage::ImageRgba16(image) => (3, from_16_bit::<3, 4>(image.as_raw())),
        _ => return None,
    })
}

fn over_black<const COLORS: usize, const SAMPLES: usize>(data: &[u8]) -> Vec<u8> {
    let (pixels, _) = data.as_chunks::<SAMPLES>();
    let shaded = |value: u8, alpha: u8| ((u32::from(value) * u32::from(alpha) + 127) / 255) as u8;
    pixels
        .iter()
        .flat_map(|pixel| (0..COLORS).map(move |c| shaded(pixel[c], pixel[COLORS])))
        .collect()
}

/// `SAMPLES` is `COLORS`, plus one if there is alpha.
fn from_16_bit<const COLORS: usize, const SAMPLES: usize>(data: &[u16]) -> Vec<u8> {
    const TWELVE_BITS: u16 = 4095;
    let (pixels, _) = data.as_chunks::<SAMPLES>();
    let is_12_bit =
        pixels.iter().all(|pixel| pixel[..COLORS].iter().all(|value| *value <= TWELVE_BITS));
    let full = u64::from(if is_12_bit { TWELVE_BITS } else { u16::MAX });
    let shaded = |value: u16, alpha: u16| {
        let (value, alpha, whole) =
            (u64::from(value), u64::from(alpha), full * u64::from(u16::MAX));
        ((value * alpha * 255 + whole / 2) / whole) as u8
    };
    let alpha =
        |pixel: &[u16; SAMPLES]| if SAMPLES > COLORS { pixel[SAMPLES - 1] } else { u16::MAX };
    pixels
        .iter()
        .flat_map(|pixel| (0..COLORS).map(move |c| shaded(pixel[c], alpha(pixel))))
        .collect()
}
