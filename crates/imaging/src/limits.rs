//! What one image may cost.

use crate::error::DecodeError;
use crate::image_header::ImageHeader;

/// Upper bound of the bytes that a decoder needs per pixel: 16-bit colour with alpha, or the
/// coefficients of a progressive CMYK JPEG, plus the 8-bit result.
const WORST_BYTES_PER_PIXEL: u64 = 12;

/// What one image may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Width times height.
    pub max_pixels: u64,
    /// Limit for the file in memory, and for the memory of its decoding.
    pub max_memory_bytes: u64,
}

impl Limits {
    /// Limits for pictures of up to this many pixels, with the memory that they need in the worst
    /// case.
    pub fn of_pixels(max_pixels: u64) -> Self {
        Limits { max_pixels, max_memory_bytes: max_pixels.saturating_mul(WORST_BYTES_PER_PIXEL) }
    }

    /// Refuses a picture that is truncated or exceeds the limits.
    pub(crate) fn check(&self, header: &ImageHeader) -> Result<(), DecodeError> {
        let pixels = u64::from(header.width) * u64::from(header.height);
        if pixels > self.max_pixels {
            return Err(DecodeError::TooManyPixels {
                width: header.width,
                height: header.height,
                max_pixels: self.max_pixels,
            });
        }
        let needed_bytes = pixels.saturating_mul(WORST_BYTES_PER_PIXEL);
        if needed_bytes > self.max_memory_bytes {
            return Err(DecodeError::TooMuchMemory {
                needed_bytes,
                max_memory_bytes: self.max_memory_bytes,
            });
        }
        if !header.complete {
            return Err(DecodeError::CutShort { format: header.format, bytes: header.bytes });
        }
        Ok(())
    }
}

impl Default for Limits {
    /// 100 million pixels, 1.2 GB.
    fn default() -> Self {
        Limits::of_pixels(100_000_000)
    }
}
