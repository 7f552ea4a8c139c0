//! Files of this machine and objects of a store, asked by the same words: a path is either, see
//! [`is_url`].

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::address::{Address, is_url};
use crate::bucket::{Bucket, bucket_of};
use crate::object::Object;

/// What is known of a file without reading it.
#[derive(Clone, Debug)]
pub enum Stat {
    /// A file, or a folder, of this machine.
    Local(std::fs::Metadata),
    /// An object of a store.
    Object {
        /// Its size.
        bytes: u64,
        /// Changes on every write.
        version: String,
    },
    /// Objects of a store whose names begin alike.
    Folder,
}

impl Stat {
    /// Whether it is a file with content.
    pub fn is_file(&self) -> bool {
        match self {
            Stat::Local(metadata) => metadata.is_file(),
            Stat::Object { .. } => true,
            Stat::Folder => false,
        }
    }

    /// Whether it is a folder.
    pub fn is_dir(&self) -> bool {
        match self {
            Stat::Local(metadata) => metadata.is_dir(),
            Stat::Object { .. } => false,
            Stat::Folder => true,
        }
    }

    /// Size.
    pub fn bytes(&self) -> u64 {
        match self {
            Stat::Local(metadata) => metadata.len(),
            Stat::Object { bytes, .. } => *bytes,
            Stat::Folder => 0,
        }
    }

    /// Gives `add` what changes with the file: size and times, or size and version.
    pub fn stamp(&self, mut add: impl FnMut(&[u8])) {
        match self {
            Stat::Local(metadata) => {
                for part in [
                    metadata.size() as i64,
                    metadata.mtime(),
                    metadata.mtime_nsec(),
                    metadata.ctime(),
                    metadata.ctime_nsec(),
                ] {
                    add(&part.to_le_bytes());
                }
            }
            Stat::Object { bytes, version } => {
                add(&bytes.to_le_bytes());
                add(version.as_bytes());
            }
            Stat::Folder => {}
        }
    }

    /// Size and time of change in one line, whatever else the file system says.
    pub fn size_and_time(&self) -> String {
        match self {
            Stat::Local(metadata) => {
                let changed = metadata
                    .modified()
                    .ok()
                    .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
                format!("{} {}", metadata.len(), changed.map_or(0, |time| time.as_nanos()))
            }
            Stat::Object { bytes, version } => format!("{bytes} {version}"),
            Stat::Folder => "folder".to_owned(),
        }
    }
}

impl From<Object> for Stat {
    fn from(object: Object) -> Self {
        Stat::Object { bytes: object.bytes, version: object.version() }
    }
}

/// What is known of a file, links followed.
///
/// # Errors
/// `NotFound` if there is no such file; an outage ([`crate::is_outage`]) if a store does not
/// answer.
pub fn stat(path: &Path) -> io::Result<Stat> {
    if !is_url(path) {
        return std::fs::metadata(path).map(Stat::Local);
    }
    let (bucket, key) = open(path)?;
    if key.is_empty() {
        return Ok(Stat::Folder);
    }
    match bucket.find(&key)? {
        Some(object) => Ok(object.into()),
        None if has_any(&bucket, &key)? => Ok(Stat::Folder),
        None => {
            Err(io::Error::new(io::ErrorKind::NotFound, format!("there is no {}", path.display())))
        }
    }
}

/// As [`stat`]; `None` where there is no such file, or where this machine refuses to say.
///
/// # Errors
/// Where a store does not answer: that does not say that there is nothing.
pub fn find(path: &Path) -> io::Result<Option<Stat>> {
    match stat(path) {
        Ok(stat) => Ok(Some(stat)),
        Err(e) if is_url(path) && e.kind() != io::ErrorKind::NotFound => Err(e),
        Err(_) => Ok(None),
    }
}

/// Whether there is a folder.
///
/// # Errors
/// As [`find`].
pub fn is_dir(path: &Path) -> io::Result<bool> {
    if !is_url(path) {
        return Ok(path.is_dir());
    }
    let (bucket, key) = open(path)?;
    has_any(&bucket, &key)
}

/// Whether there is a file.
///
/// # Errors
/// As [`find`].
pub fn is_file(path: &Path) -> io::Result<bool> {
    if !is_url(path) {
        return Ok(path.is_file());
    }
    let (bucket, key) = open(path)?;
    Ok(!key.is_empty() && bucket.find(&key)?.is_some())
}

/// Reads a whole file.
///
/// # Errors
/// `FileTooLarge` for an object of more than `max_bytes`; as [`stat`].
pub fn read(path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    if !is_url(path) {
        return std::fs::read(path);
    }
    read_with_stat(path, max_bytes).map(|(_, content)| content)
}

/// Reads a whole object, and says what is known of it.
///
/// # Errors
/// As [`read`].
pub fn read_with_stat(url: &Path, max_bytes: u64) -> io::Result<(Stat, Vec<u8>)> {
    let (bucket, key) = open(url)?;
    bucket.read(&key, max_bytes).map(|(object, content)| (object.into(), content))
}

/// The path with all links resolved; that of an object has none.
///
/// # Errors
/// As [`stat`].
pub fn canonicalize(path: &Path) -> io::Result<PathBuf> {
    if is_url(path) { Address::of(path).map(|address| address.url()) } else { path.canonicalize() }
}

/// The files in a folder, not those of folders in it, sorted.
///
/// # Errors
/// Where the folder cannot be listed.
pub fn files_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    if is_url(folder) {
        let (bucket, key) = open(folder)?;
        files.extend(bucket.children(&key)?.0.iter().map(|object| bucket.url(&object.key)));
    } else {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_file() {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// All objects below a folder of a store: path from the folder, and what is known of it.
///
/// # Errors
/// Where the store does not answer.
pub fn list(folder: &Path) -> io::Result<impl Iterator<Item = io::Result<(String, Stat)>>> {
    let (bucket, key) = open(folder)?;
    let skipped = if key.is_empty() { 0 } else { key.len() + 1 };
    Ok(bucket.list(&key)?.filter_map(move |object| match object {
        // Some tools make an empty object for a folder.
        Ok(object) => object
            .key
            .get(skipped..)
            .filter(|inner| !inner.is_empty())
            .map(|inner| Ok((inner.to_owned(), object.clone().into()))),
        Err(e) => Some(Err(e)),
    }))
}

/// Keys below a folder of a store, from there, that listings of it had and whose objects cannot be
/// asked for: with a part that is empty, `.` or `..`, or with a control character.
///
/// # Errors
/// Where the URL names no store.
pub fn refused_below(folder: &Path) -> io::Result<Vec<String>> {
    let (bucket, key) = open(folder)?;
    Ok(bucket.refused_below(&key))
}

/// The bucket and the key of a URL.
pub(crate) fn open(path: &Path) -> io::Result<(Arc<Bucket>, String)> {
    let address = Address::of(path)?;
    Ok((bucket_of(&address)?, address.key))
}

fn has_any(bucket: &Bucket, folder: &str) -> io::Result<bool> {
    bucket.list(folder)?.next().transpose().map(|object| object.is_some())
}
