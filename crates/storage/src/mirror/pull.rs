//! Brings the mirror up to date with the store.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io;
use std::sync::Mutex;

use xxhash_rust::xxh3::xxh3_64;

use crate::mirror::cache::SMALL_BYTES;
use crate::mirror::folder::{Counter, Mirror, Moved};
use crate::mirror::index::{
    Index, MANIFEST, MAX_INDEX_BYTES, UNFINISHED, folder_of, is_index, is_stored_name,
};
use crate::mirror::notes::{Identity, Note, SeenIndex, remove, visible_files, write_beside};
use crate::mirror::parallel::{in_parallel, lock};
use crate::object::Object;

/// A manifest that the store has, and its text for this machine where this has another one or none.
type CurrentIndex = (SeenIndex, Option<Vec<u8>>);

/// What a folder of the store holds, as far as readers are concerned.
#[derive(Default)]
struct Listing {
    /// Manifests and lists of unfinished runs, by path.
    indexes: BTreeMap<String, Object>,
    /// Objects whose names do not come from their content.
    plain: BTreeMap<String, Object>,
    /// Sizes of all objects, by key.
    bytes: HashMap<String, u64>,
}

impl Listing {
    /// Whether the object of a note is there with its size.
    fn has(&self, note: &Note) -> bool {
        self.bytes.get(&note.key) == Some(&note.bytes)
    }

    /// Whether a manifest says what is in the folder of a file, or in one above.
    fn is_indexed(&self, inner: &str) -> bool {
        let mut folder = folder_of(inner);
        loop {
            let has = |name: &str| self.indexes.contains_key(&format!("{folder}{name}"));
            if has(MANIFEST) || has(UNFINISHED) {
                return true;
            }
            match folder.strip_suffix('/') {
                Some(inner) => folder = folder_of(inner),
                None => return false,
            }
        }
    }
}

/// What a mirror is to know of a folder.
#[derive(Default)]
struct Target {
    /// By path.
    files: BTreeMap<String, Note>,
    /// All manifests that the store has, whether they count or not.
    present: BTreeSet<String>,
    /// Manifests that count, each with its text for this machine where that has another one or
    /// none.
    indexes: Vec<(String, SeenIndex, Option<Vec<u8>>)>,
    /// Folders, with a `/` behind, of outputs that this mirror has published and not sent yet.
    unsent: BTreeSet<String>,
    /// Files that this mirror has changed and not sent yet.
    changed: BTreeSet<String>,
}

impl Mirror {
    /// Brings these folders of the mirror up to date. The store is right: files that differ from it
    /// are dropped, except those that this mirror has not sent yet and nobody else has published
    /// meanwhile. What the store has lost, or has damaged, is the concern of whoever opens it;
    /// `warn` is told of damage that nobody would notice.
    ///
    /// # Errors
    /// Where the store does not answer or the disk fails.
    pub fn pull(&self, folders: &[String], mut warn: impl FnMut(String)) -> io::Result<Moved> {
        let moved = Counter::default();
        for folder in folders {
            let listing = self.listing(folder)?;
            let mut target = self.target(folder, &listing, &mut warn)?;
            self.mark_lost(folder, &listing, &mut target)?;
            self.apply(folder, &target, &moved)?;
        }
        Ok(moved.sum())
    }

    /// Marks the files whose objects are not there. Those of a manifest that was published after
    /// the listing began are in a second one.
    fn mark_lost(&self, folder: &str, listing: &Listing, target: &mut Target) -> io::Result<()> {
        if target.files.values().all(|note| listing.has(note)) {
            return Ok(());
        }
        let again = self.listing(folder)?;
        for note in target.files.values_mut() {
            note.is_lost = !listing.has(note) && !again.has(note);
        }
        Ok(())
    }

    fn listing(&self, folder: &str) -> io::Result<Listing> {
        let mut listing = Listing::default();
        for object in self.bucket.list(&self.key(folder))? {
            let object = object?;
            listing.bytes.insert(object.key.clone(), object.bytes);
            let Some(inner) = self.inner(&object.key).map(str::to_owned) else { continue };
            if inner.is_empty() || inner.split('/').any(|part| part.starts_with('.')) {
                continue;
            }
            if is_index(&inner) {
                listing.indexes.insert(inner, object);
            } else if !is_stored_name(&inner) {
                listing.plain.insert(inner, object);
            }
        }
        self.refuse_folders(&mut listing)?;
        Ok(listing)
    }

    /// Drops the empty objects that some tools make for folders, and refuses other objects in whose
    /// place a folder would have to be.
    fn refuse_folders(&self, listing: &mut Listing) -> io::Result<()> {
        let folders: HashSet<&str> = listing
            .bytes
            .keys()
            .filter_map(|key| self.inner(key))
            .flat_map(|inner| inner.match_indices('/').map(|(end, _)| &inner[..end]))
            .collect();
        let is_folder = |inner: &String| folders.contains(inner.as_str());
        let named = |(inner, object): (&String, &Object)| {
            is_folder(inner).then(|| (inner.clone(), object.clone()))
        };
        let found: Vec<(String, Object)> =
            listing.plain.iter().chain(&listing.indexes).filter_map(named).collect();
        for (inner, object) in found {
            if object.bytes > 0 {
                let reason = format!(
                    "{} is an object, and there are others below it, which no folder of this \
                     machine can hold; delete it, or name another work folder with --out",
                    self.bucket.url(&object.key).display()
                );
                return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
            }
            listing.plain.remove(&inner);
            listing.indexes.remove(&inner);
        }
        Ok(())
    }

    fn target(
        &self,
        folder: &str,
        listing: &Listing,
        warn: &mut impl FnMut(String),
    ) -> io::Result<Target> {
        let mut target = Target::default();
        let mut local = BTreeSet::new();
        visible_files(&self.root, folder, &mut local)?;
        let current = self.current_indexes(listing)?;
        target.present = current.keys().cloned().collect();

        let is_manifest = |inner: &&String| &inner[folder_of(inner).len()..] == MANIFEST;
        for manifest in local.iter().filter(is_manifest) {
            let seen = self.notes.index(manifest);
            let identity = Identity::of(&self.root.join(manifest));
            let is_sent = seen.as_ref().is_some_and(|seen| seen.local == identity);
            // Nobody else has published where the store has what it had, or nothing.
            let is_unchanged = match (&seen, listing.indexes.get(manifest)) {
                (_, None) => true,
                (Some(seen), Some(object)) => seen.object.is_still(object),
                (None, Some(_)) => false,
            };
            if !is_sent && is_unchanged {
                target.unsent.insert(folder_of(manifest).to_owned());
            }
        }
        for (inner, (seen, text)) in &current {
            let index_folder = folder_of(inner);
            let manifest = current.get(&format!("{index_folder}{MANIFEST}"));
            let is_unfinished = inner.ends_with(UNFINISHED);
            if target.unsent.contains(index_folder) {
                continue;
            }
            if is_unfinished {
                if let Some(damage) = &seen.damage {
                    warn(format!(
                        "{}: {damage}; the unfinished run counts as absent",
                        self.bucket.url(&seen.object.key).display()
                    ));
                }
                let beside = manifest.map_or("", |(manifest, _)| manifest.xxh3.as_str());
                let is_listed = |path: &str| {
                    manifest.is_some_and(|(seen, _)| seen.files.iter().any(|f| f.path == path))
                };
                let is_old = seen.beside != beside || seen.files.iter().any(|f| is_listed(&f.path));
                let is_known = self.notes.index(inner).is_some_and(|s| s.xxh3 == seen.xxh3);
                if is_old {
                    self.notes.write_index(inner, seen)?;
                    continue;
                }
                for file in seen.files.iter().filter(|_| is_known) {
                    let file = format!("{index_folder}{}", file.path);
                    let note = self.notes.file(&file);
                    let is_here = self.root.join(&file).exists();
                    if !is_here && note.is_some_and(|note| note.local.is_some()) {
                        // This run has removed it.
                        self.notes.remove_file(&file)?;
                        target.changed.insert(file);
                    } else if self.is_changed_here(&file) {
                        target.changed.insert(file);
                    }
                }
            }
            for file in &seen.files {
                let note = Note {
                    key: self.key(&format!("{index_folder}{}", file.stored())),
                    bytes: file.bytes,
                    xxh3: file.xxh3.clone(),
                    tag: None,
                    local: None,
                    is_lost: false,
                };
                target.files.insert(format!("{index_folder}{}", file.path), note);
            }
            target.indexes.push((inner.clone(), seen.clone(), text.clone()));
        }
        for (inner, object) in &listing.plain {
            if listing.is_indexed(inner) {
                continue;
            }
            let note = Note {
                key: object.key.clone(),
                bytes: object.bytes,
                xxh3: String::new(),
                tag: object.tag.clone(),
                local: None,
                is_lost: false,
            };
            let is_known = self.notes.file(inner).is_some_and(|old| old.is_same_content(&note));
            if is_known && self.is_changed_here(inner) {
                target.changed.insert(inner.clone());
            }
            target.files.insert(inner.clone(), note);
        }
        Ok(target)
    }

    /// The manifests that the store has now, each with its text for this machine where this has
    /// another one or none.
    fn current_indexes(&self, listing: &Listing) -> io::Result<BTreeMap<String, CurrentIndex>> {
        let current = Mutex::new(BTreeMap::new());
        let listed: Vec<_> = listing.indexes.iter().collect();
        in_parallel(self.threads, &listed, |(inner, object)| {
            let seen = self.notes.index(inner).filter(|seen| seen.object.is_still(object));
            let is_here = |seen: &SeenIndex| {
                inner.ends_with(UNFINISHED)
                    || (seen.local.is_some() && Identity::of(&self.root.join(inner)) == seen.local)
            };
            let entry = match seen {
                Some(seen) if is_here(&seen) => (seen, None),
                _ => self.read_index(inner)?,
            };
            lock(&current).insert((*inner).clone(), entry);
            Ok(())
        })?;
        Ok(current.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// A manifest as it is in the store, and its text for this machine.
    pub(crate) fn read_index(&self, inner: &str) -> io::Result<CurrentIndex> {
        let (object, content) = self.bucket.read(&self.key(inner), MAX_INDEX_BYTES)?;
        let xxh3 = format!("{:016x}", xxh3_64(&content));
        let is_output = !inner.ends_with(UNFINISHED);
        let (index, text, damage) = match Index::parse(&content) {
            Ok(Some(index)) => {
                let text = if is_output { Some(index.text_for_disk()?) } else { None };
                (index, text, None)
            }
            Ok(None) => (Index::default(), None, None),
            // As on a disk, whoever needs the manifest is told, and whoever replaces it need not
            // understand it.
            Err(e) => (Index::default(), is_output.then_some(content), Some(e.to_string())),
        };
        Ok((SeenIndex { damage, ..SeenIndex::of(index, object, xxh3, None) }, text))
    }

    /// Makes the mirror what it is to be: manifests go first where files change, and come last.
    fn apply(&self, folder: &str, target: &Target, moved: &Counter) -> io::Result<()> {
        let is_unsent = |inner: &str| target.unsent.iter().any(|unsent| inner.starts_with(unsent));
        for inner in self.notes.indexes_below(folder)? {
            if !target.present.contains(&inner) && !is_unsent(&inner) {
                remove(&self.root.join(&inner))?;
                self.notes.remove_index(&inner)?;
            }
        }
        for (inner, seen, text) in &target.indexes {
            if text.is_some() || seen.local.is_none() {
                remove(&self.root.join(inner))?;
            }
        }
        for inner in self.notes.files_below(folder)? {
            if !target.files.contains_key(&inner) && !is_unsent(&inner) {
                if !self.is_changed_here(&inner) {
                    remove(&self.root.join(&inner))?;
                }
                self.notes.remove_file(&inner)?;
            }
        }
        let mut small = Vec::new();
        for (inner, wanted) in &target.files {
            if target.changed.contains(inner) {
                continue;
            }
            let path = self.root.join(inner);
            match self.notes.file(inner) {
                Some(note) if note.is_same_content(wanted) && !self.is_changed_here(inner) => {
                    if note.key != wanted.key || note.is_lost != wanted.is_lost {
                        self.notes
                            .write_file(inner, &Note { local: note.local, ..wanted.clone() })?;
                    }
                }
                _ => {
                    remove(&path)?;
                    self.notes.write_file(inner, wanted)?;
                }
            }
            if path.exists() {
                self.cache.keep(inner);
            } else if wanted.bytes <= SMALL_BYTES && !wanted.is_lost {
                small.push((inner, wanted));
            }
        }
        in_parallel(self.threads, &small, |(inner, wanted)| {
            match self.cache.fetch(inner) {
                Err(e) if is_damage(&e) && !wanted.xxh3.is_empty() => return Ok(()),
                fetched => fetched?,
            }
            moved.add(wanted.bytes);
            Ok(())
        })?;
        for (inner, seen, text) in &target.indexes {
            let local = match text {
                None => seen.local,
                Some(text) => {
                    let path = self.root.join(inner);
                    write_beside(&path, text)?;
                    moved.add(text.len() as u64);
                    Identity::of(&path)
                }
            };
            self.notes.write_index(inner, &SeenIndex { local, ..seen.clone() })?;
        }
        Ok(())
    }

    /// Whether a file is here and not the content that is noted of it.
    fn is_changed_here(&self, inner: &str) -> bool {
        self.root.join(inner).exists()
            && self.notes.is_changed(inner, self.notes.file(inner).as_ref())
    }
}

/// Whether an object is missing or has other content, and not the store or this machine at fault.
fn is_damage(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData)
}
