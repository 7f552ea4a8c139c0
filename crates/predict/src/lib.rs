//! A trained run and shards, or a folder of images, to a predictions table.
//!
//! ```text
//! shards or image files --a thread ahead--> batches of bytes --network--> logits, boxes --> one
//! row an image
//! ```

mod image_folder;
mod network;
mod parts;
mod rows;
mod stage;

pub use stage::run;
