//! Samples and features, and the batches that are made of them.

pub mod augment;
pub mod augmenter;
pub mod batches;
pub mod composition;
pub mod features;
pub mod input;
pub mod outline;
pub mod recent;
pub mod sampler;
pub mod samples;
pub mod shard_set;
