//! Candidates on their way to pairs.

use std::collections::HashMap;

use ossify_contract::{LeakTier, Result};
use rayon::prelude::*;

use super::alike::{Alike, MIN_CORRELATION, lay_on};
use super::candidates::Candidate;
use super::groups::Groups;
use super::pair::LeakPair;
use super::pairs::Pairs;
use super::picture::Picture;
use super::row_table::RowTable;
use super::scratch::Scratch;
use super::sorted::Sorter;

/// Candidates that are looked at together, on all threads; each has two pictures of up to 100 KB in
/// memory.
pub(super) const BATCH: usize = 128;

/// Which rows of a split have the same pixels. One of them stands for all in the search.
pub(super) struct Repeats {
    /// The next row of the same pixels and split, or 0.
    next: RowTable,
}

impl Repeats {
    pub(super) fn new(scratch: &Scratch) -> Self {
        Repeats { next: RowTable::new(scratch) }
    }

    /// The row has the pixels of an earlier one, which is the last so far.
    pub(super) fn add(&mut self, earlier: u32, row: u32) -> Result<()> {
        self.next.set(earlier, row)
    }

    /// The row that comes after `row`.
    fn after(&mut self, row: u32) -> Result<Option<u32>> {
        Ok(Some(self.next.get(row)?).filter(|next| *next != 0))
    }
}

/// Looks at candidates.
pub(super) struct Near<'a, P> {
    picture: &'a P,
    groups: &'a mut Groups,
    pairs: &'a mut Pairs,
    repeats: &'a mut Repeats,
    /// Pairs of rows that stand for others, each behind its number in the order in which they were
    /// found.
    for_repeats: Sorter<4>,
    waiting: Vec<Candidate>,
    candidates: u64,
}

impl<'a, P: Fn(usize) -> Result<Picture> + Sync> Near<'a, P> {
    pub(super) fn new(
        picture: &'a P,
        groups: &'a mut Groups,
        pairs: &'a mut Pairs,
        repeats: &'a mut Repeats,
        scratch: &Scratch,
    ) -> Self {
        Near {
            picture,
            groups,
            pairs,
            repeats,
            for_repeats: Sorter::new(scratch),
            waiting: Vec::new(),
            candidates: 0,
        }
    }

    pub(super) fn take(&mut self, candidate: Candidate) -> Result<()> {
        self.candidates += 1;
        // Of hundreds of views of one picture each is looked at a few times, not hundreds of times.
        if self.groups.first_of(candidate.row)? != self.groups.first_of(candidate.other_row)? {
            self.waiting.push(candidate);
            if self.waiting.len() == BATCH {
                self.look_at_waiting()?;
            }
        }
        Ok(())
    }

    fn look_at_waiting(&mut self) -> Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        let mut rows: Vec<u32> =
            waiting.iter().flat_map(|candidate| [candidate.row, candidate.other_row]).collect();
        rows.sort_unstable();
        rows.dedup();
        let pictures: Result<Vec<(u32, Picture)>> =
            rows.par_iter().map(|row| Ok((*row, (self.picture)(*row as usize)?))).collect();
        let pictures: HashMap<u32, Picture> = pictures?.into_iter().collect();
        let lie_on: Vec<Option<Alike>> = waiting
            .par_iter()
            .map(|candidate| {
                lay_on(
                    pictures.get(&candidate.row)?,
                    pictures.get(&candidate.other_row)?,
                    candidate.mirrored,
                )
            })
            .collect();
        for (candidate, alike) in waiting.iter().zip(lie_on) {
            let Some(alike) = alike.filter(|alike| alike.correlation >= MIN_CORRELATION) else {
                continue;
            };
            let Candidate { row, other_row, hash_distance, .. } = *candidate;
            if self.groups.join(row, other_row)? {
                let pair = LeakPair {
                    row,
                    other_row,
                    tier: LeakTier::Near,
                    hash_distance,
                    alike: Some(alike),
                };
                if self.repeats.after(row)?.is_some() || self.repeats.after(other_row)?.is_some() {
                    let [rows, kind, alike] = pair.record();
                    self.for_repeats.push([self.pairs.counts.near as u64, rows, kind, alike])?;
                }
                self.pairs.push(pair)?;
            }
        }
        Ok(())
    }

    /// Looks at the last ones. What was found of a row then holds for the rows of its split that
    /// have the same pixels. How many candidates there were.
    pub(super) fn finish(mut self) -> Result<u64> {
        self.look_at_waiting()?;
        for found in self.for_repeats.finish()?.iter() {
            let [_, rows, kind, alike] = found?;
            let pair = LeakPair::read([rows, kind, alike]);
            for (row, other_row) in [(pair.row, pair.other_row), (pair.other_row, pair.row)] {
                let mut at = row;
                while let Some(repeat) = self.repeats.after(at)? {
                    at = repeat;
                    if self.groups.join(repeat, other_row)? {
                        // The turn is measured from the row that comes first.
                        let is_same_order = (repeat < other_row) == (row < other_row);
                        let alike = if is_same_order {
                            pair.alike
                        } else {
                            pair.alike.map(Alike::seen_from_the_other)
                        };
                        self.pairs.push(LeakPair {
                            row: repeat.min(other_row),
                            other_row: repeat.max(other_row),
                            alike,
                            ..pair
                        })?;
                    }
                }
            }
        }
        Ok(self.candidates)
    }
}
