//! The only crate that touches libtorch beneath Burn.
//!
//! Everything here is safe to call without libtorch: built without the feature `libtorch`, the same
//! functions report that libtorch is missing.
//!
//! [`ops`] are the operations of a DenseNet and [`optimiser`] the step that follows them, fused
//! where libtorch is there. [`runtime`] asks and sets what the process shares: threads, random
//! seed, memory allocator, CUDA devices.

#![warn(missing_docs)]
#![warn(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss)]
#![cfg_attr(
    test,
    allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss)
)]

#[cfg(all(feature = "libtorch", not(feature = "sanitizers"), target_env = "gnu"))]
mod address_space;
#[cfg(feature = "libtorch")]
mod libtorch;
pub mod ops;
pub mod optimiser;
pub mod runtime;
#[cfg(feature = "libtorch")]
mod shim;
