//! Stores a number for each row, with a bounded number of pages in memory and the rest in a file.

use ossify_contract::Result;
use ossify_sorting::ScratchFile;

use super::scratch::Scratch;

const PAGE_ROWS: usize = 1024;
const PAGE_BYTES: usize = PAGE_ROWS * size_of::<u32>();

/// A number for each row, 0 until it is set. Pages in which no number is set cost nothing.
pub(super) struct RowTable {
    scratch: Scratch,
    /// The location of each page.
    locations: Vec<PageLocation>,
    pages: Vec<Page>,
    /// The clock hand: the next page to consider for eviction.
    hand: usize,
    file: Option<ScratchFile>,
}

#[derive(Clone, Copy)]
enum PageLocation {
    Nowhere,
    InMemory(usize),
    InFile,
}

struct Page {
    number: usize,
    values: Box<[u32; PAGE_ROWS]>,
    is_changed: bool,
    was_used: bool,
}

impl RowTable {
    pub(super) fn new(scratch: &Scratch) -> Self {
        RowTable {
            scratch: scratch.clone(),
            locations: Vec::new(),
            pages: Vec::new(),
            hand: 0,
            file: None,
        }
    }

    pub(super) fn get(&mut self, row: u32) -> Result<u32> {
        let (number, at) = (row as usize / PAGE_ROWS, row as usize % PAGE_ROWS);
        let slot = match self.locations.get(number) {
            None | Some(PageLocation::Nowhere) => return Ok(0),
            Some(PageLocation::InMemory(slot)) => *slot,
            Some(PageLocation::InFile) => self.load(number)?,
        };
        let page = &mut self.pages[slot];
        page.was_used = true;
        Ok(page.values[at])
    }

    pub(super) fn set(&mut self, row: u32, value: u32) -> Result<()> {
        let (number, at) = (row as usize / PAGE_ROWS, row as usize % PAGE_ROWS);
        if self.locations.len() <= number {
            self.locations.resize(number + 1, PageLocation::Nowhere);
        }
        let slot = match self.locations[number] {
            PageLocation::InMemory(slot) => slot,
            PageLocation::InFile | PageLocation::Nowhere => self.load(number)?,
        };
        let page = &mut self.pages[slot];
        (page.was_used, page.is_changed) = (true, true);
        page.values[at] = value;
        Ok(())
    }

    /// Loads a page into memory; returns its slot.
    fn load(&mut self, number: usize) -> Result<usize> {
        let mut values = Box::new([0; PAGE_ROWS]);
        if let (PageLocation::InFile, Some(file)) = (self.locations[number], &self.file) {
            let mut bytes = [0; PAGE_BYTES];
            file.read_at((number * PAGE_BYTES) as u64, &mut bytes)?;
            values
                .iter_mut()
                .zip(bytes.as_chunks().0)
                .for_each(|(value, bytes)| *value = u32::from_le_bytes(*bytes));
        }
        let page = Page { number, values, is_changed: false, was_used: true };
        let slot = if self.pages.len() < self.scratch.room(1, PAGE_BYTES) {
            self.pages.push(page);
            self.pages.len() - 1
        } else {
            let slot = self.make_room()?;
            self.pages[slot] = page;
            slot
        };
        self.locations[number] = PageLocation::InMemory(slot);
        Ok(slot)
    }

    /// Evicts a page that was not used since the hand last passed it; returns its slot.
    fn make_room(&mut self) -> Result<usize> {
        while std::mem::take(&mut self.pages[self.hand].was_used) {
            self.hand = (self.hand + 1) % self.pages.len();
        }
        let (slot, page) = (self.hand, &self.pages[self.hand]);
        if page.is_changed {
            let file = match &mut self.file {
                Some(file) => file,
                None => self.file.insert(self.scratch.file()?),
            };
            file.write_at(
                (page.number * PAGE_BYTES) as u64,
                page.values.map(u32::to_le_bytes).as_flattened(),
            )?;
        }
        self.locations[page.number] = PageLocation::InFile;
        self.hand = (slot + 1) % self.pages.len();
        Ok(slot)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn every_row_keeps_its_number_however_few_pages_are_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        for memory_bytes in [1, 16 * 3 * PAGE_BYTES, usize::MAX] {
            let mut table = RowTable::new(&Scratch::new(folder.path(), memory_bytes));
            let mut expected = HashMap::new();
            let mut row = 1_u32;
            for value in 0..20_000 {
                row = row.wrapping_mul(1_103_515_245).wrapping_add(12_345);
                let row = row % 30_000;
                assert_eq!(table.get(row).unwrap(), expected.insert(row, value).unwrap_or(0));
                table.set(row, value).unwrap();
            }
            for row in 0..40_000 {
                assert_eq!(
                    table.get(row).unwrap(),
                    expected.get(&row).copied().unwrap_or(0),
                    "{row} in {memory_bytes} bytes"
                );
            }
        }
    }
}
