//! Label tables and predictions to the data of a split.

pub(crate) mod error;
pub(crate) mod images;
pub(crate) mod looked_at;
mod predictions;
pub(crate) mod sources;
pub(crate) mod split;
pub(crate) mod tables;
