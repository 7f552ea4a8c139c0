//! The perceptual hash, and the view of a tensor that it and the search for leaks start from.

use std::sync::LazyLock;

use ossify_contract::{ShardShape, Transform};

use crate::circle::unit_circle;

/// Cells of the thumbnail a side, at least, where the tensor has so many pixels.
const THUMBNAIL_CELLS: usize = 56;
/// Rings of the disc; bits are made at the borders between them.
const RINGS: usize = 9;
/// Circles that are sampled for each ring.
const CIRCLES_PER_RING: usize = 2;
/// Samples of a circle.
const SPOKES: usize = 64;
/// Angular frequencies 1 to 4 are kept; frequency 0 is brightness.
const HARMONICS: usize = 4;
/// Radii of the first and of the last circle, in shares of the disc: the very middle has no angles,
/// and the rim may be blurred with what an exporter filled the corners with.
const INNER: f32 = 0.08;
const OUTER: f32 = 0.97;
/// A product this near to zero is the rounding of a picture that looks the same at every angle.
/// Products of pictures are above 1e-2.
const NOISE: f32 = 1e-4;

/// So many bytes have a sum of 16 bits.
const MAX_SHORT_ROWS: usize = 257;

/// The hash of a mirrored picture differs from the picture's in these bits: see
/// [`perceptual_hash`].
pub const MIRRORED_BITS: u64 = 0xaaaa_aaaa_aaaa_aaaa;

/// A tensor with the way in which it was made.
#[derive(Clone, Copy, Debug)]
pub struct TensorView<'a> {
    /// Rows from the top, pixels from the left, channels side by side; 0 black to 255 white.
    pub pixels: &'a [u8],
    /// Its sizes, each at least 1.
    pub shape: ShardShape,
    /// Width and height of the upright source, each at least 1.
    pub source: (u32, u32),
    /// From source to tensor.
    pub transform: Transform,
}

/// A tensor in brightness alone, averaged over square blocks of pixels.
pub(crate) struct Thumbnail {
    width: usize,
    height: usize,
    /// Tensor pixels a cell, in both directions.
    block: f32,
    /// Square roots of the averages: film is read by the eye about so, noise of counted photons has
    /// the same strength everywhere, and an exporter's brightening leaves differences more nearly
    /// as they are.
    cells: Vec<f32>,
}

impl Thumbnail {
    /// Averages blocks so that about `cells` remain a side; a tensor with fewer pixels stays as it
    /// is.
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
        // Columns are summed first, in 16 bits as long as they hold a sum, which takes half the
        // time of 32.
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

    /// Tensor pixels to cells, from cell centre to cell centre.
    pub(crate) fn at(&self, tensor_px: f32) -> f32 {
        tensor_px / self.block - 0.5
    }

    /// Cells a tensor pixel.
    pub(crate) fn per_tensor_px(&self) -> f32 {
        1.0 / self.block
    }

    /// Interpolates between the four cells around a place; beyond the border it is as at the
    /// border.
    pub(crate) fn sample(&self, x: f32, y: f32) -> f32 {
        bilinear(&self.cells, self.width, self.height, x, y)
    }
}

/// Interpolates between the four values around a place of a `width` times `height` field, both at
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

/// 64 bits that two views of one picture share but for a few: brightness and contrast, encoding,
/// size, and any turn about the picture's middle leave them nearly as they are. The distance of two
/// hashes is the number of bits that differ, about 31 for two pictures that have nothing to do with
/// each other.
///
/// The largest disc around the source's middle stays in the picture however it is turned there. It
/// is cut into nine rings, and each ring's brightness along its circle into waves: `H(ring, m)` is
/// the complex amplitude of `m` waves a turn, 1 to 4. A turn of the picture by an angle multiplies
/// all amplitudes of the same `m` by the same phase. So the product of one amplitude and the
/// conjugate of another does not change: the magnitudes and cross-phases of Fourier descriptors, as
/// in Zahn and Roskies, "Fourier Descriptors for Plane Closed Curves" (1972). Bits
/// `2 * (8 * (m - 1) + i)` and one above are the signs of the real and of the imaginary part of
/// `(H(i + 1, m) - H(i, m)) * conj(H(i + 1, m) + H(i, m))`, which says how the wave grows and how
/// it winds from ring `i` to the next. Signs leave out contrast, and `m >= 1` brightness.
///
/// A mirrored picture has the conjugate products: its hash is this one with [`MIRRORED_BITS`]
/// flipped. A picture that looks the same at every angle, as an even one does, has hash 0.
///
/// Only sums, products and square roots are taken, in one order: the bits do not depend on the
/// machine.
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

/// Real and imaginary amplitude of each wave of each ring.
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
