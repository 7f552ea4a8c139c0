//! Parts: what one worker made of its share of a dataset, until all are merged.
//!
//! Any number of workers may write the same part at once, on one machine or on several that share a
//! file system: there is no lock. A file is written under a name of its own and then named after
//! its content, and the manifest, written last and replaced in one step, names the files. So a
//! reader finds one worker's part, whole, and workers that had the same input write the same.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;
pub use tempfile::TempPath;
use xxhash_rust::xxh3::Xxh3;

use crate::error::{ArtefactError, Result};
use crate::manifest::{FileEntry, HashingWriter, MANIFEST_FILE, Manifest};
use crate::partition::Partition;
use crate::publish::sync_dir;
use crate::work_folder::WorkFolder;

/// What unfinished files begin with.
const UNFINISHED: &str = ".unfinished-";
/// An unfinished file that nobody has written to for so long belongs to a worker that was killed.
const ABANDONED: Duration = Duration::from_hours(6);

/// The folder of a part.
#[derive(Clone, Debug)]
pub struct PartFolder {
    path: PathBuf,
}

impl PartFolder {
    /// Creates the folder if need be, and removes what killed workers left long ago.
    ///
    /// # Errors
    /// Fails where the disk does.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        fs::create_dir_all(&path).map_err(ArtefactError::io("cannot create the folder", &path))?;
        remove_abandoned(&path);
        Ok(PartFolder { path })
    }

    /// Begins a file.
    ///
    /// # Errors
    /// Fails where the disk does.
    pub fn begin(&self) -> Result<PartFile> {
        Ok(PartFile { folder: self.path.clone(), file: HashingWriter::new(self.unfinished()?) })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file of a name of its own, for a writer that opens it by its path. Dropped, it is removed.
    ///
    /// # Errors
    /// Fails where the disk does.
    pub fn begin_path(&self) -> Result<TempPath> {
        Ok(self.unfinished()?.into_temp_path())
    }

    /// Makes a file of [`PartFolder::begin_path`] durable and names it after its content, which
    /// `entry` describes.
    ///
    /// # Errors
    /// Fails where the disk does.
    pub fn adopt(
        &self,
        file: TempPath,
        stem: &str,
        extension: &str,
        entry: FileEntry,
    ) -> Result<FileEntry> {
        let name = format!("{stem}-{}.{extension}", entry.xxh3);
        let path = self.path.join(&name);
        File::open(&file)
            .and_then(|file| file.sync_all())
            .map_err(ArtefactError::io("cannot write to disk", &path))?;
        file.persist(&path)
            .map_err(|e| ArtefactError::io("cannot move into place", &path)(e.error))?;
        sync_dir(&self.path)?;
        Ok(FileEntry { path: name, ..entry })
    }

    /// Writes a small file, or replaces it in one step.
    ///
    /// # Errors
    /// Fails where the disk does.
    pub fn write(&self, name: &str, content: &[u8]) -> Result<()> {
        let mut file = self.begin()?;
        file.write_all(content).map_err(ArtefactError::io("cannot write", self.path.join(name)))?;
        file.persist_as(name)
    }

    fn unfinished(&self) -> Result<NamedTempFile> {
        let mut builder = tempfile::Builder::new();
        // Temporary files are for their owner alone; these are for whoever the process' umask lets
        // read.
        builder
            .prefix(UNFINISHED)
            .make_in(&self.path, |path| File::create_new(path))
            .map_err(ArtefactError::io("cannot create a file in", &self.path))
    }

    /// Publishes the part: writes the manifest that names its files.
    ///
    /// # Errors
    /// Fails where the disk does; the folder then still holds the earlier part.
    pub fn publish<P: PartPayload>(
        &self,
        fingerprint: &str,
        files: Vec<FileEntry>,
        summary: &PartSummary<P>,
    ) -> Result<Manifest> {
        let summary = summary.to_json(&self.path)?;
        let manifest = Manifest::of_now(&part_stage::<P>(), fingerprint, files, summary);
        self.write(MANIFEST_FILE, manifest.text(&self.path.join(MANIFEST_FILE))?.as_bytes())?;
        Ok(manifest)
    }
}

/// A file of a part while it is written. Dropped unfinished, it is removed.
pub struct PartFile {
    folder: PathBuf,
    file: HashingWriter<NamedTempFile>,
}

impl PartFile {
    /// Makes the file durable and gives it its name: `<stem>-<XXH3 of the content>.<extension>`.
    ///
    /// # Errors
    /// Fails where the disk does.
    pub fn finish(self, stem: &str, extension: &str, rows: u64) -> Result<FileEntry> {
        let PartFile { folder, file } = self;
        let (file, bytes, hash) = file.finish();
        let path = format!("{stem}-{hash:016x}.{extension}");
        persist(file, &folder, &path)?;
        Ok(FileEntry { path, rows: Some(rows), bytes, xxh3: format!("{hash:016x}"), inputs: None })
    }

    fn persist_as(self, name: &str) -> Result<()> {
        persist(self.file.finish().0, &self.folder, name)
    }
}

impl Write for PartFile {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.file.write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// What a stage says of a part, beside what every stage says.
pub trait PartPayload: Serialize + DeserializeOwned {
    /// The stage, as in `ossify-<stage>`.
    const STAGE: &'static str;
    /// What [`PartSummary::whole`] is a hash of, as in "was made with another ...".
    const MADE_WITH: &'static str;

    /// What tells the whole of this part from others, for a message: "it is of run ...".
    fn origin(&self) -> Option<String> {
        None
    }
}

/// The summary of a part's manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartSummary<P> {
    /// The share, as [`Partition`] is written.
    pub partition: String,
    /// Hash of what all parts of one whole have in common. A merge takes those of its own alone.
    pub whole: String,
    /// What the stage says of it.
    pub payload: P,
}

impl<P: PartPayload> PartSummary<P> {
    /// That of a share of the whole with this hash.
    pub fn new(partition: Partition, whole: impl Into<String>, payload: P) -> Self {
        PartSummary { partition: partition.to_string(), whole: whole.into(), payload }
    }

    /// The summary in the manifest of the part in `folder`.
    ///
    /// # Errors
    /// Fails where a value has no JSON form.
    pub fn to_json(&self, folder: &Path) -> Result<serde_json::Value> {
        serde_json::to_value(self)
            .map_err(|e| ArtefactError::corrupt(folder, format!("cannot encode the summary: {e}")))
    }
}

/// The manifest of the part in `folder`, if it is the part that has this fingerprint; no file is
/// read.
pub fn current_part<P: PartPayload>(folder: &Path, fingerprint: &str) -> Option<Manifest> {
    Manifest::is_current(folder, fingerprint)
        .filter(|part| part.stage == part_stage::<P>() && summary_of::<P>(part).is_some())
}

fn part_stage<P: PartPayload>() -> String {
    format!("{}-part", P::STAGE)
}

/// A part as a merge finds it.
#[derive(Clone, Debug)]
pub struct Part<P> {
    /// The share.
    pub partition: Partition,
    /// Where its files lie.
    pub folder: PathBuf,
    /// Its manifest; all files are there.
    pub manifest: Manifest,
    /// What the stage says of it.
    pub payload: P,
}

impl<P: PartPayload> Part<P> {
    /// The entry of a file that the payload names.
    ///
    /// # Errors
    /// [`ArtefactError::Corrupt`] where the manifest does not list it.
    pub fn file(&self, path: &str) -> Result<&FileEntry> {
        self.manifest.file(path).ok_or_else(|| {
            let reason =
                format!("its manifest does not list {path}; {}", again::<P>(self.partition));
            ArtefactError::corrupt(&self.folder, reason)
        })
    }

    fn check(&self, partition: &str, made_with: &str, whole: &str) -> Result<()> {
        if partition != self.partition.to_string() {
            return Err(ArtefactError::MovedPart {
                partition: partition.to_owned(),
                path: self.folder.clone(),
            });
        }
        if made_with != whole {
            let origin = self.payload.origin().map_or(String::new(), |of| format!(" ({of})"));
            let reason = format!(
                "part {0} was made with another {1}{origin}; run ossify-{2} --partition {0} with \
                 those of the merge",
                self.partition,
                P::MADE_WITH,
                P::STAGE
            );
            return Err(ArtefactError::corrupt(&self.folder, reason));
        }
        Ok(())
    }
}

fn again<P: PartPayload>(partition: Partition) -> String {
    format!("run ossify-{} --partition {partition} again with --force", P::STAGE)
}

/// The parts of all shares, in order, made by this version of the program, of the whole with this
/// hash.
///
/// # Errors
/// Says at once which parts are missing, were made by another version, are damaged, are those of
/// another share or of another whole, and how they are made.
pub fn read_parts<P: PartPayload>(
    out: &WorkFolder,
    count: u32,
    whole: &str,
) -> Result<Vec<Part<P>>> {
    let stage = P::STAGE;
    let (mut parts, mut missing, mut others) = (Vec::new(), Vec::new(), Vec::new());
    let mut unfit = Vec::new();
    for partition in Partition::all(count) {
        let folder = out.part(stage, partition);
        let has_manifest = folder.join(MANIFEST_FILE).is_file();
        match Manifest::read(&folder) {
            Ok(Some(manifest)) => match part_of(partition, folder, manifest, whole) {
                Ok(Some(part)) => parts.push(part),
                Ok(None) => others.push(partition),
                Err(error) => unfit.push(error),
            },
            Ok(None) if has_manifest => others.push(partition),
            Ok(None) => missing.push(partition),
            Err(error) => unfit.push(error),
        }
    }
    if missing.is_empty() && others.is_empty() && unfit.len() == 1 {
        return Err(unfit.remove(0));
    }
    let make = |partitions: &[Partition], what: &str, when: &str| {
        let first = partitions.first()?;
        let further = if partitions.len() == 1 { "" } else { ", and so on," };
        Some(format!(
            "{} {what} ({}); run ossify-{stage} --partition {first}{further} {when}",
            are(partitions.len()),
            shown(partitions)
        ))
    };
    let mut reasons: Vec<String> = [
        make(&missing, "not there", "first"),
        make(&others, "made by another version of ossify", "again"),
    ]
    .into_iter()
    .flatten()
    .collect();
    reasons.extend(unfit.iter().take(SHOWN).map(ToString::to_string));
    if unfit.len() > SHOWN {
        reasons.push(format!("{} more parts cannot be used", unfit.len() - SHOWN));
    }
    if reasons.is_empty() {
        return Ok(parts);
    }
    Err(ArtefactError::corrupt(out.parts(stage, count), reasons.join("\n  ")))
}

/// The part in `folder`; `None` for one of another version, whose manifest says other things.
fn part_of<P: PartPayload>(
    partition: Partition,
    folder: PathBuf,
    manifest: Manifest,
    whole: &str,
) -> Result<Option<Part<P>>> {
    if manifest.stage != part_stage::<P>() {
        let reason = format!(
            "not the manifest of a part (it is of the stage {}); run ossify-{} --partition \
             {partition} again",
            manifest.stage,
            P::STAGE
        );
        return Err(ArtefactError::corrupt(folder.join(MANIFEST_FILE), reason));
    }
    let Some(summary) = summary_of(&manifest) else { return Ok(None) };
    let PartSummary { partition: of, whole: made_with, payload } = summary;
    manifest.require_files(&folder, &manifest.files)?;
    let part = Part { partition, folder, manifest, payload };
    part.check(&of, &made_with, whole)?;
    Ok(Some(part))
}

/// The summary of a part that this version made.
fn summary_of<P: PartPayload>(manifest: &Manifest) -> Option<PartSummary<P>> {
    let is_ours = manifest.ossify_version == env!("CARGO_PKG_VERSION");
    let summary = PartSummary::<P>::deserialize(&manifest.summary).ok();
    summary.filter(|_| is_ours)
}

fn are(parts: usize) -> String {
    if parts == 1 { "one part is".to_owned() } else { format!("{parts} parts are") }
}

/// Parts that a message names.
const SHOWN: usize = 8;

/// The first few of them.
fn shown(partitions: &[Partition]) -> String {
    let mut text =
        partitions.iter().take(SHOWN).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if partitions.len() > SHOWN {
        text.push_str(", ...");
    }
    text
}

/// A reader that hashes what passes, so that a file is checked while it is read.
pub struct HashingReader<R> {
    inner: R,
    hash: Xxh3,
    bytes: u64,
}

impl<R: Read> HashingReader<R> {
    /// Wraps a reader.
    pub fn new(inner: R) -> Self {
        HashingReader { inner, hash: Xxh3::new(), bytes: 0 }
    }

    /// Reads to the end, and checks size and hash.
    ///
    /// # Errors
    /// [`ArtefactError::Corrupt`] where they are not those of `entry`, which lies in `folder`.
    pub fn verify(mut self, folder: &Path, entry: &FileEntry) -> Result<()> {
        let path = folder.join(&entry.path);
        io::copy(&mut self, &mut io::sink()).map_err(ArtefactError::io("cannot read", &path))?;
        if self.bytes != entry.bytes || format!("{:016x}", self.hash.digest()) != entry.xxh3 {
            let again = ossify_storage::how_to_make_again(&path);
            let reason = format!("not the bytes that manifest.json says; {again}");
            return Err(ArtefactError::corrupt(path, reason));
        }
        Ok(())
    }
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hash.update(&buffer[..read]);
        self.bytes += read as u64;
        Ok(read)
    }
}

fn persist(file: NamedTempFile, folder: &Path, name: &str) -> Result<()> {
    let path = folder.join(name);
    file.as_file().sync_all().map_err(ArtefactError::io("cannot write to disk", &path))?;
    file.persist(&path).map_err(|e| ArtefactError::io("cannot move into place", &path)(e.error))?;
    sync_dir(folder)
}

/// Space, and nothing else, is at stake: a failure is passed over.
fn remove_abandoned(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let is_abandoned = |entry: &fs::DirEntry| {
        let modified = entry.metadata().and_then(|metadata| metadata.modified());
        modified.is_ok_and(|modified| {
            SystemTime::now().duration_since(modified).is_ok_and(|age| age > ABANDONED)
        })
    };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED) && is_abandoned(&entry) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    struct Payload {
        run: String,
    }

    impl PartPayload for Payload {
        const STAGE: &'static str = "test";
        const MADE_WITH: &'static str = "configuration or run";
        fn origin(&self) -> Option<String> {
            Some(format!("it is of run {}", self.run))
        }
    }

    fn summary(partition: Partition, whole: &str) -> PartSummary<Payload> {
        PartSummary::new(partition, whole, Payload { run: "a".into() })
    }

    fn first_of_one() -> PartSummary<Payload> {
        summary(Partition::new(1, 1).unwrap(), "whole")
    }

    #[test]
    fn a_merge_takes_the_parts_of_its_own_whole_alone() {
        let root = tempfile::tempdir().unwrap();
        let out = WorkFolder::new(root.path());
        let read = || read_parts::<Payload>(&out, 2, "whole").map_err(|e| e.to_string());
        let [one, two] = [1, 2].map(|number| Partition::new(number, 2).unwrap());
        let publish = |at: Partition, summary: PartSummary<Payload>| {
            let folder = PartFolder::create(out.part("test", at)).unwrap();
            let files = vec![write(&folder, "a")];
            folder.publish("f", files, &summary).unwrap();
        };
        let refused = |reason: &str| {
            let error = read().unwrap_err();
            assert!(error.contains(reason), "{error}");
        };
        publish(one, summary(one, "whole"));
        refused("one part is not there (2/2); run ossify-test --partition 2/2");
        publish(two, summary(one, "whole"));
        refused("is the part 1/2; it was moved here");
        publish(two, summary(two, "another"));
        refused(
            "part 2/2 was made with another configuration or run (it is of run a); \
             run ossify-test --partition 2/2 with those of the merge",
        );
        publish(two, summary(two, "whole"));
        let parts = read().unwrap();
        assert_eq!(parts.iter().map(|part| part.partition).collect::<Vec<_>>(), [one, two]);
        let file = &parts[0].manifest.files[0].path;
        assert_eq!(parts[0].file(file).unwrap().rows, Some(1));
        let error = parts[0].file("other").unwrap_err().to_string();
        assert!(error.ends_with("run ossify-test --partition 1/2 again with --force"), "{error}");

        let path = out.part("test", two).join(MANIFEST_FILE);
        let published = fs::read_to_string(&path).unwrap();
        for (from, to, reason) in [
            ("\"run\"", "\"walk\"", "made by another version of ossify (2/2)"),
            ("\"schema_version\": ", "\"schema_version\": 9", "made by another version of oss"),
            ("\"test-part\"", "\"test\"", "(it is of the stage test); run ossify-test --part"),
            (env!("CARGO_PKG_VERSION"), "0.0.0", "made by another version of ossify (2/2)"),
        ] {
            fs::write(&path, published.replace(from, to)).unwrap();
            refused(reason);
            assert!(!read().unwrap_err().contains("--force"), "{from}");
        }
        fs::write(&path, published.replace("\"run\"", "\"walk\"")).unwrap();
        assert!(current_part::<Payload>(&out.part("test", two), "f").is_none());
    }

    #[test]
    fn all_parts_that_cannot_be_used_are_named_at_once() {
        let root = tempfile::tempdir().unwrap();
        let out = WorkFolder::new(root.path());
        let at = |number| Partition::new(number, 6).unwrap();
        for number in 2..=6 {
            let folder = PartFolder::create(out.part("test", at(number))).unwrap();
            let whole = if number == 6 { "another" } else { "whole" };
            folder.publish("f", Vec::new(), &summary(at(number), whole)).unwrap();
            let path = folder.path().join(MANIFEST_FILE);
            let published = fs::read_to_string(&path).unwrap();
            let changed = match number {
                3 | 4 => published.replace("\"whole\"", "\"total\""),
                5 => "{".to_owned(),
                _ => published,
            };
            fs::write(&path, changed).unwrap();
        }
        let error = read_parts::<Payload>(&out, 6, "whole").unwrap_err().to_string();
        for reason in [
            "one part is not there (1/6); run ossify-test --partition 1/6 first\n",
            "2 parts are made by another version of ossify (3/6, 4/6); \
             run ossify-test --partition 3/6, and so on, again\n",
            "manifest.json: damaged: it is cut short; run ossify-test --partition 5/6 again",
            "part 6/6 was made with another configuration or run",
        ] {
            assert!(error.contains(reason), "{reason} is not in {error}");
        }
    }

    #[test]
    fn the_output_of_another_stage_is_no_current_part() {
        let folder = tempfile::tempdir().unwrap();
        let part = PartFolder::create(folder.path()).unwrap();
        part.publish("f", Vec::new(), &first_of_one()).unwrap();
        assert!(current_part::<Payload>(folder.path(), "f").is_some());
        assert!(current_part::<Payload>(folder.path(), "g").is_none());
        let path = folder.path().join(MANIFEST_FILE);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("test-part", "test")).unwrap();
        assert!(current_part::<Payload>(folder.path(), "f").is_none());
    }

    fn write(folder: &PartFolder, content: &str) -> FileEntry {
        let mut file = folder.begin().unwrap();
        file.write_all(content.as_bytes()).unwrap();
        file.finish("train", "txt", 1).unwrap()
    }

    #[test]
    fn workers_that_write_one_part_at_once_leave_one_of_theirs_whole() {
        let folder = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for worker in 0..8 {
                let path = folder.path();
                scope.spawn(move || {
                    let folder = PartFolder::create(path).unwrap();
                    for round in 0..20 {
                        let content = format!("{}", (worker + round) % 3);
                        let files = vec![write(&folder, &content)];
                        folder.publish(&content, files, &first_of_one()).unwrap();
                        let manifest = Manifest::open(path, "").unwrap();
                        assert_eq!(
                            manifest.files[0].path,
                            write(&folder, &manifest.fingerprint).path
                        );
                    }
                });
            }
        });
        let unfinished = fs::read_dir(folder.path()).unwrap().filter(|entry| {
            entry.as_ref().unwrap().file_name().to_string_lossy().starts_with(UNFINISHED)
        });
        assert_eq!(unfinished.count(), 0);
    }

    #[test]
    fn parts_are_for_whoever_may_read_other_files() {
        let folder = tempfile::tempdir().unwrap();
        let part = PartFolder::create(folder.path()).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        let plain = folder.path().join("plain");
        File::create(&plain).unwrap();
        assert_eq!(mode(&folder.path().join(write(&part, "a").path)), mode(&plain));
        part.publish("f", Vec::new(), &first_of_one()).unwrap();
        assert_eq!(mode(&folder.path().join(MANIFEST_FILE)), mode(&plain));
        let path = part.begin_path().unwrap();
        assert_eq!(mode(&path), mode(&plain));
    }

    #[test]
    fn what_a_killed_worker_left_goes_when_it_is_old() {
        let folder = tempfile::tempdir().unwrap();
        let [old, new] =
            ["old", "new"].map(|name| folder.path().join(format!("{UNFINISHED}{name}")));
        File::create(&old).unwrap().set_modified(SystemTime::now() - 2 * ABANDONED).unwrap();
        File::create(&new).unwrap();
        PartFolder::create(folder.path()).unwrap();
        assert!(!old.exists() && new.exists());
    }
}
