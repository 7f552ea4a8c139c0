//! The perceptual hash, and the view of a tensor that is the input of it and of the search for
//! leaks.

use std::sync::LazyLock;

use ossify_contract::{ShardShape, Transform};

use crate::circle::unit_circle;

/// Minimum number of thumbnail cells along a side, unless the tensor has fewer pixels.
const THUMBNAIL_CELLS: usize = 56;
/// Rings of the disc; bits are derived from neighbouring rings.
const RINGS: usize = 9;
/// Number of circles sampled for each ring.
const CIRCLES_PER_RING: usize = 2;
/// Number of samples per circle.
const SPOKES: usize = 64;
/// Angular frequencies 1 to 4 are kept; frequency 0 is brightness.
const HARMONICS: usize = 4;
/// Radii of the first and last circle, in shares of the disc's radius: the centre has no angles,
/// and the rim may be blurred with what an exporter filled the corners with.
const INNER: f32 = 0.08;
const OUTER: f32 = 0.97;
/// Smaller products are rounding errors of pictures that look the same at every angle. Products of
/// other pictures exceed 1e-2.
const NOISE: f32 = 1e-4;

/// The sum of this number of bytes fits into 16 bits.
const MAX_SHORT_ROWS: usize = 257;

/// The hash of a mirrored picture differs from that of the picture in these bits: see
/// [`perceptual_hash`].
pub const MIRRORED_BITS: u64 = 0xaaaa_aaaa_aaaa_aaaa;

/// A tensor with its geometry.
#[derive(Clone, Copy, Debug)]
pub struct TensorView<'a> {
    /// Rows from the top, pixels from the left, interleaved channels; 0 black to 255 white.
    pub pixels: &'a [u8],
    /// Its dimensions, each at least 1.
    pub shape: ShardShape,
    /// Width and height of the upright source, each at least 1.
    pub source: (u32, u32),
    /// The transform from source to tensor.
    pub transform: Transform,
}

/// The brightness of a tensor, averaged over square blocks of pixels.
pub(crate) struct Thumbnail {
    width: usize,
    height: usize,
    /// Tensor pixels per cell, in both directions.
    block: f32,
    /// Square roots of the averages: this is close to how the eye reads film, it makes photon noise
    /// equally strong everywhere, and differences are less affected by an exporter's brightening.
    cells: Vec<f32>,
}

impl Thumbnail {
    /// Averages blocks so that about `cells` remain along a side; a tensor with fewer pixels is not
    /// reduced.
    pub(crate) fn new(tensor: &TensorView, cells: usize) -> Self {
        let (width, height, channels) = (
            tensor.shape.width as usize,
            tensor.shape.height as usize,
            tensor.shape.channels as usize,
        );
        let block = (width.min(height) / cells).max(1);
        let (columns, rows) = (width / block, height / block);
        let per_value = 1.0 / (block * block * channels) as f32;
        let (stride, run) = (width * channels, block * channels);
        let mut values = Vec::with_capacity(columns * rows);
        // Columns are summed first, in 16 bits if these can hold the sum, which takes half the time
        // of 32.
        let mut sums = vec![0_u32; columns * run];
        let mut short_sums = vec![0_u16; columns * run];
        for band in tensor.pixels.chunks_exact(stride * block).take(rows) {
            sums.fill(0);
            for rows in band.chunks(stride * MAX_SHORT_ROWS) {
                short_sums.fill(0);
                for row in rows.chunks_exact(stride) {
                    short_sums
                        .iter_mut()
                        .zip(row)
                        .for_each(|(sum, value)| *sum += u16::from(*value));
                }
                sums.iter_mut().zip(&short_sums).for_each(|(sum, short)| *sum += u32::from(*short));
            }
            values.extend(
                sums.chunks_exact(run)
                    .map(|cell| (cell.iter().sum::<u32>() as f32 * per_value).sqrt()),
            );
        }
        Thumbnail { width: columns, height: rows, block: block as f32, cells: values }
    }

    /// Converts a coordinate from tensor pixels to cells, relative to cell centres.
    pub(crate) fn at(&self, tensor_px: f32) -> f32 {
        tensor_px / self.block - 0.5
    }

    /// Cells per tensor pixel.
    pub(crate) fn per_tensor_px(&self) -> f32 {
        1.0 / self.block
    }

    /// Interpolates between the four cells around a point; beyond the border, the border value is
    /// used.
    pub(crate) fn sample(&self, x: f32, y: f32) -> f32 {
        bilinear(&self.cells, self.width, self.height, x, y)
    }
}

/// Interpolates between the four values around a point of a `width` by `height` field, both at
/// least 1.
pub(crate) fn bilinear(values: &[f32], width: usize, height: usize, x: f32, y: f32) -> f32 {
    let (x, y) = (x.clamp(0.0, (width - 1) as f32), y.clamp(0.0, (height - 1) as f32));
    let (left, top) = (x as usize, y as usize);
    let (u, v) = (x - left as f32, y - top as f32);
    let (right, below) = ((left + 1).min(width - 1), (top + 1).min(height - 1));
    let row = |y: usize| {
        let (a, b) = (values[y * width + left], values[y * width + right]);
        a + (b - a) * u
    };
    let (above, below) = (row(top), row(below));
    above + (below - above) * v
}

/// A 64-bit hash in which two views of one picture agree except for a few bits. Changes of
/// brightness, contrast, encoding and size, and any rotation around the picture's centre, hardly
/// affect it. The distance of two hashes is the number of bits that differ, about 31 for unrelated
/// pictures.
///
/// The largest disc around the source's centre stays inside the picture under any rotation. It is
/// divided into nine rings, and the brightness along each ring into waves: `H(ring, m)` is the
/// complex amplitude of `m` waves per turn, with `m` from 1 to 4. Rotating the picture multiplies
/// all amplitudes of the same `m` by the same phase, so the product of one amplitude and the
/// conjugate of another does not change. These are the magnitudes and cross-phases of Fourier
/// descriptors, as in Zahn and Roskies, "Fourier Descriptors for Plane Closed Curves" (1972). Bits
/// `2 * (8 * (m - 1) + i)` and one above are the signs of the real and of the imaginary part of
/// `(H(i + 1, m) - H(i, m)) * conj(H(i + 1, m) + H(i, m))`, which describe how the wave's amplitude
/// and phase change from ring `i` to the next. Taking signs removes contrast, and `m >= 1` removes
/// brightness.
///
/// Mirroring conjugates the products, so the hash of a mirrored picture is this one with
/// [`MIRRORED_BITS`] flipped. A picture that looks the same at every angle, such as a uniform one,
/// has hash 0.
///
/// Only sums, products and square roots are used, in a fixed order, so the bits do not depend on
/// the machine.
pub fn perceptual_hash(tensor: &TensorView) -> u64 {
    let rings = waves_of_rings(tensor);
    let mut hash = 0;
    for m in 0..HARMONICS {
        for (i, [inner, outer]) in rings.array_windows().enumerate() {
            let ((a, b), (c, d)) = (inner[m], outer[m]);
            let ((growth_re, growth_im), (mean_re, mean_im)) = ((c - a, d - b), (c + a, d + b));
            let re = growth_re * mean_re + growth_im * mean_im;
            let im = growth_im * mean_re - growth_re * mean_im;
            let bit = 2 * ((RINGS - 1) * m + i);
            hash |= (u64::from(re > NOISE) << bit) | (u64::from(im > NOISE) << (bit + 1));
        }
    }
    hash
}

/// Real and imaginary part of the amplitude of each wave of each ring.
fn waves_of_rings(tensor: &TensorView) -> [[(f32, f32); HARMONICS]; RINGS] {
    static CIRCLE: LazyLock<[(f32, f32); SPOKES]> = LazyLock::new(unit_circle::<SPOKES>);
    let circle: &[(f32, f32); SPOKES] = &CIRCLE;
    let thumbnail = Thumbnail::new(tensor, THUMBNAIL_CELLS);
    let Transform { scale_x, scale_y, offset_x, offset_y } = tensor.transform;
    let (width, height) = (tensor.source.0 as f32, tensor.source.1 as f32);
    let (middle_x, middle_y) = (
        thumbnail.at(width / 2.0 * scale_x + offset_x),
        thumbnail.at(height / 2.0 * scale_y + offset_y),
    );
    let disc = width.min(height) / 2.0 * thumbnail.per_tensor_px();
    let (disc_x, disc_y) = (disc * scale_x, disc * scale_y);
    let circles = (RINGS * CIRCLES_PER_RING) as f32;
    std::array::from_fn(|ring| {
        let mut along = [0.0_f32; SPOKES];
        for number in ring * CIRCLES_PER_RING..(ring + 1) * CIRCLES_PER_RING {
            let radius = INNER + (OUTER - INNER) * (number as f32 + 0.5) / circles;
            for (value, (cos, sin)) in along.iter_mut().zip(circle) {
                *value += thumbnail
                    .sample(middle_x + cos * radius * disc_x, middle_y + sin * radius * disc_y);
            }
        }
        std::array::from_fn(|m| {
            let mut wave = (0.0, 0.0);
            for (spoke, value) in along.iter().enumerate() {
                let (cos, sin) = circle[(m + 1) * spoke % SPOKES];
                wave = (wave.0 + value * cos, wave.1 - value * sin);
            }
            wave
        })
    })
}
