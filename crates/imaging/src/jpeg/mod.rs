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
mod scan;
mod segments;

use segments::Plan;

/// One component of a picture, rows from the top.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plane {
    /// Samples across.
    pub(crate) width: u32,
    /// Samples down.
    pub(crate) height: u32,
    /// Samples a source pixel, across and down.
    pub(crate) scale: (f64, f64),
    /// Samples that the source fills, across and down: the last column and row may do so in part.
    pub(crate) extent: (f64, f64),
    /// The samples, 0 to 255.
    pub(crate) data: Vec<u8>,
}

/// Why there are no planes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// A general decoder has the say.
    NotReadHere,
    /// The coded data and the size in the header do not belong together. General decoders fill up
    /// with gray, or pass over the rest.
    WrongSize(&'static str),
}

/// Decodes `bytes` so that the picture has at least `n / 8` of its size, `n` being 1 to 8: one
/// plane where there is no colour, else luma, blue and red difference (ITU-T T.871).
pub(crate) fn decode(bytes: &[u8], n: usize) -> Result<Vec<Plane>, Refusal> {
    scan::decode(&Plan::read(bytes).ok_or(Refusal::NotReadHere)?, n)
}

#[cfg(test)]
mod tests;
