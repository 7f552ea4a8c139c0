//! Stores the pairs that were found.

use ossify_contract::{LeakCounts, LeakTier, Result};

use super::pair::LeakPair;
use super::scratch::Scratch;
use super::sorted::{Sorted, Sorter};

/// The pairs that join rows, in any number.
pub(super) struct Pairs {
    sorter: Sorter<3>,
    /// Number of pairs of each tier.
    pub(super) counts: LeakCounts,
}

impl Pairs {
    pub(super) fn new(scratch: &Scratch) -> Self {
        Pairs { sorter: Sorter::new(scratch), counts: LeakCounts::default() }
    }

    pub(super) fn push(&mut self, pair: LeakPair) -> Result<()> {
        *match pair.tier {
            LeakTier::SameBytes => &mut self.counts.same_bytes,
            LeakTier::SamePixels => &mut self.counts.same_pixels,
            LeakTier::Near => &mut self.counts.near,
        } += 1;
        self.sorter.push(pair.record())
    }

    /// All pairs in order of their rows.
    pub(super) fn sorted(self) -> Result<Sorted<3>> {
        self.sorter.finish()
    }
}
