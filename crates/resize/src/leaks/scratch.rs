//! The memory that a search may use, and the disk for what does not fit.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ossify_contract::{ArtefactError, Result};

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
        let file = tempfile::tempfile_in(&self.folder)
            .map_err(ArtefactError::io("cannot create a temporary file in", &self.folder))?;
        Ok(ScratchFile { file: Mutex::new(file), folder: self.folder.clone() })
    }
}

pub(super) struct ScratchFile {
    file: Mutex<File>,
    folder: PathBuf,
}

impl ScratchFile {
    pub(super) fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let written = self.at(offset).and_then(|mut file| file.write_all(bytes));
        written.map_err(ArtefactError::io("cannot write to a temporary file in", &self.folder))
    }

    pub(super) fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<()> {
        let read = self.at(offset).and_then(|mut file| file.read_exact(bytes));
        read.map_err(ArtefactError::io("cannot read a temporary file in", &self.folder))
    }

    fn at(&self, offset: u64) -> std::io::Result<MutexGuard<'_, File>> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(offset))?;
        Ok(file)
    }
}
