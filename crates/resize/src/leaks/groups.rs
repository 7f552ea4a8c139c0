//! Disjoint sets of rows, joined one pair at a time.

use ossify_contract::Result;

use super::row_table::RowTable;
use super::scratch::Scratch;

/// Disjoint sets over rows.
pub(super) struct Groups {
    /// A row's parent plus 1; the parent is never a later row. 0 for a row that was never joined.
    parents: RowTable,
}

impl Groups {
    pub(super) fn new(scratch: &Scratch) -> Self {
        Groups { parents: RowTable::new(scratch) }
    }

    /// The representative of the set of `row`: its first row.
    pub(super) fn first_of(&mut self, row: u32) -> Result<u32> {
        let mut at = row;
        while let Some(parent) = self.parents.get(at)?.checked_sub(1).filter(|parent| *parent != at)
        {
            at = parent;
        }
        Ok(at)
    }

    /// Joins the sets of two rows; returns whether they were separate.
    pub(super) fn join(&mut self, a: u32, b: u32) -> Result<bool> {
        let (a_first, b_first) = (self.first_of(a)?, self.first_of(b)?);
        let first = a_first.min(b_first);
        // Path compression.
        for row in [a, b] {
            let mut next = Some(row);
            while let Some(at) = next {
                next = self.parents.get(at)?.checked_sub(1).filter(|parent| *parent != at);
                self.parents.set(at, first + 1)?;
            }
        }
        Ok(a_first != b_first)
    }

    /// Numbers the sets from 0 in order of their first rows; all joined rows must be below `rows`.
    pub(super) fn numbered(self, rows: u32) -> Result<NumberedGroups> {
        let mut numbered = NumberedGroups { numbers: self.parents, groups: 0, images: 0 };
        for row in 0..rows {
            let Some(parent) = numbered.numbers.get(row)?.checked_sub(1) else { continue };
            // The parent came before, and already holds the set's number instead of its own parent.
            let number = if parent == row {
                numbered.groups as u32
            } else {
                numbered.numbers.get(parent)? - 1
            };
            numbered.groups += usize::from(parent == row);
            numbered.images += 1;
            numbered.numbers.set(row, number + 1)?;
        }
        Ok(numbered)
    }
}

/// The numbers of the sets.
pub(super) struct NumberedGroups {
    /// The number of a row's set plus 1; 0 for a row that was never joined.
    numbers: RowTable,
    /// Number of sets.
    pub(super) groups: usize,
    /// Number of rows in sets.
    pub(super) images: usize,
}

impl NumberedGroups {
    pub(super) fn of(&mut self, row: u32) -> Result<Option<i32>> {
        Ok(self.numbers.get(row)?.checked_sub(1).map(|number| number as i32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups() -> Groups {
        Groups::new(&Scratch::new("/nonexistent", usize::MAX))
    }

    fn numbers(groups: Groups, rows: u32) -> Vec<(u32, i32)> {
        let mut numbered = groups.numbered(rows).unwrap();
        (0..rows).filter_map(|row| Some((row, numbered.of(row).unwrap()?))).collect()
    }

    #[test]
    fn sets_are_numbered_in_order_of_their_first_rows() {
        let mut groups = groups();
        for (a, b, were_apart) in
            [(9, 4, true), (7, 2, true), (4, 11, true), (9, 11, false), (5, 7, true), (8, 9, true)]
        {
            assert_eq!(groups.join(a, b).unwrap(), were_apart, "{a} {b}");
        }
        assert_eq!(groups.first_of(3).unwrap(), 3);
        assert_eq!(numbers(groups, 12), [(2, 0), (4, 1), (5, 0), (7, 0), (8, 1), (9, 1), (11, 1)]);
    }

    #[test]
    fn a_long_chain_is_one_set() {
        let mut groups = groups();
        (0..10_000).rev().for_each(|row| assert!(groups.join(row, row + 1).unwrap()));
        assert!(numbers(groups, 10_001).iter().all(|(_, number)| *number == 0));
    }
}
