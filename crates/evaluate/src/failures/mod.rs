//! Where a model fails: kinds of errors, confused classes, parts of the objects, pictures.

pub(crate) mod confused_pairs;
pub(crate) mod drawing;
pub(crate) mod hits;
pub(crate) mod matches;
pub(crate) mod overlays;
pub(crate) mod slices;
