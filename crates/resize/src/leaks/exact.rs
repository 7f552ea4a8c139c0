//! Pairs of different splits whose bytes or pixels are the same.

use ossify_contract::LeakTier;

use super::groups::Groups;
use super::{LeakPair, Print};

/// Joins rows of the same bytes and of the same pixels, and gives the pairs that join them: of `n` rows that
/// span splits `n - 1` pairs, so that a thousand copies are a thousand pairs and not a million. With them come the
/// rows whose pixels an earlier row of their split has, each after that row.
pub(super) fn same_files_and_pixels(prints: &[Print], groups: &mut Groups) -> (Vec<LeakPair>, Vec<(u32, u32)>) {
    let (mut pairs, mut repeats) = (Vec::new(), Vec::new());
    for (tier, hash) in [(LeakTier::SameBytes, (|print| print.bytes_xxh3) as fn(&Print) -> u64), (LeakTier::SamePixels, |print| print.pixels_xxh3)] {
        let mut rows: Vec<(u64, u32)> = prints.iter().enumerate().map(|(row, print)| (hash(print), row as u32)).collect();
        rows.sort_unstable();
        for same in rows.chunk_by(|a, b| a.0 == b.0).filter(|same| same.len() > 1) {
            let split = |row: u32| prints[row as usize].split;
            let first = same[0].1;
            if tier == LeakTier::SamePixels {
                for (at, (_, row)) in same.iter().enumerate().skip(1) {
                    let earlier = same[..at].iter().find(|(_, earlier)| split(*earlier) == split(*row));
                    repeats.extend(earlier.map(|(_, earlier)| (*earlier, *row)));
                }
            }
            let Some((_, foreign)) = same.iter().find(|(_, row)| split(*row) != split(first)) else { continue };
            for (_, row) in &same[1..] {
                let (a, b) = if split(*row) == split(first) { (*foreign, *row) } else { (first, *row) };
                if groups.join(a, b) {
                    let hash_distance = (prints[a as usize].perceptual_hash ^ prints[b as usize].perceptual_hash).count_ones();
                    pairs.push(LeakPair { row: a.min(b), other_row: a.max(b), tier, hash_distance, alike: None });
                }
            }
        }
    }
    repeats.sort_unstable();
    (pairs, repeats)
}
