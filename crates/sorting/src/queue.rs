//! Records in the order they came.

use std::path::{Path, PathBuf};

use ossify_contract::Result;

use crate::record::Stored;
use crate::runs::{MAX_WINDOW_BYTES, Runs};

/// Records that leave in the order they came. Those that fit are held in memory, the others go to
/// a file.
#[derive(Debug)]
pub struct Queue<R> {
    folder: PathBuf,
    memory_bytes: usize,
    held: Vec<R>,
    held_bytes: usize,
    runs: Option<Runs<R>>,
}

impl<R: Stored> Queue<R> {
    /// A queue that holds `memory_bytes`, and one record, and writes the rest to the file system of
    /// `folder`.
    pub fn new(folder: &Path, memory_bytes: usize) -> Self {
        let folder = folder.to_path_buf();
        Queue { folder, memory_bytes, held: Vec::new(), held_bytes: 0, runs: None }
    }

    /// Adds a record at the end.
    ///
    /// # Errors
    /// Fails where the disk does.
    pub fn push(&mut self, record: R) -> Result<()> {
        self.held_bytes += record.memory_bytes();
        self.held.push(record);
        if self.held_bytes < self.memory_bytes {
            return Ok(());
        }
        Runs::spill(&mut self.runs, &self.folder, &mut self.held)?;
        self.held_bytes = 0;
        Ok(())
    }

    /// All records, one after the other.
    pub fn into_records(self) -> impl Iterator<Item = Result<R>> {
        // One run after the other, so that one window is in memory.
        let in_file = self.runs.into_iter().flat_map(|runs| {
            (0..runs.count()).flat_map(move |run| runs.readers(run..run + 1, MAX_WINDOW_BYTES))
        });
        in_file.flatten().chain(self.held.into_iter().map(Ok))
    }
}
