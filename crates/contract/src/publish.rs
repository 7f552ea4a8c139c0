use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::error::{ArtefactError, Result};
use crate::manifest::{FileEntry, MANIFEST_FILE, Manifest, is_inside};

const STAGING: &str = ".partial";
const LOCK: &str = ".lock";
/// The manifest of what the folder held before, kept until its leftovers are swept.
const PREVIOUS: &str = ".previous-manifest.json";

/// An output folder being written.
///
/// Files are made in a staging folder inside it. [`Publication::commit`] makes them durable, and
/// beside them the new manifest: from then on the new output is whole, and only renames are left,
/// for which a full disk has room. They take the old manifest away, move the files into place, and
/// the new manifest last. Killed before, the folder is the old output; killed among the renames, it
/// has no manifest until the next process that looks at it, [`Publication::current`] or
/// [`Publication::begin`], ends them. A lock keeps a second process out.
#[derive(Debug)]
pub struct Publication {
    folder: PathBuf,
    staging: PathBuf,
    lock: File,
    /// Whether what was staged is of use to the next run where this one fails.
    is_resumable: bool,
}

impl Drop for Publication {
    /// Clears what a failed run staged. Closing the lock's file would do to unlock it, but for a
    /// process that was started meanwhile and still shares it for a moment.
    fn drop(&mut self) {
        if !self.is_resumable && !self.staging.join(MANIFEST_FILE).exists() {
            let _ = remove_dir(&self.staging);
        }
        let _ = self.lock.unlock();
    }
}

impl Publication {
    /// The manifest of `folder`, if it holds the output that has this fingerprint. What a run that
    /// was killed among the last renames has made is put into place first, and where the output is
    /// the one that is asked for, what another run has left in the staging folder is removed.
    pub fn current(folder: &Path, fingerprint: &str) -> Option<Manifest> {
        let staging = folder.join(STAGING);
        if !staging.exists() && !folder.join(PREVIOUS).exists() {
            return Manifest::is_current(folder, fingerprint);
        }
        // Another process may be at work there; and where this one may not write, it may read.
        let lock = lock(folder).ok();
        if lock.is_some() {
            let _ = settle(folder, &staging);
        }
        let manifest = Manifest::is_current(folder, fingerprint)?;
        if let Some(lock) = lock {
            let _ = remove_dir(&staging);
            let _ = ossify_storage::forget(&staging);
            let _ = lock.unlock();
        }
        Some(manifest)
    }

    /// Creates the folder if need be, locks it, and clears what a killed process left.
    ///
    /// # Errors
    /// [`ArtefactError::Busy`] where another process writes there, else where the disk fails.
    pub fn begin(folder: impl Into<PathBuf>) -> Result<Self> {
        let mut publication = Self::resume(folder)?;
        publication.is_resumable = false;
        remove_dir(&publication.staging)?;
        ossify_storage::forget(&publication.staging)
            .map_err(ArtefactError::io("cannot clear", &publication.staging))?;
        create_dir(&publication.staging)?;
        Ok(publication)
    }

    /// As [`Publication::begin`], yet keeps the staging folder of a run that was killed or failed,
    /// so that a stage that can tell whole files from half ones continues where it was.
    ///
    /// # Errors
    /// As [`Publication::begin`].
    pub fn resume(folder: impl Into<PathBuf>) -> Result<Self> {
        let folder = folder.into();
        create_dir(&folder)?;
        let lock = lock(&folder)?;
        let staging = folder.join(STAGING);
        settle(&folder, &staging)?;
        create_dir(&staging)?;
        Ok(Publication { folder, staging, lock, is_resumable: true })
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
    /// Fails where the disk does. The folder is the old output then; or, where the disk fails in
    /// the midst of the renames, becomes the new one with the next run.
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
        for parent in folders_of(&self.staging, &files) {
            match sync_dir(&parent) {
                // Its files stand in the folder already.
                Err(ArtefactError::Io { source, .. })
                    if source.kind() == io::ErrorKind::NotFound => {}
                synced => synced?,
            }
        }
        let manifest = Manifest::of_now(stage, fingerprint, files, summary);
        let promised = self.staging.join(MANIFEST_FILE);
        write_atomic(&promised, manifest.text(&promised)?.as_bytes())?;
        put_into_place(&self.folder, &self.staging, &manifest)?;
        Ok(manifest)
    }
}

/// Locks a folder against other publications.
fn lock(folder: &Path) -> Result<File> {
    let path = folder.join(LOCK);
    let lock = File::create(&path).map_err(ArtefactError::io("cannot create", &path))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(ArtefactError::Busy { path: folder.to_path_buf() }),
        Err(TryLockError::Error(e)) => Err(ArtefactError::io("cannot lock", &path)(e)),
    }
}

/// Ends what a process that was killed, or whose disk failed, began to put into place.
fn settle(folder: &Path, staging: &Path) -> Result<()> {
    let promised = staging.join(MANIFEST_FILE);
    if promised.exists() {
        if let Some(manifest) = Manifest::read(staging).ok().flatten()
            && is_all_there(folder, staging, &manifest)
        {
            return put_into_place(folder, staging, &manifest);
        }
        return fs::remove_file(&promised).map_err(ArtefactError::io("cannot remove", &promised));
    }
    if folder.join(PREVIOUS).exists()
        && let Some(manifest) = Manifest::read(folder).ok().flatten()
    {
        sweep(folder, &manifest.files);
    }
    Ok(())
}

/// Whether each file is staged, or stands in the folder as the manifest says.
fn is_all_there(folder: &Path, staging: &Path, manifest: &Manifest) -> bool {
    let is_there = |file: &FileEntry| {
        file.is_there(staging)
            || (file.is_there(folder) && file.is_whole(folder).is_ok_and(|is_whole| is_whole))
    };
    manifest.files.iter().all(is_there)
}

/// Moves staged files into the folder, and their manifest last. Interrupted anywhere, the same call
/// goes on from there.
fn put_into_place(folder: &Path, staging: &Path, manifest: &Manifest) -> Result<()> {
    let (current, previous) = (folder.join(MANIFEST_FILE), folder.join(PREVIOUS));
    if current.exists() {
        fs::rename(&current, &previous).map_err(ArtefactError::io("cannot move", &current))?;
        sync_dir(folder)?;
    }
    for file in &manifest.files {
        let (staged, target) = (staging.join(&file.path), folder.join(&file.path));
        if !staged.exists() && ossify_storage::size(&staged) != Some(file.bytes) {
            continue;
        }
        if let Some(parent) = target.parent() {
            create_dir(parent)?;
        }
        ossify_storage::rename(&staged, &target)
            .map_err(ArtefactError::io("cannot move", &staged))?;
    }
    for parent in folders_of(folder, &manifest.files) {
        sync_dir(&parent)?;
    }
    let promised = staging.join(MANIFEST_FILE);
    fs::rename(&promised, &current).map_err(ArtefactError::io("cannot move", &promised))?;
    sync_dir(folder)?;
    sweep(folder, &manifest.files);
    remove_dir(staging)
}

/// The folders that files lie in, each once.
fn folders_of(root: &Path, files: &[FileEntry]) -> Vec<PathBuf> {
    let mut folders = vec![root.to_path_buf()];
    let parents =
        files.iter().filter_map(|file| root.join(&file.path).parent().map(Path::to_path_buf));
    folders.extend(parents);
    folders.sort();
    folders.dedup();
    folders
}

/// Removes files of the previous output that the new one does not have. They are unlisted, so a
/// failure to remove one costs space and nothing else.
fn sweep(folder: &Path, files: &[FileEntry]) {
    let previous = folder.join(PREVIOUS);
    let Ok(text) = fs::read_to_string(&previous) else { return };
    if let Ok(old) = serde_json::from_str::<Manifest>(&text) {
        for old_file in &old.files {
            if is_inside(&old_file.path)
                && files.binary_search_by(|file| file.path.cmp(&old_file.path)).is_err()
            {
                let _ = fs::remove_file(folder.join(&old_file.path));
            }
        }
    }
    let _ = fs::remove_file(&previous);
}

/// Writes a file so that a reader sees the old content or the new, never a part: beside, under a
/// name of its own, fsync, rename.
///
/// # Errors
/// Fails where the disk does; the old content then still stands.
pub fn write_atomic(path: &Path, content: &[u8]) -> Result<()> {
    let folder =
        path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    create_dir(folder)?;
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let write = || -> io::Result<tempfile::NamedTempFile> {
        // Temporary files are for their owner alone; this one is for whoever the process' umask
        // lets read. Opened and written here, it fails with the system's words alone, and not with
        // the temporary name behind them.
        let mut file = tempfile::Builder::new()
            .prefix(&format!(".{name}."))
            .suffix(".tmp")
            .make_in(folder, |path| File::create_new(path))?;
        file.as_file_mut().write_all(content)?;
        file.as_file().sync_all()?;
        Ok(file)
    };
    let file = write().map_err(ArtefactError::io("cannot write", path))?;
    file.persist(path).map_err(|e| ArtefactError::io("cannot move into place", path)(e.error))?;
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
    fn a_disk_that_takes_no_manifest_leaves_the_old_output_whole() {
        let folder = tempfile::tempdir().unwrap();
        publish(folder.path(), &["a", "b"]);
        let publication = Publication::begin(folder.path()).unwrap();
        publication.write("a", b"new").unwrap();
        let files = vec![publication.describe("a", None).unwrap()];
        // Where the new manifest would be written there is a folder, now or in a version before.
        for occupied in [".partial/manifest.json/x", ".manifest.json.tmp/x"] {
            fs::create_dir_all(folder.path().join(occupied)).unwrap();
        }
        publication.commit("test", "g", files, serde_json::Value::Null).unwrap_err();
        let manifest = Manifest::open(folder.path(), "run it").unwrap();
        assert_eq!(manifest.files.len(), 2);
        assert_eq!(fs::read(folder.path().join("a")).unwrap(), b"a");
    }

    /// Staged files and their manifest, durable, as a process leaves them that is killed among the
    /// renames.
    fn promise(folder: &Path, files: &[(&str, &str)]) {
        let publication = Publication::resume(folder).unwrap();
        for (name, content) in files {
            publication.write(name, content.as_bytes()).unwrap();
        }
        let entries = files.iter().map(|(name, _)| publication.describe(name, None).unwrap());
        let manifest = Manifest::of_now("test", "new", entries.collect(), ().into());
        let promised = folder.join(STAGING).join(MANIFEST_FILE);
        fs::write(&promised, manifest.text(&promised).unwrap()).unwrap();
    }

    #[test]
    fn a_publication_that_was_killed_among_its_renames_is_ended_by_the_next_process() {
        for moved in 0..=4 {
            let folder = tempfile::tempdir().unwrap();
            let path = |name: &str| folder.path().join(name);
            publish(folder.path(), &["a", "gone"]);
            promise(folder.path(), &[("a", "new"), ("sub/b", "b")]);
            fs::create_dir_all(path("sub")).unwrap();
            let renames = [
                (MANIFEST_FILE, PREVIOUS),
                (".partial/a", "a"),
                (".partial/sub/b", "sub/b"),
                (".partial/manifest.json", MANIFEST_FILE),
            ];
            for (from, to) in &renames[..moved] {
                fs::rename(path(from), path(to)).unwrap();
            }
            let manifest = Publication::current(folder.path(), "new").unwrap();
            assert_eq!(Manifest::open(folder.path(), "").unwrap(), manifest, "{moved}");
            assert_eq!(fs::read(path("a")).unwrap(), b"new");
            assert!(!path("gone").exists() && !path(PREVIOUS).exists(), "{moved}");
            assert!(!path(STAGING).exists(), "{moved}");
        }
    }

    #[test]
    fn a_promise_whose_files_are_gone_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        publish(folder.path(), &["a"]);
        promise(folder.path(), &[("a", "new")]);
        fs::remove_file(folder.path().join(STAGING).join("a")).unwrap();
        fs::write(folder.path().join("a"), b"old").unwrap();
        Publication::begin(folder.path()).unwrap();
        assert!(!folder.path().join(STAGING).join(MANIFEST_FILE).exists());
        assert!(Publication::current(folder.path(), "new").is_none());
    }

    #[test]
    fn what_a_failed_run_staged_goes_with_it_or_with_the_next_that_is_current() {
        let folder = tempfile::tempdir().unwrap();
        let staging = folder.path().join(STAGING);
        publish(folder.path(), &["a"]);
        let failed = Publication::begin(folder.path()).unwrap();
        failed.write("a", b"half").unwrap();
        drop(failed);
        assert!(!staging.exists());
        let resumable = Publication::resume(folder.path()).unwrap();
        resumable.write("a", b"half").unwrap();
        drop(resumable);
        assert!(Publication::current(folder.path(), "other").is_none() && staging.exists());
        assert!(Publication::current(folder.path(), "f").is_some() && !staging.exists());
    }

    #[test]
    fn processes_that_write_one_file_at_once_leave_one_of_theirs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("latest");
        let contents = ["a".repeat(10_000), "b".repeat(20_000)];
        std::thread::scope(|scope| {
            for content in &contents {
                scope.spawn(|| {
                    (0..100).for_each(|_| write_atomic(&path, content.as_bytes()).unwrap());
                });
            }
        });
        assert!(contents.contains(&fs::read_to_string(&path).unwrap()));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_cannot_be_written_says_so_without_a_temporary_name() {
        let folder = tempfile::tempdir().unwrap();
        // So long a name that the temporary one is too long, whoever runs the test.
        let error = write_atomic(&folder.path().join("n".repeat(250)), b"").unwrap_err();
        let error = error.to_string();
        assert!(error.ends_with("nnn: File name too long (os error 36)"), "{error}");
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
