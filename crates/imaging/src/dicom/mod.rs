//! DICOM files (PS3.10) with one picture.
//!
//! A file is walked by [`walk`], which reads nothing but the heads of elements; the few elements
//! that describe the picture are read by dicom-object. Pixels are decoded by jpeg-decoder and by
//! [`rle`] and become shades by [`gray`], because what dicom-pixeldata makes of them cuts fractions
//! off, knows neither modality look-up tables nor padding, and trusts the lengths that a file
//! announces.

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
use samples::Samples;
use syntax::{Coding, DECOMPRESS};

use crate::error::{DecodeError, HeaderError};
use crate::format::ImageFormat;
use crate::image_header::ImageHeader;
use crate::limits::Limits;
use crate::pixels::Pixels;
use crate::source::{ReadAt, Source};

/// Reads the elements before the pixels, and whether those reach their end. Kinds of files that are
/// not read here are refused already now.
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
            format!("{} bits a sample in a lossy JPEG; {DECOMPRESS}", attributes.bits.stored);
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

/// Decodes a file whose header keeps the limits. The rules are those of [`crate::decode`].
pub(crate) fn decode(bytes: &[u8], limits: &Limits) -> Result<Pixels, DecodeError> {
    let damaged = |reason: String| DecodeError::Damaged { format: ImageFormat::Dicom, reason };
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

/// The samples as they are stored, and whether their colours are YCbCr.
fn stored<'a>(
    bytes: &'a [u8],
    data_set: &DataSet,
    attributes: &Attributes,
    limits: &Limits,
) -> Result<(Samples<'a>, bool), DecodeError> {
    let damaged = |reason: String| DecodeError::Damaged { format: ImageFormat::Dicom, reason };
    let cut_short =
        || DecodeError::CutShort { format: ImageFormat::Dicom, bytes: bytes.len() as u64 };
    let slice = |range: Range<u64>| {
        bytes.get(usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?)
    };
    let needed = attributes.native_bytes();
    let mut samples = Samples {
        data: Cow::Borrowed(&[]),
        bytes_per_sample: attributes.bits.allocated / 8,
        is_big_endian: data_set.syntax.encoding.is_big_endian,
        bits: attributes.bits,
    };
    let mut is_ycbcr =
        matches!(attributes.photometric, Photometric::YbrFull | Photometric::YbrFull422);
    match &data_set.pixel_data {
        PixelData::Native { at, is_words, .. } => {
            samples.data = match data_set.syntax.coding {
                Coding::Deflated => {
                    let deflated = slice(data_set.at..bytes.len() as u64).ok_or_else(cut_short)?;
                    let mut data = Vec::new();
                    let read = Inflated::new(deflated).take(at + needed).read_to_end(&mut data);
                    read.map_err(|e| damaged(format!("its deflated content: {e}")))?;
                    if (data.len() as u64) < at + needed {
                        return Err(cut_short());
                    }
                    Cow::Owned(data.split_off(*at as usize))
                }
                _ => Cow::Borrowed(slice(*at..at + needed).ok_or_else(cut_short)?),
            };
            if samples.is_big_endian && *is_words && samples.bytes_per_sample == 1 {
                // Two samples make a word, whose bytes are swapped.
                let even = slice(*at..at + needed.next_multiple_of(2)).ok_or_else(cut_short)?;
                let mut data: Vec<u8> =
                    even.as_chunks::<2>().0.iter().flat_map(|[high, low]| [*low, *high]).collect();
                data.truncate(needed as usize);
                samples.data = Cow::Owned(data);
            }
        }
        PixelData::Encapsulated(fragments) => {
            let pieces: Option<Vec<&[u8]>> =
                fragments.iter().map(|range| slice(range.clone())).collect();
            let pieces = pieces.ok_or_else(cut_short)?;
            let frame = match pieces[..] {
                [] => return Err(damaged("it announces encoded pixels and has none".into())),
                [frame] => Cow::Borrowed(frame),
                _ => Cow::Owned(pieces.concat()),
            };
            match data_set.syntax.coding {
                Coding::Rle => {
                    let (per_pixel, bytes_per_sample) = (
                        usize::from(attributes.samples_per_pixel),
                        usize::from(samples.bytes_per_sample),
                    );
                    samples.data = Cow::Owned(
                        rle::unpacked(
                            &frame,
                            attributes.pixels() as usize,
                            per_pixel,
                            bytes_per_sample,
                        )
                        .map_err(damaged)?,
                    );
                }
                Coding::LossyJpeg | Coding::LosslessJpeg => {
                    let frame = jpeg::decoded(
                        &frame,
                        (attributes.columns, attributes.rows),
                        attributes.samples_per_pixel,
                        limits,
                    )?;
                    if frame.bytes_per_sample > samples.bytes_per_sample {
                        return Err(damaged(
                            "its JPEG has more than 8 bits a sample and the header says 8".into(),
                        ));
                    }
                    (samples.data, samples.bytes_per_sample) =
                        (Cow::Owned(frame.data), frame.bytes_per_sample);
                    is_ycbcr = frame.is_ycbcr.unwrap_or(is_ycbcr);
                }
                _ if (frame.len() as u64) < needed => {
                    return Err(damaged(format!(
                        "its pixels take {needed} bytes and it has {}",
                        frame.len()
                    )));
                }
                _ => {
                    let mut data = frame.into_owned();
                    data.truncate(needed as usize);
                    samples.data = Cow::Owned(data);
                }
            }
        }
    }
    Ok((samples, is_ycbcr))
}
