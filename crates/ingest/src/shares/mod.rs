//! Parts, which workers make of their shares, and their merge.

pub(crate) mod merge;
pub(crate) mod part;
mod runs;
