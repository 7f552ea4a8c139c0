//! Predictions of other tools come in, ground truth and predictions go out.

pub(crate) mod export;
pub(crate) mod import;
