use std::cell::RefCell;

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use ossify_contract::Transform;

use crate::picture::{Layer, Layers};
use crate::pixels::{luma, spread_gray};
use crate::{Picture, Pixels};

/// Channels of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Channels {
    /// Red, green, blue; gray images give three equal channels.
    Rgb,
    /// Luma of ITU-R BT.601.
    Gray,
}

impl Channels {
    /// 3 or 1.
    pub fn count(self) -> usize {
        match self {
            Channels::Rgb => 3,
            Channels::Gray => 1,
        }
    }
}

/// How an oblong picture becomes a square tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Geometry {
    /// The whole picture fills the tensor; proportions change.
    Stretch,
    /// The whole picture in the tensor's middle, proportions kept, black beside it.
    Letterbox,
    /// The largest square from the picture's middle; what lies outside is lost.
    CenterCrop,
}

/// The kernel that weighs source pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Filter {
    /// The nearest pixel; never antialiased.
    Nearest,
    /// Triangle.
    Bilinear,
    /// Hamming-windowed sinc, as sharp as bicubic at bilinear cost.
    Hamming,
    /// Catmull-Rom bicubic.
    CatmullRom,
    /// Mitchell-Netravali bicubic.
    Mitchell,
    /// Sinc windowed by sinc, three lobes.
    Lanczos3,
}

/// The tensor that is wanted of each picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TensorSpec {
    /// Width and height; at least 1.
    pub side_px: u32,
    /// Channels.
    pub channels: Channels,
    /// How the picture fills the square.
    pub geometry: Geometry,
    /// The kernel.
    pub filter: Filter,
    /// Whether the kernel widens with the reduction, so that every source pixel counts.
    pub antialias: bool,
}

impl TensorSpec {
    /// Bytes of one tensor.
    pub fn bytes(&self) -> usize {
        self.side_px as usize * self.side_px as usize * self.channels.count()
    }

    fn algorithm(&self) -> ResizeAlg {
        let kernel = match self.filter {
            Filter::Nearest => return ResizeAlg::Nearest,
            Filter::Bilinear => FilterType::Bilinear,
            Filter::Hamming => FilterType::Hamming,
            Filter::CatmullRom => FilterType::CatmullRom,
            Filter::Mitchell => FilterType::Mitchell,
            Filter::Lanczos3 => FilterType::Lanczos3,
        };
        if self.antialias {
            ResizeAlg::Convolution(kernel)
        } else {
            ResizeAlg::Interpolation(kernel)
        }
    }

    /// How many eighths of a source's width and height the tensor needs, 1 to 8.
    pub(crate) fn eighths(&self, source: (u32, u32)) -> usize {
        if !self.antialias || self.filter == Filter::Nearest {
            return 8;
        }
        let plan = self.plan(source);
        let (_, _, width, height) = plan.crop;
        let wanted = (f64::from(plan.width) / width).max(f64::from(plan.height) / height)
            * SAMPLES_PER_PIXEL;
        ((wanted * 8.0).ceil() as usize).clamp(1, 8)
    }

    fn plan(&self, (width, height): (u32, u32)) -> Plan {
        let side = self.side_px;
        match self.geometry {
            Geometry::Stretch => Plan {
                crop: (0.0, 0.0, width.into(), height.into()),
                left: 0,
                top: 0,
                width: side,
                height: side,
            },
            Geometry::Letterbox => {
                let longer = f64::from(width.max(height));
                let scaled = |length: u32| {
                    ((f64::from(length) * f64::from(side) / longer).round() as u32).clamp(1, side)
                };
                let (inner_width, inner_height) = (scaled(width), scaled(height));
                let (left, top) = ((side - inner_width) / 2, (side - inner_height) / 2);
                Plan {
                    crop: (0.0, 0.0, width.into(), height.into()),
                    left,
                    top,
                    width: inner_width,
                    height: inner_height,
                }
            }
            Geometry::CenterCrop => {
                let square = width.min(height);
                let from = |length: u32| f64::from(length - square) / 2.0;
                Plan {
                    crop: (from(width), from(height), square.into(), square.into()),
                    left: 0,
                    top: 0,
                    width: side,
                    height: side,
                }
            }
        }
    }
}

/// Samples a tensor pixel, along each axis, that a picture keeps at least when it is decoded at a
/// fraction of its size. With fewer, what the kernel would have damped falls back into the tensor
/// as a pattern.
const SAMPLES_PER_PIXEL: f64 = 1.0;

/// Which part of the source goes to which part of the tensor.
struct Plan {
    /// Left, top, width and height in source pixels.
    crop: (f64, f64, f64, f64),
    left: u32,
    top: u32,
    width: u32,
    height: u32,
}

impl Plan {
    fn transform(&self) -> Transform {
        let (left, top, width, height) = self.crop;
        let (scale_x, scale_y) = (f64::from(self.width) / width, f64::from(self.height) / height);
        Transform {
            scale_x: scale_x as f32,
            scale_y: scale_y as f32,
            offset_x: (f64::from(self.left) - left * scale_x) as f32,
            offset_y: (f64::from(self.top) - top * scale_y) as f32,
        }
    }
}

/// The way from an upright source of `source` = (width, height) pixels, each at least 1, to its
/// tensor.
pub fn transform(spec: &TensorSpec, source: (u32, u32)) -> Transform {
    spec.plan(source).transform()
}

/// The tensor of a picture: `side_px * side_px * channels` bytes in rows, columns, channels,
/// 0..=255, and the way from the picture's pixels to it.
pub fn to_tensor(pixels: &Pixels, spec: &TensorSpec) -> (Vec<u8>, Transform) {
    let mut tensor = vec![0; spec.bytes()];
    let transform = to_tensor_into(&Picture::from(pixels.clone()), spec, &mut tensor);
    (tensor, transform)
}

/// As [`to_tensor`], of a picture that may have been decoded at a fraction of its size; the tensor
/// goes to `out`, which has [`TensorSpec::bytes`] bytes.
pub fn to_tensor_into(picture: &Picture, spec: &TensorSpec, out: &mut [u8]) -> Transform {
    thread_local! {
        // It keeps its buffers from one picture to the next.
        static WORKBENCH: RefCell<Workbench> = RefCell::new(Workbench::default());
    }
    let plan = spec.plan(picture.size());
    WORKBENCH.with_borrow_mut(|workbench| {
        let inner = workbench.resized(picture, spec, &plan);
        if inner.len() == out.len() {
            out.copy_from_slice(inner);
        } else {
            pad(inner, spec, &plan, out);
        }
    });
    plan.transform()
}

#[derive(Default)]
struct Workbench {
    resizer: Resizer,
    layers: [Vec<u8>; 3],
    joined: Vec<u8>,
}

impl Workbench {
    /// The inner part of the tensor, in its channels.
    fn resized(&mut self, picture: &Picture, spec: &TensorSpec, plan: &Plan) -> &[u8] {
        let pixels = (plan.width * plan.height) as usize;
        match (&picture.layers, spec.channels) {
            (Layers::Gray(gray), channels) => {
                self.layer(0, gray, PixelType::U8, spec, plan);
                if channels == Channels::Gray {
                    return &self.layers[0];
                }
                self.joined.resize(pixels * 3, 0);
                spread_gray(&self.layers[0], &mut self.joined);
            }
            (Layers::LumaAndColor(layers), Channels::Gray) => {
                self.layer(0, &layers[0], PixelType::U8, spec, plan);
                return &self.layers[0];
            }
            (Layers::LumaAndColor(layers), Channels::Rgb) => {
                for (number, layer) in layers.iter().enumerate() {
                    self.layer(number, layer, PixelType::U8, spec, plan);
                }
                self.joined.resize(pixels * 3, 0);
                let [luma, blue, red] = &self.layers;
                let samples = luma.iter().zip(blue).zip(red);
                for (((luma, blue), red), out) in samples.zip(self.joined.as_chunks_mut::<3>().0) {
                    *out = rgb_of(*luma, *blue, *red);
                }
            }
            (Layers::Rgb(rgb), channels) => {
                self.layer(0, rgb, PixelType::U8x3, spec, plan);
                if channels == Channels::Rgb {
                    return &self.layers[0];
                }
                self.joined.clear();
                self.joined.extend(
                    self.layers[0].as_chunks::<3>().0.iter().map(|[r, g, b]| luma(*r, *g, *b)),
                );
            }
        }
        &self.joined
    }

    fn layer(
        &mut self,
        number: usize,
        layer: &Layer,
        kind: PixelType,
        spec: &TensorSpec,
        plan: &Plan,
    ) {
        let resized = &mut self.layers[number];
        resized.resize(plan.width as usize * plan.height as usize * kind.size(), 0);
        let (left, top, width, height) = plan.crop;
        let (scale_x, scale_y) = layer.scale;
        let (left, top) = (left * scale_x + layer.offset.0, top * scale_y + layer.offset.1);
        // A sum may end a rounding error beyond the samples.
        let (width, height) = (
            (width * scale_x).min(f64::from(layer.width) - left),
            (height * scale_y).min(f64::from(layer.height) - top),
        );
        let options =
            ResizeOptions::new().resize_alg(spec.algorithm()).crop(left, top, width, height);
        let source = ImageRef::new(layer.width, layer.height, &layer.data, kind);
        let target = Image::from_slice_u8(plan.width, plan.height, resized, kind);
        if let (Ok(source), Ok(mut target)) = (source, target) {
            // These check sizes and crop only, which hold by the construction of `Picture` and
            // `Plan`.
            let done = self.resizer.resize(&source, &mut target, &options);
            debug_assert!(done.is_ok());
        }
    }
}

/// ITU-T T.871, section 7, in steps of 1 / 65536.
fn rgb_of(luma: u8, blue: u8, red: u8) -> [u8; 3] {
    let (luma, blue, red) = (i32::from(luma), i32::from(blue) - 128, i32::from(red) - 128);
    let part = |sum: i32| (luma + ((sum + 32768) >> 16)).clamp(0, 255) as u8;
    [part(91881 * red), part(-22554 * blue - 46802 * red), part(116130 * blue)]
}

/// The inner part between black bars.
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
