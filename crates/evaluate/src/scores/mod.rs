//! Every score of a split, and its interval over resampled images.

pub(crate) mod average_precision;
pub(crate) mod bootstrap;
pub(crate) mod calibration;
pub(crate) mod confusion;
mod ranking;
pub(crate) mod scorer;
pub(crate) mod sheet;
