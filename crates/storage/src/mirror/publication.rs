//! Sends what a stage has published.
//!
//! Files go to objects that are named by their content and are never written again. Then one
//! conditional put replaces the manifest, which says which object is which file. Until then nobody
//! sees anything of the publication; from then on, all of it. Whoever reads by an older manifest
//! still finds the objects that this one names: nothing is removed here.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::layout::how_to_make_again;
use crate::mirror::folder::{Counter, Mirror, Moved};
use crate::mirror::index::{
    Index, IndexedFile, MANIFEST, STAGING, Superseded, UNFINISHED, folder_of, is_stored_name,
    stored_name,
};
use crate::mirror::notes::{Identity, Note, SeenIndex, visible_files, write_beside};
use crate::mirror::parallel::{in_parallel, lock};
use crate::object::{Condition, Object};
use crate::transfer::Placed;

/// The folder of a work folder whose content is of use before it is published: a run that was
/// stopped goes on from its checkpoints, on whatever machine.
const RUNS: &str = "runs/";
/// Objects that no manifest names are removed when they are old. One that a publication finds is
/// used if it is younger than this, which is much less than the age at which it may be removed.
pub(crate) const MAX_REUSE_AGE: Duration = Duration::from_hours(6);
/// Names that are tried for one content.
const MAX_NAMES: u32 = 100;
/// A manifest lists what earlier ones named for this long.
const MAX_SUPERSEDED_AGE: Duration = Duration::from_hours(30 * 24);

/// How far objects are trusted that a publication could use again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Those that are there with their sizes.
    Size,
    /// Those whose content was read, and has the hash that it should have.
    Content,
}

/// The objects of an earlier publication that have the content of a file of a new one.
#[derive(Default)]
struct Reusable {
    /// Names by XXH3 and size.
    names: HashMap<(String, u64), String>,
    /// Keys of those that are missing or damaged.
    refused: HashSet<String>,
}

/// What became of an index that was to be replaced in the store.
enum Commit {
    Done,
    /// Another process replaced it first.
    Refused(Index),
}

impl Mirror {
    /// Sends what these folders have that the store has not: publications, then what there is of
    /// unfinished runs, then the files that name the latest one. Where this returns, the store has
    /// each object that a manifest names which was sent now.
    ///
    /// # Errors
    /// `ResourceBusy` where another process published one of these folders meanwhile; where the
    /// store does not answer.
    pub fn push(&self, folders: &[String], trust: Trust) -> io::Result<Moved> {
        let moved = Counter::default();
        for folder in folders {
            let mut files = BTreeSet::new();
            visible_files(&self.root, folder, &mut files)?;
            let mut listed = HashSet::new();
            let manifests: Vec<&String> =
                files.iter().filter(|inner| inner[folder_of(inner).len()..] == *MANIFEST).collect();
            for manifest in manifests {
                let path = self.root.join(manifest);
                let identity = Identity::of(&path);
                let folder = folder_of(manifest);
                let mut list = |files: &[IndexedFile]| {
                    listed.extend(files.iter().map(|file| format!("{folder}{}", file.path)));
                };
                match self.notes.index(manifest).filter(|seen| seen.local == identity) {
                    Some(seen) => list(&seen.files),
                    None => {
                        let index = parse(&path, &fs::read(&path)?)?;
                        list(&index.files);
                        self.publish(manifest, index, identity, trust, &moved)?;
                    }
                }
                listed.insert(manifest.clone());
            }
            let loose: Vec<&String> = files.iter().filter(|f| !listed.contains(*f)).collect();
            for run in runs_of(&files) {
                self.send_unfinished(&run, &listed, trust, &moved)?;
            }
            // A file next to output folders, not in one, names one of them; it is sent as it is.
            let is_pointer = |inner: &&&String| {
                inner.matches('/').count() == 1
                    && !files.contains(&format!("{}{MANIFEST}", folder_of(inner)))
            };
            for inner in loose.iter().filter(is_pointer) {
                self.send_pointer(inner, &moved)?;
            }
        }
        Ok(moved.sum())
    }

    fn publish(
        &self,
        manifest: &str,
        index: Index,
        local: Option<Identity>,
        trust: Trust,
        moved: &Counter,
    ) -> io::Result<()> {
        match self.commit_index(manifest, index, local, trust, moved)? {
            Commit::Done => Ok(()),
            Commit::Refused(index) => self.take_over(manifest, &index),
        }
    }

    /// Sends the files of an index and then replaces the index in the store, on condition that
    /// nobody has replaced it since it was seen.
    fn commit_index(
        &self,
        inner: &str,
        mut index: Index,
        local: Option<Identity>,
        trust: Trust,
        moved: &Counter,
    ) -> io::Result<Commit> {
        let key = self.key(inner);
        let seen = self.notes.index(inner);
        let there = self.bucket.find(&key)?;
        if !is_unchanged(seen.as_ref(), there.as_ref()) {
            return Ok(Commit::Refused(index));
        }
        let previous = seen.filter(|_| there.is_some());
        let named = previous.as_ref().map_or(&[][..], |previous| &previous.files);
        let folder = folder_of(inner);
        let reusable = self.reusable(folder, &index.files, named, trust)?;
        self.send_files(folder, &mut index.files, &reusable, trust, moved)?;
        index.superseded = superseded(previous.as_ref(), &index.files, self.bucket.now_s());
        let text = Bytes::from(index.text_for_store()?);
        let xxh3 = format!("{:016x}", xxh3_64(&text));
        match self.bucket.put_if(&key, text, Condition::still(there.as_ref()))? {
            None => Ok(Commit::Refused(index)),
            Some(object) => {
                self.notes.write_index(inner, &SeenIndex::of(index, object, xxh3, local))?;
                Ok(Commit::Done)
            }
        }
    }

    /// Somebody else has published: that is as good where they made the very same.
    fn take_over(&self, manifest: &str, own: &Index) -> io::Result<()> {
        let busy = || {
            let url = self.bucket.url(self.key(folder_of(manifest)).trim_end_matches('/'));
            let reason = format!(
                "{} was published by another process while this one ran; run again",
                url.display()
            );
            io::Error::new(io::ErrorKind::ResourceBusy, reason)
        };
        let (seen, text) = match self.read_index(manifest) {
            Ok((seen, Some(text))) => (seen, text),
            Ok((_, None)) => return Err(busy()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(busy()),
            Err(e) => return Err(e),
        };
        let theirs = parse(Path::new(manifest), &text)?;
        if !theirs.is_same(own) {
            return Err(busy());
        }
        let folder = folder_of(manifest);
        for file in &seen.files {
            self.note_sent(folder, file, file.stored())?;
        }
        let path = self.root.join(manifest);
        write_beside(&path, &text)?;
        let local = Identity::of(&path);
        self.notes.write_index(manifest, &SeenIndex { local, ..seen })
    }

    /// What can be used again of the objects that are `named` by the manifest that a commit is
    /// conditional on, and that stay for that reason. One listing says which of them are there.
    fn reusable(
        &self,
        folder: &str,
        files: &[IndexedFile],
        named: &[IndexedFile],
        trust: Trust,
    ) -> io::Result<Reusable> {
        let wanted: HashSet<(&str, u64)> = files.iter().map(IndexedFile::content).collect();
        // Objects under other names come from versions before, which overwrote them.
        let named: HashMap<String, &IndexedFile> = named
            .iter()
            .filter(|file| is_stored_name(file.stored()) && wanted.contains(&file.content()))
            .map(|file| (self.key(&format!("{folder}{}", file.stored())), file))
            .collect();
        let mut reusable = Reusable::default();
        if named.is_empty() {
            return Ok(reusable);
        }
        let mut there = Vec::new();
        for object in self.bucket.list(self.key(folder).trim_end_matches('/'))? {
            let Object { key, bytes, .. } = object?;
            if let Some(file) = named.get(&key).filter(|file| file.bytes == bytes) {
                there.push((key, *file));
            }
        }
        let whole = Mutex::new(HashSet::new());
        in_parallel(self.threads, &there, |(key, file)| {
            if trust == Trust::Size || self.bucket.has_content(key, file.bytes, &file.xxh3)? {
                lock(&whole).insert(key.clone());
            }
            Ok(())
        })?;
        let whole = whole.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        for (key, file) in named {
            if whole.contains(&key) {
                let (xxh3, bytes) = file.content();
                reusable.names.insert((xxh3.to_owned(), bytes), file.stored().to_owned());
            } else {
                reusable.refused.insert(key);
            }
        }
        Ok(reusable)
    }

    /// Sends the files of a folder and enters the names of their objects.
    fn send_files(
        &self,
        folder: &str,
        files: &mut [IndexedFile],
        reusable: &Reusable,
        trust: Trust,
        moved: &Counter,
    ) -> io::Result<()> {
        let sent = Mutex::new(vec![String::new(); files.len()]);
        let numbered: Vec<(usize, &IndexedFile)> = files.iter().enumerate().collect();
        in_parallel(self.threads, &numbered, |(number, file)| {
            let stored = match reusable.names.get(&(file.xxh3.clone(), file.bytes)) {
                Some(stored) => stored.clone(),
                None => self.send_file(folder, file, &reusable.refused, trust, moved)?,
            };
            self.note_sent(folder, file, &stored)?;
            lock(&sent)[*number] = stored;
            Ok(())
        })?;
        let sent = sent.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        for (file, stored) in files.iter_mut().zip(sent) {
            file.stored = (stored != file.path).then_some(stored);
        }
        Ok(())
    }

    /// Sends the content of a file, and gives the name of its object.
    fn send_file(
        &self,
        folder: &str,
        file: &IndexedFile,
        refused: &HashSet<String>,
        trust: Trust,
        moved: &Counter,
    ) -> io::Result<String> {
        let inner = format!("{folder}{}", file.path);
        let path = self.root.join(&inner);
        let note = self.notes.file(&inner).filter(|note| {
            (note.xxh3.as_str(), note.bytes) == file.content()
                && !note.is_lost
                && !refused.contains(&note.key)
                && !self.notes.is_changed(&inner, Some(note))
        });
        // What is in the store under a name of its content need not be sent from here.
        let source = note.map(|note| note.key).filter(|key| is_stored_name(key));
        if source.is_none() {
            self.cache.fetch(&inner)?;
        }
        for attempt in 1..=MAX_NAMES {
            let stored = stored_name(&file.path, &file.xxh3, attempt);
            let key = self.key(&format!("{folder}{stored}"));
            let placed = match &source {
                Some(source) if *source != key => match self.bucket.copy_new(source, &key) {
                    Err(e) if e.kind() == io::ErrorKind::NotFound && path.exists() => {
                        self.send_local(&path, &key, &file.xxh3, moved)?
                    }
                    copied => copied?,
                },
                Some(_) => match self.bucket.look_up(&key)? {
                    Some((object, noted)) => Placed::Existing(object, noted),
                    None => self.send_local(&path, &key, &file.xxh3, moved)?,
                },
                None => self.send_local(&path, &key, &file.xxh3, moved)?,
            };
            match placed {
                Placed::New => return Ok(stored),
                Placed::Existing(object, noted)
                    if is_usable(&object, noted.as_deref(), file, self.bucket.now_s())
                        && (trust == Trust::Size
                            || self.bucket.has_content(&key, file.bytes, &file.xxh3)?) =>
                {
                    return Ok(stored);
                }
                Placed::Existing(..) => {}
            }
        }
        let reason = format!("{}: all names for its content are taken", path.display());
        Err(io::Error::other(reason))
    }

    fn send_local(
        &self,
        path: &Path,
        key: &str,
        xxh3: &str,
        moved: &Counter,
    ) -> io::Result<Placed> {
        let again = how_to_make_again(path);
        let url = self.bucket.url(key);
        let because =
            |e: &io::Error, reason: String| io::Error::new(e.kind(), format!("{reason}; {again}"));
        let file = File::open(path).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => because(
                &e,
                format!("there is no {}, and this machine has no file for it", url.display()),
            ),
            _ => because(&e, format!("{} cannot be read: {e}", path.display())),
        })?;
        let bytes = file.metadata()?.len();
        let placed = self.bucket.send_new(key, file, bytes, xxh3).map_err(|e| match e.kind() {
            io::ErrorKind::InvalidData => {
                because(&e, format!("{} cannot be sent: {e}", path.display()))
            }
            _ => e,
        })?;
        if matches!(placed, Placed::New) {
            moved.add(bytes);
        }
        Ok(placed)
    }

    fn note_sent(&self, folder: &str, file: &IndexedFile, stored: &str) -> io::Result<()> {
        let inner = format!("{folder}{}", file.path);
        let note = Note {
            key: self.key(&format!("{folder}{stored}")),
            bytes: file.bytes,
            xxh3: file.xxh3.clone(),
            tag: None,
            local: Identity::of(&self.root.join(&inner)),
            is_lost: false,
        };
        self.notes.write_file(&inner, &note)?;
        self.cache.keep(&inner);
        Ok(())
    }

    /// Sends what there is of a run that is not finished: its files by content, then the list of
    /// them, which is replaced as a manifest is.
    fn send_unfinished(
        &self,
        folder: &str,
        listed: &HashSet<String>,
        trust: Trust,
        moved: &Counter,
    ) -> io::Result<()> {
        let inners = self.unfinished_files(folder, listed)?;
        // Versions before overwrote the files of a run: where nothing came to these, they stay.
        let is_untouched = |inner: &String| {
            self.notes.file(inner).is_some_and(|note| {
                note.xxh3.is_empty() && !self.notes.is_changed(inner, Some(&note))
            })
        };
        if inners.iter().all(is_untouched) {
            return Ok(());
        }
        let (mut files, mut lost) = (Vec::new(), HashSet::new());
        for inner in &inners {
            let path = inner[folder.len()..].to_owned();
            let note = self
                .notes
                .file(inner)
                .filter(|note| !note.xxh3.is_empty() && !self.notes.is_changed(inner, Some(note)));
            let (bytes, xxh3) = match note {
                Some(note) => {
                    if note.is_lost && note.local.is_none() {
                        lost.insert(path.clone());
                    }
                    (note.bytes, note.xxh3)
                }
                None => {
                    self.cache.fetch(inner)?;
                    hash_file(&self.root.join(inner))?
                }
            };
            files.push(IndexedFile { path, bytes, xxh3, stored: None });
        }
        let unfinished = format!("{folder}{UNFINISHED}");
        let seen = self.notes.index(&unfinished);
        let manifest = self.notes.index(&format!("{folder}{MANIFEST}"));
        let mut index = Index::unfinished(files, manifest.as_ref().map_or("", |m| &m.xxh3));
        let is_sent = seen.as_ref().is_some_and(|seen| {
            seen.beside == index.beside
                && seen.files.len() == index.files.len()
                && seen.files.iter().zip(&index.files).all(|(one, other)| one.is_same(other))
        });
        if is_sent {
            return Ok(());
        }
        // What is neither here nor in the store is of no use to whoever goes on with the run.
        index.files.retain(|file| !lost.contains(&file.path));
        match self.commit_index(&unfinished, index, None, trust, moved)? {
            Commit::Done => Ok(()),
            Commit::Refused(_) => {
                let url = self.bucket.url(self.key(folder).trim_end_matches('/'));
                let reason = format!(
                    "{} was continued by another process while this one ran; what that one has \
                     sent stays",
                    url.display()
                );
                Err(io::Error::new(io::ErrorKind::ResourceBusy, reason))
            }
        }
    }

    /// The files of a run that no manifest lists: those that are here, and those that are noted and
    /// were not fetched.
    fn unfinished_files(
        &self,
        folder: &str,
        listed: &HashSet<String>,
    ) -> io::Result<BTreeSet<String>> {
        let mut inners = BTreeSet::new();
        for folder in [folder.to_owned(), format!("{folder}{STAGING}")] {
            let folder = folder.trim_end_matches('/');
            visible_files(&self.root, folder, &mut inners)?;
            let is_to_fetch =
                |inner: &String| self.notes.file(inner).is_some_and(|note| note.local.is_none());
            inners.extend(self.notes.files_below(folder)?.into_iter().filter(is_to_fetch));
        }
        inners.retain(|inner| !listed.contains(inner));
        Ok(inners)
    }

    /// Sends a file that names an output, such as `runs/latest`, in one put: whoever comes last is
    /// right.
    fn send_pointer(&self, inner: &str, moved: &Counter) -> io::Result<()> {
        let note = self.notes.file(inner);
        if !self.notes.is_changed(inner, note.as_ref()) {
            return Ok(());
        }
        let path = self.root.join(inner);
        let local = Identity::of(&path);
        let content = Bytes::from(fs::read(&path)?);
        let bytes = content.len() as u64;
        let Object { key, tag, .. } = self.bucket.put_over(&self.key(inner), content)?;
        moved.add(bytes);
        let note = Note { key, bytes, xxh3: String::new(), tag, local, is_lost: false };
        self.notes.write_file(inner, &note)
    }
}

/// Whether the store still has the manifest that was seen, or none: nobody has published since.
fn is_unchanged(seen: Option<&SeenIndex>, there: Option<&Object>) -> bool {
    there.is_none_or(|there| seen.is_some_and(|seen| seen.object.is_still(there)))
}

/// What earlier manifests named and one with these files does not.
fn superseded(previous: Option<&SeenIndex>, files: &[IndexedFile], now_s: i64) -> Vec<Superseded> {
    let Some(previous) = previous else { return Vec::new() };
    let named: HashSet<&str> = files.iter().map(IndexedFile::stored).collect();
    let oldest_s = now_s.saturating_sub(MAX_SUPERSEDED_AGE.as_secs() as i64);
    let mut superseded: Vec<Superseded> =
        previous.superseded.iter().filter(|earlier| earlier.at_s > oldest_s).cloned().collect();
    let stored: Vec<String> = previous
        .files
        .iter()
        .map(IndexedFile::stored)
        .filter(|stored| is_stored_name(stored) && !named.contains(stored))
        .map(str::to_owned)
        .collect();
    if !stored.is_empty() {
        superseded.push(Superseded { at_s: now_s, stored });
    }
    superseded
}

/// Whether an object that no manifest of ours names can be that of a file.
fn is_usable(object: &Object, noted_xxh3: Option<&str>, file: &IndexedFile, now_s: i64) -> bool {
    let age_s = now_s.saturating_sub(object.modified_s);
    object.bytes == file.bytes
        && noted_xxh3.is_none_or(|noted| noted == file.xxh3)
        && age_s < MAX_REUSE_AGE.as_secs() as i64
}

/// Folders of runs, with a `/` behind.
fn runs_of(files: &BTreeSet<String>) -> BTreeSet<String> {
    let runs = files.iter().filter_map(|file| {
        let (run, _) = file.strip_prefix(RUNS)?.split_once('/')?;
        Some(format!("{RUNS}{run}/"))
    });
    runs.collect()
}

fn parse(path: &Path, content: &[u8]) -> io::Result<Index> {
    let invalid = |reason: String| io::Error::new(io::ErrorKind::InvalidData, reason);
    Index::parse(content)
        .map_err(|e| invalid(format!("{}: {e}; {}", path.display(), how_to_make_again(path))))?
        .ok_or_else(|| invalid(format!("{} lists no files", path.display())))
}

fn hash_file(path: &Path) -> io::Result<(u64, String)> {
    let (mut file, mut hash, mut bytes) = (File::open(path)?, Xxh3::new(), 0);
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok((bytes, format!("{:016x}", hash.digest()))),
            Ok(read) => {
                hash.update(&buffer[..read]);
                bytes += read as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}
