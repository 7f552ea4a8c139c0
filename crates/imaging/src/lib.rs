//! Images: what a file says of itself without decoding it ([`probe`]), upright 8-bit pixels of any
//! supported file ([`decode`]), and the tensor that a network sees: by way of pixels
//! ([`to_tensor`]), or, without decoding more of a file than the tensor needs, of a [`Picture`]
//! ([`decode_picture`], [`to_tensor_into`]).
//!
//! Formats: JPEG (baseline and progressive; gray, colour, CMYK), PNG (1 to 16 bit, gray, colour,
//! palette, alpha), BMP, TIFF, WebP and DICOM (one frame; uncompressed, deflated, RLE, JPEG
//! baseline and lossless). EXIF orientation is applied everywhere: width, height, pixels and
//! tensors are those of the upright picture.

mod decode;
mod dicom;
mod geometry;
mod header;
mod jpeg;
mod picture;
mod pixels;

pub use decode::{DecodeError, Limits, decode, read_file};
pub use geometry::{Channels, Filter, Geometry, TensorSpec, to_tensor, to_tensor_into, transform};
pub use header::{HeaderError, ImageFormat, ImageHeader, probe, probe_with_stat, read_header};
pub use picture::{Picture, decode_picture};
pub use pixels::{Pixels, luma};
