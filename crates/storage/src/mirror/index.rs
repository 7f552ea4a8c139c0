//! What a manifest says of the files of a folder, and under which names the store has them.

use std::io;
use std::path::{Component, Path};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The manifest of an output; it is written last.
pub(crate) const MANIFEST: &str = "manifest.json";
/// The list of the files of a run that is not finished yet. Only stores have it.
pub(crate) const UNFINISHED: &str = "unfinished.json";
/// The folder for files that a stage has not published yet, in each output folder.
pub(crate) const STAGING: &str = ".partial";
/// A manifest is read whole; one of a hundred thousand shards has 20 MB.
pub(crate) const MAX_INDEX_BYTES: u64 = 1 << 30;
/// The key of a file's entry that names its object, from the folder of the manifest.
const STORED: &str = "stored";
/// The key of a manifest for [`Index::superseded`].
const SUPERSEDED: &str = "superseded";

/// A file as a manifest lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IndexedFile {
    /// Path from the folder.
    pub(crate) path: String,
    pub(crate) bytes: u64,
    /// Of the content, 16 hexadecimal digits.
    pub(crate) xxh3: String,
    /// Name of the object, from the folder. Where none is named, the object has the file's path:
    /// so it is on a disk, and in stores that versions before wrote to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stored: Option<String>,
}

impl IndexedFile {
    /// Name of the object, from the folder.
    pub(crate) fn stored(&self) -> &str {
        self.stored.as_deref().unwrap_or(&self.path)
    }

    /// Whether both are the same content under the same path.
    pub(crate) fn is_same(&self, other: &IndexedFile) -> bool {
        self.path == other.path && self.is_same_content(other)
    }

    pub(crate) fn is_same_content(&self, other: &IndexedFile) -> bool {
        self.content() == other.content()
    }

    /// XXH3 and size.
    pub(crate) fn content(&self) -> (&str, u64) {
        (&self.xxh3, self.bytes)
    }
}

/// Objects that a manifest stopped naming when it was replaced. Whoever holds it still reads them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Superseded {
    /// When it was replaced, in seconds since 1970.
    pub(crate) at_s: i64,
    /// Names of the objects, from the folder.
    pub(crate) stored: Vec<String>,
}

/// A manifest, or the list of an unfinished run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    value: Value,
    pub(crate) files: Vec<IndexedFile>,
    /// What earlier manifests of the folder named and this one does not. Only stores have it.
    pub(crate) superseded: Vec<Superseded>,
    /// Of an unfinished run: XXH3 of the manifest in the folder when the list was written, empty
    /// without a manifest. With another manifest there, the list is out of date.
    pub(crate) beside: String,
}

impl Index {
    /// Reads one; `None` where it lists no files, as the claims of versions before, which stood
    /// for a manifest while files were overwritten.
    ///
    /// # Errors
    /// `InvalidData` where it is not a manifest, or leads out of its folder.
    pub(crate) fn parse(content: &[u8]) -> io::Result<Option<Self>> {
        let invalid = |reason: String| io::Error::new(io::ErrorKind::InvalidData, reason);
        let not_a_manifest = |_| invalid("damaged, or no manifest".into());
        let value: Value = serde_json::from_slice(content).map_err(not_a_manifest)?;
        if value.get("schema_version").and_then(Value::as_u64) == Some(0) {
            return Ok(None);
        }
        let files = value.get("files").cloned().unwrap_or_default();
        let files: Vec<IndexedFile> = serde_json::from_value(files).map_err(not_a_manifest)?;
        let superseded = match value.get(SUPERSEDED) {
            Some(superseded) => {
                serde_json::from_value(superseded.clone()).map_err(not_a_manifest)?
            }
            None => Vec::new(),
        };
        for file in &files {
            if !is_inside(&file.path) || !is_inside(file.stored()) {
                let reason = format!("it lists {:?}, which is not a name in a folder", file.path);
                return Err(invalid(reason));
            }
        }
        let beside = value.get("beside").and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(Some(Index { value, files, superseded, beside }))
    }

    /// The list of an unfinished run's files.
    pub(crate) fn unfinished(files: Vec<IndexedFile>, beside: &str) -> Self {
        let value = serde_json::json!({ "schema_version": 1, "beside": beside, "files": [] });
        Index { value, files, superseded: Vec::new(), beside: beside.to_owned() }
    }

    /// Whether both list the same files, wherever these are stored.
    pub(crate) fn is_same(&self, other: &Index) -> bool {
        self.files.len() == other.files.len()
            && self.files.iter().zip(&other.files).all(|(one, other)| one.is_same(other))
    }

    /// The text for the store: with the names of the objects.
    pub(crate) fn text_for_store(&self) -> io::Result<Vec<u8>> {
        let mut value = self.value.clone();
        match value.get_mut("files").and_then(Value::as_array_mut) {
            Some(entries) if entries.len() == self.files.len() => {
                for (entry, file) in entries.iter_mut().zip(&self.files) {
                    if let (Some(entry), Some(stored)) = (entry.as_object_mut(), &file.stored) {
                        entry.insert(STORED.to_owned(), Value::from(stored.as_str()));
                    }
                }
            }
            _ => value["files"] = serde_json::to_value(&self.files)?,
        }
        if !self.superseded.is_empty() {
            value[SUPERSEDED] = serde_json::to_value(&self.superseded)?;
        }
        text(&value)
    }

    /// The text for a disk, where each file has its own path.
    pub(crate) fn text_for_disk(&self) -> io::Result<Vec<u8>> {
        let mut value = self.value.clone();
        if let Some(entries) = value.as_object_mut() {
            entries.shift_remove(SUPERSEDED);
        }
        if let Some(entries) = value.get_mut("files").and_then(Value::as_array_mut) {
            for entry in entries.iter_mut().filter_map(Value::as_object_mut) {
                entry.shift_remove(STORED);
            }
        }
        text(&value)
    }
}

fn text(value: &Value) -> io::Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    Ok(text)
}

/// Whether a path, with `/` separators, stays in the folder that it begins in.
fn is_inside(path: &str) -> bool {
    !path.is_empty()
        && !path.contains('\\')
        && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)))
}

/// Name for an object with the content of a file: `a/b-0123456789abcdef.txt`, so that its kind can
/// still be seen. A file that has its hash in its name keeps it. The first `attempt` is 1; further
/// ones are for names that are taken.
pub(crate) fn stored_name(path: &str, xxh3: &str, attempt: u32) -> String {
    let name_start = path.rfind('/').map_or(0, |slash| slash + 1);
    let dot = path[name_start..].rfind('.').filter(|dot| *dot > 0);
    let (stem, extension) = path.split_at(dot.map_or(path.len(), |dot| name_start + dot));
    let stem = stem.strip_suffix(xxh3).and_then(|stem| stem.strip_suffix('-')).unwrap_or(stem);
    match attempt {
        1 => format!("{stem}-{xxh3}{extension}"),
        _ => format!("{stem}-{xxh3}-{attempt}{extension}"),
    }
}

/// Whether an object can have got its name from [`stored_name`].
pub(crate) fn is_stored_name(path: &str) -> bool {
    hash_in_name(path).is_some()
}

/// The hash in a name that [`stored_name`] can have given.
pub(crate) fn hash_in_name(path: &str) -> Option<&str> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let stem = name.rfind('.').filter(|dot| *dot > 0).map_or(name, |dot| &name[..dot]);
    let is_hash = |text: &str| {
        text.len() == 16 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let (rest, last) = stem.rsplit_once('-')?;
    if is_hash(last) {
        return Some(last);
    }
    let is_attempt = !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit());
    let (_, hash) = rest.rsplit_once('-').filter(|_| is_attempt)?;
    is_hash(hash).then_some(hash)
}

/// The folder of a manifest, with a `/` behind it.
pub(crate) fn folder_of(index: &str) -> &str {
    &index[..index.rfind('/').map_or(0, |slash| slash + 1)]
}

/// Whether a file is a manifest, or the list of an unfinished run.
pub(crate) fn is_index(inner: &str) -> bool {
    let name = &inner[folder_of(inner).len()..];
    name == MANIFEST || name == UNFINISHED
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "0123456789abcdef";

    #[test]
    fn a_stored_name_has_the_hash_once_and_keeps_the_kind_of_file() {
        for (path, attempt, name) in [
            ("a.parquet", 1, "a-0123456789abcdef.parquet"),
            ("a.parquet", 2, "a-0123456789abcdef-2.parquet"),
            ("b.c/latest", 1, "b.c/latest-0123456789abcdef"),
            ("x/events.out.ossify", 1, "x/events.out-0123456789abcdef.ossify"),
            ("train-0123456789abcdef.txt", 1, "train-0123456789abcdef.txt"),
            ("train-0123456789abcdef.txt", 3, "train-0123456789abcdef-3.txt"),
            (".hidden", 1, ".hidden-0123456789abcdef"),
        ] {
            assert_eq!(stored_name(path, HASH, attempt), name);
            assert!(is_stored_name(name), "{name}");
        }
        for plain in ["a.parquet", "train-00001.arrow", "latest", "a-0123456789abcde.x", "model-2"]
        {
            assert!(!is_stored_name(plain), "{plain}");
        }
    }

    #[test]
    fn the_text_for_a_disk_is_what_the_stage_wrote() {
        let written = serde_json::json!({
            "schema_version": 2,
            "created_at": "now",
            "files": [{ "path": "a.txt", "rows": 3, "bytes": 1, "xxh3": HASH, "inputs": "x" }],
            "summary": { "b": 1.0, "a": [] },
        });
        let written = text(&written).unwrap();
        let mut index = Index::parse(&written).unwrap().unwrap();
        index.files[0].stored = Some(stored_name("a.txt", HASH, 1));
        index.superseded = vec![Superseded { at_s: 7, stored: vec!["b".to_owned()] }];
        let sent = index.text_for_store().unwrap();
        assert!(String::from_utf8_lossy(&sent).contains("\"stored\": \"a-0123456789abcdef.txt\""));
        let found = Index::parse(&sent).unwrap().unwrap();
        assert_eq!(found.superseded, index.superseded);
        assert_eq!(found.files[0].stored(), "a-0123456789abcdef.txt");
        assert_eq!(found.text_for_disk().unwrap(), written);
    }

    #[test]
    fn a_manifest_that_leads_out_of_its_folder_is_refused() {
        for (path, stored) in [("../a", "a"), ("/a", "a"), ("a", "../../a"), ("a/../b", "b")] {
            let manifest = serde_json::json!({
                "files": [{ "path": path, "bytes": 1, "xxh3": HASH, "stored": stored }],
            });
            let error = Index::parse(manifest.to_string().as_bytes()).unwrap_err();
            assert!(error.to_string().contains("is not a name in a folder"), "{error}");
        }
    }

    #[test]
    fn a_claim_of_a_version_before_lists_nothing() {
        let claim = br#"{"schema_version":0,"publishing":"1-2-3"}"#;
        assert!(Index::parse(claim).unwrap().is_none());
        assert!(Index::parse(b"<html>").is_err());
    }
}
