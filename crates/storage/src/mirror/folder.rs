use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::address::{Address, as_folder};
use crate::bucket::Bucket;
use crate::mirror::cache::Cache;
use crate::mirror::notes::{FOLDER, Notes};

/// Files that are fetched or sent at a time.
pub(crate) const FILES_AT_A_TIME: usize = 8;
/// Processes that can use one work folder at a time on one machine.
const MAX_MIRRORS: u32 = 1000;

/// How much went one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// The mirror of a work folder. One process has it as long as it runs; another one that uses the
/// same work folder meanwhile has another mirror, in the next folder.
#[derive(Debug)]
pub struct Mirror {
    url: PathBuf,
    pub(crate) bucket: Arc<Bucket>,
    /// Key of the work folder.
    prefix: String,
    pub(crate) root: PathBuf,
    pub(crate) notes: Arc<Notes>,
    pub(crate) cache: Cache,
    pub(crate) threads: usize,
    /// Held while the mirror is in use.
    _lock: File,
}

impl Mirror {
    /// The mirror below `cache` of the work folder at an address.
    pub(crate) fn in_bucket(
        bucket: Arc<Bucket>,
        address: &Address,
        cache: &Path,
        room_bytes: u64,
        threads: usize,
    ) -> io::Result<Self> {
        let (root, lock) = lock_folder(&cache.join(as_folder(address)))?;
        let notes = Arc::new(Notes::new(&root));
        Ok(Mirror {
            url: address.url(),
            prefix: address.key.clone(),
            cache: Cache::new(bucket.clone(), root.clone(), notes.clone(), room_bytes),
            bucket,
            root,
            notes,
            threads,
            _lock: lock,
        })
    }

    /// The folder on this machine.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The work folder in the store.
    pub fn url(&self) -> &Path {
        &self.url
    }

    /// The key of a path in the work folder.
    pub(crate) fn key(&self, inner: &str) -> String {
        if self.prefix.is_empty() { inner.to_owned() } else { format!("{}/{inner}", self.prefix) }
    }

    /// The path in the work folder of a key.
    pub(crate) fn inner<'a>(&self, key: &'a str) -> Option<&'a str> {
        if self.prefix.is_empty() {
            Some(key)
        } else {
            key.strip_prefix(&self.prefix)?.strip_prefix('/')
        }
    }
}

/// The first of the folders `NAME`, `NAME@2`, `NAME@3` and so on that no other process has.
fn lock_folder(first: &Path) -> io::Result<(PathBuf, File)> {
    for number in 1..=MAX_MIRRORS {
        let mut root = first.to_path_buf();
        if number > 1 {
            root.as_mut_os_string().push(format!("@{number}"));
        }
        let notes = root.join(FOLDER);
        fs::create_dir_all(&notes).map_err(|e| {
            let reason =
                format!("cannot create its folder {} below storage.cache: {e}", notes.display());
            io::Error::new(e.kind(), reason)
        })?;
        let lock = File::create(notes.join("lock"))?;
        match lock.try_lock() {
            Ok(()) => return Ok((root, lock)),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(e)) => return Err(e),
        }
    }
    let reason = format!("{MAX_MIRRORS} processes use it already");
    Err(io::Error::new(io::ErrorKind::ResourceBusy, reason))
}

#[derive(Default)]
pub(crate) struct Counter {
    files: AtomicU64,
    bytes: AtomicU64,
}

impl Counter {
    pub(crate) fn add(&self, bytes: u64) {
        self.files.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn sum(&self) -> Moved {
        Moved {
            files: self.files.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }
}
