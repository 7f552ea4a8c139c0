//! Tables and shards to a trained run.
//!
//! ```text
//! samples --batches (a thread ahead)--> pixels or cached features --network--> loss --optimiser--> checkpoint, metrics
//! ```
//!
//! Order, augmentation and dropout are pure functions of (seed, epoch, sample) or (seed, step), so
//! a checkpoint needs no state of any generator: a run that was killed and started again ends with
//! the bytes of one that was left alone.

mod augment;
mod average;
mod batches;
mod checkpoint;
mod curves;
mod features;
mod input;
mod interrupt;
mod loss;
mod optimiser;
mod parameters;
mod phases;
mod pretrained;
mod preview;
mod random;
mod sampler;
mod samples;
mod schedule;
mod scores;
mod setup;
mod stage;
mod still;
mod stopping;
mod summary;
mod tensorboard;
mod training;
mod vary;
mod watch;

pub use stage::{Asked, run};
