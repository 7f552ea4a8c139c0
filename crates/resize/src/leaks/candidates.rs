//! Pairs of different splits whose perceptual hashes are near.

use ossify_contract::Split;
use rayon::prelude::*;

use crate::fingerprint::MIRRORED_BITS;

/// What the search for candidates needs of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hashed {
    /// The part of the dataset.
    pub split: Split,
    /// The perceptual hash; 0 keeps the image out of the search.
    pub hash: u64,
}

/// The hashes of two images of different splits are near.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Candidate {
    /// The row that comes first.
    pub row: u32,
    /// The other row.
    pub other_row: u32,
    /// Whether the distance is that to the other picture mirrored.
    pub mirrored: bool,
    /// Bits that differ, at most the search's radius.
    pub hash_distance: u32,
}

/// The radius of the search: the most bits in which the hashes of two views of one picture may differ, such that among
/// `images` pictures of all splits an image meets at most `candidates_per_image` others that only look alike.
///
/// Of pairs of BoneFractureYolo8 that show different pictures 1 in 13,000 is within 12 bits, mirrored or not, and
/// each bit doubles that. Of pairs that show the same picture 98% are within 12 bits, 94% within 9. Beyond 16 bits
/// there is hardly anything left to find.
pub fn radius(images: usize, candidates_per_image: f64) -> u32 {
    const WIDEST: u32 = 16;
    let within = |radius: u32| images as f64 / 13_000.0 * 2.0_f64.powi(radius as i32 - 12);
    (0..=WIDEST).rev().find(|radius| within(*radius) <= candidates_per_image).unwrap_or(0)
}

/// Calls `found` with the candidates, each once, in an order that depends on nothing but the images: all pairs
/// of rows of different splits whose hashes, or hash and mirrored hash, differ in at most `radius` bits. A pair
/// that is near both ways comes twice. Rows of hash 0 have no candidates: such a picture shows nothing.
///
/// A multi-index hash, after Norouzi, Punjani and Fleet, "Fast Search in Hamming Space with Multi-Index
/// Hashing" (2012): hashes are cut into `m` pieces; two that differ in at most `radius` bits differ in at most
/// `radius / m` bits of one piece at least. So for each piece in turn the hashes of one split lie in a table
/// by that piece, and the others look up the few values around theirs. The number of pieces follows from the
/// number of images. Memory: 16 bytes for an image of the largest split, 4 for an entry of its table, of which
/// there are at most eight times as many as images, and 4 for every image.
pub fn for_each_candidate<E>(images: &[Hashed], radius: u32, found: &mut impl FnMut(&[Candidate]) -> Result<(), E>) -> Result<(), E> {
    let mut splits: Vec<Vec<u32>> = Vec::new();
    for split in Split::ALL {
        let rows = (0..images.len() as u32).filter(|row| images[*row as usize].split == split && images[*row as usize].hash != 0);
        splits.push(rows.collect());
    }
    // The largest split is the table for all others, the second for the third.
    splits.sort_by_key(|rows| std::cmp::Reverse((rows.len(), rows.first().copied())));
    for (at, table_rows) in splits.iter().enumerate() {
        let queries: Vec<u32> = splits[at + 1..].iter().flatten().copied().collect();
        search(images, table_rows, &queries, radius, found)?;
    }
    Ok(())
}

/// Rows that look up at a time, on all threads.
const QUERIES_AT_A_TIME: usize = 4096;

fn search<E>(images: &[Hashed], table_rows: &[u32], queries: &[u32], radius: u32, found: &mut impl FnMut(&[Candidate]) -> Result<(), E>) -> Result<(), E> {
    if table_rows.is_empty() || queries.is_empty() {
        return Ok(());
    }
    let pieces = pieces(table_rows.len(), radius);
    for (number, piece) in pieces.iter().enumerate() {
        let table = Table::new(images, table_rows, *piece);
        let flips = ball(piece.bits, piece.reach);
        let look_up = |row: u32, mirrored: bool, out: &mut Vec<Candidate>| {
            let hash = images[row as usize].hash ^ if mirrored { MIRRORED_BITS } else { 0 };
            for flip in &flips {
                for (other_hash, other) in table.at(piece.of(hash) ^ flip) {
                    let differing = hash ^ other_hash;
                    let hash_distance = differing.count_ones();
                    // A pair that an earlier piece found does not come again.
                    if hash_distance <= radius && pieces[..number].iter().all(|piece| piece.of(differing).count_ones() > piece.reach) {
                        out.push(Candidate { row: row.min(*other), other_row: row.max(*other), mirrored, hash_distance });
                    }
                }
            }
        };
        for queries in queries.chunks(QUERIES_AT_A_TIME) {
            let candidates: Vec<Vec<Candidate>> = queries
                .par_chunks(64)
                .map(|queries| {
                    let mut out = Vec::new();
                    for row in queries {
                        look_up(*row, false, &mut out);
                        look_up(*row, true, &mut out);
                    }
                    out
                })
                .collect();
            candidates.iter().filter(|candidates| !candidates.is_empty()).try_for_each(|candidates| found(candidates))?;
        }
    }
    Ok(())
}

/// Consecutive bits of a hash, and in how many of them a hash may differ to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    first: u32,
    bits: u32,
    reach: u32,
}

impl Piece {
    fn of(self, hash: u64) -> u32 {
        ((hash >> self.first) & ((1 << self.bits) - 1)) as u32
    }
}

/// Cuts a hash into the number of pieces for which a search costs least.
///
/// With a radius of `count * reach + rest` a pair that differs in more than `reach` bits of each of the first
/// `rest + 1` pieces and in at least `reach` of each other one is out of the radius: so the others need not be
/// looked at beyond `reach - 1`.
fn pieces(images: usize, radius: u32) -> Vec<Piece> {
    /// A look-up of a table that is not in the processor's cache costs as much as so many comparisons.
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
        pieces.iter().map(|piece| ball_size(piece.bits, piece.reach) * (LOOK_UP + images as f64 / 2.0_f64.powi(piece.bits as i32))).sum()
    };
    // A table has at most eight times as many entries as there are images.
    let most_bits = (images.max(4).ilog2() + 2).min(26);
    let cuts = (64_u32.div_ceil(most_bits)..=64 / 4).map(cut);
    cuts.min_by(|a, b| cost(a).total_cmp(&cost(b))).unwrap_or_default()
}

/// Values of `bits` bits of which at most `reach` are set, by their number.
fn ball(bits: u32, reach: u32) -> Vec<u32> {
    let mut values = vec![0_u32];
    let mut sphere = vec![0_u32];
    for _ in 0..reach.min(bits) {
        // Only bits above the highest set one are added, so that each value comes once.
        sphere = sphere.iter().flat_map(|value| (32 - value.leading_zeros()..bits).map(move |bit| value | 1 << bit)).collect();
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

/// Hashes in order of one piece of theirs.
struct Table {
    /// Where the entries of each value begin.
    starts: Vec<u32>,
    entries: Vec<(u64, u32)>,
}

impl Table {
    fn new(images: &[Hashed], rows: &[u32], piece: Piece) -> Self {
        let hash = |row: &u32| images[*row as usize].hash;
        let mut starts = vec![0_u32; (1 << piece.bits) + 1];
        rows.iter().for_each(|row| starts[piece.of(hash(row)) as usize] += 1);
        for value in 1..starts.len() {
            starts[value] += starts[value - 1];
        }
        let mut entries = vec![(0, 0); rows.len()];
        for row in rows.iter().rev() {
            let place = &mut starts[piece.of(hash(row)) as usize];
            *place -= 1;
            entries[*place as usize] = (hash(row), *row);
        }
        Table { starts, entries }
    }

    fn at(&self, value: u32) -> &[(u64, u32)] {
        &self.entries[self.starts[value as usize] as usize..self.starts[value as usize + 1] as usize]
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    fn found(images: &[Hashed], radius: u32) -> Vec<Candidate> {
        let mut all = Vec::new();
        let done: Result<(), Infallible> = for_each_candidate(images, radius, &mut |candidates| {
            all.extend_from_slice(candidates);
            Ok(())
        });
        assert!(done.is_ok());
        all.sort_unstable();
        all
    }

    fn by_brute_force(images: &[Hashed], radius: u32) -> Vec<Candidate> {
        let mut all = Vec::new();
        for (row, a) in images.iter().enumerate() {
            for (other_row, b) in images.iter().enumerate().skip(row + 1).filter(|(_, b)| b.split != a.split && a.hash != 0 && b.hash != 0) {
                for (mirrored, flip) in [(false, 0), (true, MIRRORED_BITS)] {
                    let hash_distance = (a.hash ^ b.hash ^ flip).count_ones();
                    if hash_distance <= radius {
                        all.push(Candidate { row: row as u32, other_row: other_row as u32, mirrored, hash_distance });
                    }
                }
            }
        }
        all.sort_unstable();
        all
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Hashes of few origins with a few bits flipped, so that all distances occur.
        #[test]
        fn the_search_finds_what_brute_force_does(
            origins in prop::collection::vec(any::<u64>(), 1..6),
            images in prop::collection::vec((0usize..6, 0usize..3, prop::collection::vec(0u32..64, 0..14), any::<bool>()), 0..300),
            radius in 0u32..=16,
        ) {
            let images: Vec<Hashed> = images
                .into_iter()
                .map(|(origin, split, flips, mirrored)| {
                    let origin = origins[origin % origins.len()] ^ if mirrored { MIRRORED_BITS } else { 0 };
                    Hashed { split: Split::ALL[split], hash: flips.into_iter().fold(origin, |hash, bit| hash ^ 1 << bit) }
                })
                .collect();
            prop_assert_eq!(found(&images, radius), by_brute_force(&images, radius));
        }
    }

    #[test]
    fn every_number_of_images_has_pieces_that_miss_nothing() {
        for images in [1, 100, 10_000, 1_000_000, 100_000_000] {
            for radius in 0..=16 {
                let pieces = pieces(images, radius);
                // The most bits in which a pair can differ and be missed.
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
            let expected: Vec<u32> = (0..1 << bits).filter(|value: &u32| value.count_ones() <= reach).collect();
            assert_eq!(values, expected);
        }
    }

    #[test]
    fn the_radius_shrinks_as_images_grow() {
        assert_eq!([1, 800, 4_148, 10_000, 100_000, 1_000_000, 10_000_000].map(|images| radius(images, 1.0)), [16, 16, 13, 12, 9, 5, 2]);
        assert_eq!([1, 4_148, 10_000, 1_000_000].map(|images| radius(images, 8.0)), [16, 16, 15, 8]);
    }
}
