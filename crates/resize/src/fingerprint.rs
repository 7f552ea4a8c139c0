use ossify_imaging::{Channels, Filter, Geometry, Picture, TensorSpec, to_tensor_into};

/// Side of the gray thumbnail that is transformed.
const SIDE: usize = 32;
/// Frequencies 1 to 8 of each axis are kept; frequency 0 is brightness.
const FREQUENCIES: usize = 8;
/// A coefficient this near to zero is the rounding of an even picture.
const NOISE: f64 = 1e-6;

/// A 64-bit DCT perceptual hash, as in Zauner, "Implementation and Benchmarking of Perceptual Image Hash
/// Functions" (2010): the picture as 32x32 luma, its two-dimensional DCT-II, and for each of the 8x8
/// lowest frequencies without the constant ones a bit that says whether the coefficient is above their
/// median. Bit `8 * row + column` stands for vertical frequency `row + 1` and horizontal `column + 1`.
///
/// Brightness and contrast leave it nearly as it is; the distance of two hashes is the number of bits
/// that differ. It does not depend on the configuration of the tensors.
pub fn perceptual_hash(picture: &Picture) -> u64 {
    let thumbnail = TensorSpec { side_px: SIDE as u32, channels: Channels::Gray, geometry: Geometry::Stretch, filter: Filter::Bilinear, antialias: true };
    let mut luma = [0; SIDE * SIDE];
    to_tensor_into(picture, &thumbnail, &mut luma);
    let waves: [[f64; SIDE]; FREQUENCIES] = std::array::from_fn(|frequency| {
        std::array::from_fn(|at| (std::f64::consts::PI * (2 * at + 1) as f64 * (frequency + 1) as f64 / (2 * SIDE) as f64).cos())
    });
    let rows: Vec<[f64; FREQUENCIES]> = luma
        .chunks_exact(SIDE)
        .map(|row| std::array::from_fn(|frequency| row.iter().zip(&waves[frequency]).map(|(value, wave)| f64::from(*value) * wave).sum()))
        .collect();
    let mut coefficients = [0.0; FREQUENCIES * FREQUENCIES];
    for (i, coefficient) in coefficients.iter_mut().enumerate() {
        let sum: f64 = rows.iter().zip(&waves[i / FREQUENCIES]).map(|(row, wave)| row[i % FREQUENCIES] * wave).sum();
        *coefficient = if sum.abs() < NOISE { 0.0 } else { sum };
    }
    let mut sorted = coefficients;
    sorted.sort_by(f64::total_cmp);
    let median = (sorted[sorted.len() / 2 - 1] + sorted[sorted.len() / 2]) / 2.0;
    coefficients.iter().enumerate().filter(|(_, coefficient)| **coefficient > median).fold(0, |hash, (bit, _)| hash | 1 << bit)
}

#[cfg(test)]
mod tests {
    use ossify_imaging::Pixels;

    use super::*;

    fn picture(width: u32, height: u32, value: impl Fn(f64, f64) -> f64) -> Picture {
        let data = (0..width * height)
            .map(|i| value(f64::from(i % width) / f64::from(width), f64::from(i / width) / f64::from(height)).clamp(0.0, 255.0) as u8)
            .collect();
        Pixels::new(width, height, 1, data).unwrap().into()
    }

    /// Something at every frequency, as a photograph has.
    fn waves(x: f64, y: f64) -> f64 {
        let wave = |frequency: i32, at: f64| (std::f64::consts::PI * f64::from(frequency) * at).cos();
        let strength = |row: i32, column: i32| 9.0 * f64::from(row * 5 + column * 3).sin();
        (1..=8).flat_map(|row| (1..=8).map(move |column| strength(row, column) * wave(row, y) * wave(column, x))).fold(110.0, |sum, value| sum + value)
    }

    #[test]
    fn brightness_contrast_and_size_hardly_move_it() {
        let original = perceptual_hash(&picture(300, 200, waves));
        let distance = |other: Picture| (original ^ perceptual_hash(&other)).count_ones();
        assert!(distance(picture(300, 200, |x, y| waves(x, y) + 20.0)) <= 4);
        assert!(distance(picture(300, 200, |x, y| waves(x, y) * 0.7)) <= 4);
        assert!(distance(picture(150, 130, waves)) <= 6);
        assert!(distance(picture(300, 200, |x, y| waves(y, 1.0 - x))) > 16);
    }

    #[test]
    fn an_even_picture_has_no_bits() {
        assert_eq!(perceptual_hash(&picture(50, 40, |_, _| 77.0)), 0);
    }

    #[test]
    fn about_half_of_the_bits_are_set() {
        assert_eq!(perceptual_hash(&picture(300, 200, waves)).count_ones(), 32);
    }
}
