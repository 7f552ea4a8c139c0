//! The one place that touches libtorch beneath Burn.
//!
//! Everything here is safe to call without libtorch: built without the feature `libtorch`, the same
//! functions answer that there is none.
//!
//! [`ops`] are the operations of a DenseNet and [`optimiser`] the step that follows them, fused
//! where libtorch is there. [`runtime`] asks and sets what the process shares: threads, random
//! seed, memory allocator, CUDA devices.

#![warn(missing_docs)]

#[cfg(feature = "libtorch")]
mod libtorch;
pub mod ops;
pub mod optimiser;
pub mod runtime;
#[cfg(feature = "libtorch")]
mod shim;
