//! Tables of hashes for look-ups by one piece, in blocks that fit into memory.

use std::ops::Range;

use ossify_contract::Result;

use super::pieces::{Piece, max_bits};
use super::sorted::Sorted;

/// The table of a piece, in blocks that fit into memory, one at a time.
pub(super) struct Blocks<'a> {
    pub rows: &'a Sorted<2>,
    /// The records that the table is made from.
    pub table: Range<u64>,
    pub piece: Piece,
    /// Number of records per block.
    pub len: u64,
    /// The most recent block.
    pub made: Option<(u64, Table)>,
}

impl Blocks<'_> {
    pub fn count(&self) -> u64 {
        (self.table.end - self.table.start).div_ceil(self.len)
    }

    pub fn table(&mut self, block: u64) -> Result<&Table> {
        let made = match self.made.take() {
            Some(made) if made.0 == block => made,
            other => {
                // Two blocks would not fit into memory.
                drop(other);
                let start = self.table.start + block * self.len;
                (
                    block,
                    Table::new(self.rows, start..self.table.end.min(start + self.len), self.piece)?,
                )
            }
        };
        Ok(&self.made.insert(made).1)
    }
}

/// A hash and its row.
pub(super) type Entry = (u64, u32);

/// Hashes sorted by the upper bits of one piece.
pub(super) struct Table {
    /// Number of low bits of the piece that the order ignores, so that there are at most four times
    /// as many starts as entries.
    lower_bits: u32,
    /// Start of the entries of each value.
    starts: Vec<u32>,
    entries: Vec<Entry>,
}

impl Table {
    pub fn new(rows: &Sorted<2>, records: Range<u64>, piece: Piece) -> Result<Self> {
        let count = (records.end - records.start) as usize;
        let lower_bits = piece.bits.saturating_sub(max_bits(count));
        let value = |hash: u64| (piece.of(hash) >> lower_bits) as usize;
        // The starts are one ahead, and correct once all entries are placed.
        let mut starts = vec![0_u32; (1 << (piece.bits - lower_bits)) + 2];
        for record in rows.records(records.clone()) {
            starts[value(record?[1]) + 2] += 1;
        }
        for value in 1..starts.len() {
            starts[value] += starts[value - 1];
        }
        let mut entries = vec![(0, 0); count];
        for record in rows.records(records) {
            let [row, hash] = record?;
            let start = &mut starts[value(hash) + 1];
            entries[*start as usize] = (hash, row as u32);
            *start += 1;
        }
        Ok(Table { lower_bits, starts, entries })
    }

    /// All entries whose piece has this value, and some others.
    pub fn around(&self, value: u32) -> &[Entry] {
        let value = (value >> self.lower_bits) as usize;
        &self.entries[self.starts[value] as usize..self.starts[value + 1] as usize]
    }
}
