use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::{ArtefactError, FileEntry, MANIFEST_FILE, Manifest, Result};

const STAGING: &str = ".partial";
const LOCK: &str = ".lock";
/// The manifest of what the folder held before, kept until its leftovers are swept.
const PREVIOUS: &str = ".previous-manifest.json";

/// An output folder being written.
///
/// Files are made in a staging folder inside it; [`Publication::commit`] makes them durable, takes
/// the old manifest away, moves them into place, and writes the new manifest last. Killed at any
/// moment, the folder is the old output, or has no manifest, or is the new output. A lock keeps a
/// second process out.
#[derive(Debug)]
pub struct Publication {
    folder: PathBuf,
    staging: PathBuf,
    lock: File,
}

impl Drop for Publication {
    /// Closing the file would do, but for a process that was started meanwhile and still shares it
    /// for a moment.
    fn drop(&mut self) {
        let _ = self.lock.unlock();
    }
}

impl Publication {
    /// Creates the folder if need be, locks it, and clears what a killed process left.
    ///
    /// # Errors
    /// [`ArtefactError::Busy`] where another process writes there, else where the disk fails.
    pub fn begin(folder: impl Into<PathBuf>) -> Result<Self> {
        let publication = Self::resume(folder)?;
        remove_dir(&publication.staging)?;
        ossify_storage::forget(&publication.staging)
            .map_err(ArtefactError::io("cannot clear", &publication.staging))?;
        create_dir(&publication.staging)?;
        Ok(publication)
    }

    /// As [`Publication::begin`], yet keeps the staging folder of a killed process, so that a stage
    /// that can tell whole files from half ones continues where it was.
    ///
    /// # Errors
    /// As [`Publication::begin`].
    pub fn resume(folder: impl Into<PathBuf>) -> Result<Self> {
        let folder = folder.into();
        create_dir(&folder)?;
        let lock_path = folder.join(LOCK);
        let lock =
            File::create(&lock_path).map_err(ArtefactError::io("cannot create", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(ArtefactError::Busy { path: folder }),
            Err(TryLockError::Error(e)) => {
                return Err(ArtefactError::io("cannot lock", &lock_path)(e));
            }
        }
        let staging = folder.join(STAGING);
        create_dir(&staging)?;
        Ok(Publication { folder, staging, lock })
    }

    /// The output folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where to write the file that will be `path` (from the folder, `/` separators); its parents
    /// are made.
    ///
    /// # Errors
    /// Fails where a parent cannot be made.
    pub fn stage(&self, path: &str) -> Result<PathBuf> {
        let staged = self.staging.join(path);
        if let Some(parent) = staged.parent() {
            create_dir(parent)?;
        }
        Ok(staged)
    }

    /// Writes a small file in one go.
    ///
    /// # Errors
    /// Fails where the disk does.
    pub fn write(&self, path: &str, content: &[u8]) -> Result<()> {
        let staged = self.stage(path)?;
        fs::write(&staged, content).map_err(ArtefactError::io("cannot write", &staged))
    }

    /// Describes a staged file for [`Publication::commit`].
    ///
    /// # Errors
    /// Fails where the file cannot be read.
    pub fn describe(&self, path: &str, rows: Option<u64>) -> Result<FileEntry> {
        FileEntry::of(&self.staging, path, rows)
    }

    /// Publishes the staged `files`. A file that is listed and not staged must already stand in the
    /// folder. Files of the previous manifest that are not listed any more are removed.
    ///
    /// # Errors
    /// Fails where the disk does; the folder then has no manifest or its old one.
    pub fn commit(
        self,
        stage: &str,
        fingerprint: &str,
        mut files: Vec<FileEntry>,
        summary: serde_json::Value,
    ) -> Result<Manifest> {
        files.sort_by(|a, b| a.path.cmp(&b.path));
        for file in &files {
            let staged = self.staging.join(&file.path);
            match File::open(&staged) {
                Ok(file) => {
                    file.sync_all().map_err(ArtefactError::io("cannot write to disk", &staged))?
                }
                Err(e)
                    if e.kind() == io::ErrorKind::NotFound
                        && (file.is_there(&self.staging) || file.is_there(&self.folder)) => {}
                Err(e) => return Err(ArtefactError::io("cannot open", &staged)(e)),
            }
        }
        let current = self.folder.join(MANIFEST_FILE);
        let previous = self.folder.join(PREVIOUS);
        if current.exists() {
            fs::rename(&current, &previous).map_err(ArtefactError::io("cannot move", &current))?;
            sync_dir(&self.folder)?;
        }
        let mut parents = vec![self.folder.clone()];
        for file in &files {
            let (staged, target) = (self.staging.join(&file.path), self.folder.join(&file.path));
            let is_here = staged.exists();
            if !is_here && !file.is_there(&self.staging) {
                continue;
            }
            if let Some(parent) = target.parent() {
                create_dir(parent)?;
                parents.push(parent.to_path_buf());
            }
            if is_here {
                fs::rename(&staged, &target).map_err(ArtefactError::io("cannot move", &staged))?;
            }
            ossify_storage::moved(&staged, &target)
                .map_err(ArtefactError::io("cannot move", &staged))?;
        }
        parents.sort();
        parents.dedup();
        for parent in &parents {
            sync_dir(parent)?;
        }
        self.sweep(&previous, &files);
        remove_dir(&self.staging)?;
        let manifest = Manifest::of_now(stage, fingerprint, files, summary);
        write_atomic(&current, manifest.text(&current)?.as_bytes())?;
        // Swept already; a leftover of this file is harmless.
        let _ = fs::remove_file(&previous);
        Ok(manifest)
    }

    /// Removes files of the previous output that the new one does not have. They are unlisted, so a
    /// failure to remove one costs space and nothing else.
    fn sweep(&self, previous: &Path, files: &[FileEntry]) {
        let Ok(text) = fs::read_to_string(previous) else { return };
        let Ok(old) = serde_json::from_str::<Manifest>(&text) else { return };
        for old_file in &old.files {
            let is_plain = Path::new(&old_file.path)
                .components()
                .all(|part| matches!(part, std::path::Component::Normal(_)));
            if is_plain && files.binary_search_by(|file| file.path.cmp(&old_file.path)).is_err() {
                let _ = fs::remove_file(self.folder.join(&old_file.path));
            }
        }
    }
}

/// Writes a file so that a reader sees the old content or the new, never a part: beside, fsync,
/// rename.
///
/// # Errors
/// Fails where the disk does; the old content then still stands.
pub fn write_atomic(path: &Path, content: &[u8]) -> Result<()> {
    let folder =
        path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    create_dir(folder)?;
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let beside = folder.join(format!(".{name}.tmp"));
    let write = || -> io::Result<()> {
        let mut file = File::create(&beside)?;
        file.write_all(content)?;
        file.sync_all()
    };
    write().map_err(ArtefactError::io("cannot write", path))?;
    fs::rename(&beside, path).map_err(ArtefactError::io("cannot move into place", path))?;
    sync_dir(folder)
}

fn create_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(ArtefactError::io("cannot create the folder", path))
}

fn remove_dir(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(ArtefactError::io("cannot remove", path)(e))
        }
        _ => Ok(()),
    }
}

pub(crate) fn sync_dir(path: &Path) -> Result<()> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(ArtefactError::io("cannot write to disk", path))
}

/// The time now, RFC 3339, UTC, whole seconds.
pub fn now_rfc3339() -> String {
    chrono::DateTime::<chrono::Utc>::from(std::time::SystemTime::now())
        .to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publish(folder: &Path, names: &[&str]) -> Manifest {
        let publication = Publication::begin(folder).unwrap();
        let mut files = Vec::new();
        for name in names {
            publication.write(name, name.as_bytes()).unwrap();
            files.push(publication.describe(name, None).unwrap());
        }
        publication.commit("test", "f", files, serde_json::Value::Null).unwrap()
    }

    #[test]
    fn a_published_folder_opens_and_sweeps_what_it_had_before() {
        let folder = tempfile::tempdir().unwrap();
        publish(folder.path(), &["a", "sub/b"]);
        publish(folder.path(), &["a", "c"]);
        let manifest = Manifest::open(folder.path(), "run it").unwrap();
        assert_eq!(
            manifest.files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(),
            ["a", "c"]
        );
        assert!(!folder.path().join("sub/b").exists());
        assert!(!folder.path().join(STAGING).exists() && !folder.path().join(PREVIOUS).exists());
    }

    #[test]
    fn an_abandoned_publication_leaves_the_old_output_whole() {
        let folder = tempfile::tempdir().unwrap();
        publish(folder.path(), &["a"]);
        let publication = Publication::begin(folder.path()).unwrap();
        publication.write("a", b"half").unwrap();
        drop(publication);
        Manifest::open(folder.path(), "run it").unwrap();
        assert_eq!(fs::read(folder.path().join("a")).unwrap(), b"a");
    }

    #[test]
    fn a_changed_or_missing_file_is_corrupt() {
        let folder = tempfile::tempdir().unwrap();
        publish(folder.path(), &["a"]);
        fs::write(folder.path().join("a"), b"b").unwrap();
        assert!(matches!(Manifest::open(folder.path(), ""), Err(ArtefactError::Corrupt { .. })));
        fs::remove_file(folder.path().join("a")).unwrap();
        assert!(Manifest::is_current(folder.path(), "f").is_none());
    }

    #[test]
    fn a_second_writer_is_kept_out() {
        let folder = tempfile::tempdir().unwrap();
        let _first = Publication::begin(folder.path()).unwrap();
        assert!(matches!(Publication::begin(folder.path()), Err(ArtefactError::Busy { .. })));
    }

    #[cfg(unix)]
    #[test]
    fn a_lock_that_another_process_shares_ends_with_its_publication() {
        let folder = tempfile::tempdir().unwrap();
        let publication = Publication::begin(folder.path()).unwrap();
        let shared = publication.lock.try_clone().unwrap();
        drop(publication);
        Publication::begin(folder.path()).unwrap();
        drop(shared);
    }

    #[test]
    fn a_folder_without_a_manifest_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let error =
            Manifest::open(folder.path(), "run ossify-ingest first").unwrap_err().to_string();
        assert!(error.ends_with("has no manifest.json: run ossify-ingest first"), "{error}");
    }
}
