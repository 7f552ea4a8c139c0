//! DICOM files (PS3.10) with one picture.
//!
//! [`walk`] passes over a file and reads only the heads of elements; dicom-object reads the few
//! elements that describe the picture. Pixels are decoded by jpeg-decoder and [`rle`], and [`gray`]
//! turns them into shades. dicom-pixeldata is not used because it truncates fractions, ignores
//! modality look-up tables and padding, and trusts the lengths that a file announces.

mod attributes;
mod color;
mod data_set;
mod gray;
mod inflate;
mod jpeg;
mod lut;
mod rle;
mod samples;
mod syntax;
mod values;
mod walk;

use std::borrow::Cow;
use std::io::{Cursor, Read as _};
use std::ops::Range;

use attributes::{Attributes, Photometric};
use data_set::{DataSet, PixelData};
use inflate::Inflated;
use ossify_vocabulary::Limits;
use samples::Samples;
use syntax::{Coding, DECOMPRESS};

use crate::error::{DecodeError, HeaderError};
use crate::format::ImageFormat;
use crate::image_header::ImageHeader;
use crate::pixels::Pixels;
use crate::source::{ReadAt, Source};

/// Reads the elements before the pixels, and checks whether the pixels are complete. Unsupported
/// kinds of files are already refused here.
pub(crate) fn header<R: ReadAt>(source: &mut Source<R>) -> Result<ImageHeader, HeaderError> {
    let (data_set, attributes) = open(source)?;
    Ok(ImageHeader {
        format: ImageFormat::Dicom,
        width: attributes.columns.into(),
        height: attributes.rows.into(),
        channels: if attributes.is_color() { 3 } else { 1 },
        exif_orientation: 1,
        bytes: source.len(),
        complete: data_set.is_complete,
        trailing_bytes: 0,
    })
}

fn open<R: ReadAt>(source: &mut Source<R>) -> Result<(DataSet, Attributes), HeaderError> {
    let data_set = DataSet::read(source)?;
    let attributes = Attributes::read(&data_set)?;
    if data_set.syntax.coding == Coding::LossyJpeg && attributes.bits.stored > 8 {
        let reason =
            format!("{} bits per sample in a lossy JPEG; {DECOMPRESS}", attributes.bits.stored);
        return Err(HeaderError::unsupported(ImageFormat::Dicom, reason));
    }
    if let PixelData::Native { bytes, .. } = data_set.pixel_data {
        let needed = attributes.native_bytes();
        if bytes < needed {
            let (columns, rows) = (attributes.columns, attributes.rows);
            return Err(HeaderError::malformed(
                ImageFormat::Dicom,
                format!("its {columns}x{rows} pixels take {needed} bytes and it has {bytes}"),
            ));
        }
    }
    Ok((data_set, attributes))
}

/// Decodes a file whose header is within the limits, by the rules of [`crate::decode`].
pub(crate) fn decode(bytes: &[u8], limits: &Limits) -> Result<Pixels, DecodeError> {
    let (data_set, attributes) =
        open(&mut Source::new(Cursor::new(bytes), bytes.len() as u64).map_err(HeaderError::Io)?)?;
    let (samples, is_ycbcr) = stored(bytes, &data_set, &attributes, limits)?;
    let (channels, data) = match (&attributes.palette, attributes.is_color()) {
        (Some(palette), _) => (3, color::from_palette(&samples, palette)),
        (None, false) => (1, gray::shades(&samples, &attributes)),
        (None, true) => {
            let is_native = !matches!(
                data_set.syntax.coding,
                Coding::Rle | Coding::LossyJpeg | Coding::LosslessJpeg
            );
            let mut data = color::to_8_bit(&samples);
            if is_native && attributes.photometric == Photometric::YbrFull422 {
                data = color::with_color_for_each_pixel(&data);
            } else if is_native && attributes.is_planar {
                data = color::interleaved(&data);
            }
            if is_ycbcr {
                color::from_ycbcr(&mut data);
            }
            (3, data)
        }
    };
    Pixels::new(attributes.columns.into(), attributes.rows.into(), channels, data)
        .ok_or_else(|| damaged("its pixels do not fill its size".into()))
}

/// The stored samples, and whether their colours are YCbCr.
fn stored<'a>(
    bytes: &'a [u8],
    data_set: &DataSet,
    attributes: &Attributes,
    limits: &Limits,
) -> Result<(Samples<'a>, bool), DecodeError> {
    let is_ycbcr = matches!(attributes.photometric, Photometric::YbrFull | Photometric::YbrFull422);
    let samples = |data, bytes_per_sample| Samples {
        data,
        bytes_per_sample,
        is_big_endian: data_set.syntax.encoding.is_big_endian,
        bits: attributes.bits,
    };
    let bytes_per_sample = attributes.bits.allocated / 8;
    let fragments = match &data_set.pixel_data {
        PixelData::Native { at, is_words, .. } => {
            let data = native(bytes, data_set, attributes, *at, *is_words)?;
            return Ok((samples(data, bytes_per_sample), is_ycbcr));
        }
        PixelData::Encapsulated(fragments) => fragments,
    };
    let frame = joined(bytes, fragments)?;
    let needed = attributes.native_bytes();
    match data_set.syntax.coding {
        Coding::Rle => {
            let data = rle::unpacked(
                &frame,
                attributes.pixels() as usize,
                usize::from(attributes.samples_per_pixel),
                usize::from(bytes_per_sample),
            );
            Ok((samples(Cow::Owned(data.map_err(damaged)?), bytes_per_sample), is_ycbcr))
        }
        Coding::LossyJpeg | Coding::LosslessJpeg => {
            let size = (attributes.columns, attributes.rows);
            let frame = jpeg::decoded(&frame, size, attributes.samples_per_pixel, limits)?;
            if frame.bytes_per_sample > bytes_per_sample {
                return Err(damaged(
                    "its JPEG has more than 8 bits per sample and the header says 8".into(),
                ));
            }
            let is_ycbcr = frame.is_ycbcr.unwrap_or(is_ycbcr);
            Ok((samples(Cow::Owned(frame.data), frame.bytes_per_sample), is_ycbcr))
        }
        _ if (frame.len() as u64) < needed => {
            Err(damaged(format!("its pixels take {needed} bytes and it has {}", frame.len())))
        }
        _ => {
            let mut data = frame.into_owned();
            data.truncate(needed as usize);
            Ok((samples(Cow::Owned(data), bytes_per_sample), is_ycbcr))
        }
    }
}

/// The bytes of samples that are not encoded.
fn native<'a>(
    bytes: &'a [u8],
    data_set: &DataSet,
    attributes: &Attributes,
    at: u64,
    is_words: bool,
) -> Result<Cow<'a, [u8]>, DecodeError> {
    let needed = attributes.native_bytes();
    if let Coding::Deflated = data_set.syntax.coding {
        let deflated = slice(bytes, data_set.at..bytes.len() as u64)?;
        let mut data = Vec::new();
        let read = Inflated::new(deflated).take(at + needed).read_to_end(&mut data);
        read.map_err(|e| damaged(format!("its deflated content: {e}")))?;
        if (data.len() as u64) < at + needed {
            return Err(cut_short(bytes));
        }
        return Ok(Cow::Owned(data.split_off(at as usize)));
    }
    if is_words && data_set.syntax.encoding.is_big_endian && attributes.bits.allocated == 8 {
        // Two samples form a word, whose bytes are swapped.
        let even = slice(bytes, at..at + needed.next_multiple_of(2))?;
        let mut data: Vec<u8> =
            even.as_chunks::<2>().0.iter().flat_map(|[high, low]| [*low, *high]).collect();
        data.truncate(needed as usize);
        return Ok(Cow::Owned(data));
    }
    Ok(Cow::Borrowed(slice(bytes, at..at + needed)?))
}

/// The encoded frame in these fragments.
fn joined<'a>(bytes: &'a [u8], fragments: &[Range<u64>]) -> Result<Cow<'a, [u8]>, DecodeError> {
    let pieces: Vec<&[u8]> =
        fragments.iter().map(|range| slice(bytes, range.clone())).collect::<Result<_, _>>()?;
    match pieces[..] {
        [] => Err(damaged("it announces encoded pixels and has none".into())),
        [frame] => Ok(Cow::Borrowed(frame)),
        _ => Ok(Cow::Owned(pieces.concat())),
    }
}

fn slice(bytes: &[u8], range: Range<u64>) -> Result<&[u8], DecodeError> {
    let [start, end] = [range.start, range.end].map(usize::try_from);
    start
        .ok()
        .zip(end.ok())
        .and_then(|(start, end)| bytes.get(start..end))
        .ok_or_else(|| cut_short(bytes))
}

fn damaged(reason: String) -> DecodeError {
    DecodeError::Damaged { format: ImageFormat::Dicom, reason }
}

fn cut_short(bytes: &[u8]) -> DecodeError {
    DecodeError::CutShort { format: ImageFormat::Dicom, bytes: bytes.len() as u64 }
}
