//! Parts, which workers make of their shares, and their merge.

mod from_part;
pub(crate) mod merge;
pub(crate) mod part;
