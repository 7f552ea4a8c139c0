//! A trained run and shards, or a folder of images, to a predictions table.
//!
//! ```text
//! shards or image files --a thread ahead--> batches of bytes --network--> logits, boxes --> one
//! row an image
//! ```

#![warn(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss)]
#![cfg_attr(
    test,
    allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss)
)]

mod image_folder;
mod network;
mod parts;
mod rows;
mod stage;

pub use stage::run;
