//! Reads the files of a split: each image becomes a record, together with its label file.

pub(crate) mod examine;
mod geometry;
pub(crate) mod label;
pub(crate) mod label_rules;
mod line;
pub(crate) mod object;
pub(crate) mod record;
pub(crate) mod record_stamp;
pub(crate) mod split;
