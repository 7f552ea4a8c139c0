//! Compares candidates to find pairs.

use std::collections::HashMap;

use ossify_contract::{LeakTier, Result};
use rayon::prelude::*;

use super::alignment::{Alignment, MIN_CORRELATION, align};
use super::candidates::Candidate;
use super::groups::Groups;
use super::pair::LeakPair;
use super::pairs::Pairs;
use super::picture::Picture;
use super::row_table::RowTable;
use super::scratch::Scratch;
use super::sorted::Sorter;

/// Number of candidates that are compared together, on all threads; each has two pictures of up to
/// 100 KB in memory.
pub(super) const BATCH: usize = 128;

/// Which rows of a split have the same pixels. One of them represents all in the search.
pub(super) struct DuplicateRows {
    /// The next row with the same pixels and split, or 0.
    next: RowTable,
}

impl DuplicateRows {
    pub(super) fn new(scratch: &Scratch) -> Self {
        DuplicateRows { next: RowTable::new(scratch) }
    }

    /// Adds a row with the same pixels as an earlier one, which is the last so far.
    pub(super) fn add(&mut self, earlier: u32, row: u32) -> Result<()> {
        self.next.set(earlier, row)
    }

    /// The row that comes after `row`.
    fn after(&mut self, row: u32) -> Result<Option<u32>> {
        Ok(Some(self.next.get(row)?).filter(|next| *next != 0))
    }
}

/// Compares candidates.
pub(super) struct Near<'a, P> {
    picture: &'a P,
    groups: &'a mut Groups,
    pairs: &'a mut Pairs,
    duplicates: &'a mut DuplicateRows,
    /// Pairs of rows that represent others, each with its number in the order in which they were
    /// found.
    for_duplicates: Sorter<4>,
    waiting: Vec<Candidate>,
    candidates: u64,
}

impl<'a, P: Fn(usize) -> Result<Picture> + Sync> Near<'a, P> {
    pub(super) fn new(
        picture: &'a P,
        groups: &'a mut Groups,
        pairs: &'a mut Pairs,
        duplicates: &'a mut DuplicateRows,
        scratch: &Scratch,
    ) -> Self {
        Near {
            picture,
            groups,
            pairs,
            duplicates,
            for_duplicates: Sorter::new(scratch),
            waiting: Vec::new(),
            candidates: 0,
        }
    }

    pub(super) fn take(&mut self, candidate: Candidate) -> Result<()> {
        self.candidates += 1;
        // Among hundreds of views of one picture, each is compared a few times, not hundreds of
        // times.
        if self.groups.first_of(candidate.row)? != self.groups.first_of(candidate.other_row)? {
            self.waiting.push(candidate);
            if self.waiting.len() == BATCH {
                self.compare_waiting()?;
            }
        }
        Ok(())
    }

    fn compare_waiting(&mut self) -> Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        let mut rows: Vec<u32> =
            waiting.iter().flat_map(|candidate| [candidate.row, candidate.other_row]).collect();
        rows.sort_unstable();
        rows.dedup();
        let pictures: Result<Vec<(u32, Picture)>> =
            rows.par_iter().map(|row| Ok((*row, (self.picture)(*row as usize)?))).collect();
        let pictures: HashMap<u32, Picture> = pictures?.into_iter().collect();
        let alignments: Vec<Option<Alignment>> = waiting
            .par_iter()
            .map(|candidate| {
                align(
                    pictures.get(&candidate.row)?,
                    pictures.get(&candidate.other_row)?,
                    candidate.mirrored,
                )
            })
            .collect();
        for (candidate, alignment) in waiting.iter().zip(alignments) {
            let is_similar = |alignment: &Alignment| alignment.correlation >= MIN_CORRELATION;
            let Some(alignment) = alignment.filter(is_similar) else { continue };
            let Candidate { row, other_row, hash_distance, .. } = *candidate;
            if self.groups.join(row, other_row)? {
                let pair = LeakPair {
                    row,
                    other_row,
                    tier: LeakTier::Near,
                    hash_distance,
                    alignment: Some(alignment),
                };
                if self.duplicates.after(row)?.is_some()
                    || self.duplicates.after(other_row)?.is_some()
                {
                    let [rows, kind, alignment] = pair.record();
                    self.for_duplicates.push([
                        self.pairs.counts.near as u64,
                        rows,
                        kind,
                        alignment,
                    ])?;
                }
                self.pairs.push(pair)?;
            }
        }
        Ok(())
    }

    /// Compares the last candidates, and extends what was found about a row to the rows of its
    /// split with the same pixels. Returns the number of candidates.
    pub(super) fn finish(mut self) -> Result<u64> {
        self.compare_waiting()?;
        for found in self.for_duplicates.finish()?.iter() {
            let [_, rows, kind, alignment] = found?;
            let pair = LeakPair::read([rows, kind, alignment]);
            for (row, other_row) in [(pair.row, pair.other_row), (pair.other_row, pair.row)] {
                let mut at = row;
                while let Some(repeat) = self.duplicates.after(at)? {
                    at = repeat;
                    if self.groups.join(repeat, other_row)? {
                        // The rotation is measured from the row that comes first.
                        let is_same_order = (repeat < other_row) == (row < other_row);
                        let alignment = if is_same_order {
                            pair.alignment
                        } else {
                            pair.alignment.map(Alignment::inverse)
                        };
                        self.pairs.push(LeakPair {
                            row: repeat.min(other_row),
                            other_row: repeat.max(other_row),
                            alignment,
                            ..pair
                        })?;
                    }
                }
            }
        }
        Ok(self.candidates)
    }
}
