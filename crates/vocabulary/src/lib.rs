//! Words that several crates share: what a value may be, its spelling in conf files, tables and
//! messages, and how that is read. Each is defined here once, or where only one crate decides
//! about it, there, with [`words!`].

mod device;
mod network;
mod shard;
mod tensor;
mod words;

pub use device::{DeviceChoice, Precision, UnknownDevice};
pub use network::{Architecture, Normalization, Task};
pub use shard::ShardCompression;
pub use tensor::{Channels, Filter, Geometry, Limits, TensorSpec};
pub use words::UnknownWord;
