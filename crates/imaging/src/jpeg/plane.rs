//! The result of decoding.

/// One component of a picture, rows from the top.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plane {
    /// Samples across.
    pub(crate) width: u32,
    /// Samples down.
    pub(crate) height: u32,
    /// Samples per source pixel, across and down.
    pub(crate) scale: (f64, f64),
    /// Number of samples that the source covers, across and down; it may cover the last column and
    /// row only in part.
    pub(crate) extent: (f64, f64),
    /// The samples, 0 to 255.
    pub(crate) data: Vec<u8>,
}

/// Why a file was not decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The file is left to a general decoder.
    NotReadHere,
    /// The coded data does not match the size in the header. General decoders would fill up with
    /// gray, or ignore the rest.
    WrongSize(&'static str),
}
