//! Reproducible randomness, and noise.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// A reproducible source of randomness: the same seed and stream give the same draws on every
/// machine.
#[derive(Clone, Debug)]
pub struct Dice(ChaCha8Rng);

/// The purpose of a stream of draws; each purpose has its own stream.
#[derive(Clone, Copy, Debug)]
pub enum Stream {
    /// The plan of the whole dataset.
    Plan,
    /// Anatomy and fractures of a source picture, by its number.
    Scene(u64),
    /// View, exposure, noise and format of one image, by its number.
    View(u64),
    /// The planted fault of one image, by its number.
    Fault(u64),
    /// What is done to a leaked image, by the leak's number.
    Leak(u64),
}

impl Dice {
    /// The draws of `stream` under `seed`.
    pub fn new(seed: u64, stream: Stream) -> Self {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        generator.set_stream(match stream {
            Stream::Plan => 0,
            Stream::Scene(number) => (number << 2) | 1,
            Stream::View(number) => (number << 2) | 2,
            Stream::Fault(number) => (number << 2) | 3,
            Stream::Leak(number) => (number + 1) << 2,
        });
        Dice(generator)
    }

    /// Dice that are seeded with a draw of other dice.
    pub fn from_bits(bits: u64) -> Self {
        Dice(ChaCha8Rng::seed_from_u64(bits))
    }

    /// Uniform over all values.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Uniform in `low..high`.
    pub fn within(&mut self, low: f32, high: f32) -> f32 {
        let share = (self.0.next_u32() >> 8) as f32 / 16_777_216.0;
        low + (high - low) * share
    }

    /// True with probability `share`.
    pub fn chance(&mut self, share: f32) -> bool {
        self.within(0.0, 1.0) < share
    }

    /// -1 or 1.
    pub fn sign(&mut self) -> f32 {
        if self.chance(0.5) { -1.0 } else { 1.0 }
    }

    /// Uniform in `0..count`; 0 where `count` is 0.
    pub fn below(&mut self, count: usize) -> usize {
        ((u128::from(self.bits()) * count as u128) >> 64) as usize
    }

    /// Puts `items` into a random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

/// A hash of a lattice point, uniform over all values; for noise, because a generator per pixel
/// would be slow.
pub fn lattice(x: i32, y: i32, seed: u32) -> u32 {
    let mut h = (x as u32).wrapping_mul(0x9E37_79B1)
        ^ (y as u32).wrapping_mul(0x85EB_CA77)
        ^ seed.wrapping_mul(0xC2B2_AE3D);
    h = (h ^ (h >> 15)).wrapping_mul(0x2C1B_3C6D);
    h = (h ^ (h >> 12)).wrapping_mul(0x297A_2D39);
    h ^ (h >> 15)
}

/// Smooth noise in -1..1 with features of about one unit.
pub fn value_noise(x: f32, y: f32, seed: u32) -> f32 {
    let (column, row) = (x.floor(), y.floor());
    let (u, v) = (x - column, y - row);
    let (u, v) = (u * u * (3.0 - 2.0 * u), v * v * (3.0 - 2.0 * v));
    let at = |dx: i32, dy: i32| {
        lattice(column as i32 + dx, row as i32 + dy, seed) as f32 / 2_147_483_648.0 - 1.0
    };
    let top = at(0, 0) + (at(1, 0) - at(0, 0)) * u;
    let bottom = at(0, 1) + (at(1, 1) - at(0, 1)) * u;
    top + (bottom - top) * v
}

/// Noise of about unit variance for one pixel: the sum of four bytes of a hash, which is nearly
/// normal. Drawing from a normal distribution would need a generator for each pixel.
pub fn grain(x: usize, y: usize, seed: u32) -> f32 {
    let bytes = lattice(x as i32, y as i32, seed).to_le_bytes();
    let sum: u32 = bytes.iter().map(|byte| u32::from(*byte)).sum();
    (sum as f32 - 510.0) / 147.8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_reproducible_and_differ() {
        let draw = |seed, stream| Dice::new(seed, stream).bits();
        assert_eq!(draw(7, Stream::View(3)), draw(7, Stream::View(3)));
        assert_ne!(draw(7, Stream::View(3)), draw(8, Stream::View(3)));
        assert_ne!(draw(7, Stream::View(3)), draw(7, Stream::Scene(3)));
        assert_ne!(draw(7, Stream::View(3)), draw(7, Stream::View(4)));
    }

    #[test]
    fn draws_stay_in_their_range() {
        let mut dice = Dice::new(1, Stream::Plan);
        for _ in 0..10_000 {
            assert!((-2.0..3.0).contains(&dice.within(-2.0, 3.0)));
            assert!(dice.below(7) < 7);
        }
        assert_eq!(dice.below(0), 0);
    }

    #[test]
    fn grain_has_about_unit_variance() {
        let values: Vec<f32> = (0..100_000).map(|i| grain(i % 317, i / 317, 9)).collect();
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        let variance = values.iter().map(|value| (value - mean) * (value - mean)).sum::<f32>()
            / values.len() as f32;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.05, "{mean} {variance}");
    }
}
