//! Images: headers without decoding ([`probe`]), upright 8-bit pixels of any supported file
//! ([`decode`]), and the tensor that a network sees, either from pixels ([`to_tensor`]) or from a
//! [`Picture`], which decodes no more of a file than the tensor needs ([`decode_picture`],
//! [`to_tensor_into`]).
//!
//! Formats: JPEG (baseline and progressive; gray, colour, CMYK), PNG (1 to 16 bit, gray, colour,
//! palette, alpha), BMP, TIFF, WebP and DICOM (one frame; uncompressed, deflated, RLE, JPEG
//! baseline and lossless). EXIF orientation is always applied: width, height, pixels and tensors
//! are those of the upright picture.

mod decode;
mod dicom;
mod error;
mod format;
mod geometry;
mod header;
mod image_header;
mod jpeg;
mod limits;
mod picture;
mod pixels;
mod source;
mod tensor;

pub use decode::{decode, read_file};
pub use error::{DecodeError, HeaderError};
pub use format::ImageFormat;
pub use geometry::transform;
pub use header::{probe, probe_with_stat, read_header};
pub use image_header::ImageHeader;
pub use picture::{Picture, decode_picture};
pub use pixels::{Pixels, luma};
pub use tensor::{to_tensor, to_tensor_into};
