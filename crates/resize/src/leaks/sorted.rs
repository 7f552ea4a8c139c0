//! Sorts records, in memory if they fit and otherwise in files.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::ops::Range;

use ossify_contract::Result;
use rayon::prelude::*;

use super::scratch::{Scratch, ScratchFile};

/// Number of records that are read or written at a time.
const WINDOW: usize = 4096;

/// Collects records in any order.
pub(super) struct Sorter<const WORDS: usize> {
    scratch: Scratch,
    records: Vec<[u64; WORDS]>,
    /// Sorted runs, one after the other.
    spilled: Option<RecordFile<WORDS>>,
    run_ends: Vec<u64>,
}

impl<const WORDS: usize> Sorter<WORDS> {
    pub(super) fn new(scratch: &Scratch) -> Self {
        Sorter {
            scratch: scratch.clone(),
            records: Vec::new(),
            spilled: None,
            run_ends: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, record: [u64; WORDS]) -> Result<()> {
        self.records.push(record);
        if self.records.len() < self.scratch.room(1, size_of::<[u64; WORDS]>()) {
            Ok(())
        } else {
            self.spill()
        }
    }

    fn spill(&mut self) -> Result<()> {
        let file = match &mut self.spilled {
            Some(file) => file,
            None => self.spilled.insert(RecordFile { file: self.scratch.file()?, len: 0 }),
        };
        self.records.par_sort_unstable();
        file.append(&self.records)?;
        self.run_ends.push(file.len);
        self.records.clear();
        Ok(())
    }

    /// All records in order.
    pub(super) fn finish(mut self) -> Result<Sorted<WORDS>> {
        if self.spilled.is_some() && !self.records.is_empty() {
            self.spill()?;
        }
        let Some(runs) = self.spilled else {
            self.records.par_sort_unstable();
            return Ok(Sorted::InMemory(self.records));
        };
        drop(self.records);
        let window = (self.scratch.room(1, size_of::<[u64; WORDS]>()) / self.run_ends.len())
            .clamp(1, WINDOW);
        merge(
            &Sorted::InFile(runs),
            &self.run_ends,
            window,
            RecordFile { file: self.scratch.file()?, len: 0 },
        )
    }
}

/// Merges the runs that end at `run_ends` into `merged`.
fn merge<const WORDS: usize>(
    runs: &Sorted<WORDS>,
    run_ends: &[u64],
    window: usize,
    mut merged: RecordFile<WORDS>,
) -> Result<Sorted<WORDS>> {
    let starts = std::iter::once(0).chain(run_ends.iter().copied());
    let mut readers: Vec<Records<WORDS>> =
        starts.zip(run_ends).map(|(start, end)| runs.in_windows(start..*end, window)).collect();
    let mut heads = BinaryHeap::with_capacity(readers.len());
    for (run, reader) in readers.iter_mut().enumerate() {
        heads.extend(reader.next().transpose()?.map(|record| Reverse((record, run))));
    }
    let mut waiting = Vec::with_capacity(WINDOW);
    while let Some(mut head) = heads.peek_mut() {
        let Reverse((record, run)) = *head;
        waiting.push(record);
        match readers[run].next().transpose()? {
            Some(next) => head.0.0 = next,
            None => drop(PeekMut::pop(head)),
        }
        if waiting.len() == WINDOW {
            merged.append(&waiting)?;
            waiting.clear();
        }
    }
    merged.append(&waiting)?;
    Ok(Sorted::InFile(merged))
}

/// Records in order.
pub(super) enum Sorted<const WORDS: usize> {
    InMemory(Vec<[u64; WORDS]>),
    InFile(RecordFile<WORDS>),
}

impl<const WORDS: usize> Sorted<WORDS> {
    pub(super) fn len(&self) -> u64 {
        match self {
            Sorted::InMemory(records) => records.len() as u64,
            Sorted::InFile(file) => file.len,
        }
    }

    pub(super) fn read(&self, range: Range<u64>) -> Result<Cow<'_, [[u64; WORDS]]>> {
        Ok(match self {
            Sorted::InMemory(records) => {
                Cow::Borrowed(&records[range.start as usize..range.end as usize])
            }
            Sorted::InFile(file) => Cow::Owned(file.read(range)?),
        })
    }

    pub(super) fn iter(&self) -> Records<'_, WORDS> {
        self.records(0..self.len())
    }

    pub(super) fn records(&self, range: Range<u64>) -> Records<'_, WORDS> {
        self.in_windows(range, WINDOW)
    }

    fn in_windows(&self, range: Range<u64>, window: usize) -> Records<'_, WORDS> {
        Records {
            source: self,
            left: range,
            window: window as u64,
            read: Cow::Borrowed(&[]),
            at: 0,
        }
    }
}

/// An iterator over records.
pub(super) struct Records<'a, const WORDS: usize> {
    source: &'a Sorted<WORDS>,
    /// The records that have not been read.
    left: Range<u64>,
    window: u64,
    read: Cow<'a, [[u64; WORDS]]>,
    at: usize,
}

impl<const WORDS: usize> Iterator for Records<'_, WORDS> {
    type Item = Result<[u64; WORDS]>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at == self.read.len() {
            if self.left.is_empty() {
                return None;
            }
            let start = self.left.start;
            self.left.start = self.left.end.min(start + self.window);
            self.at = 0;
            match self.source.read(start..self.left.start) {
                Ok(read) => self.read = read,
                Err(e) => {
                    self.read = Cow::Borrowed(&[]);
                    self.left.start = self.left.end;
                    return Some(Err(e));
                }
            }
        }
        self.at += 1;
        Some(Ok(self.read[self.at - 1]))
    }
}

/// Words of 64 bits, little-endian.
pub(super) struct RecordFile<const WORDS: usize> {
    file: ScratchFile,
    len: u64,
}

impl<const WORDS: usize> RecordFile<WORDS> {
    const RECORD_BYTES: u64 = size_of::<[u64; WORDS]>() as u64;

    fn append(&mut self, records: &[[u64; WORDS]]) -> Result<()> {
        let mut bytes = Vec::with_capacity(WINDOW.min(records.len()) * size_of::<[u64; WORDS]>());
        for records in records.chunks(WINDOW) {
            bytes.clear();
            bytes.extend(records.as_flattened().iter().flat_map(|word| word.to_le_bytes()));
            self.file.write_at(self.len * Self::RECORD_BYTES, &bytes)?;
            self.len += records.len() as u64;
        }
        Ok(())
    }

    fn read(&self, range: Range<u64>) -> Result<Vec<[u64; WORDS]>> {
        let mut records = vec![[0; WORDS]; (range.end - range.start) as usize];
        let mut bytes = vec![0; WINDOW.min(records.len()) * size_of::<[u64; WORDS]>()];
        let mut offset = range.start * Self::RECORD_BYTES;
        for records in records.chunks_mut(WINDOW) {
            let bytes = &mut bytes[..size_of_val(records)];
            self.file.read_at(offset, bytes)?;
            records
                .as_flattened_mut()
                .iter_mut()
                .zip(bytes.as_chunks().0)
                .for_each(|(word, bytes)| *word = u64::from_le_bytes(*bytes));
            offset += bytes.len() as u64;
        }
        Ok(records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_out_in_order_whether_spilled_or_not() {
        let folder = tempfile::tempdir().unwrap();
        for memory_bytes in [1, 20_000, 3_000_000, usize::MAX] {
            for records in [0, 1, 77, 5000, 100_000] {
                let mut sorter = Sorter::new(&Scratch::new(folder.path(), memory_bytes));
                (0..records)
                    .for_each(|number| sorter.push([number * 7919 % 100_003 / 2, number]).unwrap());
                let sorted = sorter.finish().unwrap();
                let mut expected: Vec<[u64; 2]> =
                    (0..records).map(|number| [number * 7919 % 100_003 / 2, number]).collect();
                expected.sort_unstable();
                assert_eq!(sorted.len(), records);
                assert_eq!(
                    sorted.iter().collect::<Result<Vec<_>>>().unwrap(),
                    expected,
                    "{records} in {memory_bytes} bytes"
                );
                assert_eq!(
                    *sorted.read(records / 3..records).unwrap(),
                    expected[records as usize / 3..]
                );
            }
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error_and_not_a_panic() {
        let mut sorter = Sorter::new(&Scratch::new("/nonexistent", 1));
        let error = sorter.push([1]).unwrap_err().to_string();
        assert!(error.starts_with("cannot create a temporary file in /nonexistent: "), "{error}");
    }
}
