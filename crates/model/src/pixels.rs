//! From u8 pixels, as shards hold them, to normalised network input.
//!
//! The batch travels to the device as bytes, a quarter of its size as floats, and is cast and
//! normalised there. Shards hold rows of interleaved channels; permuting the view instead of the
//! bytes leaves libtorch with a channels-last layout, in which its convolutions are faster.

use burn::tensor::module::{adaptive_avg_pool2d, avg_pool2d};
use burn::tensor::ops::AvgPoolOptions;
use burn::tensor::{DType, Device, FloatDType, Int, Tensor, TensorData};
use ossify_vocabulary::Normalization;

/// Pixels that cannot become network input.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PixelsError {
    /// The bytes do not fill the shape.
    #[error("{bytes} bytes of pixels do not fill the shape {shape:?} [images, height, width, \
        channels], which needs {}", shape.iter().product::<usize>())]
    Length {
        /// Bytes given.
        bytes: usize,
        /// The shape claimed for them.
        shape: [usize; 4],
    },
    /// Neither gray nor colour.
    #[error("images have {0} channels; 1 (gray) and 3 (red, green, blue) are understood")]
    Channels(usize),
    /// The network would see invented pixels.
    #[error(
        "images of {height} x {width} pixels cannot be enlarged to the input of {input_px}; lower \
            input_px, or make larger shards"
    )]
    TooSmall {
        /// Height of the images.
        height: usize,
        /// Width of the images.
        width: usize,
        /// Side of the network input.
        input_px: usize,
    },
}

/// Moves a batch to the device as bytes: `[N, H, W, C]` with C 1 or 3.
///
/// # Errors
/// [`PixelsError`] if the bytes do not fill the shape or the channels are neither 1 nor 3.
pub fn upload(
    pixels: Vec<u8>,
    shape: [usize; 4],
    device: &Device,
) -> Result<Tensor<4, Int>, PixelsError> {
    if shape.iter().product::<usize>() != pixels.len() {
        return Err(PixelsError::Length { bytes: pixels.len(), shape });
    }
    if !matches!(shape[3], 1 | 3) {
        return Err(PixelsError::Channels(shape[3]));
    }
    // The dtype is named: by default Burn would widen each byte to eight on the host.
    Ok(Tensor::from_data(TensorData::new(pixels, shape), (device, DType::U8)))
}

/// Turns a batch of bytes `[N, H, W, C]` on the device into images of the network's size, `[N, C,
/// input_px, input_px]`, values 0..255.
///
/// Larger images are averaged down: over whole squares of pixels where the sides divide, over
/// overlapping ones where not.
///
/// # Errors
/// [`PixelsError::TooSmall`] if the images are smaller than the input.
pub fn shrink(batch: Tensor<4, Int>, input_px: usize) -> Result<Tensor<4>, PixelsError> {
    let [images, height, width, channels] = batch.dims();
    if height < input_px || width < input_px || input_px == 0 {
        return Err(PixelsError::TooSmall { height, width, input_px });
    }
    let floats = batch.cast(FloatDType::F32);
    // One channel lies the same way before and after; said so, libtorch takes its faster kernels.
    let floats = if channels == 1 {
        floats.reshape([images, 1, height, width])
    } else {
        floats.permute([0, 3, 1, 2])
    };
    Ok(match (height / input_px, height % input_px, height == width) {
        (1, 0, true) => floats,
        (size, 0, true) => {
            let options = AvgPoolOptions {
                kernel_size: [size, size],
                stride: [size, size],
                padding: [(0, 0), (0, 0)],
                count_include_pad: true,
                ceil_mode: false,
            };
            avg_pool2d(floats, options)
        }
        _ => adaptive_avg_pool2d(floats, [input_px, input_px]),
    })
}

/// Turns images of [`shrink`] into network input.
#[derive(Debug, Clone)]
pub struct Normalizer {
    /// Of each channel, `[1, 1, 1, 3]`.
    scale: Tensor<4>,
    /// Of each channel, `[1, 1, 1, 3]`, subtracted after scaling.
    shift: Tensor<4>,
}

impl Normalizer {
    /// For images on `device`.
    pub fn new(normalization: Normalization, device: &Device) -> Self {
        let (mean, deviation) = (normalization.mean(), normalization.standard_deviation());
        let per_channel = |value: &dyn Fn(usize) -> f32| {
            Tensor::<1>::from_floats([value(0), value(1), value(2)], device).reshape([1, 1, 1, 3])
        };
        Normalizer {
            scale: per_channel(&|channel| 1.0 / (255.0 * deviation[channel])),
            shift: per_channel(&|channel| mean[channel] / deviation[channel]),
        }
    }

    /// Images `[N, C, S, S]` of values 0..255 as input `[N, 3, S, S]`; gray becomes red, green and
    /// blue.
    pub fn apply(&self, images: Tensor<4>) -> Tensor<4> {
        let (scale, shift) = (self.scale.clone(), self.shift.clone());
        // A gray channel is spread over the three as it is scaled.
        (images.permute([0, 2, 3, 1]) * scale - shift).permute([0, 3, 1, 2])
    }
}

/// [`upload`], [`shrink`] and [`Normalizer::apply`] in one: bytes `[N, H, W, C]` to network input
/// `[N, 3, input_px, input_px]` on `device`.
///
/// # Errors
/// [`PixelsError`] of either step.
pub fn to_input(
    pixels: Vec<u8>,
    shape: [usize; 4],
    device: &Device,
    normalization: Normalization,
    input_px: usize,
) -> Result<Tensor<4>, PixelsError> {
    let images = shrink(upload(pixels, shape, device)?, input_px)?;
    Ok(Normalizer::new(normalization, device).apply(images))
}
