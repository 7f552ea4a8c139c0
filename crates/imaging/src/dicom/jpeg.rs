//! JPEG inside DICOM: baseline and extended with 8 bits, and lossless with up to 16 (PS3.5 section
//! 8.2.1).

use std::io::Cursor;

use jpeg_decoder::{ColorTransform, Decoder, PixelFormat, UnsupportedFeature};
use ossify_vocabulary::Limits;

use super::syntax::DECOMPRESS;
use crate::error::{DecodeError, HeaderError};
use crate::format::ImageFormat;

/// Upper bound of the bytes that the decoder holds for each sample: differences and values of
/// lossless samples, twice.
const WORST_BYTES_PER_SAMPLE: u64 = 12;
/// Scans of one picture; progressive pictures have about ten. Each scan costs a pass over the whole
/// picture.
const MAX_SCANS: usize = 128;
const START_OF_SCAN: u8 = 0xda;
const APP14: u8 = 0xee;

/// A decoded frame.
pub(super) struct Frame {
    /// Interleaved samples without colour conversion, in little-endian byte order.
    pub data: Vec<u8>,
    /// 1 or 2.
    pub bytes_per_sample: u16,
    /// Whether the colours are YCbCr, if the JPEG says so (Adobe's marker).
    pub is_ycbcr: Option<bool>,
}

/// Decodes a frame of this size.
pub(super) fn decoded(
    frame: &[u8],
    (width, height): (u16, u16),
    samples_per_pixel: u16,
    limits: &Limits,
) -> Result<Frame, DecodeError> {
    let damaged = |reason: String| DecodeError::Damaged { format: ImageFormat::Dicom, reason };
    let failed = |e: jpeg_decoder::Error| match e {
        jpeg_decoder::Error::Unsupported(feature) => {
            let feature = match feature {
                UnsupportedFeature::SamplePrecision(bits) => {
                    format!("{bits} bits per sample in a lossy JPEG")
                }
                UnsupportedFeature::ArithmeticEntropyCoding => {
                    "arithmetic coding in its JPEG".into()
                }
                UnsupportedFeature::Hierarchical => "a hierarchical JPEG".into(),
                other => format!("its JPEG has {other:?}"),
            };
            HeaderError::unsupported(ImageFormat::Dicom, format!("{feature}; {DECOMPRESS}")).into()
        }
        e => damaged(format!("its JPEG: {e}")),
    };
    if frame.windows(2).filter(|pair| **pair == [0xff, START_OF_SCAN]).count() > MAX_SCANS {
        return Err(damaged(format!("its JPEG has more than {MAX_SCANS} scans")));
    }
    let mut decoder = Decoder::new(Cursor::new(frame));
    if samples_per_pixel == 3 {
        // Keeps the samples interleaved. `ColorTransform::None` would put them in planes, line by
        // line.
        decoder.set_color_transform(ColorTransform::RGB);
    }
    decoder.read_info().map_err(failed)?;
    let info = decoder.info().ok_or_else(|| damaged("its JPEG has no size".into()))?;
    let (samples, bytes_per_sample) = match info.pixel_format {
        PixelFormat::L8 => (1, 1),
        PixelFormat::L16 => (1, 2),
        PixelFormat::RGB24 => (3, 1),
        PixelFormat::CMYK32 => (4, 1),
    };
    if (info.width, info.height, samples) != (width, height, samples_per_pixel) {
        return Err(damaged(format!(
            "the header says {width}x{height} pixels with {samples_per_pixel} samples each and \
            its JPEG {}x{} with {samples}",
            info.width, info.height
        )));
    }
    let needed_bytes =
        u64::from(width) * u64::from(height) * u64::from(samples) * WORST_BYTES_PER_SAMPLE;
    if needed_bytes > limits.max_memory_bytes {
        return Err(DecodeError::TooMuchMemory {
            needed_bytes,
            max_memory_bytes: limits.max_memory_bytes,
        });
    }
    let mut data = decoder.decode().map_err(failed)?;
    if cfg!(target_endian = "big") && bytes_per_sample == 2 {
        data.as_chunks_mut::<2>().0.iter_mut().for_each(|word| word.reverse());
    }
    Ok(Frame { data, bytes_per_sample, is_ycbcr: adobe_ycbcr(frame) })
}

/// The colour transform of Adobe's marker: 0 is RGB, 1 is YCbCr.
fn adobe_ycbcr(frame: &[u8]) -> Option<bool> {
    let mut at = 2;
    while let Some(&[0xff, marker, high, low]) = frame.get(at..at + 4) {
        let segment = frame.get(at + 4..at + 2 + usize::from(u16::from_be_bytes([high, low])))?;
        match (marker, segment) {
            (START_OF_SCAN, _) => return None,
            (APP14, [b'A', b'd', b'o', b'b', b'e', _, _, _, _, _, _, transform, ..]) => {
                return Some(*transform != 0);
            }
            _ => at += 4 + segment.len(),
        }
    }
    None
}
