//! The inverse DCT of a block's lowest `N` by `N` frequencies, which yields the block at `N / 8` of
//! its size.
//!
//! `sample[y][x] = sum over v, u of f[v][u] * b(y, v) * b(x, u)` with `b(x, u) = c(u) / 2 * cos((2
//! x + 1) u pi / (2 N))`, `c(0) = 1 / sqrt(2)`, otherwise 1. For `N` = 8 this is the inverse
//! transform of ITU-T T.81, A.3.3, and for smaller `N` the one of the same amplitude, as in
//! libjpeg's scaled decoding. Products and sums are rounded one by one in a fixed order, so that
//! every processor gives the same bytes.

/// `b(x, u)` for one `N`, by frequency, in rows of eight samples.
pub(super) struct Basis {
    by_frequency: [[f32; 8]; 8],
}

impl Basis {
    pub(super) fn new(n: usize) -> Self {
        let value = |u: usize, x: usize| {
            let c = if u == 0 { std::f64::consts::FRAC_1_SQRT_2 } else { 1.0 };
            let inside = u < n && x < n;
            if inside { (c / 2.0 * cosine((2 * x + 1) * u, 2 * n)) as f32 } else { 0.0 }
        };
        Basis { by_frequency: std::array::from_fn(|u| std::array::from_fn(|x| value(u, x))) }
    }
}

/// The cosine of `pi * numerator / denominator`, with the argument reduced to a quarter turn first.
fn cosine(numerator: usize, denominator: usize) -> f64 {
    let turn = numerator % (2 * denominator);
    let half = turn.min(2 * denominator - turn);
    let (folded, sign) =
        if 2 * half > denominator { (denominator - half, -1.0) } else { (half, 1.0) };
    sign * (std::f64::consts::PI * folded as f64 / denominator as f64).cos()
}

/// Samples are centred on 0 in the transform, and on this value in the picture.
const MIDDLE_GRAY: f32 = 128.0;

/// The nearest byte. Adding 2^23 rounds a float to a whole number in its last bits. Unlike a cast,
/// which must handle infinity, compilers vectorise this for eight samples at once.
#[inline(always)]
fn rounded(sample: f32) -> u8 {
    (sample.clamp(0.0, 255.0) + 8_388_608.0).to_bits() as u8
}

/// A block of dequantised coefficients; rows are vertical frequencies.
pub(super) type Coefficients = [[f32; 8]; 8];

/// Writes `N` rows of `N` samples to `out`, whose rows are `stride` bytes apart. Only the
/// frequencies below the given vertical and horizontal limits may be non-zero.
#[inline(always)]
pub(super) fn transform<const N: usize>(
    block: &Coefficients,
    (down, across): (usize, usize),
    basis: &Basis,
    out: &mut [u8],
    stride: usize,
) {
    let (down, across) = (down.min(N), across.min(N));
    let b = &basis.by_frequency;
    let mut columns = [[0f32; 8]; N];
    for (v, row) in block.iter().enumerate().take(down) {
        for y in 0..N {
            let weight = b[v][y];
            for u in 0..8 {
                columns[y][u] += row[u] * weight;
            }
        }
    }
    for y in 0..N {
        let mut samples = [MIDDLE_GRAY; 8];
        for u in 0..across {
            let weight = columns[y][u];
            for x in 0..8 {
                samples[x] += weight * b[u][x];
            }
        }
        let bytes = samples.map(rounded);
        out[y * stride..y * stride + N].copy_from_slice(&bytes[..N]);
    }
}

/// Like [`transform`], for a block whose only non-zero frequency is 0.
#[inline(always)]
pub(super) fn fill<const N: usize>(dc: f32, out: &mut [u8], stride: usize) {
    // The square of b(x, 0) is 1/8.
    let byte = rounded(dc / 8.0 + MIDDLE_GRAY);
    for y in 0..N {
        out[y * stride..y * stride + N].fill(byte);
    }
}
