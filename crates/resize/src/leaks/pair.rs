//! Two images that show the same picture.

use ossify_contract::{LeakRow, LeakTier, Split};

use super::alike::Alike;

/// Two images of different splits that show the same picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LeakPair {
    /// The row that comes first.
    pub row: u32,
    /// The other row.
    pub other_row: u32,
    /// How alike they are.
    pub tier: LeakTier,
    /// Bits in which the perceptual hashes differ, as they stand or with one picture mirrored.
    pub hash_distance: u32,
    /// How the other lies on the first, for near pairs.
    pub alike: Option<Alike>,
}

impl LeakPair {
    /// The row of the table `leaks`; `image` and `other` are id and split of the pair's rows.
    pub fn row(
        &self,
        leak_group: i32,
        (image_id, split): (String, Split),
        (other_image_id, other_split): (String, Split),
    ) -> LeakRow {
        LeakRow {
            leak_group,
            tier: self.tier,
            image_id,
            split,
            other_image_id,
            other_split,
            hash_distance: self.hash_distance as i32,
            correlation: self.alike.map(|alike| alike.correlation),
            rotation_degrees: self.alike.map(|alike| alike.rotation_degrees),
            mirrored: self.alike.is_some_and(|alike| alike.mirrored),
        }
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
