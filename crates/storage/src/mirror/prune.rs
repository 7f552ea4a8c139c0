//! Removes objects that no manifest names.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

use crate::address::Address;
use crate::bucket::{Bucket, bucket_of};
use crate::layout::how_to_make_again;
use crate::mirror::folder::{Counter, FILES_AT_A_TIME, Moved};
use crate::mirror::index::{
    Index, MANIFEST, MAX_INDEX_BYTES, UNFINISHED, folder_of, hash_in_name, is_index, is_stored_name,
};
use crate::mirror::parallel::{in_parallel, lock};
use crate::object::Object;

/// Younger objects are never removed: a publication that is under way may be about to name them.
pub const MIN_PRUNE_AGE: Duration = Duration::from_hours(24);

/// Objects of a work folder that can go: their names come from their content, they were written
/// long enough ago, and no manifest names them, nor did one that was replaced since.
pub struct Garbage {
    scope: Scope,
    /// By path in the work folder.
    objects: BTreeMap<String, Object>,
    skipped: Vec<PathBuf>,
    is_work_folder: bool,
}

/// Where to look, and for what.
struct Scope {
    bucket: Arc<Bucket>,
    prefix: String,
    /// Folders of the work folder; nothing beside them is looked at.
    folders: Vec<String>,
    /// Objects that were written, or named, later than this stay; in seconds since 1970.
    before_s: i64,
    threads: usize,
}

/// What a listing finds.
struct Found {
    /// What could go, if no manifest names it.
    candidates: BTreeMap<String, Object>,
    indexes: BTreeMap<String, Object>,
    /// Whether there is anything at all.
    is_any: bool,
}

/// What manifests say.
#[derive(Default)]
struct Named {
    /// Paths of objects.
    objects: HashSet<String>,
    /// Folders, with a `/` behind, in which a version before is publishing.
    claimed: BTreeSet<String>,
}

impl Garbage {
    /// Finds the objects in these folders of the work folder at `url` that were written
    /// `older_than` ago or earlier, and that no manifest has named since then.
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
        let before_s = bucket.now_s().saturating_sub(older_than.as_secs() as i64);
        let folders = folders.iter().map(|folder| (*folder).to_owned()).collect();
        let prefix = address.key.clone();
        let scope = Scope { bucket, prefix, folders, before_s, threads };
        let found = scope.list()?;
        let named = scope.read_indexes(&found.indexes)?;
        let unnamed =
            found.candidates.into_iter().filter(|(inner, _)| named.is_garbage(inner)).collect();
        let objects = scope.only_ours(unnamed)?;
        let skipped =
            named.claimed.iter().map(|folder| scope.bucket.url(&scope.key(folder))).collect();
        Ok(Garbage { scope, objects, skipped, is_work_folder: found.is_any })
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

    /// Whether there is anything in the folders that were looked at.
    pub fn is_work_folder(&self) -> bool {
        self.is_work_folder
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
        let mut is_any = false;
        let skipped = if self.prefix.is_empty() { 0 } else { self.prefix.len() + 1 };
        for folder in &self.folders {
            for object in self.bucket.list(&self.key(folder))? {
                let object = object?;
                is_any = true;
                let Some(inner) = object.key.get(skipped..).map(str::to_owned) else { continue };
                if is_index(&inner) {
                    indexes.insert(inner, object);
                } else if is_stored_name(&inner) && object.modified_s <= self.before_s {
                    candidates.insert(inner, object);
                }
            }
        }
        Ok(Found { candidates, indexes, is_any })
    }

    fn read_indexes(&self, indexes: &BTreeMap<String, Object>) -> io::Result<Named> {
        let read = Mutex::new(BTreeMap::new());
        let inners: Vec<&String> = indexes.keys().collect();
        in_parallel(self.threads, &inners, |inner| {
            let (object, content) = match self.bucket.read(&self.key(inner), MAX_INDEX_BYTES) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
                read => read?,
            };
            let index = Index::parse(&content).map_err(|e| {
                let url = self.bucket.url(&self.key(inner));
                let again = how_to_make_again(Path::new(inner));
                io::Error::new(e.kind(), format!("{}: {e}; {again}", url.display()))
            })?;
            let xxh3 = format!("{:016x}", xxh3_64(&content));
            lock(&read).insert((*inner).clone(), (object, xxh3, index));
            Ok(())
        })?;
        let read = read.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut named = Named::default();
        for (inner, (_, _, index)) in &read {
            let folder = folder_of(inner);
            let Some(index) = index else {
                named.claimed.insert(folder.to_owned());
                continue;
            };
            if inner.ends_with(UNFINISHED) {
                let manifest = read.get(&format!("{folder}{MANIFEST}"));
                let is_valid = index.beside == manifest.map_or("", |(_, xxh3, _)| xxh3.as_str());
                let is_young =
                    manifest.is_some_and(|(object, _, _)| object.modified_s > self.before_s);
                if !is_valid && !is_young {
                    continue;
                }
            }
            let superseded = index.superseded.iter().filter(|earlier| earlier.at_s > self.before_s);
            let stored = index.files.iter().map(|file| file.stored());
            let stored = stored.chain(superseded.flat_map(|s| &s.stored).map(String::as_str));
            named.objects.extend(stored.map(|stored| format!("{folder}{stored}")));
        }
        Ok(named)
    }

    /// Those objects that were sent as files of a work folder: the hash in their names is the one
    /// that was noted when they were sent. Files of other origin stay, whatever their names are.
    fn only_ours(&self, objects: BTreeMap<String, Object>) -> io::Result<BTreeMap<String, Object>> {
        let ours = Mutex::new(BTreeMap::new());
        let objects: Vec<(String, Object)> = objects.into_iter().collect();
        in_parallel(self.threads, &objects, |(inner, object)| {
            let noted = self.bucket.look_up(&object.key)?.and_then(|(_, noted)| noted);
            if noted.is_some() && noted.as_deref() == hash_in_name(inner) {
                lock(&ours).insert(inner.clone(), object.clone());
            }
            Ok(())
        })?;
        Ok(ours.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Named {
    fn is_garbage(&self, inner: &str) -> bool {
        !self.objects.contains(inner)
            && !self.claimed.iter().any(|folder| inner.starts_with(folder))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use bytes::Bytes;

    use super::*;
    use crate::bucket::open_in_memory;
    use crate::mirror::folder::Mirror;
    use crate::mirror::publication::Trust;

    const HOUR: Duration = Duration::from_hours(1);

    struct Fixture {
        bucket: Arc<Bucket>,
        address: Address,
        cache: tempfile::TempDir,
    }

    impl Fixture {
        fn new(name: &str) -> Self {
            let address = Address::of(Path::new(name)).unwrap();
            let bucket = open_in_memory(&address.store);
            Fixture { bucket, address, cache: tempfile::tempdir().unwrap() }
        }

        /// Publishes a file with this content, so many hours from now; gives its object's key.
        fn publish(&self, content: &str, hours: u32) -> String {
            let bucket = self.bucket.later(HOUR * hours);
            let mirror =
                Mirror::in_bucket(bucket, &self.address, self.cache.path(), 1 << 30, 1).unwrap();
            mirror.pull(&["tables".to_owned()], |_| ()).unwrap();
            let folder = mirror.root().join("tables");
            fs::create_dir_all(&folder).unwrap();
            let xxh3 = format!("{:016x}", xxh3_64(content.as_bytes()));
            let file = serde_json::json!({ "path": "a", "bytes": content.len(), "xxh3": xxh3 });
            let manifest = serde_json::json!({ "schema_version": 2, "files": [file] });
            for (name, content) in [("a", content), ("manifest.json", &manifest.to_string())] {
                fs::write(folder.join("new"), content).unwrap();
                fs::rename(folder.join("new"), folder.join(name)).unwrap();
            }
            mirror.push(&["tables".to_owned()], Trust::Size).unwrap();
            format!("work/tables/a-{xxh3}")
        }

        /// What is found so many hours from now.
        fn find(&self, hours: u32) -> Garbage {
            let bucket = self.bucket.later(HOUR * hours);
            Garbage::find_in(bucket, &self.address, &["tables"], MIN_PRUNE_AGE, 2).unwrap()
        }

        fn keys(&self) -> Vec<String> {
            self.bucket.list("").unwrap().map(|object| object.unwrap().key).collect()
        }
    }

    fn found(garbage: &Garbage) -> Vec<String> {
        garbage.objects().map(|(url, _)| url.display().to_string()).collect()
    }

    #[test]
    fn what_a_manifest_begins_to_name_between_the_listing_and_the_removal_stays() {
        let fixture = Fixture::new("test://second-look/work");
        let [old, other] = ["old", "other"].map(|content| fixture.publish(content, 0));
        let new = fixture.publish("new", 0);
        let garbage = fixture.find(48);
        let url = |key: &str| format!("test://second-look/{key}");
        assert_eq!(found(&garbage), {
            let mut both = [url(&old), url(&other)];
            both.sort();
            both
        });
        // A manifest names one of them again.
        let manifest = fixture.bucket.read("work/tables/manifest.json", u64::MAX).unwrap().1;
        let text = String::from_utf8(manifest).unwrap();
        let name = |key: &str| key.rsplit('/').next().unwrap().to_owned();
        let text = text.replace(&name(&new), &name(&old));
        fixture.bucket.put_over("work/tables/manifest.json", Bytes::from(text)).unwrap();
        assert_eq!(garbage.remove().unwrap().files, 1);
        let keys = fixture.keys();
        assert!(keys.contains(&old) && !keys.contains(&other), "{keys:?}");
    }

    #[test]
    fn what_was_written_anew_since_the_listing_stays() {
        let fixture = Fixture::new("test://rewritten/work");
        let old = fixture.publish("old", 0);
        fixture.publish("new", 0);
        let garbage = fixture.find(48);
        assert_eq!(garbage.sum(), Moved { files: 1, bytes: 3 });
        fixture.bucket.put_over(&old, Bytes::from_static(b"another")).unwrap();
        assert_eq!(garbage.remove().unwrap(), Moved::default());
        assert!(fixture.keys().contains(&old));
    }

    #[test]
    fn what_a_manifest_named_until_a_moment_ago_stays_for_whoever_holds_it() {
        let fixture = Fixture::new("test://held/work");
        let old = fixture.publish("old", 0);
        fixture.publish("new", 100);
        fixture.publish("newer", 110);
        let url = format!("test://held/{old}");
        assert_eq!(found(&fixture.find(123)), Vec::<String>::new(), "replaced 23 hours ago");
        assert_eq!(found(&fixture.find(125)), [url.as_str()]);
        assert_eq!(found(&fixture.find(135)).len(), 2);
    }

    #[test]
    fn files_of_other_origin_stay() {
        let fixture = Fixture::new("test://foreign/work");
        let old = fixture.publish("old", 0);
        fixture.publish("new", 0);
        let name = old.rsplit('/').next().unwrap();
        for key in [
            "work/tables/notes.txt",
            // As ours are named, and not sent by us.
            "work/tables/photo-0123456789abcdef.jpg",
            "work/tables/deep/er/photo-0123456789abcdef-2.jpg",
            "work/notes/photo-0123456789abcdef.jpg",
            "work-2/tables/photo-0123456789abcdef.jpg",
            "tables/photo-0123456789abcdef.jpg",
        ] {
            fixture.bucket.put_over(key, Bytes::from_static(b"x")).unwrap();
        }
        // Sent by us, and moved elsewhere by somebody.
        for folder in ["work/archive", "elsewhere", "work/tables-of-may"] {
            fixture.bucket.copy_new(&old, &format!("{folder}/{name}")).unwrap();
        }
        let mut expected = fixture.keys();
        expected.retain(|key| *key != old);
        let garbage = fixture.find(48);
        assert_eq!(found(&garbage), [format!("test://foreign/{old}")]);
        assert_eq!(garbage.remove().unwrap().files, 1);
        assert_eq!(fixture.keys(), expected);
    }

    #[test]
    fn nothing_goes_where_a_version_before_publishes_or_a_manifest_cannot_be_read() {
        let fixture = Fixture::new("test://claimed/work");
        fixture.publish("old", 0);
        fixture.publish("new", 0);
        let put = |content: &'static str| {
            let content = Bytes::from_static(content.as_bytes());
            fixture.bucket.put_over("work/tables/manifest.json", content).unwrap();
        };
        put(r#"{"schema_version":0,"publishing":"1-2-3"}"#);
        let garbage = fixture.find(48);
        assert_eq!(garbage.sum(), Moved::default());
        assert_eq!(garbage.skipped(), [PathBuf::from("test://claimed/work/tables/")]);
        put("<html>");
        let bucket = fixture.bucket.later(HOUR * 48);
        let found = Garbage::find_in(bucket, &fixture.address, &["tables"], MIN_PRUNE_AGE, 1);
        let error = found.err().unwrap().to_string();
        assert!(error.starts_with("test://claimed/work/tables/manifest.json: damaged"), "{error}");
    }

    #[test]
    fn a_publication_that_may_be_under_way_bounds_the_age() {
        open_in_memory("test://age");
        let url = Path::new("test://age/work");
        let found = Garbage::find(url, &["tables"], MIN_PRUNE_AGE - Duration::from_secs(1));
        assert_eq!(found.err().unwrap().kind(), io::ErrorKind::InvalidInput);
        assert!(Garbage::find(url, &["tables"], MIN_PRUNE_AGE).is_ok());
    }
}
