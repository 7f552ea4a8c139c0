//! A trained run and shards, or a folder of images, to a table of predictions, and beside it one of
//! the images that were looked at.
//!
//! ```text
//! shards or image files --a thread ahead--> batches of bytes --network--> logits, boxes --> rows
//! ```

#![warn(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss)]
#![cfg_attr(
    test,
    allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss)
)]

mod cells;
mod image_folder;
mod images;
mod network;
mod overlays;
mod parts;
mod rows;
mod run;
mod shards;
mod stage;
mod tables;
mod whole;

pub use stage::{Request, run};
