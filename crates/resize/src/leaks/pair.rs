//! Two images that show the same picture.

use ossify_contract::{LeakRow, LeakTier, Split};

use super::alignment::Alignment;

/// Two images of different splits that show the same picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LeakPair {
    /// The row that comes first.
    pub row: u32,
    /// The other row.
    pub other_row: u32,
    /// How similar they are.
    pub tier: LeakTier,
    /// Number of bits in which the perceptual hashes differ, either directly or with one picture
    /// mirrored.
    pub hash_distance: u32,
    /// The alignment of the other with the first, for near pairs.
    pub alignment: Option<Alignment>,
}

impl LeakPair {
    /// The row of the table `leaks`; `image` and `other` are the ids and splits of the pair's rows.
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
            correlation: self.alignment.map(|alignment| alignment.correlation),
            rotation_degrees: self.alignment.map(|alignment| alignment.rotation_degrees),
            mirrored: self.alignment.is_some_and(|alignment| alignment.mirrored),
        }
    }
}

const TIERS: [LeakTier; 3] = [LeakTier::SameBytes, LeakTier::SamePixels, LeakTier::Near];

impl LeakPair {
    /// As a record that sorts by rows.
    pub(super) fn record(&self) -> [u64; 3] {
        let alignment = self.alignment.unwrap_or(Alignment {
            correlation: 0.0,
            rotation_degrees: 0.0,
            mirrored: false,
        });
        [
            u64::from(self.row) << 32 | u64::from(self.other_row),
            u64::from(self.hash_distance) << 16
                | u64::from(alignment.mirrored) << 8
                | self.tier as u64,
            u64::from(alignment.correlation.to_bits()) << 32
                | u64::from(alignment.rotation_degrees.to_bits()),
        ]
    }

    pub(super) fn read([rows, kind, alignment]: [u64; 3]) -> Self {
        let tier = TIERS[(kind & 0xff) as usize % TIERS.len()];
        let mirrored = kind >> 8 & 1 == 1;
        let alignment = Alignment {
            correlation: f32::from_bits((alignment >> 32) as u32),
            rotation_degrees: f32::from_bits(alignment as u32),
            mirrored,
        };
        LeakPair {
            row: (rows >> 32) as u32,
            other_row: rows as u32,
            tier,
            hash_distance: (kind >> 16) as u32,
            // Unknown for the other tiers.
            alignment: (tier == LeakTier::Near).then_some(alignment),
        }
    }
}
