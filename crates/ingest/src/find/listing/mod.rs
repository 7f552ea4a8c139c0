//! Lists the images and label files of a split, and matches them.

pub(crate) mod census;
mod found;
mod list_file;
mod matching;
mod names;
mod split_files;
mod walk;

pub(crate) use list_file::MAX_TEXT_BYTES;
pub(crate) use split_files::{Listing, list};
