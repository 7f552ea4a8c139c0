//! Finds the files of a dataset: its description, its layout, and the files of each split.

pub(crate) mod class_names;
mod description;
pub(crate) mod error;
pub(crate) mod layout;
pub(crate) mod listing;
pub(crate) mod paths;
pub(crate) mod stamp;
