//! What decoding comes to.

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
