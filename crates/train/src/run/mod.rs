//! A run from its configuration to its published model, with all that it keeps on the way.

pub mod checkpoint;
pub mod epochs;
pub mod inputs;
pub mod inspection;
pub mod memory_limit;
pub mod outputs;
pub mod preparation;
pub mod pretrained;
pub mod report;
pub mod session;
pub mod setup;
pub mod stage;
pub mod stopping;
pub mod training;
pub mod unfinished;
