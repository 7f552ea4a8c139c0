//! What is minimised, and the scores that are kept of it.

pub mod loss;
pub mod scores;
