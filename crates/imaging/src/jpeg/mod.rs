//! The plain kind of JPEG, decoded at a fraction of its size.
//!
//! A resize throws most of a picture's pixels away: here they are never made. A block of 8x8
//! coefficients gives `n` by `n` pixels, `n` being 1 to 8, by the inverse transform of its lowest
//! frequencies (see [`idct`]), and the colour planes stay apart, so that they are resized before
//! they are joined. Radiographs stored as colour have colour planes with nothing in them, which
//! cost a look at each block.
//!
//! Read here: 8 bits, Huffman coding, sequential, one scan, gray or YCbCr with chroma at full or
//! half resolution, with or without restart markers: what cameras and exporters write. For
//! everything else, and for nearly all that looks damaged, a decoder of general use has the say.

mod bits;
mod huffman;
mod idct;
mod plane;
mod scan;
mod segments;

pub(crate) use plane::{Plane, Refusal};
use segments::Plan;

/// Decodes `bytes` so that the picture has at least `n / 8` of its size, `n` being 1 to 8: one
/// plane where there is no colour, else luma, blue and red difference (ITU-T T.871).
pub(crate) fn decode(bytes: &[u8], n: usize) -> Result<Vec<Plane>, Refusal> {
    scan::decode(&Plan::read(bytes).ok_or(Refusal::NotReadHere)?, n)
}

#[cfg(test)]
mod tests;
