//! Tables and shards to a trained run.
//!
//! ```text
//! samples --batches (a thread ahead)--> pixels or cached features --network--> loss --Adam--> checkpoint, metrics
//! ```
//!
//! Order, augmentation and dropout are pure functions of (seed, epoch, sample) or (seed, step), so a checkpoint needs no
//! state of any generator: a run that was killed and started again ends with the bytes of one that was left alone.

mod augment;
mod batches;
mod checkpoint;
mod features;
mod interrupt;
mod loss;
mod optimiser;
mod parameters;
mod pretrained;
mod random;
mod samples;
mod schedule;
mod stage;
mod stopping;
mod training;
mod watch;

pub use stage::run;
