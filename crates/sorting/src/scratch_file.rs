//! A file without a name.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use ossify_contract::{ArtefactError, Result};

/// A file that has no name: it is gone when it is closed, however the process ends.
#[derive(Debug)]
pub struct ScratchFile {
    file: File,
    folder: PathBuf,
}

impl ScratchFile {
    /// Creates one on the file system of `folder`.
    ///
    /// # Errors
    /// Fails where the disk does.
    pub fn create(folder: &Path) -> Result<Self> {
        let file = tempfile::tempfile_in(folder)
            .map_err(ArtefactError::io("cannot create a temporary file in", folder))?;
        Ok(ScratchFile { file, folder: folder.to_path_buf() })
    }

    /// Writes bytes at an offset.
    ///
    /// # Errors
    /// Fails where the disk does, or is full.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let written = self.file.write_all_at(bytes, offset);
        written.map_err(ArtefactError::io("cannot write to a temporary file in", &self.folder))
    }

    /// Fills `bytes` from an offset.
    ///
    /// # Errors
    /// Fails where the disk does, and where the file ends before.
    pub fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<()> {
        let read = self.file.read_exact_at(bytes, offset);
        read.map_err(ArtefactError::io("cannot read a temporary file in", &self.folder))
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }
}
