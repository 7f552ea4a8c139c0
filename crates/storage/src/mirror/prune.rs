//! Removes what no manifest names.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use xxhash_rust::xxh3::xxh3_64;

use crate::address::Address;
use crate::bucket::{Bucket, bucket_of};
use crate::mirror::folder::{Counter, FILES_AT_A_TIME, Moved};
use crate::mirror::index::{
    Index, MANIFEST, MAX_INDEX_BYTES, UNFINISHED, folder_of, is_index, is_stored_name,
};
use crate::mirror::parallel::{in_parallel, lock};
use crate::object::Object;

/// Objects of less than this age are never removed: a publication that is under way may be about
/// to name them.
pub const MIN_PRUNE_AGE: Duration = Duration::from_hours(24);

/// Objects of a work folder that no manifest names.
pub struct Garbage {
    scope: Scope,
    /// By path in the work folder.
    objects: BTreeMap<String, Object>,
    skipped: Vec<PathBuf>,
}

/// Where to look, and for what.
struct Scope {
    bucket: Arc<Bucket>,
    prefix: String,
    /// Folders of the work folder; nothing beside them is looked at.
    folders: Vec<String>,
    /// Objects that were written later stay, in seconds since 1970.
    before_s: i64,
    threads: usize,
}

/// What a listing finds.
struct Found {
    /// What could go, if no manifest names it.
    candidates: BTreeMap<String, Object>,
    indexes: BTreeMap<String, Object>,
}

/// What manifests say.
#[derive(Default)]
struct Named {
    /// Paths of objects.
    objects: HashSet<String>,
    /// Paths of files whose objects have other names: versions before stored them there.
    moved: HashSet<String>,
    /// Folders, with a `/` behind, in which a version before is publishing.
    claimed: BTreeSet<String>,
}

impl Garbage {
    /// Finds the objects in these folders of the work folder at `url` that no manifest names and
    /// that were written `older_than` ago or earlier.
    ///
    /// # Errors
    /// `InvalidInput` for an age of less than [`MIN_PRUNE_AGE`], and for what is not the URL of a
    /// known store. Where the store does not answer, and where a manifest cannot be read: what it
    /// names is not known then.
    pub fn find(url: &Path, folders: &[&str], older_than: Duration) -> io::Result<Self> {
        if older_than < MIN_PRUNE_AGE {
            let reason = format!(
                "objects of less than {} hours may be part of a publication that is under way",
                MIN_PRUNE_AGE.as_secs() / 3600
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        }
        let address = Address::of(url)?;
        let bucket = bucket_of(&address)?;
        Self::find_in(bucket, &address, folders, older_than, FILES_AT_A_TIME)
    }

    pub(crate) fn find_in(
        bucket: Arc<Bucket>,
        address: &Address,
        folders: &[&str],
        older_than: Duration,
        threads: usize,
    ) -> io::Result<Self> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let before_s = (now.as_secs() as i64).saturating_sub(older_than.as_secs() as i64);
        let folders = folders.iter().map(|folder| (*folder).to_owned()).collect();
        let prefix = address.key.clone();
        let scope = Scope { bucket, prefix, folders, before_s, threads };
        let found = scope.list()?;
        let named = scope.read_indexes(&found.indexes)?;
        let objects: BTreeMap<String, Object> =
            found.candidates.into_iter().filter(|(inner, _)| named.is_garbage(inner)).collect();
        let skipped =
            named.claimed.iter().map(|folder| scope.bucket.url(&scope.key(folder))).collect();
        Ok(Garbage { scope, objects, skipped })
    }

    /// Each object's URL and size.
    pub fn objects(&self) -> impl Iterator<Item = (PathBuf, u64)> {
        self.objects.values().map(|object| (self.scope.bucket.url(&object.key), object.bytes))
    }

    /// How much there is.
    pub fn sum(&self) -> Moved {
        let bytes = self.objects.values().map(|object| object.bytes).sum();
        Moved { files: self.objects.len() as u64, bytes }
    }

    /// Folders that a version of ossify before this one is publishing to, or was when it ended:
    /// nothing in them is removed.
    pub fn skipped(&self) -> &[PathBuf] {
        &self.skipped
    }

    /// Looks a second time, and removes what is still as it was and still not named.
    ///
    /// # Errors
    /// As [`Garbage::find`]; what was removed until then stays removed.
    pub fn remove(&self) -> io::Result<Moved> {
        let found = self.scope.list()?;
        let named = self.scope.read_indexes(&found.indexes)?;
        let is_still = |inner: &str, object: &Object| {
            found.candidates.get(inner).is_some_and(|now| now.is_still(object))
        };
        let sure: Vec<&Object> = self
            .objects
            .iter()
            .filter(|(inner, object)| is_still(inner, object) && named.is_garbage(inner))
            .map(|(_, object)| object)
            .collect();
        let removed = Counter::default();
        in_parallel(self.scope.threads, &sure, |object| {
            self.scope.bucket.remove(&object.key)?;
            removed.add(object.bytes);
            Ok(())
        })?;
        Ok(removed.sum())
    }
}

impl Scope {
    fn key(&self, inner: &str) -> String {
        if self.prefix.is_empty() { inner.to_owned() } else { format!("{}/{inner}", self.prefix) }
    }

    fn list(&self) -> io::Result<Found> {
        let (mut candidates, mut indexes) = (BTreeMap::new(), BTreeMap::new());
        let skipped = if self.prefix.is_empty() { 0 } else { self.prefix.len() + 1 };
        for folder in &self.folders {
            for object in self.bucket.list(&self.key(folder))? {
                let object = object?;
                let Some(inner) = object.key.get(skipped..).map(str::to_owned) else { continue };
                if is_index(&inner) {
                    indexes.insert(inner, object);
                } else if object.modified_s <= self.before_s {
                    candidates.insert(inner, object);
                }
            }
        }
        Ok(Found { candidates, indexes })
    }

    fn read_indexes(&self, indexes: &BTreeMap<String, Object>) -> io::Result<Named> {
        let read = Mutex::new(BTreeMap::new());
        let inners: Vec<&String> = indexes.keys().collect();
        in_parallel(self.threads, &inners, |inner| {
            let content = match self.bucket.read(&self.key(inner), MAX_INDEX_BYTES) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
                read => read?.1,
            };
            let index = Index::parse(&content).map_err(|e| {
                let url = self.bucket.url(&self.key(inner));
                io::Error::new(e.kind(), format!("{}: {e}", url.display()))
            })?;
            let xxh3 = format!("{:016x}", xxh3_64(&content));
            lock(&read).insert((*inner).clone(), (xxh3, index));
            Ok(())
        })?;
        let read = read.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut named = Named::default();
        for (inner, (_, index)) in &read {
            let folder = folder_of(inner);
            let Some(index) = index else {
                named.claimed.insert(folder.to_owned());
                continue;
            };
            if inner.ends_with(UNFINISHED) {
                let manifest = read.get(&format!("{folder}{MANIFEST}"));
                if index.beside != manifest.map_or("", |(xxh3, _)| xxh3.as_str()) {
                    continue;
                }
            }
            for file in &index.files {
                named.objects.insert(format!("{folder}{}", file.stored()));
                if file.stored.is_some() {
                    named.moved.insert(format!("{folder}{}", file.path));
                }
            }
        }
        Ok(named)
    }
}

impl Named {
    fn is_garbage(&self, inner: &str) -> bool {
        (is_stored_name(inner) || self.moved.contains(inner))
            && !self.objects.contains(inner)
            && !self.claimed.iter().any(|folder| inner.starts_with(folder))
    }
}
