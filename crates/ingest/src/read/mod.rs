//! Reads the files of a split: each image with its label file becomes a record.

pub(crate) mod examine;
mod geometry;
pub(crate) mod label;
pub(crate) mod label_rules;
mod line;
pub(crate) mod object;
pub(crate) mod record;
pub(crate) mod record_stamp;
pub(crate) mod split;
