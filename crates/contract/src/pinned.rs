//! A file that stays the one that was opened.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parquet::file::reader::{ChunkReader, Length};

use crate::error::Result;
use crate::manifest::{FileEntry, hash_of, open};

/// A file of an output that a stage reads more than once. It stays the one that was checked,
/// whatever is published under its name meanwhile.
#[derive(Clone, Debug)]
pub struct PinnedFile {
    path: PathBuf,
    file: Arc<File>,
    bytes: u64,
}

impl PinnedFile {
    /// Opens the file, which lies in `folder`, and checks its size and hash.
    ///
    /// # Errors
    /// [`crate::ArtefactError::Corrupt`] if it does not match the manifest. Also fails if it cannot
    /// be fetched or read.
    pub fn open(folder: &Path, entry: &FileEntry) -> Result<Self> {
        let path = folder.join(&entry.path);
        let mut file = open(&path)?;
        let (bytes, hash) = hash_of(&mut file, &path)?;
        entry.check(&path, bytes, hash)?;
        Ok(PinnedFile { path, file: Arc::new(file), bytes })
    }

    /// Where it was opened, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Length for PinnedFile {
    fn len(&self) -> u64 {
        self.bytes
    }
}

/// What is behind an offset. Each has an offset of its own, so that any number can be read side by
/// side.
pub struct FileTail {
    file: Arc<File>,
    offset: u64,
}

impl Read for FileTail {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

impl ChunkReader for PinnedFile {
    type T = BufReader<FileTail>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        Ok(BufReader::new(FileTail { file: self.file.clone(), offset: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, start)?;
        Ok(bytes.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::Publication;
    use crate::table::{TableReader, TableWriter};
    use crate::tables::ClassRow;

    fn class(class_id: i16) -> ClassRow {
        ClassRow {
            class_id,
            class_name: format!("class {class_id}"),
            class_index: Some(class_id),
            train_objects: 1,
            valid_objects: 0,
            test_objects: 0,
            train_images: 1,
            valid_images: 0,
            test_images: 0,
            kept: true,
            reason: None,
        }
    }

    fn publish(folder: &Path, ids: std::ops::Range<i16>) -> FileEntry {
        let publication = Publication::begin(folder).unwrap();
        let mut writer =
            TableWriter::create(publication.stage("classes.parquet").unwrap()).unwrap();
        ids.for_each(|id| writer.push(class(id)).unwrap());
        let rows = writer.finish().unwrap();
        let entry = publication.describe("classes.parquet", Some(rows)).unwrap();
        publication.commit("ingest", "f", vec![entry.clone()], ().into()).unwrap();
        entry
    }

    fn ids(file: &PinnedFile) -> Vec<i16> {
        let rows =
            TableReader::<ClassRow>::of_pinned(file).unwrap().flat_map(|batch| batch.unwrap());
        rows.map(|row| row.class_id).collect()
    }

    #[test]
    fn a_pinned_table_stays_what_it_was_while_another_is_published() {
        let folder = tempfile::tempdir().unwrap();
        let entry = publish(folder.path(), 0..9000);
        let file = PinnedFile::open(folder.path(), &entry).unwrap();
        let mut interleaved = TableReader::<ClassRow>::of_pinned(&file).unwrap();
        assert_eq!(interleaved.next().unwrap().unwrap()[0], class(0));
        let other = publish(folder.path(), 5..7);
        assert_eq!(ids(&file), (0..9000).collect::<Vec<_>>());
        assert_eq!(interleaved.next().unwrap().unwrap()[0], class(8192));
        assert!(PinnedFile::open(folder.path(), &entry).is_err());
        assert_eq!(ids(&PinnedFile::open(folder.path(), &other).unwrap()), [5, 6]);
    }
}
