//! Sorts records, in memory if they fit and otherwise in files; any range of them can be read.

use std::borrow::Cow;
use std::ops::Range;

use ossify_contract::Result;
use ossify_sorting::ScratchFile;

use super::scratch::Scratch;

/// Number of records that are read or written at a time.
const WINDOW: usize = 4096;

/// Collects records in any order.
pub(super) struct Sorter<const WORDS: usize> {
    scratch: Scratch,
    sorter: ossify_sorting::Sorter<[u64; WORDS]>,
}

impl<const WORDS: usize> Sorter<WORDS> {
    pub(super) fn new(scratch: &Scratch) -> Self {
        Sorter { scratch: scratch.clone(), sorter: scratch.sorter() }
    }

    pub(super) fn push(&mut self, record: [u64; WORDS]) -> Result<()> {
        self.sorter.push(record)
    }

    /// All records in order.
    pub(super) fn finish(self) -> Result<Sorted<WORDS>> {
        let sorted = match self.sorter.finish()? {
            ossify_sorting::Sorted::InMemory(records) => return Ok(Sorted::InMemory(records)),
            in_file => in_file.into_records()?,
        };
        let mut file = RecordFile { file: self.scratch.file()?, len: 0 };
        let mut waiting = Vec::with_capacity(WINDOW);
        for record in sorted {
            waiting.push(record?);
            if waiting.len() == WINDOW {
                file.append(&waiting)?;
                waiting.clear();
            }
        }
        file.append(&waiting)?;
        Ok(Sorted::InFile(file))
    }
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
        Records { source: self, left: range, read: Cow::Borrowed(&[]), at: 0 }
    }
}

/// An iterator over records.
pub(super) struct Records<'a, const WORDS: usize> {
    source: &'a Sorted<WORDS>,
    /// The records that have not been read.
    left: Range<u64>,
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
            self.left.start = self.left.end.min(start + WINDOW as u64);
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
}
