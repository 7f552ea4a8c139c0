//! Random initial weights that are the same on every device.
//!
//! libtorch and Flex draw from different generators, and Burn fills its parameters lazily. So each
//! tensor is drawn here, on the host, from a ChaCha stream keyed by the seed and the tensor's name.

use std::f64::consts::TAU;

use burn::module::Module;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::tensors::state::{name_hash, replace};

/// Replaces every weight and every statistic of `module`.
pub(crate) fn randomize<M: Module>(module: M, seed: u64) -> M {
    replace(module, |name, dims| Some(initial_values(name, dims, seed)))
}

/// Share of a detector's cells that are taken to show something before it has learnt anything, and
/// the deviation of the weights of its outputs (Lin et al. 2017, section 4.1).
const PRIOR_SHARE: f64 = 0.01;
const OUTPUT_DEVIATION: f64 = 0.01;

/// Values of the tensor `name` with Burn's dimensions `dims`, row by row.
#[expect(clippy::cast_possible_truncation, reason = "weights are float32")]
fn initial_values(name: &str, dims: &[usize], seed: u64) -> Vec<f32> {
    let count = dims.iter().product();
    let mut random = Gaussian::new(seed, name);
    match *dims {
        // Scores of a detector: the logit of the share of cells that show something, and next to
        // nothing from the weights (Lin et al. 2017, section 4.1).
        _ if name == "head.scores.bias" => {
            vec![(PRIOR_SHARE / (1.0 - PRIOR_SHARE)).ln() as f32; count]
        }
        _ if name == "head.scores.weight" || name == "head.distances.weight" => {
            (0..count).map(|_| (random.normal() * OUTPUT_DEVIATION) as f32).collect()
        }
        // Kaiming normal for ReLU: standard deviation sqrt(2 / fan-in).
        [_, channels_in, height, width] => {
            let deviation = (2.0 / (channels_in * height * width) as f64).sqrt();
            (0..count).map(|_| (random.normal() * deviation) as f32).collect()
        }
        // Glorot uniform: limit sqrt(6 / (inputs + outputs)).
        [inputs, outputs] => {
            let limit = (6.0 / (inputs + outputs) as f64).sqrt();
            (0..count).map(|_| ((random.uniform() * 2.0 - 1.0) * limit) as f32).collect()
        }
        _ if name.ends_with("running_var")
            || name.contains("norm") && name.ends_with(".weight") =>
        {
            vec![1.0; count]
        }
        _ => vec![0.0; count],
    }
}

struct Gaussian {
    source: ChaCha8Rng,
}

impl Gaussian {
    fn new(seed: u64, name: &str) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&name_hash(name).to_le_bytes());
        Self { source: ChaCha8Rng::from_seed(key) }
    }

    /// In 0..1, with 53 random bits.
    fn uniform(&mut self) -> f64 {
        (self.source.next_u64() >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
    }

    /// Mean 0, standard deviation 1, by Box and Muller.
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (TAU * self.uniform()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kaiming_values_have_the_deviation_of_their_fan_in() {
        let values = initial_values("features.conv0.weight", &[64, 32, 3, 3], 7);
        let mean = values.iter().map(|&value| f64::from(value)).sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|&value| (f64::from(value) - mean).powi(2)).sum::<f64>()
            / values.len() as f64;
        assert!(mean.abs() < 2e-3, "{mean}");
        assert!((variance / (2.0 / 288.0) - 1.0).abs() < 0.05, "{variance}");
    }

    #[test]
    fn values_depend_on_seed_and_name() {
        let values = |name: &str, seed| initial_values(name, &[4, 5], seed);
        assert_eq!(values("a", 1), values("a", 1));
        assert_ne!(values("a", 1), values("a", 2));
        assert_ne!(values("a", 1), values("b", 1));
    }

    #[test]
    fn norms_start_as_the_identity() {
        assert_eq!(initial_values("features.norm0.weight", &[2], 0), [1.0, 1.0]);
        assert_eq!(initial_values("features.norm0.running_var", &[2], 0), [1.0, 1.0]);
        assert_eq!(initial_values("features.norm0.bias", &[2], 0), [0.0, 0.0]);
        assert_eq!(initial_values("head.classes.bias", &[2], 0), [0.0, 0.0]);
    }
}
