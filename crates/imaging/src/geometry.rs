use std::cell::RefCell;

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use ossify_contract::Transform;

use crate::Pixels;
use crate::pixels::{gray_to_rgb, rgb_to_gray};

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
        if self.antialias { ResizeAlg::Convolution(kernel) } else { ResizeAlg::Interpolation(kernel) }
    }

    fn plan(&self, (width, height): (u32, u32)) -> Plan {
        let side = self.side_px;
        match self.geometry {
            Geometry::Stretch => Plan { crop: (0.0, 0.0, width.into(), height.into()), left: 0, top: 0, width: side, height: side },
            Geometry::Letterbox => {
                let longer = f64::from(width.max(height));
                let scaled = |length: u32| ((f64::from(length) * f64::from(side) / longer).round() as u32).clamp(1, side);
                let (inner_width, inner_height) = (scaled(width), scaled(height));
                let (left, top) = ((side - inner_width) / 2, (side - inner_height) / 2);
                Plan { crop: (0.0, 0.0, width.into(), height.into()), left, top, width: inner_width, height: inner_height }
            }
            Geometry::CenterCrop => {
                let square = width.min(height);
                let from = |length: u32| f64::from(length - square) / 2.0;
                Plan { crop: (from(width), from(height), square.into(), square.into()), left: 0, top: 0, width: side, height: side }
            }
        }
    }
}

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

/// The way from an upright source of `source` = (width, height) pixels, each at least 1, to its tensor.
pub fn transform(spec: &TensorSpec, source: (u32, u32)) -> Transform {
    spec.plan(source).transform()
}

/// The tensor of a picture: `side_px * side_px * channels` bytes in rows, columns, channels, 0..=255,
/// and the way from the picture's pixels to it.
pub fn to_tensor(pixels: &Pixels, spec: &TensorSpec) -> (Vec<u8>, Transform) {
    let plan = spec.plan(pixels.size());
    let resized = resize(pixels, spec, &plan);
    let resized = match (pixels.channels(), spec.channels) {
        (1, Channels::Rgb) => gray_to_rgb(&resized),
        (3, Channels::Gray) => rgb_to_gray(&resized),
        _ => resized,
    };
    let tensor = if resized.len() == spec.bytes() { resized } else { padded(&resized, spec, &plan) };
    (tensor, plan.transform())
}

fn resize(pixels: &Pixels, spec: &TensorSpec, plan: &Plan) -> Vec<u8> {
    thread_local! {
        // It keeps its buffers from one picture to the next.
        static RESIZER: RefCell<Resizer> = RefCell::new(Resizer::new());
    }
    let kind = if pixels.channels() == 3 { PixelType::U8x3 } else { PixelType::U8 };
    let mut resized = Image::new(plan.width, plan.height, kind);
    let (left, top, width, height) = plan.crop;
    let options = ResizeOptions::new().resize_alg(spec.algorithm()).crop(left, top, width, height);
    if let Ok(source) = ImageRef::new(pixels.width(), pixels.height(), pixels.data(), kind) {
        // Both calls check sizes and crop only, which hold by the construction of `Pixels` and `Plan`.
        let done = RESIZER.with_borrow_mut(|resizer| resizer.resize(&source, &mut resized, &options));
        debug_assert!(done.is_ok());
    }
    resized.into_vec()
}

fn padded(resized: &[u8], spec: &TensorSpec, plan: &Plan) -> Vec<u8> {
    let channels = spec.channels.count();
    let (row_bytes, inner_bytes) = (spec.side_px as usize * channels, plan.width as usize * channels);
    let mut tensor = vec![0; spec.bytes()];
    for (y, row) in resized.chunks_exact(inner_bytes).enumerate() {
        let from = (plan.top as usize + y) * row_bytes + plan.left as usize * channels;
        tensor[from..from + inner_bytes].copy_from_slice(row);
    }
    tensor
}
