//! A work folder in an object store, and its mirror on this machine.
//!
//! The mirror has a note of each object that it knows: size and version, and whether the file
//! beside is its content. Small files are fetched when the mirror is brought up to date, large ones
//! when they are opened. What a stage has published is sent: files first, the manifest last, on the
//! condition that nobody else published meanwhile.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::SystemTime;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::address::{Address, as_folder};
use crate::bucket::{Bucket, If, Object, bucket_of};

const MANIFEST: &str = "manifest.json";
/// The folder of the notes, in the mirror.
const NOTES: &str = ".remote";
/// Files up to this size are fetched with the list and never dropped.
const SMALL_BYTES: u64 = 1 << 20;
/// Files that are fetched or sent at a time.
const FILES_AT_A_TIME: usize = 8;

/// What tells a file of this machine from any other, and from what it was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    bytes: u64,
    inode: u64,
    modified_ns: i64,
}

impl Identity {
    fn of(path: &Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt as _;
        let metadata = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
        let modified_ns =
            metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec());
        Some(Identity { bytes: metadata.len(), inode: metadata.ino(), modified_ns })
    }
}

/// What is known of an object of the work folder.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Note {
    /// The object. One of another name is to be copied when the file is sent.
    object: Object,
    /// The file that has its content.
    local: Option<Identity>,
}

/// How much went one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// The mirror of a work folder.
#[derive(Debug)]
pub struct Mirror {
    url: PathBuf,
    bucket: Arc<Bucket>,
    /// Key of the work folder.
    prefix: String,
    root: PathBuf,
    /// How much of fetched files is kept.
    room_bytes: u64,
    /// Files that could be fetched again, by when they were needed last.
    kept: Mutex<VecDeque<(String, u64)>>,
    fetching: Mutex<HashSet<String>>,
    fetched: Condvar,
}

static MIRRORS: RwLock<Vec<Arc<Mirror>>> = RwLock::new(Vec::new());

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The mirror that a path is in, and the path in it.
fn place(path: &Path) -> Option<(Arc<Mirror>, String)> {
    let mirrors = MIRRORS.read().unwrap_or_else(PoisonError::into_inner);
    let mirror = mirrors.iter().find(|mirror| path.starts_with(&mirror.root))?;
    let inner = path.strip_prefix(&mirror.root).ok()?.to_str()?;
    Some((mirror.clone(), inner.to_owned()))
}

/// Size of a file, whether it is here or still to be fetched.
pub fn size(path: &Path) -> Option<u64> {
    match fs::metadata(path) {
        Ok(metadata) => metadata.is_file().then_some(metadata.len()),
        Err(_) => place(path)
            .and_then(|(mirror, inner)| mirror.note(&inner))
            .map(|note| note.object.bytes),
    }
}

/// Fetches a file of a mirror that is not here yet; all other paths are left to whoever opens them.
///
/// # Errors
/// Where the store does not give it, or the disk is full.
pub fn fetch(path: &Path) -> io::Result<()> {
    match place(path) {
        Some((mirror, inner)) => mirror.fetch(&inner),
        None => Ok(()),
    }
}

/// Fetches files in the background, one after the other, as far as there is room for them: those
/// that will be opened next. What fails is asked for again, and told, by [`fetch`].
pub fn fetch_ahead(paths: Vec<PathBuf>) {
    let mut wanted = Vec::new();
    let mut bytes = 0;
    for (mirror, inner) in paths.iter().filter_map(|path| place(path)) {
        bytes += mirror.note(&inner).map_or(0, |note| note.object.bytes);
        // The other half is for files that are in use.
        if bytes > mirror.room_bytes / 2 {
            break;
        }
        wanted.push((mirror, inner));
    }
    if !wanted.is_empty() {
        std::thread::spawn(move || {
            wanted.iter().try_for_each(|(mirror, inner)| mirror.fetch(inner))
        });
    }
}

/// How many bytes of fetched files may lie beside `path` at a time; `None` where that is the disk's
/// affair.
pub fn room_for(path: &Path) -> Option<u64> {
    place(path).map(|(mirror, _)| mirror.room_bytes)
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
    let Some((mirror, inner)) = place(path) else { return Ok(None) };
    let Some(note) = mirror.note(&inner) else { return Ok(None) };
    let noted = mirror.bucket.noted_xxh3(&note.object.key)?;
    Ok(noted.map(|noted| note.object.bytes == bytes && noted == xxh3))
}

/// Gives a file of a mirror that the store has a second name there, too. The file itself, if it is
/// here, is left to the caller.
///
/// # Errors
/// Where the note cannot be written.
pub fn give_second_name(file: &Path, name: &Path) -> io::Result<()> {
    let (Some((mirror, inner)), Some((_, name_inner))) = (place(file), place(name)) else {
        return Ok(());
    };
    match mirror.note(&inner).filter(|note| !mirror.is_changed(&inner, Some(note))) {
        // The second name may become the same file, which keeps its identity, or none.
        Some(note) => mirror.write_note(&name_inner, &note),
        None => Ok(()),
    }
}

/// Follows a file to its new name.
///
/// # Errors
/// Where the note cannot be moved.
pub fn moved(from: &Path, to: &Path) -> io::Result<()> {
    let (Some((mirror, inner)), Some((_, to_inner))) = (place(from), place(to)) else {
        return Ok(());
    };
    let Some(note) = mirror.note(&inner) else { return Ok(()) };
    if !to.exists() || Identity::of(to) == note.local {
        mirror.write_note(&to_inner, &note)?;
    }
    remove(&mirror.note_path(&inner))
}

/// Forgets what is noted of a folder that is not sent.
///
/// # Errors
/// Where the notes cannot be removed.
pub fn forget(folder: &Path) -> io::Result<()> {
    let Some((mirror, inner)) = place(folder) else { return Ok(()) };
    match fs::remove_dir_all(mirror.root.join(NOTES).join(inner)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

impl Mirror {
    /// The mirror below `cache` of the work folder at `url`, with at most `room_bytes` of files
    /// that could be fetched again.
    ///
    /// # Errors
    /// Where the URL is none of a known store, or the folder cannot be made.
    pub fn open(url: &Path, cache: &Path, room_bytes: u64) -> io::Result<Arc<Self>> {
        let address = Address::of(url)?;
        let root = cache.join(as_folder(&address));
        fs::create_dir_all(&root)?;
        let bucket = bucket_of(&address)?;
        let mirror = Arc::new(Mirror {
            url: address.url(),
            bucket,
            prefix: address.key,
            root,
            room_bytes,
            kept: Mutex::default(),
            fetching: Mutex::default(),
            fetched: Condvar::new(),
        });
        MIRRORS.write().unwrap_or_else(PoisonError::into_inner).push(mirror.clone());
        Ok(mirror)
    }

    /// The folder on this machine.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The work folder in the store.
    pub fn url(&self) -> &Path {
        &self.url
    }

    /// Brings these folders of the mirror up to date. The store is right: files that differ from it
    /// are dropped, except those of a publication of this mirror that was cut short.
    ///
    /// # Errors
    /// Where the store does not answer or the disk fails.
    pub fn pull(&self, folders: &[String]) -> io::Result<Moved> {
        let mut small = Vec::new();
        for folder in folders {
            let mut objects = BTreeMap::new();
            for object in self.bucket.list(&self.key(folder))? {
                let object = object?;
                if let Some(inner) = self.inner(&object.key).filter(|inner| is_visible(inner)) {
                    objects.insert(inner.to_owned(), object);
                }
            }
            for inner in self.noted(folder)? {
                if !objects.contains_key(&inner) {
                    self.drop_file(&inner)?;
                }
            }
            for (inner, object) in objects {
                let is_small = object.bytes <= SMALL_BYTES;
                self.take_note(&inner, object)?;
                let is_here = self.root.join(&inner).exists();
                if is_here {
                    self.keep(&inner);
                } else if is_small {
                    small.push(inner);
                }
            }
        }
        let moved = Counter::default();
        in_parallel(&small, |inner| {
            self.fetch(inner)?;
            moved.add(size(&self.root.join(inner)).unwrap_or(0));
            Ok(())
        })?;
        Ok(moved.sum())
    }

    /// Notes an object as the store lists it.
    fn take_note(&self, inner: &str, object: Object) -> io::Result<()> {
        let path = self.root.join(inner);
        let note = self.note(inner);
        let is_known = note
            .as_ref()
            .is_some_and(|note| note.object.key == object.key && note.object.is_still(&object));
        if is_known && (!path.exists() || !self.is_changed(inner, note.as_ref())) {
            return Ok(());
        }
        if is_manifest(inner) && path.exists() && self.is_own_claim(inner, &object)? {
            return self.write_note(inner, &Note { object, local: None });
        }
        remove(&path)?;
        self.write_note(inner, &Note { object, local: None })
    }

    fn drop_file(&self, inner: &str) -> io::Result<()> {
        if !self.is_changed(inner, self.note(inner).as_ref()) {
            remove(&self.root.join(inner))?;
        }
        remove(&self.note_path(inner))
    }

    fn fetch(&self, inner: &str) -> io::Result<()> {
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
        let Some(note) = self.note(inner) else { return Ok(()) };
        fetching.insert(inner.to_owned());
        drop(fetching);
        let result = self.fetch_object(&path, &note.object).and_then(|()| {
            self.write_note(inner, &Note { local: Identity::of(&path), ..note })?;
            self.keep(inner);
            Ok(())
        });
        lock(&self.fetching).remove(inner);
        self.fetched.notify_all();
        result
    }

    fn fetch_object(&self, path: &Path, object: &Object) -> io::Result<()> {
        self.make_room(object.bytes)?;
        let folder = path.parent().unwrap_or(&self.root);
        fs::create_dir_all(folder)?;
        let mut builder = tempfile::Builder::new();
        let file = builder
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666))
            .prefix(".fetching-")
            .tempfile_in(folder)?;
        self.bucket.fetch(object, file.as_file().try_clone()?)?;
        file.persist(path).map_err(|e| e.error)?;
        Ok(())
    }

    /// Notes that a file was needed just now, if it is one that could be fetched again.
    fn keep(&self, inner: &str) {
        let bytes = match self.note(inner) {
            Some(note)
                if note.object.bytes > SMALL_BYTES && !self.is_changed(inner, Some(&note)) =>
            {
                note.object.bytes
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
        while sum + bytes > self.room_bytes {
            let Some((inner, bytes)) = kept.pop_front() else { break };
            sum -= bytes;
            if let Some(note) =
                self.note(&inner).filter(|note| !self.is_changed(&inner, Some(note)))
            {
                remove(&self.root.join(&inner))?;
                self.write_note(&inner, &Note { local: None, ..note })?;
            }
        }
        Ok(())
    }

    /// Sends what these folders have that the store has not: publications, the manifest last, then
    /// loose files.
    ///
    /// # Errors
    /// `ResourceBusy` where another process published one of these folders meanwhile; where the
    /// store does not answer.
    pub fn push(&self, folders: &[String]) -> io::Result<Moved> {
        let moved = Counter::default();
        for folder in folders {
            let mut files = BTreeSet::new();
            visible_files(&self.root, folder, &mut files)?;
            let mut listed = HashSet::new();
            for manifest in files.iter().filter(|inner| is_manifest(inner)) {
                let is_new = self.is_changed(manifest, self.note(manifest).as_ref());
                listed.insert(manifest.clone());
                match Publication::read(self, manifest) {
                    Ok(publication) => {
                        if is_new {
                            publication.send(&moved)?;
                        }
                        listed.extend(publication.files.into_keys());
                    }
                    Err(e) if is_new => return Err(e),
                    // Somebody's claim.
                    Err(_) => {}
                }
            }
            let loose: Vec<String> =
                files.into_iter().filter(|inner| !listed.contains(inner)).collect();
            in_parallel(&loose, |inner| self.send(inner, "", &moved))?;
        }
        Ok(moved.sum())
    }

    /// Sends a file, if the store does not have it.
    fn send(&self, inner: &str, xxh3: &str, moved: &Counter) -> io::Result<()> {
        let path = self.root.join(inner);
        let (note, key) = (self.note(inner), self.key(inner));
        let is_changed = self.is_changed(inner, note.as_ref());
        let (object, local) = match note {
            Some(note) if !is_changed && note.object.key == key => return Ok(()),
            Some(note) if !is_changed => (self.bucket.copy(&note.object.key, &key)?, note.local),
            _ => {
                let local = Identity::of(&path);
                let file = File::open(&path)?;
                let bytes = file.metadata()?.len();
                let object = self.bucket.send(&key, file, bytes, xxh3)?;
                moved.add(bytes);
                (object, local)
            }
        };
        self.write_note(inner, &Note { object, local })?;
        self.keep(inner);
        Ok(())
    }

    /// Whether the file here is not the content of the object that the note is of.
    fn is_changed(&self, inner: &str, note: Option<&Note>) -> bool {
        match (Identity::of(&self.root.join(inner)), note) {
            (None, note) => note.is_none(),
            (Some(_), None) => true,
            (Some(identity), Some(note)) => note.local != Some(identity),
        }
    }

    fn key(&self, inner: &str) -> String {
        if self.prefix.is_empty() { inner.to_owned() } else { format!("{}/{inner}", self.prefix) }
    }

    /// The path in the work folder.
    fn inner<'a>(&self, key: &'a str) -> Option<&'a str> {
        if self.prefix.is_empty() {
            Some(key)
        } else {
            key.strip_prefix(&self.prefix)?.strip_prefix('/')
        }
    }

    fn note_path(&self, inner: &str) -> PathBuf {
        self.root.join(NOTES).join(format!("{inner}.json"))
    }

    /// A note that cannot be read is none: then the object is taken as a new one.
    fn note(&self, inner: &str) -> Option<Note> {
        serde_json::from_slice(&fs::read(self.note_path(inner)).ok()?).ok()
    }

    fn write_note(&self, inner: &str, note: &Note) -> io::Result<()> {
        let path = self.note_path(inner);
        let folder = path.parent().unwrap_or(&self.root);
        fs::create_dir_all(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        serde_json::to_writer(&mut file, note)?;
        file.persist(&path).map_err(|e| e.error)?;
        Ok(())
    }

    /// All objects of a folder that are noted, but for those of staging folders.
    fn noted(&self, folder: &str) -> io::Result<Vec<String>> {
        let mut notes = BTreeSet::new();
        visible_files(&self.root.join(NOTES), folder, &mut notes)?;
        Ok(notes.iter().filter_map(|note| note.strip_suffix(".json")).map(str::to_owned).collect())
    }

    fn claim_path(&self, manifest: &str) -> PathBuf {
        self.root.join(NOTES).join(format!("{manifest}.claim"))
    }

    /// Whether a manifest in the store is the claim of a publication that this mirror began and did
    /// not end.
    fn is_own_claim(&self, manifest: &str, object: &Object) -> io::Result<bool> {
        let Ok(claim) = fs::read(self.claim_path(manifest)) else { return Ok(false) };
        Ok(object.bytes == claim.len() as u64
            && self.bucket.read(&object.key, SMALL_BYTES)?.1 == claim)
    }
}

/// What a manifest says, as far as it matters for sending the files.
#[derive(Deserialize)]
struct Listed {
    files: Vec<ListedFile>,
}

#[derive(Deserialize, PartialEq, Eq)]
struct ListedFile {
    path: String,
    xxh3: String,
}

/// A folder with a manifest, on its way to the store.
struct Publication<'a> {
    mirror: &'a Mirror,
    manifest: &'a str,
    /// Path of the folder, with a `/` behind it.
    folder: &'a str,
    content: Bytes,
    /// By path in the work folder, with their hashes.
    files: BTreeMap<String, String>,
}

impl<'a> Publication<'a> {
    fn read(mirror: &'a Mirror, manifest: &'a str) -> io::Result<Self> {
        let content = Bytes::from(fs::read(mirror.root.join(manifest))?);
        let folder = manifest.strip_suffix(MANIFEST).unwrap_or_default();
        let files = listed(&content)?
            .files
            .into_iter()
            .map(|file| (format!("{folder}{}", file.path), file.xxh3))
            .collect();
        Ok(Publication { mirror, manifest, folder, content, files })
    }

    fn send(&self, moved: &Counter) -> io::Result<()> {
        // Workers may write one part at once: its files are named after their content, so that none
        // replaces another's.
        if self.folder.starts_with("parts/") {
            self.send_part(moved)
        } else {
            self.send_whole(moved)
        }
    }

    fn send_part(&self, moved: &Counter) -> io::Result<()> {
        const TRIES: usize = 5;
        self.send_files(moved)?;
        for _ in 0..TRIES {
            let there = self.mirror.bucket.find(&self.key())?;
            if let Some(object) = self.mirror.bucket.put(
                &self.key(),
                self.content.clone(),
                If::still(there.as_ref()),
            )? {
                return self.note_manifest(object);
            }
        }
        Err(self.busy("is written by several workers at once; run this partition again"))
    }

    fn send_whole(&self, moved: &Counter) -> io::Result<()> {
        let mirror = self.mirror;
        let there = mirror.bucket.find(&self.key())?;
        if let Some(there) = &there
            && !mirror.note(self.manifest).is_some_and(|note| note.object.is_still(there))
        {
            let (_, content) = mirror.bucket.read(&self.key(), u64::MAX)?;
            match listed(&content) {
                // Somebody made the very same.
                Ok(others) if others == listed(&self.content)? => {
                    fs::write(mirror.root.join(self.manifest), &content)?;
                    let local = Identity::of(&mirror.root.join(self.manifest));
                    return mirror
                        .write_note(self.manifest, &Note { object: there.clone(), local });
                }
                Ok(_) => {
                    return Err(
                        self.busy("was published by another process while this one ran; run again")
                    );
                }
                // A claim, whose process may be gone: whoever claims last publishes.
                Err(_) => {}
            }
        }
        let claim = Bytes::from(claim());
        let claim_path = mirror.claim_path(self.manifest);
        fs::create_dir_all(claim_path.parent().unwrap_or(&mirror.root))?;
        fs::write(&claim_path, &claim)?;
        let meanwhile =
            || self.busy("is being published by another process; wait for it, then run again");
        let claimed = mirror
            .bucket
            .put(&self.key(), claim, If::still(there.as_ref()))?
            .ok_or_else(meanwhile)?;
        self.send_files(moved)?;
        let object = mirror
            .bucket
            .put(&self.key(), self.content.clone(), If::still(Some(&claimed)))?
            .ok_or_else(meanwhile)?;
        self.note_manifest(object)?;
        remove(&claim_path)?;
        self.sweep()
    }

    fn send_files(&self, moved: &Counter) -> io::Result<()> {
        let files: Vec<_> = self.files.iter().collect();
        in_parallel(&files, |(inner, xxh3)| self.mirror.send(inner, xxh3, moved))
    }

    /// Removes objects of the folder that are neither listed nor here. They are unlisted: a failure
    /// costs space and no more.
    fn sweep(&self) -> io::Result<()> {
        let mirror = self.mirror;
        for object in mirror.bucket.list(&mirror.key(self.folder.trim_end_matches('/')))? {
            let object = object?;
            let Some(inner) = mirror.inner(&object.key) else { continue };
            if inner != self.manifest
                && !self.files.contains_key(inner)
                && !mirror.root.join(inner).exists()
            {
                let _ = mirror.bucket.remove(&object.key);
                remove(&mirror.note_path(inner))?;
            }
        }
        Ok(())
    }

    fn note_manifest(&self, object: Object) -> io::Result<()> {
        let local = Identity::of(&self.mirror.root.join(self.manifest));
        self.mirror.write_note(self.manifest, &Note { object, local })
    }

    fn key(&self) -> String {
        self.mirror.key(self.manifest)
    }

    fn busy(&self, reason: &str) -> io::Error {
        let url = self.mirror.bucket.url(&self.mirror.key(self.folder.trim_end_matches('/')));
        io::Error::new(io::ErrorKind::ResourceBusy, format!("{} {reason}", url.display()))
    }
}

fn listed(manifest: &[u8]) -> io::Result<Listed> {
    Ok(serde_json::from_slice(manifest)?)
}

impl PartialEq for Listed {
    fn eq(&self, other: &Self) -> bool {
        self.files == other.files
    }
}

/// What stands for a manifest while files are replaced. It is of no version, so that readers find
/// no output, as they do while one is published on this machine.
fn claim() -> Vec<u8> {
    static CLAIMS: AtomicU64 = AtomicU64::new(0);
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos());
    let id = format!("{}-{since}-{}", std::process::id(), CLAIMS.fetch_add(1, Ordering::Relaxed));
    let claim = serde_json::json!({ "schema_version": 0, "publishing": id });
    claim.to_string().into_bytes()
}

#[derive(Default)]
struct Counter {
    files: AtomicU64,
    bytes: AtomicU64,
}

impl Counter {
    fn add(&self, bytes: u64) {
        self.files.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn sum(&self) -> Moved {
        Moved {
            files: self.files.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }
}

/// Runs `work` on all items, several at a time, until one fails.
fn in_parallel<T: Sync>(items: &[T], work: impl Fn(&T) -> io::Result<()> + Sync) -> io::Result<()> {
    let queue = Mutex::new(items.iter());
    let failed = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..FILES_AT_A_TIME.min(items.len()) {
            scope.spawn(|| {
                while lock(&failed).is_none() {
                    let Some(item) = lock(&queue).next() else { return };
                    if let Err(e) = work(item) {
                        lock(&failed).get_or_insert(e);
                    }
                }
            });
        }
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

/// The files below a folder whose names, and those of their folders, do not begin with a dot.
fn visible_files(root: &Path, inner: &str, files: &mut BTreeSet<String>) -> io::Result<()> {
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

fn is_visible(inner: &str) -> bool {
    !inner.is_empty() && inner.split('/').all(|part| !part.starts_with('.'))
}

fn is_manifest(inner: &str) -> bool {
    inner == MANIFEST || inner.strip_suffix(MANIFEST).is_some_and(|folder| folder.ends_with('/'))
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use xxhash_rust::xxh3::xxh3_64;

    use super::*;
    use crate::bucket::open_in_memory;

    const LARGE: usize = SMALL_BYTES as usize + 1;

    struct Machine {
        mirror: Arc<Mirror>,
        _cache: tempfile::TempDir,
    }

    impl Machine {
        fn new(bucket: &str, room_bytes: u64) -> Self {
            let cache = tempfile::tempdir().unwrap();
            let mirror =
                Mirror::open(&Path::new(bucket).join("work"), cache.path(), room_bytes).unwrap();
            Machine { mirror, _cache: cache }
        }

        fn path(&self, inner: &str) -> PathBuf {
            self.mirror.root().join(inner)
        }

        /// Publishes as a stage does: files under new names of the file system, the manifest last.
        fn publish(&self, folder: &str, files: &[(&str, &[u8])]) {
            for (name, content) in files {
                self.write(&format!("{folder}/{name}"), content);
            }
            let listed: Vec<_> =
                files.iter().map(|(name, content)| serde_json::json!({ "path": name, "xxh3": format!("{:016x}", xxh3_64(content)) })).collect();
            self.write(
                &format!("{folder}/{MANIFEST}"),
                serde_json::json!({ "schema_version": 2, "files": listed }).to_string().as_bytes(),
            );
        }

        fn write(&self, inner: &str, content: &[u8]) {
            let path = self.path(inner);
            let beside = path.with_extension("new");
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&beside, content).unwrap();
            fs::rename(beside, path).unwrap();
        }

        fn pull(&self, folder: &str) -> Moved {
            self.mirror.pull(&[folder.to_owned()]).unwrap()
        }

        fn push(&self, folder: &str) -> io::Result<Moved> {
            self.mirror.push(&[folder.to_owned()])
        }

        /// What a reader finds, once it has opened it.
        fn read(&self, inner: &str) -> Option<Vec<u8>> {
            fetch(&self.path(inner)).unwrap();
            fs::read(self.path(inner)).ok()
        }
    }

    #[test]
    fn what_one_machine_published_another_finds() {
        open_in_memory("test://one");
        let [first, second] = [0, 1].map(|_| Machine::new("test://one", 1 << 30));
        let large = vec![7; LARGE];
        first.publish("tables", &[("a.parquet", b"a"), ("sub/large", &large)]);
        first.write("runs/latest", b"run");
        assert_eq!(first.push("tables").unwrap(), Moved { files: 2, bytes: 1 + LARGE as u64 });
        first.push("runs").unwrap();
        assert_eq!(first.push("tables").unwrap(), Moved::default(), "nothing is sent twice");

        assert_eq!(second.pull("tables").files, 2, "the manifest and the small file");
        second.pull("runs");
        assert_eq!(
            (second.read("tables/a.parquet").as_deref(), second.read("runs/latest").as_deref()),
            (Some(&b"a"[..]), Some(&b"run"[..]))
        );
        let path = second.path("tables/sub/large");
        assert!(
            !path.exists() && size(&path) == Some(LARGE as u64),
            "a large file is known and not fetched"
        );
        let hash = format!("{:016x}", xxh3_64(&large));
        assert_eq!(is_whole(&path, LARGE as u64, &hash).unwrap(), Some(true));
        assert_eq!(is_whole(&path, LARGE as u64, "0").unwrap(), Some(false));
        assert_eq!(second.read("tables/sub/large"), Some(large));
        assert_eq!(second.pull("tables"), Moved::default());
        assert_eq!(second.push("tables").unwrap(), Moved::default());
    }

    #[test]
    fn a_new_publication_replaces_the_old_one_everywhere() {
        let bucket = open_in_memory("test://replaced");
        let [first, second] = [0, 1].map(|_| Machine::new("test://replaced", 1 << 30));
        first.publish("tables", &[("a", b"old"), ("gone", b"gone")]);
        first.push("tables").unwrap();
        second.pull("tables");
        second.publish("tables", &[("a", b"new")]);
        fs::remove_file(second.path("tables/gone")).unwrap();
        second.push("tables").unwrap();
        assert!(bucket.find("work/tables/gone").unwrap().is_none());
        first.pull("tables");
        assert_eq!(
            (first.read("tables/a").as_deref(), first.read("tables/gone")),
            (Some(&b"new"[..]), None)
        );
    }

    #[test]
    fn of_two_that_publish_at_once_one_is_told_unless_they_made_the_same() {
        open_in_memory("test://two");
        let [first, second, third] = [0, 1, 2].map(|_| Machine::new("test://two", 1 << 30));
        for machine in [&first, &second, &third] {
            machine.pull("tables");
        }
        first.publish("tables", &[("a", b"one")]);
        second.publish("tables", &[("a", b"two")]);
        third.publish("tables", &[("a", b"one")]);
        first.push("tables").unwrap();
        let error = second.push("tables").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
        assert_eq!(
            error.to_string(),
            "test://two/work/tables was published by another process while this one ran; run again"
        );
        third.push("tables").unwrap();
        second.pull("tables");
        assert_eq!(second.read("tables/a").as_deref(), Some(&b"one"[..]));
    }

    #[test]
    fn a_publication_that_was_cut_short_is_none_and_is_taken_up_again() {
        let bucket = open_in_memory("test://cut");
        let [first, second] = [0, 1].map(|_| Machine::new("test://cut", 1 << 30));
        first.publish("tables", &[("a", b"a")]);
        // The process dies behind its claim.
        let claim = claim();
        fs::create_dir_all(first.mirror.claim_path("tables/manifest.json").parent().unwrap())
            .unwrap();
        fs::write(first.mirror.claim_path("tables/manifest.json"), &claim).unwrap();
        bucket.put("work/tables/manifest.json", Bytes::from(claim), If::Absent).unwrap().unwrap();

        second.pull("tables");
        let manifest: serde_json::Value =
            serde_json::from_slice(&second.read("tables/manifest.json").unwrap()).unwrap();
        assert_eq!(manifest["schema_version"], 0, "readers see no output");
        assert_eq!(
            second.push("tables").unwrap(),
            Moved::default(),
            "nor does anybody send the claim of another"
        );

        first.pull("tables");
        assert_eq!(first.push("tables").unwrap().files, 1);
        second.pull("tables");
        assert_eq!(second.read("tables/a").as_deref(), Some(&b"a"[..]));
    }

    #[test]
    fn whoever_claims_last_publishes() {
        let bucket = open_in_memory("test://claims");
        let machine = Machine::new("test://claims", 1 << 30);
        bucket.put("work/tables/manifest.json", Bytes::from(claim()), If::Absent).unwrap().unwrap();
        machine.pull("tables");
        machine.publish("tables", &[("a", b"a")]);
        machine.push("tables").unwrap();
        let other = Machine::new("test://claims", 1 << 30);
        other.pull("tables");
        assert_eq!(other.read("tables/a").as_deref(), Some(&b"a"[..]));
    }

    #[test]
    fn a_file_of_a_part_gets_a_second_name_without_being_fetched() {
        let bucket = open_in_memory("test://parts");
        let [worker, merger] = [0, 1].map(|_| Machine::new("test://parts", 1 << 30));
        let shard = vec![3; LARGE];
        worker.publish("parts/resize/1/1", &[("train-3.arrow", &shard)]);
        worker.push("parts/resize/1").unwrap();

        merger.pull("parts/resize/1");
        let (part, staged) = (
            merger.path("parts/resize/1/1/train-3.arrow"),
            merger.path("shards/.partial/train-00000.arrow"),
        );
        give_second_name(&part, &staged).unwrap();
        assert_eq!(size(&staged), Some(LARGE as u64));
        moved(&staged, &merger.path("shards/train-00000.arrow")).unwrap();
        assert_eq!(size(&staged), None);
        let listed = serde_json::json!({ "files": [{ "path": "train-00000.arrow", "xxh3": "x" }] });
        merger.write("shards/manifest.json", listed.to_string().as_bytes());
        assert_eq!(merger.push("shards").unwrap(), Moved::default(), "the store copies it");
        assert!(!part.exists());
        assert_eq!(bucket.read("work/shards/train-00000.arrow", u64::MAX).unwrap().1, shard);
        assert_eq!(merger.read("shards/train-00000.arrow"), Some(shard));
    }

    #[test]
    fn workers_that_send_one_part_at_once_leave_one_of_theirs() {
        open_in_memory("test://workers");
        let machines: Vec<Machine> =
            (0..4).map(|_| Machine::new("test://workers", 1 << 30)).collect();
        std::thread::scope(|scope| {
            for (number, machine) in machines.iter().enumerate() {
                scope.spawn(move || {
                    for round in 0..5 {
                        let content = format!("{}", (number + round) % 2);
                        machine.publish(
                            "parts/x/1/1",
                            &[(&format!("part-{content}"), content.as_bytes())],
                        );
                        match machine.push("parts") {
                            Err(e) if e.kind() != io::ErrorKind::ResourceBusy => panic!("{e}"),
                            _ => {}
                        }
                    }
                });
            }
        });
        let reader = Machine::new("test://workers", 1 << 30);
        reader.pull("parts");
        let listed = listed(&reader.read("parts/x/1/1/manifest.json").unwrap()).unwrap().files;
        assert_eq!(listed.len(), 1);
        let content = reader.read(&format!("parts/x/1/1/{}", listed[0].path)).unwrap();
        assert_eq!(listed[0].path, format!("part-{}", String::from_utf8(content).unwrap()));
    }

    #[test]
    fn fetched_files_keep_to_their_room() {
        open_in_memory("test://room");
        let [first, second] =
            [1 << 30, 3 * LARGE as u64].map(|room| Machine::new("test://room", room));
        let names: Vec<String> = (0..8).map(|number| format!("{number}.arrow")).collect();
        let contents: Vec<Vec<u8>> = (0..8).map(|number| vec![number; LARGE]).collect();
        let files: Vec<(&str, &[u8])> = names
            .iter()
            .zip(&contents)
            .map(|(name, content)| (name.as_str(), content.as_slice()))
            .collect();
        first.publish("shards", &files);
        first.push("shards").unwrap();
        second.pull("shards");
        let here =
            || names.iter().filter(|name| second.path(&format!("shards/{name}")).exists()).count();
        for round in 0..2 {
            for (name, content) in &files {
                assert_eq!(
                    second.read(&format!("shards/{name}")).as_deref(),
                    Some(*content),
                    "{round}"
                );
                assert!(here() <= 3);
            }
        }
        let ahead =
            ["shards/0.arrow", "shards/1.arrow", "shards/2.arrow"].map(|inner| second.path(inner));
        fetch_ahead(ahead.to_vec());
        for _ in 0..500 {
            if ahead[0].exists() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        assert!(ahead[0].exists() && !ahead[2].exists(), "half of the room is for what comes next");
        assert_eq!(room_for(&ahead[0]), Some(3 * LARGE as u64));
    }

    #[test]
    fn paths_of_no_mirror_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fetch(&path).unwrap();
        assert_eq!((size(&path), room_for(&path)), (None, None));
        fs::write(&path, b"a").unwrap();
        assert_eq!(size(&path), Some(1));
    }
}
