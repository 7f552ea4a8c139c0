use xxhash_rust::xxh3::xxh3_64_with_seed;

/// What a random number is for, so that no two uses draw the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Order of the samples of an epoch.
    Order,
    /// Whether a sample is mirrored.
    Flip,
    /// How bright a sample becomes.
    Brightness,
    /// How far a sample moves to the side.
    ShiftX,
    /// How far a sample moves up or down.
    ShiftY,
    /// The device's generator at a step, for dropout.
    Step,
    /// The first weights.
    Weights,
}

/// 64 random bits as a pure function of its arguments: nothing to save, nothing to restore.
pub fn random_bits(seed: u64, purpose: Purpose, epoch: u64, index: u64) -> u64 {
    let mut key = [0; 17];
    key[0] = purpose as u8;
    key[1..9].copy_from_slice(&epoch.to_le_bytes());
    key[9..].copy_from_slice(&index.to_le_bytes());
    xxh3_64_with_seed(&key, seed)
}

/// A number of -1..1, uniform, as a pure function of its arguments.
pub fn random_signed(seed: u64, purpose: Purpose, epoch: u64, index: u64) -> f64 {
    // The upper 53 bits fill a double's mantissa.
    (random_bits(seed, purpose, epoch, index) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signed_numbers_fill_their_range_evenly() {
        let drawn: Vec<f64> = (0..10_000).map(|i| random_signed(7, Purpose::ShiftX, 1, i)).collect();
        assert!(drawn.iter().all(|x| (-1.0..1.0).contains(x)));
        let mean = drawn.iter().sum::<f64>() / drawn.len() as f64;
        let variance = drawn.iter().map(|x| x * x).sum::<f64>() / drawn.len() as f64;
        assert!(mean.abs() < 0.02 && (variance - 1.0 / 3.0).abs() < 0.02, "mean {mean}, variance {variance}");
    }

    #[test]
    fn purposes_and_epochs_draw_different_numbers() {
        let drawn =
            [(Purpose::Order, 1), (Purpose::Order, 2), (Purpose::Flip, 1), (Purpose::Step, 1)].map(|(purpose, epoch)| random_bits(1, purpose, epoch, 0));
        for (i, a) in drawn.iter().enumerate() {
            assert!(drawn[..i].iter().all(|b| a != b));
        }
    }
}
