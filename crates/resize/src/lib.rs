//! The resize stage: decodes every readable image of the tables once, and makes it a row of a
//! tensor shard.
//!
//! It reads `tables/images.parquet` and the image files, and writes `shards/`: the shards, tables
//! of fingerprints, leaks and issues, and the manifest. The bytes do not depend on the number of
//! threads, or on whether the run was killed and resumed.

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
