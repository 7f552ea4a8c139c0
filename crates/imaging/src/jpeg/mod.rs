//! Decodes the most common kind of JPEG at a fraction of its size.
//!
//! A resize discards most of a picture's pixels, so this decoder never computes them. A block of
//! 8x8 coefficients becomes `n` by `n` pixels, with `n` from 1 to 8, by the inverse transform of
//! its lowest frequencies (see [`idct`]). The colour planes are kept separate and resized before
//! they are combined. Radiographs that are stored in colour have empty colour planes, which only
//! cost a look at each block.
//!
//! Supported are 8 bits, Huffman coding, sequential, one scan, gray or YCbCr with chroma at full or
//! half resolution, with or without restart markers: what cameras and exporters write. Everything
//! else, and nearly everything that looks damaged, is left to a general decoder.

mod bits;
mod huffman;
mod idct;
mod plane;
mod scan;
mod segments;

pub(crate) use plane::{Plane, Refusal};
use segments::Plan;

/// Decodes `bytes` at `n / 8` of the picture's size or more, with `n` from 1 to 8. Returns one
/// plane if there is no colour, otherwise luma, blue and red difference (ITU-T T.871).
pub(crate) fn decode(bytes: &[u8], n: usize) -> Result<Vec<Plane>, Refusal> {
    scan::decode(&Plan::read(bytes).ok_or(Refusal::NotReadHere)?, n)
}

#[cfg(test)]
mod tests;
