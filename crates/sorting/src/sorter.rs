//! Records in any order, sorted.

use std::path::{Path, PathBuf};
use std::vec::IntoIter;

use ossify_contract::{ArtefactError, Result};
use rayon::prelude::*;

use crate::merge::Merge;
use crate::record::Ordered;
use crate::runs::{MAX_WINDOW_BYTES, RunReader, Runs};

/// Bytes of a run that are read at a time, at least: with less, runs are merged in several passes.
const MIN_WINDOW_BYTES: usize = 4 << 10;

/// Takes records in any order. Those that fit are held in memory; more are sorted in runs that go
/// to a file.
///
/// Beside `memory_bytes`, it takes the room for sorting that [`Ordered::IS_TOTAL`] speaks of, one
/// record, two windows of 4 KiB where `memory_bytes` has no room for them, and the window of 64 KiB
/// through which runs are written.
#[derive(Debug)]
pub struct Sorter<R> {
    folder: PathBuf,
    memory_bytes: usize,
    held: Vec<R>,
    held_bytes: usize,
    runs: Option<Runs<R>>,
}

impl<R: Ordered> Sorter<R> {
    /// A sorter that holds `memory_bytes` and writes the rest to the file system of `folder`.
    pub fn new(folder: impl Into<PathBuf>, memory_bytes: usize) -> Self {
        let folder = folder.into();
        Sorter { folder, memory_bytes, held: Vec::new(), held_bytes: 0, runs: None }
    }

    /// Adds a record.
    ///
    /// # Errors
    /// Fails where the disk does.
    pub fn push(&mut self, record: R) -> Result<()> {
        self.held_bytes += record.memory_bytes();
        self.held.push(record);
        if self.held_bytes < self.memory_bytes { Ok(()) } else { self.spill() }
    }

    fn sort_held(&mut self) {
        if R::IS_TOTAL {
            self.held.par_sort_unstable_by(R::order);
        } else {
            self.held.sort_by(R::order);
        }
    }

    fn spill(&mut self) -> Result<()> {
        self.sort_held();
        Runs::spill(&mut self.runs, &self.folder, &mut self.held)?;
        self.held_bytes = 0;
        Ok(())
    }

    /// All records in order.
    ///
    /// # Errors
    /// Fails where the disk does.
    pub fn finish(mut self) -> Result<Sorted<R>> {
        if self.runs.is_some() && !self.held.is_empty() {
            self.spill()?;
        }
        let Some(mut runs) = self.runs.take() else {
            self.sort_held();
            return Ok(Sorted::InMemory(self.held));
        };
        self.held = Vec::new();
        let max_runs = (self.memory_bytes / MIN_WINDOW_BYTES).max(2);
        while runs.count() > max_runs {
            runs = merged(&runs, max_runs, self.memory_bytes, &self.folder)?;
        }
        Ok(Sorted::InFile { window_bytes: window_bytes(runs.count(), self.memory_bytes), runs })
    }
}

/// What each of so many runs reads at a time.
fn window_bytes(runs: usize, memory_bytes: usize) -> usize {
    (memory_bytes / runs.max(1)).clamp(MIN_WINDOW_BYTES, MAX_WINDOW_BYTES)
}

/// The records of all runs in fewer runs: each group of `max_runs` becomes one.
fn merged<R: Ordered>(
    runs: &Runs<R>,
    max_runs: usize,
    memory_bytes: usize,
    folder: &Path,
) -> Result<Runs<R>> {
    let mut fewer = Runs::create(folder)?;
    for start in (0..runs.count()).step_by(max_runs) {
        let group = start..runs.count().min(start + max_runs);
        let window_bytes = window_bytes(group.len(), memory_bytes);
        let mut run = fewer.begin();
        for record in Merge::new(runs.readers(group, window_bytes))? {
            run.push(&record?)?;
        }
        run.end()?;
    }
    Ok(fewer)
}

/// Records in order.
#[derive(Debug)]
pub enum Sorted<R> {
    /// They fit.
    InMemory(Vec<R>),
    /// They did not: they are in runs, which are merged as they are read.
    InFile {
        /// The runs.
        runs: Runs<R>,
        /// What each of them reads at a time.
        window_bytes: usize,
    },
}

impl<R: Ordered> Sorted<R> {
    /// One record after the other.
    ///
    /// # Errors
    /// Fails where the disk does.
    pub fn into_records(self) -> Result<SortedRecords<R>> {
        Ok(match self {
            Sorted::InMemory(records) => SortedRecords::InMemory(records.into_iter()),
            Sorted::InFile { runs, window_bytes } => {
                SortedRecords::InFile(Merge::new(runs.readers(0..runs.count(), window_bytes))?)
            }
        })
    }
}

/// Records in order, one after the other.
pub enum SortedRecords<R> {
    /// From memory.
    InMemory(IntoIter<R>),
    /// From runs.
    InFile(Merge<RunReader<R>, R>),
}

impl<R: Ordered> Iterator for SortedRecords<R> {
    type Item = Result<R, ArtefactError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            SortedRecords::InMemory(records) => records.next().map(Ok),
            SortedRecords::InFile(records) => records.next(),
        }
    }
}
