//! Boxes and their labels on pictures.
//!
//! A picture is read and decoded within limits, scaled down, drawn upon, and encoded.

#![warn(missing_docs)]

mod frame;
mod label;
mod picture;

pub use frame::{Stroke, frame};
pub use label::{has_glyphs, label};
pub use picture::{fitted, jpeg, png, read_picture};
