use std::f64::consts::TAU;

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// What a random number is for, so that no two uses draw the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Order of the draws of an epoch.
    Order,
    /// Which samples of a class an epoch draws first.
    Sampler,
    /// How a sample is varied.
    Augmentation,
    /// The field that noise is cut from.
    Noise,
    /// The device's generator at a step, for dropout.
    Step,
    /// The first weights.
    Weights,
    /// Which backgrounds an epoch draws.
    Background,
    /// Which samples are mosaics, and of what.
    Mosaic,
    /// Which samples are mixed, and with what.
    Mixup,
}

/// 64 random bits as a pure function of its arguments: nothing to save, nothing to restore.
pub fn random_bits(seed: u64, purpose: Purpose, epoch: u64, index: u64) -> u64 {
    let mut key = [0; 17];
    key[0] = purpose as u8;
    key[1..9].copy_from_slice(&epoch.to_le_bytes());
    key[9..].copy_from_slice(&index.to_le_bytes());
    xxh3_64_with_seed(&key, seed)
}

/// Random bits as a number of 0..1, uniform.
pub fn unit(bits: u64) -> f64 {
    // The upper 53 bits fill a double's mantissa.
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

/// As many random numbers as are asked for; which ones is a pure function of what they are for.
#[derive(Clone, Debug)]
pub struct Stream {
    key: u64,
    drawn: u64,
}

impl Stream {
    /// The numbers for this purpose, epoch and index.
    pub fn new(seed: u64, purpose: Purpose, epoch: u64, index: u64) -> Self {
        Stream { key: random_bits(seed, purpose, epoch, index), drawn: 0 }
    }

    /// A number of 0..1, uniform.
    pub fn unit(&mut self) -> f64 {
        let bits = xxh3_64_with_seed(&self.drawn.to_le_bytes(), self.key);
        self.drawn += 1;
        unit(bits)
    }

    /// A number of -1..1, uniform.
    pub fn signed(&mut self) -> f64 {
        2.0 * self.unit() - 1.0
    }

    /// A number of mean 0 and standard deviation 1, by Box and Muller.
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (TAU * self.unit()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(draw: impl Fn(&mut Stream) -> f64) -> (f64, f64) {
        let drawn: Vec<f64> =
            (0..10_000).map(|i| draw(&mut Stream::new(7, Purpose::Augmentation, 1, i))).collect();
        let mean = drawn.iter().sum::<f64>() / drawn.len() as f64;
        (mean, drawn.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / drawn.len() as f64)
    }

    #[test]
    fn numbers_have_the_moments_of_their_distribution() {
        for (draw, variance) in
            [(Stream::signed as fn(&mut Stream) -> f64, 1.0 / 3.0), (Stream::normal, 1.0)]
        {
            let (mean, found) = moments(draw);
            assert!(
                mean.abs() < 0.03 && (found / variance - 1.0).abs() < 0.05,
                "mean {mean}, variance {found}"
            );
        }
        let mut stream = Stream::new(7, Purpose::Noise, 0, 0);
        assert!((0..10_000).all(|_| (0.0..1.0).contains(&stream.unit())));
    }

    #[test]
    fn purposes_and_epochs_draw_different_numbers() {
        let drawn =
            [(Purpose::Order, 1), (Purpose::Order, 2), (Purpose::Sampler, 1), (Purpose::Step, 1)]
                .map(|(purpose, epoch)| random_bits(1, purpose, epoch, 0));
        for (i, a) in drawn.iter().enumerate() {
            assert!(drawn[..i].iter().all(|b| a != b));
        }
    }
}
