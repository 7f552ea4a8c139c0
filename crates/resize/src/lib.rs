//! The resize stage: every readable image of the tables, decoded once, becomes a row of a tensor
//! shard.
//!
//! It reads `tables/images.parquet` and the image files, and writes `shards/`: the shards, a table
//! of fingerprints that finds copies across splits, and the manifest. The bytes are the same
//! whatever the number of threads, and whether or not the run was killed and taken up again.

mod circle;
mod fingerprint;
mod kept;
pub mod leaks;
mod light;
mod parts;
mod plan;
mod resize;
mod shard_record;
mod summary;
mod tensor;
mod tensors;
mod write;

pub use fingerprint::{MIRRORED_BITS, TensorView, perceptual_hash};
pub use light::Light;
pub use resize::run;
