//! What a mirror knows of the objects of its work folder, kept in files of its own.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::mirror::index::{Index, IndexedFile, Superseded};
use crate::object::Object;

/// The folder of the notes, in the mirror.
pub(crate) const FOLDER: &str = ".remote";

/// Identifies a local file and its content: differs for any other file, and after any change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    bytes: u64,
    inode: u64,
    modified_ns: i64,
}

impl Identity {
    pub(crate) fn of(path: &Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt as _;
        let metadata = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
        let modified_ns =
            metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec());
        Some(Identity { bytes: metadata.len(), inode: metadata.ino(), modified_ns })
    }
}

/// Where the content of a file is in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Note {
    /// Key of the object. One that is not of the file's folder is copied when the file is sent.
    pub(crate) key: String,
    pub(crate) bytes: u64,
    /// Of the content, as the manifest says; empty where none lists the file.
    pub(crate) xxh3: String,
    /// Version of an object that may be overwritten.
    pub(crate) tag: Option<String>,
    /// The file of this machine that has the content.
    pub(crate) local: Option<Identity>,
    /// Whether the store had no such object, or one of another size, when the mirror was last
    /// brought up to date.
    #[serde(default)]
    pub(crate) is_lost: bool,
}

impl Note {
    /// Whether another note is of the same content.
    pub(crate) fn is_same_content(&self, other: &Note) -> bool {
        self.bytes == other.bytes
            && self.xxh3 == other.xxh3
            && (!self.xxh3.is_empty() || (self.key == other.key && self.tag == other.tag))
    }
}

/// A manifest of the store, or a list of an unfinished run, as it was when the mirror was last
/// brought up to date, or after this mirror published.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SeenIndex {
    pub(crate) object: Object,
    /// XXH3 of the object.
    pub(crate) xxh3: String,
    pub(crate) files: Vec<IndexedFile>,
    /// See [`Index::superseded`].
    #[serde(default)]
    pub(crate) superseded: Vec<Superseded>,
    /// Of an unfinished run, see [`Index::beside`].
    pub(crate) beside: String,
    /// The manifest of this machine that says the same.
    pub(crate) local: Option<Identity>,
    /// Why it cannot be understood; then it lists no files.
    #[serde(default)]
    pub(crate) damage: Option<String>,
}

impl SeenIndex {
    /// What an object of this XXH3 says.
    pub(crate) fn of(index: Index, object: Object, xxh3: String, local: Option<Identity>) -> Self {
        let Index { files, superseded, beside, .. } = index;
        SeenIndex { object, xxh3, files, superseded, beside, local, damage: None }
    }
}

/// The notes of a mirror.
#[derive(Debug)]
pub(crate) struct Notes {
    root: PathBuf,
}

const FILE_NOTE: &str = ".note";
const SEEN_INDEX: &str = ".seen";

impl Notes {
    /// The notes of the mirror in this folder.
    pub(crate) fn new(root: &Path) -> Self {
        Notes { root: root.to_path_buf() }
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.root.join(FOLDER)
    }

    /// The note of a file. One that cannot be read counts as missing: then the object is new.
    pub(crate) fn file(&self, inner: &str) -> Option<Note> {
        self.read(inner, FILE_NOTE)
    }

    pub(crate) fn write_file(&self, inner: &str, note: &Note) -> io::Result<()> {
        self.write(inner, FILE_NOTE, note)
    }

    pub(crate) fn remove_file(&self, inner: &str) -> io::Result<()> {
        remove(&self.path(inner, FILE_NOTE))
    }

    /// A manifest, as it was seen last.
    pub(crate) fn index(&self, inner: &str) -> Option<SeenIndex> {
        self.read(inner, SEEN_INDEX)
    }

    pub(crate) fn write_index(&self, inner: &str, index: &SeenIndex) -> io::Result<()> {
        self.write(inner, SEEN_INDEX, index)
    }

    pub(crate) fn remove_index(&self, inner: &str) -> io::Result<()> {
        remove(&self.path(inner, SEEN_INDEX))
    }

    /// The files below a folder that are noted, but for those of staging folders.
    pub(crate) fn files_below(&self, folder: &str) -> io::Result<Vec<String>> {
        self.below(folder, FILE_NOTE)
    }

    /// The manifests below a folder that were seen.
    pub(crate) fn indexes_below(&self, folder: &str) -> io::Result<Vec<String>> {
        self.below(folder, SEEN_INDEX)
    }

    /// Removes what is noted of a folder.
    pub(crate) fn forget(&self, folder: &str) -> io::Result<()> {
        match fs::remove_dir_all(self.folder().join(folder)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }

    /// Whether the file of this machine is not the content that the note is of.
    pub(crate) fn is_changed(&self, inner: &str, note: Option<&Note>) -> bool {
        match (Identity::of(&self.root.join(inner)), note) {
            (None, note) => note.is_none(),
            (Some(_), None) => true,
            (Some(identity), Some(note)) => note.local != Some(identity),
        }
    }

    fn path(&self, inner: &str, kind: &str) -> PathBuf {
        self.folder().join(format!("{inner}{kind}"))
    }

    fn below(&self, folder: &str, kind: &str) -> io::Result<Vec<String>> {
        let mut notes = BTreeSet::new();
        visible_files(&self.folder(), folder, &mut notes)?;
        Ok(notes.iter().filter_map(|note| note.strip_suffix(kind)).map(str::to_owned).collect())
    }

    fn read<T: DeserializeOwned>(&self, inner: &str, kind: &str) -> Option<T> {
        serde_json::from_slice(&fs::read(self.path(inner, kind)).ok()?).ok()
    }

    fn write(&self, inner: &str, kind: &str, note: &impl Serialize) -> io::Result<()> {
        write_beside(&self.path(inner, kind), &serde_json::to_vec(note)?)
    }
}

/// Replaces a file of the mirror in one step.
pub(crate) fn write_beside(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(at(folder))?;
    let mut file = new_file(folder)?;
    file.as_file_mut().write_all(content).map_err(at(path))?;
    file.persist(path).map_err(|e| at(path)(e.error))?;
    Ok(())
}

/// Names the file or folder that the disk refused.
pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> io::Error {
    let path = path.to_path_buf();
    move |e| io::Error::new(e.kind(), format!("{}: {e}", path.display()))
}

/// A file in a folder, to be renamed, for whoever the process' umask lets read.
pub(crate) fn new_file(folder: &Path) -> io::Result<tempfile::NamedTempFile> {
    tempfile::Builder::new().prefix(".fetching-").make_in(folder, |path| fs::File::create_new(path))
}

pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(at(path)(e)),
        _ => Ok(()),
    }
}

/// The files below a folder whose names, and those of their folders, do not begin with a dot.
pub(crate) fn visible_files(
    root: &Path,
    inner: &str,
    files: &mut BTreeSet<String>,
) -> io::Result<()> {
    let entries = match fs::read_dir(root.join(inner)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let Some(name) =
            entry.file_name().to_str().filter(|name| !name.starts_with('.')).map(str::to_owned)
        else {
            continue;
        };
        let inner = if inner.is_empty() { name } else { format!("{inner}/{name}") };
        if entry.file_type()?.is_dir() {
            visible_files(root, &inner, files)?;
        } else {
            files.insert(inner);
        }
    }
    Ok(())
}
