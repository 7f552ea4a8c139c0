//! What people see of a run: progress, curves, event files, pictures.

pub mod curves;
pub mod layer_table;
pub mod preview;
pub mod progress;
pub mod tensorboard;
