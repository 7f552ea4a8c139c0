//! Every score of a split, and its interval over resampled images.

pub(crate) mod bootstrap;
pub(crate) mod calibration;
pub(crate) mod confusion;
pub(crate) mod detection_confusion;
pub(crate) mod detections;
pub(crate) mod honest_interval;
pub(crate) mod scorer;
pub(crate) mod sheet;
pub(crate) mod support;
