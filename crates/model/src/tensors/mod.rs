//! A module's tensors by the names of weight files.

pub(crate) mod error;
pub(crate) mod names;
pub(crate) mod state;
