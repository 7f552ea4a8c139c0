//! A run from its configuration to its published model, with all that it keeps on the way.

pub mod checkpoint;
pub mod pretrained;
pub mod setup;
pub mod stage;
pub mod stopping;
pub mod training;
pub mod unfinished;
