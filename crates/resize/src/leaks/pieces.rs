//! Divides hashes into pieces, by which near hashes are found.

/// Consecutive bits of a hash, and the number of them in which another hash may differ to be
/// compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    first: u32,
    pub(super) bits: u32,
    pub(super) reach: u32,
}

impl Piece {
    pub(super) fn of(self, hash: u64) -> u32 {
        ((hash >> self.first) & ((1 << self.bits) - 1)) as u32
    }
}

/// Divides a hash into the number of pieces that minimises the cost of a search.
///
/// With a radius of `count * reach + rest`, a pair that differs in more than `reach` bits of each
/// of the first `rest + 1` pieces, and in at least `reach` bits of each other piece, is outside the
/// radius. The other pieces therefore only need to be searched up to `reach - 1`.
pub(super) fn pieces(images: usize, radius: u32) -> Vec<Piece> {
    /// A look-up in a table outside the processor's cache costs as much as this number of
    /// comparisons.
    const LOOK_UP: f64 = 8.0;
    let cut = |count: u32| -> Vec<Piece> {
        let (reach, rest) = (radius / count, radius % count);
        let piece = |number: u32| {
            let (first, end) = (64 * number / count, 64 * (number + 1) / count);
            let reach = if number <= rest { Some(reach) } else { reach.checked_sub(1) };
            reach.map(|reach| Piece { first, bits: end - first, reach })
        };
        (0..count).filter_map(piece).collect()
    };
    let cost = |pieces: &[Piece]| -> f64 {
        pieces
            .iter()
            .map(|piece| {
                ball_size(piece.bits, piece.reach)
                    * (LOOK_UP + images as f64 / 2.0_f64.powi(piece.bits as i32))
            })
            .sum()
    };
    let cuts = (64_u32.div_ceil(max_bits(images))..=64 / 4).map(cut);
    cuts.min_by(|a, b| cost(a).total_cmp(&cost(b))).unwrap_or_default()
}

/// Number of bits of a piece for which a table has at most four starts per image.
pub(super) fn max_bits(images: usize) -> u32 {
    (images.max(4).ilog2() + 2).min(26)
}

/// Values of `bits` bits with at most `reach` bits set, ordered by that number.
pub(super) fn ball(bits: u32, reach: u32) -> Vec<u32> {
    let mut values = vec![0_u32];
    let mut sphere = vec![0_u32];
    for _ in 0..reach.min(bits) {
        // Only bits above the highest set bit are added, so that each value occurs once.
        sphere = sphere
            .iter()
            .flat_map(|value| (32 - value.leading_zeros()..bits).map(move |bit| value | 1 << bit))
            .collect();
        values.extend(&sphere);
    }
    values
}

fn ball_size(bits: u32, reach: u32) -> f64 {
    let mut sphere = 1.0;
    let mut size = 1.0;
    for at in 0..reach.min(bits) {
        sphere *= f64::from(bits - at) / f64::from(at + 1);
        size += sphere;
    }
    size
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_of_images_has_pieces_that_miss_nothing() {
        for images in [1, 100, 10_000, 1_000_000, 100_000_000] {
            for radius in 0..=16 {
                let pieces = pieces(images, radius);
                // The fewest bits in which a pair must differ to be missed.
                let missed: u32 = pieces.iter().map(|piece| piece.reach + 1).sum();
                assert!(missed > radius, "{images} {radius} {pieces:?}");
                assert!(pieces.iter().all(|piece| (4..=26).contains(&piece.bits)), "{pieces:?}");
            }
        }
    }

    #[test]
    fn a_ball_has_each_value_once() {
        for (bits, reach) in [(4, 0), (6, 2), (13, 3), (5, 9)] {
            let mut values = ball(bits, reach);
            assert_eq!(values.len() as f64, ball_size(bits, reach));
            values.sort_unstable();
            let expected: Vec<u32> =
                (0..1 << bits).filter(|value: &u32| value.count_ones() <= reach).collect();
            assert_eq!(values, expected);
        }
    }
}
