//! Tests the search against plain loops over lists in memory.

use std::sync::LazyLock;

use ossify_contract::{LeakCounts, LeakTier, ShardShape, Split, Transform};
use proptest::prelude::*;

use super::near::BATCH;
use super::pieces::{ball, pieces};
use super::search::find_leaks_within;
use super::*;
use crate::fingerprint::{MIRRORED_BITS, TensorView};

/// Sets of rows, each named by its first row.
struct Sets(Vec<u32>);

impl Sets {
    fn join(&mut self, a: u32, b: u32) -> bool {
        let (a, b) = (self.0[a as usize], self.0[b as usize]);
        self.0.iter_mut().filter(|first| **first == a.max(b)).for_each(|first| *first = a.min(b));
        a != b
    }
}

/// The pairs, the sets that they form, and the number of candidates.
fn by_plain_loops(
    hashes: &[ImageHashes],
    candidates_per_image: f64,
    picture: impl Fn(usize) -> Picture,
) -> (Vec<LeakPair>, Sets, u64) {
    let mut sets = Sets((0..hashes.len() as u32).collect());
    let mut pairs = Vec::new();
    let split = |row: u32| hashes[row as usize].split;
    let perceptual_hash = |row: u32| hashes[row as usize].perceptual_hash;
    for (tier, hash) in [
        (LeakTier::SameBytes, (|hashes| hashes.bytes_xxh3) as fn(&ImageHashes) -> u64),
        (LeakTier::SamePixels, |hashes| hashes.pixels_xxh3),
    ] {
        let mut rows: Vec<u32> = (0..hashes.len() as u32).collect();
        rows.sort_by_key(|row| (hash(&hashes[*row as usize]), *row));
        for same in rows.chunk_by(|a, b| hash(&hashes[*a as usize]) == hash(&hashes[*b as usize])) {
            let Some(foreign) = same.iter().find(|row| split(**row) != split(same[0])) else {
                continue;
            };
            for row in &same[1..] {
                let other = if split(*row) == split(same[0]) { *foreign } else { same[0] };
                if sets.join(*row, other) {
                    let hash_distance =
                        (perceptual_hash(*row) ^ perceptual_hash(other)).count_ones();
                    pairs.push(LeakPair {
                        row: other.min(*row),
                        other_row: other.max(*row),
                        tier,
                        hash_distance,
                        alignment: None,
                    });
                }
            }
        }
    }
    let same_before = |row: u32| {
        (0..row).find(|earlier| {
            split(*earlier) == split(row)
                && hashes[*earlier as usize].pixels_xxh3 == hashes[row as usize].pixels_xxh3
        })
    };
    let searched: Vec<u32> = (0..hashes.len() as u32)
        .filter(|row| perceptual_hash(*row) != 0 && same_before(*row).is_none())
        .collect();
    let widest = radius(hashes.len(), candidates_per_image);
    let wanted = (candidates_per_image * hashes.len().max(1000) as f64) as usize;
    let within = |radius: u32| candidates_in_order(&searched, &split, &perceptual_hash, radius);
    let radius = (0..=widest).rev().find(|radius| within(*radius).len() <= wanted).unwrap_or(0);
    let candidates = if candidates_per_image > 0.0 { within(radius) } else { Vec::new() };
    let (mut found, mut waiting) = (Vec::new(), Vec::new());
    for (at, candidate) in candidates.iter().enumerate() {
        if sets.0[candidate.row as usize] != sets.0[candidate.other_row as usize] {
            waiting.push(*candidate);
        }
        if waiting.len() == BATCH || at + 1 == candidates.len() {
            for Candidate { row, other_row, mirrored, hash_distance } in waiting.drain(..) {
                let alignment =
                    align(&picture(row as usize), &picture(other_row as usize), mirrored)
                        .filter(|alignment| alignment.correlation >= MIN_CORRELATION);
                if alignment.is_some() && sets.join(row, other_row) {
                    found.push(LeakPair {
                        row,
                        other_row,
                        tier: LeakTier::Near,
                        hash_distance,
                        alignment,
                    });
                }
            }
        }
    }
    for pair in &found {
        for (row, other) in [(pair.row, pair.other_row), (pair.other_row, pair.row)] {
            for repeat in
                (0..hashes.len() as u32).filter(|repeat| same_before(*repeat) == Some(row))
            {
                if sets.join(repeat, other) {
                    let is_reversed = (repeat < other) != (row < other);
                    let alignment = pair
                        .alignment
                        .map(|alignment| if is_reversed { alignment.inverse() } else { alignment });
                    pairs.push(LeakPair {
                        row: repeat.min(other),
                        other_row: repeat.max(other),
                        alignment,
                        ..*pair
                    });
                }
            }
        }
    }
    pairs.extend(found);
    pairs.sort_by_key(|pair| (pair.row, pair.other_row));
    (pairs, sets, candidates.len() as u64)
}

/// All candidates of the search by hashes, in its order: by table, piece, query, looked-up value
/// and the table's row.
fn candidates_in_order(
    searched: &[u32],
    split: &impl Fn(u32) -> Split,
    hash: &impl Fn(u32) -> u64,
    radius: u32,
) -> Vec<Candidate> {
    let mut splits = Split::ALL
        .map(|its| searched.iter().copied().filter(|row| split(*row) == its).collect::<Vec<u32>>());
    splits.sort_by_key(|rows| std::cmp::Reverse((rows.len(), rows.first().copied())));
    let mut candidates = Vec::new();
    for (at, table) in splits.iter().enumerate() {
        let pieces = pieces(table.len(), radius);
        let balls: Vec<Vec<u32>> =
            pieces.iter().map(|piece| ball(piece.bits, piece.reach)).collect();
        for (query, row) in splits[at + 1..].iter().flatten().enumerate() {
            for other_row in table {
                for mirrored in [false, true] {
                    let differing =
                        hash(*row) ^ hash(*other_row) ^ if mirrored { MIRRORED_BITS } else { 0 };
                    let piece = pieces
                        .iter()
                        .position(|piece| piece.of(differing).count_ones() <= piece.reach);
                    let hash_distance = differing.count_ones();
                    if let Some(piece) = piece.filter(|_| hash_distance <= radius) {
                        let flip = balls[piece]
                            .iter()
                            .position(|flip| *flip == pieces[piece].of(differing));
                        let candidate = Candidate {
                            row: *row.min(other_row),
                            other_row: *row.max(other_row),
                            mirrored,
                            hash_distance,
                        };
                        candidates
                            .push(((at, piece, query, mirrored, flip, *other_row), candidate));
                    }
                }
            }
        }
    }
    candidates.sort_unstable();
    candidates.into_iter().map(|(_, candidate)| candidate).collect()
}

/// Three pictures of blots, and their mirror images.
static PICTURES: LazyLock<Vec<Picture>> = LazyLock::new(|| {
    let side = 112_usize;
    let picture = |seed: usize, mirrored: bool| {
        let mut pixels = Vec::with_capacity(side * side);
        for y in 0..side {
            for x in 0..side {
                let x = if mirrored { side - 1 - x } else { x };
                pixels.push(
                    40 + ((((x / 9 + 1) * (seed * 37 + 11)) ^ ((y / 7 + 3) * (seed * 53 + 29)))
                        * 97
                        % 181) as u8,
                );
            }
        }
        let shape = ShardShape { height: side as u32, width: side as u32, channels: 1 };
        let transform = Transform { scale_x: 1.0, scale_y: 1.0, offset_x: 0.0, offset_y: 0.0 };
        Picture::new(&TensorView {
            pixels: &pixels,
            shape,
            source: (side as u32, side as u32),
            transform,
        })
    };
    (0..6).map(|kind| picture(kind % 3, kind >= 3)).collect()
});

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Hashes are derived from a few origins by flipping some bits, and are independent of the
    /// pictures. Equal bytes with different pixels also occur.
    #[test]
    fn in_little_memory_or_much_it_finds_what_plain_loops_do(
        origins in prop::collection::vec(any::<u64>(), 1..12),
        images in prop::collection::vec(
            (
                0usize..3,
                0u64..300,
                0u64..300,
                (0usize..12, prop::collection::vec(0u32..64, 0..6), any::<bool>()),
                0usize..6,
            ),
            0..250,
        ),
        candidates_per_image in prop::sample::select(vec![0.0, 0.05, 0.3]),
    ) {
        let hashes: Vec<ImageHashes> = images
            .iter()
            .map(|(split, bytes_xxh3, pixels_xxh3, (origin, flips, mirrored), _)| {
                let origin = origins.get(*origin).copied().unwrap_or(0)
                    ^ if *mirrored { MIRRORED_BITS } else { 0 };
                let perceptual_hash = flips.iter().fold(origin, |hash, bit| hash ^ 1 << bit);
                ImageHashes {
                    split: Split::ALL[*split],
                    bytes_xxh3: *bytes_xxh3,
                    pixels_xxh3: *pixels_xxh3,
                    perceptual_hash,
                }
            })
            .collect();
        let picture = |row: usize| PICTURES[images[row].4].clone();
        let (pairs, sets, candidates) = by_plain_loops(&hashes, candidates_per_image, picture);
        let mut numbers = std::collections::HashMap::new();
        let mut members = Vec::new();
        let is_joined = |first: &u32| sets.0.iter().filter(|other| *other == first).count() > 1;
        for (row, first) in sets.0.iter().enumerate().filter(|(_, first)| is_joined(first)) {
            let next = numbers.len() as i32;
            members.push((row as u32, *numbers.entry(*first).or_insert(next)));
        }
        for memory_bytes in [1_500, 30_000, MEMORY_BYTES] {
            let scratch = Scratch::new(std::env::temp_dir(), memory_bytes);
            let leaks = find_leaks_within(
                scratch,
                &hashes,
                candidates_per_image,
                |row| Ok(picture(row)),
            ).unwrap();
            prop_assert_eq!(&leaks.pairs, &pairs, "{} bytes", memory_bytes);
            prop_assert_eq!(&leaks.members, &members);
            prop_assert_eq!(leaks.candidates, candidates);
            let count = |tier: LeakTier| pairs.iter().filter(|pair| pair.tier == tier).count();
            let expected = LeakCounts {
                groups: numbers.len(),
                images: members.len(),
                same_bytes: count(LeakTier::SameBytes),
                same_pixels: count(LeakTier::SamePixels),
                near: count(LeakTier::Near),
            };
            prop_assert_eq!(leaks.counts(), expected);
        }
    }
}
