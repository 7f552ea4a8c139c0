use std::collections::HashMap;

use ossify_contract::{FingerprintRow, Split};
use serde::Serialize;

/// What spans several splits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Leaks {
    /// Groups of images that are the same and stand in more than one split.
    pub(crate) groups: usize,
    /// Those of them that have byte-identical files in two splits; in the others only the pixels are the same.
    pub(crate) groups_with_same_bytes: usize,
    /// Images in these groups.
    pub(crate) images: usize,
}

/// Gives each group of images with the same pixels that spans several splits a number, from 0 in the
/// order of the rows. Byte-identical files have the same pixels, so that they are among them.
pub(crate) fn mark_leaks(rows: &mut [FingerprintRow]) -> Leaks {
    let mut by_pixels: HashMap<u64, Vec<usize>> = HashMap::new();
    for (at, row) in rows.iter().enumerate() {
        by_pixels.entry(row.pixels_xxh3).or_default().push(at);
    }
    let spans_splits = |members: &[usize]| members.iter().any(|at| rows[*at].split != rows[members[0]].split);
    let mut groups: Vec<Vec<usize>> = by_pixels.into_values().filter(|members| spans_splits(members)).collect();
    groups.sort();
    let mut leaks = Leaks::default();
    for (number, members) in groups.iter().enumerate() {
        let mut first_split: HashMap<u64, Split> = HashMap::new();
        let same_bytes = members.iter().any(|at| *first_split.entry(rows[*at].bytes_xxh3).or_insert(rows[*at].split) != rows[*at].split);
        leaks.groups += 1;
        leaks.groups_with_same_bytes += usize::from(same_bytes);
        leaks.images += members.len();
        for at in members {
            rows[*at].leak_group = i32::try_from(number).ok();
        }
    }
    leaks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(split: Split, bytes_xxh3: u64, pixels_xxh3: u64) -> FingerprintRow {
        FingerprintRow { image_id: String::new(), split, bytes_xxh3, pixels_xxh3, perceptual_hash: 0, leak_group: None }
    }

    #[test]
    fn groups_are_numbered_in_order_and_copies_within_a_split_are_none() {
        let mut rows = vec![
            row(Split::Train, 1, 10),
            row(Split::Train, 2, 20),
            row(Split::Train, 3, 30),
            row(Split::Train, 3, 30),
            row(Split::Valid, 2, 20),
            row(Split::Test, 9, 10),
            row(Split::Test, 8, 80),
        ];
        let leaks = mark_leaks(&mut rows);
        assert_eq!(leaks, Leaks { groups: 2, groups_with_same_bytes: 1, images: 4 });
        assert_eq!(rows.iter().map(|row| row.leak_group).collect::<Vec<_>>(), [Some(0), Some(1), None, None, Some(1), Some(0), None]);
    }
}
