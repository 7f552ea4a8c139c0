use std::panic::AssertUnwindSafe;

use ossify_vocabulary::{Limits, TensorSpec};

use crate::decode::decode_with_header;
use crate::error::DecodeError;
use crate::format::ImageFormat;
use crate::geometry::eighths;
use crate::header::read_header;
use crate::jpeg::{self, Plane, Refusal};
use crate::limits;
use crate::pixels::{Pixels, turned_upright};

/// An upright picture that will become a tensor. Gray is one plane even if the file stores it in
/// colour, and a JPEG has no more pixels than its tensor needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Width and height of the upright source.
    size: (u32, u32),
    pub(crate) layers: Layers,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Layers {
    Gray(Layer),
    /// Luma, blue and red difference (ITU-T T.871), each at a resolution of its own.
    LumaAndColor(Box<[Layer; 3]>),
    /// Interleaved red, green and blue.
    Rgb(Layer),
}

/// Samples with the transform from source pixels to them: `sample = pixel * scale + offset`, per
/// axis.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) scale: (f64, f64),
    pub(crate) offset: (f64, f64),
    pub(crate) data: Vec<u8>,
}

impl PartialEq for Layer {
    fn eq(&self, other: &Self) -> bool {
        (self.width, self.height, &self.data) == (other.width, other.height, &other.data)
    }
}

impl Eq for Layer {}

impl Picture {
    /// Width and height of the upright source, regardless of the scale at which it was decoded.
    pub fn size(&self) -> (u32, u32) {
        self.size
    }

    /// All samples, layer by layer; hash them to tell whether two pictures are the same.
    pub fn samples(&self) -> impl Iterator<Item = &[u8]> {
        let layers = match &self.layers {
            Layers::Gray(layer) | Layers::Rgb(layer) => std::slice::from_ref(layer),
            Layers::LumaAndColor(layers) => &layers[..],
        };
        layers.iter().map(|layer| layer.data.as_slice())
    }
}

impl From<Pixels> for Picture {
    fn from(pixels: Pixels) -> Self {
        let (width, height) = pixels.size();
        let is_rgb = pixels.channels() == 3;
        let data = pixels.into_data();
        let gray = is_rgb.then(|| gray_of(&data)).flatten();
        let is_gray = !is_rgb || gray.is_some();
        let layer = Layer {
            width,
            height,
            scale: (1.0, 1.0),
            offset: (0.0, 0.0),
            data: gray.unwrap_or(data),
        };
        Picture {
            size: (width, height),
            layers: if is_gray { Layers::Gray(layer) } else { Layers::Rgb(layer) },
        }
    }
}

/// One of three channels, if they are equal in every pixel.
fn gray_of(rgb: &[u8]) -> Option<Vec<u8>> {
    let (pixels, _) = rgb.as_chunks::<3>();
    let is_gray = pixels.chunks(1024).all(|pixels| {
        pixels.iter().fold(0, |difference, [r, g, b]| difference | r ^ g | g ^ b) == 0
    });
    is_gray.then(|| pixels.iter().map(|[r, _, _]| *r).collect())
}

/// Decodes a file of any supported format for a tensor, by the rules of [`crate::decode`]. A JPEG
/// is decoded at the smallest scale that still gives the tensor more samples than pixels; without
/// antialiasing, which selects individual source pixels, at full size.
///
/// # Errors
/// As [`crate::decode`].
pub fn decode_picture(
    bytes: &[u8],
    limits: &Limits,
    spec: &TensorSpec,
) -> Result<Picture, DecodeError> {
    let header = read_header(bytes)?;
    if header.format == ImageFormat::Jpeg {
        limits::check(limits, &header)?;
        let n = eighths(spec, (header.width, header.height));
        // Our own decoder handles common files; the general one handles all others, and explains
        // errors.
        match std::panic::catch_unwind(AssertUnwindSafe(|| jpeg::decode(bytes, n))) {
            Ok(Ok(planes)) => {
                let mut layers =
                    planes.into_iter().map(|plane| upright(plane, header.exif_orientation));
                let layers = match (layers.next(), layers.next(), layers.next()) {
                    (Some(luma), Some(blue), Some(red)) => {
                        Some(Layers::LumaAndColor(Box::new([luma, blue, red])))
                    }
                    (Some(gray), None, None) => Some(Layers::Gray(gray)),
                    _ => None,
                };
                if let Some(layers) = layers {
                    return Ok(Picture { size: (header.width, header.height), layers });
                }
            }
            Ok(Err(Refusal::WrongSize(reason))) => {
                return Err(DecodeError::Damaged {
                    format: header.format,
                    reason: reason.to_owned(),
                });
            }
            Ok(Err(Refusal::NotReadHere)) | Err(_) => {}
        }
    }
    decode_with_header(bytes, &header, limits).map(Picture::from)
}

fn upright(plane: Plane, exif_orientation: i8) -> Layer {
    let Plane { width, height, scale, extent, data } = plane;
    let data = turned_upright(data, (width as usize, height as usize), 1, exif_orientation);
    let spare = (f64::from(width) - extent.0, f64::from(height) - extent.1);
    // If an axis is reversed, the part of the last sample that is beyond the picture comes first.
    let offset_x = if matches!(exif_orientation, 2 | 3 | 7 | 8) { spare.0 } else { 0.0 };
    let offset_y = if matches!(exif_orientation, 3 | 4 | 6 | 7) { spare.1 } else { 0.0 };
    if exif_orientation >= 5 {
        return Layer {
            width: height,
            height: width,
            scale: (scale.1, scale.0),
            offset: (offset_y, offset_x),
            data,
        };
    }
    Layer { width, height, scale, offset: (offset_x, offset_y), data }
}
