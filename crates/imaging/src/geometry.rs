//! The geometry from a picture to its tensor.

use ossify_contract::Transform;
use ossify_vocabulary::{Filter, Geometry, TensorSpec};

/// Minimum number of samples per tensor pixel, along each axis, when a picture is decoded at a
/// fraction of its size. With fewer, frequencies that the kernel would have damped would alias into
/// the tensor.
const SAMPLES_PER_PIXEL: f64 = 1.0;

/// The number of eighths of a source's width and height that the tensor needs, 1 to 8.
pub(crate) fn eighths(spec: &TensorSpec, source: (u32, u32)) -> usize {
    if !spec.antialias || spec.filter == Filter::Nearest {
        return 8;
    }
    let plan = Plan::new(spec, source);
    let (_, _, width, height) = plan.crop;
    let wanted =
        (f64::from(plan.width) / width).max(f64::from(plan.height) / height) * SAMPLES_PER_PIXEL;
    ((wanted * 8.0).ceil() as usize).clamp(1, 8)
}

/// Which part of the source is mapped to which part of the tensor.
pub(crate) struct Plan {
    /// Left, top, width and height in source pixels.
    pub(crate) crop: (f64, f64, f64, f64),
    pub(crate) left: u32,
    pub(crate) top: u32,
    pub(crate) width: u32,
    pub(crate) height: u32,
}

impl Plan {
    pub(crate) fn new(spec: &TensorSpec, (width, height): (u32, u32)) -> Self {
        let side = spec.side_px;
        match spec.geometry {
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

    pub(crate) fn transform(&self) -> Transform {
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

/// The transform from an upright source of `source` = (width, height) pixels, each at least 1, to
/// its tensor.
pub fn transform(spec: &TensorSpec, source: (u32, u32)) -> Transform {
    Plan::new(spec, source).transform()
}
