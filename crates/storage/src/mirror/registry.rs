//! Mirrors by the paths in them. Readers of the work folder, in all stages, have a path and nothing
//! else: whether it lies in a mirror is asked here, of the mirrors that this process has open.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, Weak};

use crate::address::Address;
use crate::bucket::bucket_of;
use crate::mirror::folder::{FILES_AT_A_TIME, Mirror};
use crate::mirror::notes::{Identity, Note, remove};

static MIRRORS: RwLock<Vec<Weak<Mirror>>> = RwLock::new(Vec::new());

impl Mirror {
    /// The mirror below `cache` of the work folder at `url`, with at most `room_bytes` of files
    /// that could be fetched again.
    ///
    /// # Errors
    /// If the URL is not one of a known store, or the folder cannot be created.
    pub fn open(url: &Path, cache: &Path, room_bytes: u64) -> io::Result<Arc<Self>> {
        let address = Address::of(url)?;
        let bucket = bucket_of(&address)?;
        let mirror = Self::in_bucket(bucket, &address, cache, room_bytes, FILES_AT_A_TIME)?;
        Ok(mirror.registered())
    }

    /// Makes the functions of this module find the mirror, as long as somebody has it.
    pub(crate) fn registered(self) -> Arc<Self> {
        let mirror = Arc::new(self);
        let mut mirrors = MIRRORS.write().unwrap_or_else(PoisonError::into_inner);
        mirrors.retain(|mirror| mirror.strong_count() > 0);
        mirrors.push(Arc::downgrade(&mirror));
        mirror
    }
}

/// The mirror that a path is in, and the path in it.
fn find(path: &Path) -> Option<(Arc<Mirror>, String)> {
    let mirrors = MIRRORS.read().unwrap_or_else(PoisonError::into_inner);
    let mut open = mirrors.iter().filter_map(Weak::upgrade);
    let mirror = open.find(|mirror| path.starts_with(&mirror.root))?;
    let inner = path.strip_prefix(&mirror.root).ok()?.to_str()?.to_owned();
    Some((mirror, inner))
}

/// The note of a file in a mirror.
fn note_of(path: &Path) -> Option<Note> {
    find(path).and_then(|(mirror, inner)| mirror.notes.file(&inner))
}

/// Size of a file, whether it is here or still to be fetched; `None` where it is in neither.
pub fn size(path: &Path) -> Option<u64> {
    match fs::metadata(path) {
        Ok(metadata) => metadata.is_file().then_some(metadata.len()),
        Err(_) => note_of(path).filter(|note| !note.is_lost).map(|note| note.bytes),
    }
}

/// Whether the store has lost a file that a manifest lists: other machines have no such file, even
/// where this one has it. `false` outside mirrors.
pub fn is_lost(path: &Path) -> bool {
    note_of(path).is_some_and(|note| note.is_lost)
}

/// Fetches a file of a mirror that is not here yet; all other paths are left to whoever opens them.
///
/// # Errors
/// Where the store does not give it, or the disk is full.
pub fn fetch(path: &Path) -> io::Result<()> {
    match find(path) {
        Some((mirror, inner)) => mirror.cache.fetch(&inner),
        None => Ok(()),
    }
}

/// Fetches files in the background, one after the other, as far as there is room for them: those
/// that will be opened next. What fails is asked for again, and reported, by [`fetch`].
pub fn fetch_ahead(paths: Vec<PathBuf>) {
    let mut wanted = Vec::new();
    let mut bytes: u64 = 0;
    for (mirror, inner) in paths.iter().filter_map(|path| find(path)) {
        let more = mirror.notes.file(&inner).map_or(0, |note| note.bytes);
        bytes = bytes.saturating_add(more);
        // The other half is for files that are in use.
        if bytes > mirror.cache.room_bytes / 2 {
            break;
        }
        wanted.push((mirror, inner));
    }
    if !wanted.is_empty() {
        let fetch = move || wanted.iter().try_for_each(|(mirror, inner)| mirror.cache.fetch(inner));
        // Without the thread they are fetched when they are opened.
        let _ = std::thread::Builder::new().spawn(fetch);
    }
}

/// How many bytes of downloaded files may be kept in the mirror of `path`; `None` outside mirrors.
pub fn room_for(path: &Path) -> Option<u64> {
    find(path).map(|(mirror, _)| mirror.cache.room_bytes)
}

/// Whether a file that was not fetched yet has this content, as was noted when it was sent; `None`
/// where it is here, or where nothing was noted.
///
/// # Errors
/// Where the store does not answer.
pub fn is_whole(path: &Path, bytes: u64, xxh3: &str) -> io::Result<Option<bool>> {
    if path.exists() {
        return Ok(None);
    }
    let Some((mirror, inner)) = find(path) else { return Ok(None) };
    let Some(note) = mirror.notes.file(&inner) else { return Ok(None) };
    if note.is_lost {
        return Ok(Some(false));
    }
    Ok(match mirror.bucket.look_up(&note.key)? {
        None => Some(false),
        Some((object, noted)) => noted.map(|noted| object.bytes == bytes && noted == xxh3),
    })
}

/// Gives a file of a mirror that the store has a second name there, too. The file itself, if it is
/// here, is left to the caller.
///
/// # Errors
/// Where the note cannot be written.
pub fn give_second_name(file: &Path, name: &Path) -> io::Result<()> {
    let (Some((mirror, inner)), Some((_, name_inner))) = (find(file), find(name)) else {
        return Ok(());
    };
    let note = mirror.notes.file(&inner);
    match note.filter(|note| !mirror.notes.is_changed(&inner, Some(note))) {
        // The second name may become the same file, which keeps its identity, or none.
        Some(note) => mirror.notes.write_file(&name_inner, &note),
        None => Ok(()),
    }
}

/// Renames a file, and what is noted of it: there may be a note alone.
///
/// # Errors
/// Where the file or the note cannot be moved. The same call then goes on from there.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    let (Some((mirror, inner)), Some((_, to_inner))) = (find(from), find(to)) else {
        return fs::rename(from, to);
    };
    let notes = &mirror.notes;
    let mut note = notes.file(&inner);
    if from.exists() {
        if notes.is_changed(&inner, note.as_ref()) {
            notes.remove_file(&inner)?;
            note = None;
        }
        fs::rename(from, to)?;
    } else if let Some(note) = &mut note
        && (note.local.is_none() || Identity::of(to) != note.local)
    {
        // The store has the content: what lies here is that of an earlier output.
        remove(to)?;
        note.local = None;
    }
    match note {
        Some(note) => notes.write_file(&to_inner, &note)?,
        None => notes.remove_file(&to_inner)?,
    }
    notes.remove_file(&inner)
}

/// Forgets what is noted of a folder that is not sent.
///
/// # Errors
/// Where the notes cannot be removed.
pub fn forget(folder: &Path) -> io::Result<()> {
    match find(folder) {
        Some((mirror, inner)) => mirror.notes.forget(&inner),
        None => Ok(()),
    }
}
