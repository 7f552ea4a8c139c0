//! Images: what a file says of itself without decoding it ([`probe`]), upright 8-bit pixels of any
//! supported file ([`decode`]), and the tensor that a network sees ([`to_tensor`]).
//!
//! Formats: JPEG (baseline and progressive; gray, colour, CMYK), PNG (1 to 16 bit, gray, colour,
//! palette, alpha), BMP, TIFF and WebP. EXIF orientation is applied everywhere: width, height,
//! pixels and tensors are those of the upright picture.

mod decode;
mod geometry;
mod header;
mod pixels;

pub use decode::{DecodeError, Limits, decode, read_file};
pub use geometry::{Channels, Filter, Geometry, TensorSpec, to_tensor, transform};
pub use header::{HeaderError, ImageFormat, ImageHeader, probe, probe_with_metadata, read_header};
pub use pixels::Pixels;
