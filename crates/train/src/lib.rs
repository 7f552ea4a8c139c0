//! Tables and shards to a trained run.
//!
//! ```text
//! samples --batches (threads ahead)--> pixels or cached features
//!     --network--> loss --optimiser--> checkpoint, metrics
//! ```
//!
//! Order, augmentation and dropout are pure functions of (seed, epoch, sample) or (seed, step), and
//! what a mosaic is made of also of the samples of its batch, so a checkpoint needs no state of any
//! generator: a run that was killed and started again ends with the bytes of one that was left
//! alone.

#![warn(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss)]
#![cfg_attr(
    test,
    allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss)
)]

mod data;
mod host;
mod interrupt;
mod objective;
mod optimise;
mod random;
mod rounding;
mod run;
mod watch;

// For `examples/detector.rs`.
pub use objective::detection::{assignment, loss};
pub use run::stage::{CliRequest, run};
