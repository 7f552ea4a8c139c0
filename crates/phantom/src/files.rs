//! Operations on files, with errors that name them.

use std::path::Path;
use std::{fs, io};

use ossify_contract::ArtefactError;
use rayon::prelude::*;

use crate::error::Result;
use crate::planted::FolderSize;

/// Writes a file.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    Ok(fs::write(path, bytes).map_err(ArtefactError::io("cannot write", path))?)
}

/// Moves a file or folder.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<()> {
    Ok(fs::rename(from, to).map_err(ArtefactError::io("cannot move", from))?)
}

/// Removes a folder, if it exists.
pub(crate) fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(ArtefactError::io("cannot remove", folder)(e).into())
        }
        _ => Ok(()),
    }
}

/// The number and total size of the files directly in a folder.
pub(crate) fn measure(folder: &Path) -> io::Result<FolderSize> {
    let names = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    let sizes = names
        .par_iter()
        .map(|entry| entry.metadata().map(|data| data.len()))
        .collect::<io::Result<Vec<u64>>>()?;
    Ok(FolderSize { files: sizes.len() as u64, bytes: sizes.iter().sum() })
}
