//! The pairs that were found.

use ossify_contract::{LeakTier, Result};

use super::scratch::Scratch;
use super::sorted::{Sorted, Sorter};
use super::{Alike, LeakCounts, LeakPair};

/// The pairs that join rows, as many as there may be.
pub(super) struct Pairs {
    sorter: Sorter<3>,
    /// How many of each tier.
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

const TIERS: [LeakTier; 3] = [LeakTier::SameBytes, LeakTier::SamePixels, LeakTier::Near];

impl LeakPair {
    /// In order of the rows.
    pub(super) fn record(&self) -> [u64; 3] {
        let alike = self.alike.unwrap_or(Alike {
            correlation: 0.0,
            rotation_degrees: 0.0,
            mirrored: false,
        });
        [
            u64::from(self.row) << 32 | u64::from(self.other_row),
            u64::from(self.hash_distance) << 16 | u64::from(alike.mirrored) << 8 | self.tier as u64,
            u64::from(alike.correlation.to_bits()) << 32
                | u64::from(alike.rotation_degrees.to_bits()),
        ]
    }

    pub(super) fn read([rows, kind, alike]: [u64; 3]) -> Self {
        let tier = TIERS[(kind & 0xff) as usize % TIERS.len()];
        let mirrored = kind >> 8 & 1 == 1;
        let alike = Alike {
            correlation: f32::from_bits((alike >> 32) as u32),
            rotation_degrees: f32::from_bits(alike as u32),
            mirrored,
        };
        LeakPair {
            row: (rows >> 32) as u32,
            other_row: rows as u32,
            tier,
            hash_distance: (kind >> 16) as u32,
            // Of the others it is not known.
            alike: (tier == LeakTier::Near).then_some(alike),
        }
    }
}
