//! The resize stage: every readable image of the tables, decoded once, becomes a row of a tensor
//! shard.
//!
//! It reads `tables/images.parquet` and the image files, and writes `shards/`: the shards, a table
//! of fingerprints that finds copies across splits, and the manifest. The bytes are the same
//! whatever the number of threads, and whether or not the run was killed and taken up again.

mod circle;
mod clock;
mod fingerprint;
mod gates;
mod kept;
pub mod leaks;
mod light;
mod names;
mod parts;
mod plan;
mod run;
mod shard_record;
mod stage;
mod summary;
mod tables;
mod tensor;
mod tensors;
mod whole;
mod write;

pub use fingerprint::{MIRRORED_BITS, TensorView, perceptual_hash};
pub use light::Light;
pub use run::run;
