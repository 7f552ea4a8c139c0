//! Finds pairs of images in different splits whose perceptual hashes are near.

use std::cmp::Reverse;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use ossify_contract::{Result, Split};
use rayon::prelude::*;

use super::hash_table::{Blocks, Entry, Table};
use super::pieces::{Piece, ball, pieces};
use super::scratch::Scratch;
use super::sorted::{Sorted, Sorter};
use crate::fingerprint::MIRRORED_BITS;

/// Two images of different splits whose hashes are near.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Candidate {
    /// The row that comes first.
    pub row: u32,
    /// The other row.
    pub other_row: u32,
    /// Whether the distance is to the mirrored other picture.
    pub mirrored: bool,
    /// Number of bits that differ, at most the search radius.
    pub hash_distance: u32,
}

/// The largest radius.
const WIDEST: u32 = 16;
/// Number of candidates by distance.
pub type Counts = [u64; WIDEST as usize + 1];

/// The search radius: the maximum number of bits in which the hashes of two views of one picture
/// may differ, such that among `images` pictures of all splits an image has at most
/// `candidates_per_image` candidates that only look similar.
///
/// Of the pairs of BoneFractureYolo8 that show different pictures, 1 in 13,000 is within 12 bits,
/// mirrored or not, and each further bit doubles that. Of the pairs that show the same picture, 98
/// % are within 12 bits and 94 % within 9. Beyond 16 bits there is hardly anything left to find.
pub fn radius(images: usize, candidates_per_image: f64) -> u32 {
    let within = |radius: u32| images as f64 / 13_000.0 * 2.0_f64.powi(radius as i32 - 12);
    (0..=WIDEST).rev().find(|radius| within(*radius) <= candidates_per_image).unwrap_or(0)
}

/// Perceptual hashes by split, in the order of rows.
pub struct HashIndex {
    /// Split and row in one word, and the hash.
    rows: Sorted<2>,
    /// The records of each split that has any, the largest split first.
    splits: Vec<Range<u64>>,
    scratch: Scratch,
}

/// Collects the hashes of an index, in any order of rows.
pub struct HashIndexBuilder {
    sorter: Sorter<2>,
    counts: [u64; Split::ALL.len()],
    scratch: Scratch,
}

impl HashIndexBuilder {
    /// An empty builder.
    pub fn new(scratch: &Scratch) -> Self {
        HashIndexBuilder {
            sorter: Sorter::new(scratch),
            counts: [0; Split::ALL.len()],
            scratch: scratch.clone(),
        }
    }

    /// Adds the hash of a row. Rows with hash 0 have no candidates, because such pictures show
    /// nothing.
    ///
    /// # Errors
    /// Fails where the disk does.
    pub fn push(&mut self, split: Split, row: u32, hash: u64) -> Result<()> {
        if hash == 0 {
            return Ok(());
        }
        self.counts[split as usize] += 1;
        self.sorter.push([(split as u64) << 32 | u64::from(row), hash])
    }

    /// The index.
    ///
    /// # Errors
    /// Fails where the disk does.
    pub fn finish(self) -> Result<HashIndex> {
        let rows = self.sorter.finish()?;
        let mut splits = Vec::new();
        let mut start = 0;
        for count in self.counts.into_iter().filter(|count| *count > 0) {
            let first_row = rows.read(start..start + 1)?[0][0] as u32;
            splits.push((count, first_row, start..start + count));
            start += count;
        }
        // The largest split is the table for all others, the second largest for the third.
        splits.sort_by_key(|(count, first_row, _)| Reverse((*count, *first_row)));
        Ok(HashIndex {
            rows,
            splits: splits.into_iter().map(|(.., records)| records).collect(),
            scratch: self.scratch,
        })
    }
}

/// Number of queries that a thread takes at a time.
const QUERIES_AT_A_TIME: usize = 64;

impl HashIndex {
    /// Calls `found` once for each candidate, in an order that depends only on the images.
    /// Candidates are all pairs of rows of different splits whose hashes, or hash and mirrored
    /// hash, differ in at most `radius` bits; a pair that is near both ways occurs twice.
    ///
    /// This is multi-index hashing (Norouzi, Punjani and Fleet, "Fast Search in Hamming Space with
    /// Multi-Index Hashing", 2012). Hashes are cut into `m` pieces; if two hashes differ in at most
    /// `radius` bits, then at least one of their pieces differs in at most `radius / m` bits. For
    /// each piece in turn, the hashes of one split are put into a table indexed by that piece, and
    /// the others look up the few values near theirs. The number of pieces follows from the number
    /// of images. A table that does not fit into memory is made block by block, for as many queries
    /// as fit.
    ///
    /// # Errors
    /// Fails if the disk or `found` does.
    pub fn for_each_candidate(
        &self,
        radius: u32,
        found: &mut impl FnMut(Candidate) -> Result<()>,
    ) -> Result<()> {
        let max_queries = self.scratch.room(2, size_of::<[u64; 2]>()) as u64;
        let max_hits = self.scratch.room(1, size_of::<Hit>());
        self.for_each_look_up(radius, |look_up, blocks, queries| {
            let (mut start, mut count) = (queries.start, max_queries);
            while start < queries.end {
                let batch = self.rows.read(start..queries.end.min(start + count))?;
                match look_up.hits(blocks, &batch, max_hits)? {
                    Some(hits) => {
                        hits.iter()
                            .try_for_each(|hit| found(hit.candidate(batch[hit.query as usize])))?;
                        start += batch.len() as u64;
                        count = max_queries.min(2 * count);
                    }
                    None if batch.len() > 1 => count = batch.len() as u64 / 2,
                    None => {
                        look_up.hits_one_by_one(blocks, batch[0], found)?;
                        start += 1;
                    }
                }
            }
            Ok(())
        })
    }

    /// The number of candidates at each distance up to `radius`.
    ///
    /// # Errors
    /// Fails where the disk does.
    pub fn count_by_distance(&self, radius: u32) -> Result<Counts> {
        let max_queries = self.scratch.room(1, size_of::<[u64; 2]>());
        let mut counts = Counts::default();
        self.for_each_look_up(radius, |look_up, blocks, queries| {
            for block in 0..blocks.count() {
                let table = blocks.table(block)?;
                for start in queries.clone().step_by(max_queries) {
                    let batch =
                        self.rows.read(start..queries.end.min(start + max_queries as u64))?;
                    counts = sum(counts, look_up.count(table, &batch));
                }
            }
            Ok(())
        })?;
        Ok(counts)
    }

    /// Visits all pieces of all tables, each with the queries of one other split after the other.
    fn for_each_look_up(
        &self,
        radius: u32,
        mut use_it: impl FnMut(&LookUp, &mut Blocks, Range<u64>) -> Result<()>,
    ) -> Result<()> {
        for (at, table) in self.splits.iter().enumerate() {
            let pieces = pieces((table.end - table.start) as usize, radius);
            for (number, piece) in pieces.iter().enumerate() {
                let look_up = LookUp {
                    piece: *piece,
                    earlier: &pieces[..number],
                    flips: ball(piece.bits, piece.reach),
                    radius,
                };
                let mut blocks = Blocks {
                    rows: &self.rows,
                    table: table.clone(),
                    piece: *piece,
                    len: self.scratch.room(3, size_of::<Entry>()) as u64,
                    made: None,
                };
                self.splits[at + 1..]
                    .iter()
                    .try_for_each(|queries| use_it(&look_up, &mut blocks, queries.clone()))?;
            }
        }
        Ok(())
    }
}

/// How queries search the table of one piece.
struct LookUp<'a> {
    piece: Piece,
    /// Pairs that these pieces find are not reported again.
    earlier: &'a [Piece],
    flips: Vec<u32>,
    radius: u32,
}

/// The result of a look-up. Ordered by queries, and by what they look up; blocks are in the order
/// of rows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Hit {
    /// Index of the query in its batch.
    query: u32,
    mirrored: bool,
    /// Index of the flip.
    flip: u32,
    row: u32,
    hash_distance: u32,
}

impl Hit {
    fn candidate(&self, query: [u64; 2]) -> Candidate {
        let row = query[0] as u32;
        Candidate {
            row: row.min(self.row),
            other_row: row.max(self.row),
            mirrored: self.mirrored,
            hash_distance: self.hash_distance,
        }
    }
}

const BOTH_WAYS: [(bool, u64); 2] = [(false, 0), (true, MIRRORED_BITS)];

impl LookUp<'_> {
    /// Rows of the table whose piece equals that of `hash` with `flip` applied, and their distance.
    fn near<'t>(
        &'t self,
        table: &'t Table,
        hash: u64,
        flip: u32,
    ) -> impl Iterator<Item = (u32, u32)> + 't {
        table.around(self.piece.of(hash) ^ flip).iter().filter_map(move |(other_hash, other)| {
            let differing = hash ^ other_hash;
            let hash_distance = differing.count_ones();
            let is_of_this_look_up = self.piece.of(differing) == flip;
            let is_new =
                || self.earlier.iter().all(|piece| piece.of(differing).count_ones() > piece.reach);
            (hash_distance <= self.radius && is_of_this_look_up && is_new())
                .then_some((*other, hash_distance))
        })
    }

    /// What the queries find in all blocks, in order; `None` if that is more than `max_hits`.
    fn hits(
        &self,
        blocks: &mut Blocks,
        queries: &[[u64; 2]],
        max_hits: usize,
    ) -> Result<Option<Vec<Hit>>> {
        let count = AtomicUsize::new(0);
        let mut hits = Vec::new();
        for block in 0..blocks.count() {
            let table = blocks.table(block)?;
            let of_chunk = |(chunk, queries): (usize, &[[u64; 2]])| {
                let mut hits = Vec::new();
                for (at, [_, hash]) in queries.iter().enumerate() {
                    let query = (chunk * QUERIES_AT_A_TIME + at) as u32;
                    for (mirrored, mirroring) in BOTH_WAYS {
                        for (number, flip) in self.flips.iter().enumerate() {
                            for (row, hash_distance) in self.near(table, hash ^ mirroring, *flip) {
                                if count.fetch_add(1, Ordering::Relaxed) >= max_hits {
                                    return None;
                                }
                                hits.push(Hit {
                                    query,
                                    mirrored,
                                    flip: number as u32,
                                    row,
                                    hash_distance,
                                });
                            }
                        }
                    }
                }
                Some(hits)
            };
            let of_block: Option<Vec<Vec<Hit>>> =
                queries.par_chunks(QUERIES_AT_A_TIME).enumerate().map(of_chunk).collect();
            let Some(of_block) = of_block else { return Ok(None) };
            hits.extend(of_block.into_iter().flatten());
        }
        hits.sort_unstable();
        Ok(Some(hits))
    }

    /// Reports what a query finds, in order, if it is too much to hold.
    fn hits_one_by_one(
        &self,
        blocks: &mut Blocks,
        query: [u64; 2],
        found: &mut impl FnMut(Candidate) -> Result<()>,
    ) -> Result<()> {
        for (mirrored, mirroring) in BOTH_WAYS {
            for (number, flip) in self.flips.iter().enumerate() {
                for block in 0..blocks.count() {
                    for (row, hash_distance) in
                        self.near(blocks.table(block)?, query[1] ^ mirroring, *flip)
                    {
                        found(
                            Hit { query: 0, mirrored, flip: number as u32, row, hash_distance }
                                .candidate(query),
                        )?;
                    }
                }
            }
        }
        Ok(())
    }

    /// How many candidates the queries find in a table, by distance.
    fn count(&self, table: &Table, queries: &[[u64; 2]]) -> Counts {
        let of_chunk = |queries: &[[u64; 2]]| {
            let mut counts = Counts::default();
            for [_, hash] in queries {
                for (_, mirroring) in BOTH_WAYS {
                    for flip in &self.flips {
                        self.near(table, hash ^ mirroring, *flip)
                            .for_each(|(_, hash_distance)| counts[hash_distance as usize] += 1);
                    }
                }
            }
            counts
        };
        queries.par_chunks(QUERIES_AT_A_TIME).map(of_chunk).reduce(Counts::default, sum)
    }
}

fn sum(a: Counts, b: Counts) -> Counts {
    std::array::from_fn(|distance| a[distance] + b[distance])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An image with its hash.
    #[derive(Clone, Copy, Debug)]
    struct Hashed {
        split: Split,
        hash: u64,
    }

    /// The candidates, in order, found with this much memory.
    fn found(images: &[Hashed], radius: u32, memory_bytes: usize) -> Vec<Candidate> {
        let mut index = HashIndexBuilder::new(&Scratch::new(std::env::temp_dir(), memory_bytes));
        (0..)
            .zip(images)
            .for_each(|(row, image)| index.push(image.split, row, image.hash).unwrap());
        let index = index.finish().unwrap();
        let mut all = Vec::new();
        index
            .for_each_candidate(radius, &mut |candidate| {
                all.push(candidate);
                Ok(())
            })
            .unwrap();
        let mut counts = Counts::default();
        all.iter().for_each(|candidate| counts[candidate.hash_distance as usize] += 1);
        assert_eq!(index.count_by_distance(radius).unwrap(), counts);
        all
    }

    fn by_brute_force(images: &[Hashed], radius: u32) -> Vec<Candidate> {
        let mut all = Vec::new();
        for (row, a) in images.iter().enumerate() {
            for (other_row, b) in images
                .iter()
                .enumerate()
                .skip(row + 1)
                .filter(|(_, b)| b.split != a.split && a.hash != 0 && b.hash != 0)
            {
                for (mirrored, flip) in [(false, 0), (true, MIRRORED_BITS)] {
                    let hash_distance = (a.hash ^ b.hash ^ flip).count_ones();
                    if hash_distance <= radius {
                        all.push(Candidate {
                            row: row as u32,
                            other_row: other_row as u32,
                            mirrored,
                            hash_distance,
                        });
                    }
                }
            }
        }
        all.sort_unstable();
        all
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Hashes derived from a few origins by flipping some bits, so that all distances occur.
        #[test]
        fn the_search_finds_what_brute_force_does(
            origins in prop::collection::vec(any::<u64>(), 1..6),
            images in prop::collection::vec(
                (0usize..6, 0usize..3, prop::collection::vec(0u32..64, 0..14), any::<bool>()),
                0..300,
            ),
            radius in 0u32..=16,
        ) {
            let images: Vec<Hashed> = images
                .into_iter()
                .map(|(origin, split, flips, mirrored)| {
                    let origin = origins[origin % origins.len()]
                        ^ if mirrored { MIRRORED_BITS } else { 0 };
                    let hash = flips.into_iter().fold(origin, |hash, bit| hash ^ 1 << bit);
                    Hashed { split: Split::ALL[split], hash }
                })
                .collect();
            let mut all = found(&images, radius, usize::MAX);
            for memory_bytes in [1_500, 20_000] {
                let found = found(&images, radius, memory_bytes);
                prop_assert_eq!(&found, &all, "{} bytes", memory_bytes);
            }
            all.sort_unstable();
            prop_assert_eq!(all, by_brute_force(&images, radius));
        }
    }

    #[test]
    fn the_radius_shrinks_as_images_grow() {
        assert_eq!(
            [1, 800, 4_148, 10_000, 100_000, 1_000_000, 10_000_000]
                .map(|images| radius(images, 1.0)),
            [16, 16, 13, 12, 9, 5, 2]
        );
        assert_eq!(
            [1, 4_148, 10_000, 1_000_000].map(|images| radius(images, 8.0)),
            [16, 16, 15, 8]
        );
    }
}
