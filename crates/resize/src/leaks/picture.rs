//! The local contrast of a picture in a frame of known size, for comparison.

use std::sync::LazyLock;

use crate::circle::unit_circle;
use crate::fingerprint::{TensorView, Thumbnail, bilinear};

/// The shorter side of the frame, pixels.
const SHORTER_SIDE: usize = 96;
/// Maximum longer side; of a longer picture only the middle is compared.
const LONGER_SIDE: usize = 2 * SHORTER_SIDE;
/// Number of cells along a side to which a tensor is averaged first.
const CELLS: usize = 112;
/// Pixels along the frame's border that are not compared, because JPEG and interpolation blur them.
const MARGIN: f32 = 3.0;
/// Cosine and sine of 15 degrees, the maximum angle by which exporters rotate pictures: what such a
/// rotation moves into the corners may be black.
const TURN: (f32, f32) = (0.965_925_8, 0.258_819_04);
/// Lower contrast, in square roots of gray values 0..=255, is treated as noise from JPEG and from
/// rounding of dark pictures.
const NOISE: f32 = 0.15;
/// Number of circles along which the picture is sampled for a coarse search of the rotation.
pub(super) const CIRCLES: usize = 16;
/// Samples per circle, one every 2.8 degrees.
pub(super) const SPOKES: usize = 128;

/// A picture prepared for comparison.
///
/// It is resampled to a frame whose shorter side has 96 pixels, whatever the tensor's geometry, so
/// that a rotation of the source is a rotation here. From the square roots of its brightness the
/// local mean is subtracted, and the result is divided by the local deviation, both over about 2.5
/// pixels. Shape and shade of a limb, which all forearms share, thus count as little as brightness,
/// and edges of bones, screws, letters and texture count equally everywhere. Takes 55 to 100 KB.
#[derive(Clone, Debug)]
pub struct Picture {
    /// Width of the source in its heights.
    pub(super) width_to_height: f32,
    pub(super) width: usize,
    pub(super) height: usize,
    /// Local contrast, row by row.
    pub(super) contrast: Vec<f32>,
    /// Which pixels can be compared.
    pub(super) comparable: Vec<bool>,
    /// Contrast along circles, `CIRCLES` times `SPOKES`; with norm 1 overall and mean 0 on each
    /// circle.
    pub(super) circles: Vec<f32>,
}

impl Picture {
    /// The picture of a tensor.
    pub fn new(tensor: &TensorView) -> Self {
        let thumbnail = Thumbnail::new(tensor, CELLS);
        let (source_width, source_height) = (tensor.source.0 as f32, tensor.source.1 as f32);
        let scale = SHORTER_SIDE as f32 / source_width.min(source_height);
        let frame_side = |source: f32| ((source * scale + 0.5) as usize).clamp(1, LONGER_SIDE);
        let (width, height) = (frame_side(source_width), frame_side(source_height));
        let transform = tensor.transform;
        let (tensor_width, tensor_height) = (tensor.shape.width as f32, tensor.shape.height as f32);
        let mut roots = Vec::with_capacity(width * height);
        let mut comparable = Vec::with_capacity(width * height);
        for y in 0..height {
            let down = (y as f32 - (height - 1) as f32 / 2.0) / scale;
            let tensor_y = (source_height / 2.0 + down) * transform.scale_y + transform.offset_y;
            for x in 0..width {
                let across = (x as f32 - (width - 1) as f32 / 2.0) / scale;
                let tensor_x =
                    (source_width / 2.0 + across) * transform.scale_x + transform.offset_x;
                roots.push(thumbnail.sample(thumbnail.at(tensor_x), thumbnail.at(tensor_y)));
                let is_shown = (0.0..=tensor_width).contains(&tensor_x)
                    && (0.0..=tensor_height).contains(&tensor_y);
                let stays = stays_inside(
                    across,
                    down,
                    (source_width / 2.0 - MARGIN / scale, source_height / 2.0 - MARGIN / scale),
                );
                comparable.push(is_shown && stays);
            }
        }
        let contrast = local_contrast(roots, width, height);
        let circles = along_circles(&contrast, width, height);
        Picture {
            width_to_height: source_width / source_height,
            width,
            height,
            contrast,
            comparable,
            circles,
        }
    }
}

/// Whether a point, relative to the centre, stays within the half sides under every rotation by up
/// to [`TURN`].
fn stays_inside(x: f32, y: f32, (half_width, half_height): (f32, f32)) -> bool {
    let (x, y) = (x.abs(), y.abs());
    let (cos, sin) = TURN;
    // Its maximum distance along an axis: on the axis itself, or as near to it as it can be
    // rotated.
    let reach = |along: f32, aside: f32| {
        if aside * cos <= along * sin {
            (along * along + aside * aside).sqrt()
        } else {
            along * cos + aside * sin
        }
    };
    reach(x, y) < half_width && reach(y, x) < half_height
}

fn local_contrast(mut values: Vec<f32>, width: usize, height: usize) -> Vec<f32> {
    let mut surroundings = values.clone();
    blur(&mut surroundings, width, height, 2, 3);
    blur(&mut values, width, height, 1, 1);
    values.iter_mut().zip(&surroundings).for_each(|(value, mean)| *value -= mean);
    let mut spread: Vec<f32> = values.iter().map(|value| value * value).collect();
    blur(&mut spread, width, height, 2, 3);
    values.iter_mut().zip(&spread).for_each(|(value, spread)| *value /= spread.sqrt() + NOISE);
    values
}

/// Averages over `2 * reach + 1` pixels in both directions, `times` times: 5 pixels three times
/// approximate a Gaussian of standard deviation 2.45, 3 pixels once one of 0.82. Beyond the border,
/// the border value is used.
fn blur(values: &mut [f32], width: usize, height: usize, reach: usize, times: usize) {
    let share = 1.0 / (2 * reach + 1) as f32;
    let mut line = vec![0.0; width + 2 * reach];
    for row in values.chunks_exact_mut(width) {
        for _ in 0..times {
            line[..reach].fill(row[0]);
            line[reach..reach + width].copy_from_slice(row);
            line[reach + width..].fill(row[width - 1]);
            for (x, value) in row.iter_mut().enumerate() {
                *value = line[x..=x + 2 * reach].iter().sum::<f32>() * share;
            }
        }
    }
    let mut source = vec![0.0; values.len()];
    for _ in 0..times {
        source.copy_from_slice(values);
        for (y, row) in values.chunks_exact_mut(width).enumerate() {
            row.fill(0.0);
            for near in y..=y + 2 * reach {
                let near = near.saturating_sub(reach).min(height - 1);
                row.iter_mut()
                    .zip(&source[near * width..(near + 1) * width])
                    .for_each(|(sum, value)| *sum += value);
            }
            row.iter_mut().for_each(|sum| *sum *= share);
        }
    }
}

fn along_circles(contrast: &[f32], width: usize, height: usize) -> Vec<f32> {
    static CIRCLE: LazyLock<[(f32, f32); SPOKES]> = LazyLock::new(unit_circle::<SPOKES>);
    let (middle_x, middle_y) = ((width - 1) as f32 / 2.0, (height - 1) as f32 / 2.0);
    let rim = SHORTER_SIDE as f32 / 2.0 - MARGIN;
    let mut circles = Vec::with_capacity(CIRCLES * SPOKES);
    for number in 0..CIRCLES {
        let radius = rim * (number as f32 + 1.0) / CIRCLES as f32;
        let along: Vec<f32> = CIRCLE
            .iter()
            .map(|(cos, sin)| {
                bilinear(contrast, width, height, middle_x + radius * cos, middle_y + radius * sin)
            })
            .collect();
        // Two neighbouring samples of an outer circle are more than two pixels apart.
        let smooth: Vec<f32> = (0..SPOKES)
            .map(|i| {
                (along[(i + SPOKES - 1) % SPOKES] + 2.0 * along[i] + along[(i + 1) % SPOKES]) / 4.0
            })
            .collect();
        let mean = smooth.iter().sum::<f32>() / SPOKES as f32;
        // A longer circle represents more pixels.
        let weight = radius.sqrt();
        circles.extend(smooth.iter().map(|value| (value - mean) * weight));
    }
    let norm = circles.iter().map(|value| value * value).sum::<f32>().sqrt();
    if norm > 0.0 {
        circles.iter_mut().for_each(|value| *value /= norm);
    }
    circles
}
