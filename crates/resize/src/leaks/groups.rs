//! Sets of rows that are joined one pair at a time.

use std::collections::HashMap;

/// Disjoint sets over rows; a row that was never joined costs nothing.
#[derive(Default)]
pub(super) struct Groups {
    parents: HashMap<u32, u32>,
}

impl Groups {
    /// The row that stands for the set of `row`: its first.
    pub(super) fn first_of(&self, row: u32) -> u32 {
        let mut at = row;
        while let Some(parent) = self.parents.get(&at).filter(|parent| **parent != at) {
            at = *parent;
        }
        at
    }

    /// Joins the sets of two rows; whether they were apart.
    pub(super) fn join(&mut self, a: u32, b: u32) -> bool {
        let (a_first, b_first) = (self.first_of(a), self.first_of(b));
        let first = a_first.min(b_first);
        self.parents.insert(a_first, first);
        self.parents.insert(b_first, first);
        // Short ways for the next time.
        for row in [a, b] {
            let mut at = row;
            while let Some(parent) = self.parents.insert(at, first).filter(|parent| *parent != at && *parent != first) {
                at = parent;
            }
        }
        a_first != b_first
    }

    /// Each joined row with its set's number, from 0 in order of the sets' first rows; in order of rows.
    pub(super) fn numbered(&self) -> Vec<(u32, i32)> {
        let mut rows: Vec<(u32, u32)> = self.parents.keys().map(|row| (*row, self.first_of(*row))).collect();
        rows.sort_unstable();
        let mut numbers = HashMap::new();
        rows.into_iter()
            .map(|(row, first)| {
                let next = numbers.len() as i32;
                (row, *numbers.entry(first).or_insert(next))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_numbered_in_order_of_their_first_rows() {
        let mut groups = Groups::default();
        for (a, b, were_apart) in [(9, 4, true), (7, 2, true), (4, 11, true), (9, 11, false), (5, 7, true), (8, 9, true)] {
            assert_eq!(groups.join(a, b), were_apart, "{a} {b}");
        }
        assert_eq!(groups.numbered(), [(2, 0), (4, 1), (5, 0), (7, 0), (8, 1), (9, 1), (11, 1)]);
        assert_eq!(groups.first_of(3), 3);
    }

    #[test]
    fn a_long_chain_is_one_set() {
        let mut groups = Groups::default();
        (0..10_000).rev().for_each(|row| assert!(groups.join(row, row + 1)));
        assert!(groups.numbered().iter().all(|(_, number)| *number == 0));
    }
}
