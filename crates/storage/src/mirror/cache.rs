//! Files of a mirror that can be fetched again, as many as there is room for.

use std::collections::{HashSet, VecDeque};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crate::bucket::Bucket;
use crate::layout::how_to_make_again;
use crate::mirror::notes::{Identity, Note, Notes, at, new_file, remove};
use crate::mirror::parallel::lock;

/// Files up to this size are fetched when the mirror is brought up to date, and never dropped.
pub(crate) const SMALL_BYTES: u64 = 1 << 20;

#[derive(Debug)]
pub(crate) struct Cache {
    bucket: Arc<Bucket>,
    root: PathBuf,
    notes: Arc<Notes>,
    /// How much of fetched files is kept.
    pub(crate) room_bytes: u64,
    /// Files that could be fetched again, the one that was needed last at the end.
    kept: Mutex<VecDeque<(String, u64)>>,
    fetching: Mutex<HashSet<String>>,
    fetched: Condvar,
}

impl Cache {
    pub(crate) fn new(
        bucket: Arc<Bucket>,
        root: PathBuf,
        notes: Arc<Notes>,
        room_bytes: u64,
    ) -> Self {
        Cache {
            bucket,
            root,
            notes,
            room_bytes,
            kept: Mutex::default(),
            fetching: Mutex::default(),
            fetched: Condvar::new(),
        }
    }

    /// Fetches a file that is noted and not here.
    ///
    /// # Errors
    /// `InvalidData` where the object is not the content that its manifest lists, `NotFound` where
    /// there is none; where the store does not answer, or the disk is full.
    pub(crate) fn fetch(&self, inner: &str) -> io::Result<()> {
        let path = self.root.join(inner);
        let mut fetching = lock(&self.fetching);
        while fetching.contains(inner) {
            fetching = self.fetched.wait(fetching).unwrap_or_else(PoisonError::into_inner);
        }
        if path.exists() {
            drop(fetching);
            self.keep(inner);
            return Ok(());
        }
        let Some(note) = self.notes.file(inner) else { return Ok(()) };
        fetching.insert(inner.to_owned());
        drop(fetching);
        let result = self.fetch_noted(inner, note);
        lock(&self.fetching).remove(inner);
        self.fetched.notify_all();
        result
    }

    fn fetch_noted(&self, inner: &str, note: Note) -> io::Result<()> {
        let url = self.bucket.url(&note.key);
        let url = url.display();
        let fault = |kind: io::ErrorKind, what: String| {
            io::Error::new(kind, format!("{what}; {}", how_to_make_again(Path::new(inner))))
        };
        let absent = || fault(io::ErrorKind::NotFound, format!("there is no {url}"));
        if note.is_lost {
            let what = format!("there is no {url} of {} bytes", note.bytes);
            return Err(fault(io::ErrorKind::NotFound, what));
        }
        self.make_room(note.bytes)?;
        let path = self.root.join(inner);
        let folder = path.parent().unwrap_or(&self.root);
        fs::create_dir_all(folder).map_err(at(folder))?;
        let file = new_file(folder)?;
        let copy = file.as_file().try_clone()?;
        let hash = match self.bucket.fetch(&note.key, note.bytes, note.tag.clone(), copy) {
            Ok(hash) => format!("{hash:016x}"),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(absent()),
            // The object is shorter.
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof && !note.xxh3.is_empty() => {
                String::new()
            }
            Err(e) => return Err(e),
        };
        if !note.xxh3.is_empty() && hash != note.xxh3 {
            return Err(fault(
                io::ErrorKind::InvalidData,
                format!("{url} is not the content that its manifest lists"),
            ));
        }
        file.persist(&path).map_err(|e| at(&path)(e.error))?;
        self.notes.write_file(inner, &Note { local: Identity::of(&path), ..note })?;
        self.keep(inner);
        Ok(())
    }

    /// Remembers that a file was needed just now, if it is one that could be fetched again.
    pub(crate) fn keep(&self, inner: &str) {
        let bytes = match self.notes.file(inner) {
            Some(note)
                if note.bytes > SMALL_BYTES && !self.notes.is_changed(inner, Some(&note)) =>
            {
                note.bytes
            }
            _ => return,
        };
        let mut kept = lock(&self.kept);
        kept.retain(|(other, _)| other != inner);
        kept.push_back((inner.to_owned(), bytes));
    }

    /// Drops the files that were needed longest ago. A file that is open, or mapped, stays
    /// readable.
    fn make_room(&self, bytes: u64) -> io::Result<()> {
        let mut kept = lock(&self.kept);
        let mut sum: u64 = kept.iter().map(|(_, bytes)| bytes).sum();
        while sum.saturating_add(bytes) > self.room_bytes {
            let Some((inner, bytes)) = kept.pop_front() else { break };
            sum -= bytes;
            if let Some(note) =
                self.notes.file(&inner).filter(|note| !self.notes.is_changed(&inner, Some(note)))
            {
                remove(&self.root.join(&inner))?;
                self.notes.write_file(&inner, &Note { local: None, ..note })?;
            }
        }
        Ok(())
    }
}
