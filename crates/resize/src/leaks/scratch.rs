//! The memory that a search may use, and the disk for what does not fit.

use std::path::PathBuf;

use ossify_contract::Result;
use ossify_sorting::{ScratchFile, Sorter};

/// Number of equal shares of the memory, more than a search has lists at a time.
const SHARES: usize = 16;

/// The folder and the memory of a search.
#[derive(Clone, Debug)]
pub struct Scratch {
    folder: PathBuf,
    memory_bytes: usize,
}

impl Scratch {
    /// Lists use up to `memory_bytes` together, and spill into unnamed files in `folder`.
    pub fn new(folder: impl Into<PathBuf>, memory_bytes: usize) -> Self {
        Scratch { folder: folder.into(), memory_bytes }
    }

    /// The number of items of this size that fit into `shares` shares of the memory, at least one.
    pub(super) fn room(&self, shares: usize, item_bytes: usize) -> usize {
        (self.memory_bytes / SHARES * shares / item_bytes).max(1)
    }

    /// An unnamed file, which disappears when it is closed, however the process ends.
    pub(super) fn file(&self) -> Result<ScratchFile> {
        ScratchFile::create(&self.folder)
    }

    /// A sorter that uses one share of the memory.
    pub(super) fn sorter<const WORDS: usize>(&self) -> Sorter<[u64; WORDS]> {
        Sorter::new(&self.folder, self.memory_bytes / SHARES)
    }
}
