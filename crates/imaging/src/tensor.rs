//! From a picture to its tensor.

use std::cell::RefCell;

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use ossify_contract::Transform;
use ossify_vocabulary::{Channels, Filter, TensorSpec};

use crate::error::DecodeError;
use crate::geometry::Plan;
use crate::picture::{Layer, Layers, Picture};
use crate::pixels::{Pixels, luma, spread_gray};

/// The tensor of a picture, `side_px * side_px * channels` bytes in rows, columns, channels,
/// 0..=255, and the transform from the picture's pixels to it.
///
/// # Errors
/// [`DecodeError::NotResized`].
pub fn to_tensor(pixels: &Pixels, spec: &TensorSpec) -> Result<(Vec<u8>, Transform), DecodeError> {
    let mut tensor = vec![0; spec.bytes()];
    let transform = to_tensor_into(&Picture::from(pixels.clone()), spec, &mut tensor)?;
    Ok((tensor, transform))
}

/// Like [`to_tensor`], for a picture that may have been decoded at a reduced scale. The tensor is
/// written to `out`, which must have [`TensorSpec::bytes`] bytes.
///
/// # Errors
/// [`DecodeError::NotResized`]; the content of `out` must then not be used.
pub fn to_tensor_into(
    picture: &Picture,
    spec: &TensorSpec,
    out: &mut [u8],
) -> Result<Transform, DecodeError> {
    thread_local! {
        // The buffers are reused from one picture to the next.
        static BUFFERS: RefCell<Buffers> = RefCell::new(Buffers::default());
    }
    let plan = Plan::new(spec, picture.size());
    BUFFERS.with_borrow_mut(|buffers| {
        let inner = buffers.resized(picture, spec, &plan)?;
        if inner.len() == out.len() {
            out.copy_from_slice(inner);
        } else {
            pad(inner, spec, &plan, out);
        }
        Ok(plan.transform())
    })
}

#[derive(Default)]
struct Buffers {
    resizer: Resizer,
    layers: [Vec<u8>; 3],
    joined: Vec<u8>,
}

impl Buffers {
    /// The inner part of the tensor, with its channels.
    fn resized(
        &mut self,
        picture: &Picture,
        spec: &TensorSpec,
        plan: &Plan,
    ) -> Result<&[u8], DecodeError> {
        let pixels = (plan.width * plan.height) as usize;
        match (&picture.layers, spec.channels) {
            (Layers::Gray(gray), channels) => {
                self.layer(0, gray, PixelType::U8, spec, plan)?;
                if channels == Channels::Gray {
                    return Ok(&self.layers[0]);
                }
                self.joined.resize(pixels * 3, 0);
                spread_gray(&self.layers[0], &mut self.joined);
            }
            (Layers::LumaAndColor(layers), Channels::Gray) => {
                self.layer(0, &layers[0], PixelType::U8, spec, plan)?;
                return Ok(&self.layers[0]);
            }
            (Layers::LumaAndColor(layers), Channels::Rgb) => {
                for (number, layer) in layers.iter().enumerate() {
                    self.layer(number, layer, PixelType::U8, spec, plan)?;
                }
                self.joined.resize(pixels * 3, 0);
                let [luma, blue, red] = &self.layers;
                let samples = luma.iter().zip(blue).zip(red);
                for (((luma, blue), red), out) in samples.zip(self.joined.as_chunks_mut::<3>().0) {
                    *out = rgb_of(*luma, *blue, *red);
                }
            }
            (Layers::Rgb(rgb), channels) => {
                self.layer(0, rgb, PixelType::U8x3, spec, plan)?;
                if channels == Channels::Rgb {
                    return Ok(&self.layers[0]);
                }
                self.joined.clear();
                self.joined.extend(
                    self.layers[0].as_chunks::<3>().0.iter().map(|[r, g, b]| luma(*r, *g, *b)),
                );
            }
        }
        Ok(&self.joined)
    }

    fn layer(
        &mut self,
        number: usize,
        layer: &Layer,
        kind: PixelType,
        spec: &TensorSpec,
        plan: &Plan,
    ) -> Result<(), DecodeError> {
        let failed = |reason: String| DecodeError::NotResized { reason };
        let resized = &mut self.layers[number];
        resized.resize(plan.width as usize * plan.height as usize * kind.size(), 0);
        let (left, top, width, height) = plan.crop;
        let (scale_x, scale_y) = layer.scale;
        let (left, top) = (left * scale_x + layer.offset.0, top * scale_y + layer.offset.1);
        // A sum may exceed the samples by a rounding error.
        let (width, height) = (
            (width * scale_x).min(f64::from(layer.width) - left),
            (height * scale_y).min(f64::from(layer.height) - top),
        );
        let options =
            ResizeOptions::new().resize_alg(algorithm(spec)).crop(left, top, width, height);
        let source = ImageRef::new(layer.width, layer.height, &layer.data, kind)
            .map_err(|e| failed(e.to_string()))?;
        let mut target = Image::from_slice_u8(plan.width, plan.height, resized, kind)
            .map_err(|e| failed(e.to_string()))?;
        // Otherwise the buffer would still contain the previous picture.
        self.resizer.resize(&source, &mut target, &options).map_err(|e| failed(e.to_string()))
    }
}

fn algorithm(spec: &TensorSpec) -> ResizeAlg {
    let kernel = match spec.filter {
        Filter::Nearest => return ResizeAlg::Nearest,
        Filter::Bilinear => FilterType::Bilinear,
        Filter::Hamming => FilterType::Hamming,
        Filter::CatmullRom => FilterType::CatmullRom,
        Filter::Mitchell => FilterType::Mitchell,
        Filter::Lanczos3 => FilterType::Lanczos3,
    };
    if spec.antialias { ResizeAlg::Convolution(kernel) } else { ResizeAlg::Interpolation(kernel) }
}

/// ITU-T T.871, section 7, in fixed-point arithmetic with 16 fractional bits.
fn rgb_of(luma: u8, blue: u8, red: u8) -> [u8; 3] {
    let (luma, blue, red) = (i32::from(luma), i32::from(blue) - 128, i32::from(red) - 128);
    let part = |sum: i32| (luma + ((sum + 32768) >> 16)).clamp(0, 255) as u8;
    [part(91881 * red), part(-22554 * blue - 46802 * red), part(116130 * blue)]
}

/// Puts the inner part between black bars.
fn pad(inner: &[u8], spec: &TensorSpec, plan: &Plan, out: &mut [u8]) {
    let channels = spec.channels.count();
    let (row_bytes, inner_bytes) =
        (spec.side_px as usize * channels, plan.width as usize * channels);
    out.fill(0);
    for (y, row) in inner.chunks_exact(inner_bytes).enumerate() {
        let from = (plan.top as usize + y) * row_bytes + plan.left as usize * channels;
        out[from..from + inner_bytes].copy_from_slice(row);
    }
}

#[cfg(test)]
mod tests {
    use ossify_vocabulary::Geometry;

    use super::*;

    #[test]
    fn a_picture_that_cannot_be_resized_is_an_error_and_not_the_picture_before() {
        let spec = TensorSpec {
            side_px: 8,
            channels: Channels::Gray,
            geometry: Geometry::Stretch,
            filter: Filter::Bilinear,
            antialias: true,
        };
        let white = Pixels::new(20, 10, 1, vec![255; 200]).unwrap();
        assert_eq!(to_tensor(&white, &spec).unwrap().0, [255; 64]);
        let mut broken = Picture::from(Pixels::new(20, 10, 1, vec![0; 200]).unwrap());
        for (data, offset) in [(vec![0; 199], 0.0), (vec![0; 200], 30.0)] {
            let Layers::Gray(layer) = &mut broken.layers else { panic!() };
            (layer.data, layer.offset.0) = (data, offset);
            let mut tensor = vec![7; 64];
            let error = to_tensor_into(&broken, &spec, &mut tensor).unwrap_err().to_string();
            assert!(error.starts_with("the picture cannot be resized: "), "{error}");
            assert_eq!(tensor, [7; 64]);
        }
    }
}
