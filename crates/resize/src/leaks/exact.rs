//! Finds pairs of images in different splits whose bytes or pixels are the same.

use ossify_contract::{LeakTier, Result};

use super::groups::Groups;
use super::image_hashes::ImageHashes;
use super::pair::LeakPair;
use super::pairs::Pairs;
use super::sorted::Sorted;

/// One of a row's hashes, with the other data that the search needs.
#[derive(Clone, Copy)]
pub(super) struct HashedRow {
    hash: u64,
    pub(super) row: u32,
    /// Index of the split.
    pub(super) split: usize,
    pub(super) perceptual_hash: u64,
}

impl HashedRow {
    pub(super) fn new(hash: u64, row: u32, hashes: &ImageHashes) -> Self {
        HashedRow {
            hash,
            row,
            split: hashes.split as usize,
            perceptual_hash: hashes.perceptual_hash,
        }
    }

    /// As a record that sorts by hash and row.
    pub(super) fn record(self) -> [u64; 3] {
        [self.hash, u64::from(self.row) << 2 | self.split as u64, self.perceptual_hash]
    }

    fn read([hash, row_and_split, perceptual_hash]: [u64; 3]) -> Self {
        HashedRow {
            hash,
            row: (row_and_split >> 2) as u32,
            split: (row_and_split & 3) as usize,
            perceptual_hash,
        }
    }
}

/// Joins rows with the same hash, and adds the pairs that join them: `n - 1` pairs for `n` rows
/// that span splits, so that a thousand copies are a thousand pairs, not a million. `each` is
/// called with every row, and with the previous row of the same hash and split.
pub(super) fn join_same(
    tier: LeakTier,
    rows: &Sorted<3>,
    groups: &mut Groups,
    pairs: &mut Pairs,
    mut each: impl FnMut(&HashedRow, Option<u32>) -> Result<()>,
) -> Result<()> {
    // A second reader is ahead by the rows of one hash, which may be too many to hold.
    let mut ahead = rows.iter().map(|record| record.map(HashedRow::read)).peekable();
    let mut rows = rows.iter().map(|record| record.map(HashedRow::read));
    while let Some(first) = ahead.next().transpose()? {
        let (mut count, mut foreign) = (1, None);
        while let Some(same) = ahead
            .next_if(|next| next.as_ref().is_ok_and(|next| next.hash == first.hash))
            .transpose()?
        {
            count += 1;
            foreign = foreign.or((same.split != first.split).then_some(same));
        }
        let mut last_of_split = [None; 4];
        for row in rows.by_ref().take(count) {
            let row = row?;
            each(&row, last_of_split[row.split].replace(row.row))?;
            let Some(foreign) = foreign.filter(|_| row.row != first.row) else { continue };
            let other = if row.split == first.split { foreign } else { first };
            if groups.join(other.row, row.row)? {
                let hash_distance = (row.perceptual_hash ^ other.perceptual_hash).count_ones();
                pairs.push(LeakPair {
                    row: row.row.min(other.row),
                    other_row: row.row.max(other.row),
                    tier,
                    hash_distance,
                    alignment: None,
                })?;
            }
        }
    }
    Ok(())
}
