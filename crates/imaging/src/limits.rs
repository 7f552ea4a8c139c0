//! What one image may cost.

use ossify_vocabulary::Limits;

use crate::error::DecodeError;
use crate::image_header::ImageHeader;

/// Refuses a picture that is truncated or exceeds the limits.
pub(crate) fn check(limits: &Limits, header: &ImageHeader) -> Result<(), DecodeError> {
    let pixels = u64::from(header.width) * u64::from(header.height);
    if pixels > limits.max_pixels {
        return Err(DecodeError::TooManyPixels {
            width: header.width,
            height: header.height,
            max_pixels: limits.max_pixels,
        });
    }
    let needed_bytes = pixels.saturating_mul(Limits::WORST_BYTES_PER_PIXEL);
    if needed_bytes > limits.max_memory_bytes {
        return Err(DecodeError::TooMuchMemory {
            needed_bytes,
            max_memory_bytes: limits.max_memory_bytes,
        });
    }
    if !header.complete {
        return Err(DecodeError::CutShort { format: header.format, bytes: header.bytes });
    }
    Ok(())
}
