use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Component, Path};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use crate::error::{ArtefactError, Result, json_damage};
use crate::time::now_rfc3339;
use crate::version::{MIN_SCHEMA_VERSION, SCHEMA_VERSION, schema_version_of};

/// The file that makes an output folder valid; it is written last.
pub const MANIFEST_FILE: &str = "manifest.json";

/// What an output folder holds and what it was made from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of the schemas, see [`schema_version_of`].
    pub schema_version: u32,
    /// Version of the program that wrote it.
    pub ossify_version: String,
    /// The stage.
    pub stage: String,
    /// Hash of all that decides the content: inputs, configuration, version.
    pub fingerprint: String,
    /// When it was written, RFC 3339, UTC. The only part that differs between equal outputs.
    pub created_at: String,
    /// The files, by path from the folder, `/` separators, in order.
    pub files: Vec<FileEntry>,
    /// What the stage says of its work: counts, the ledger, names of things.
    pub summary: serde_json::Value,
}

/// A file of an output folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Path from the folder, `/` separators.
    pub path: String,
    /// Rows, where it is a table or a shard.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rows: Option<u64>,
    /// Size.
    pub bytes: u64,
    /// XXH3 (64 bits) of the content, 16 hexadecimal digits.
    pub xxh3: String,
    /// Hash of all that decided the content, where a stage keeps files one by one: a file whose
    /// inputs are the same need not be made again.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub inputs: Option<String>,
}

impl Manifest {
    /// The manifest of an output that this program makes now.
    pub(crate) fn of_now(
        stage: &str,
        fingerprint: &str,
        files: Vec<FileEntry>,
        summary: serde_json::Value,
    ) -> Self {
        Manifest {
            schema_version: schema_version_of(stage),
            ossify_version: env!("CARGO_PKG_VERSION").to_owned(),
            stage: stage.to_owned(),
            fingerprint: fingerprint.to_owned(),
            created_at: now_rfc3339(),
            files,
            summary,
        }
    }

    /// The content of the file at `path`.
    pub(crate) fn text(&self, path: &Path) -> Result<String> {
        let mut text = serde_json::to_string_pretty(self)
            .map_err(|e| ArtefactError::corrupt(path, e.to_string()))?;
        text.push('\n');
        Ok(text)
    }

    /// Reads the manifest of `folder`; `None` where there is none, or where it is of a schema
    /// version that this program cannot read.
    ///
    /// # Errors
    /// Fails where the file is there and cannot be read or understood.
    pub fn read(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(MANIFEST_FILE);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(ArtefactError::io("cannot read", &path)(e)),
        };
        let corrupt = |reason: String| {
            let again = ossify_storage::how_to_make_again(folder);
            ArtefactError::corrupt(&path, format!("{reason}; {again}"))
        };
        let damaged = |e: serde_json::Error| corrupt(format!("damaged: {}", json_damage(&e)));
        let value: serde_json::Value = serde_json::from_slice(&text).map_err(damaged)?;
        let version = value.get("schema_version").and_then(serde_json::Value::as_u64);
        let is_readable = |version| {
            (u64::from(MIN_SCHEMA_VERSION)..=u64::from(SCHEMA_VERSION)).contains(&version)
        };
        if !version.is_some_and(is_readable) {
            return Ok(None);
        }
        let manifest: Manifest = serde_json::from_slice(&text).map_err(damaged)?;
        if let Some(file) = manifest.files.iter().find(|file| !is_inside(&file.path)) {
            let reason = format!("it lists {:?}, which is not a name in the folder", file.path);
            return Err(corrupt(reason));
        }
        Ok(Some(manifest))
    }

    /// Reads the manifest of `folder` and checks every file's size and hash.
    ///
    /// # Errors
    /// [`ArtefactError::Missing`] without a manifest, with `hint` as what to do;
    /// [`ArtefactError::Corrupt`] where a file differs from it.
    pub fn open(folder: &Path, hint: &str) -> Result<Self> {
        let manifest = Self::require_whole(folder, hint)?;
        for file in &manifest.files {
            file.verify(folder)?;
        }
        Ok(manifest)
    }

    /// Reads the manifest of `folder` and checks that all its files are there with their sizes,
    /// without reading them. For a stage's own output: of another stage's, a stage requires the
    /// files that it reads ([`crate::Inputs`]).
    ///
    /// # Errors
    /// As [`Manifest::open`].
    pub fn require_whole(folder: &Path, hint: &str) -> Result<Self> {
        let manifest = Self::require(folder, hint)?;
        manifest.require_each(folder, &manifest.files, FileEntry::is_kept)?;
        Ok(manifest)
    }

    /// Reads the manifest of `folder` and looks at none of its files.
    ///
    /// # Errors
    /// [`ArtefactError::Missing`] without a manifest, with `hint` as what to do.
    pub fn require(folder: &Path, hint: &str) -> Result<Self> {
        Self::read(folder)?.ok_or_else(|| ArtefactError::Missing {
            path: folder.to_path_buf(),
            hint: hint.to_owned(),
        })
    }

    /// Checks that these of the files are there with their sizes, without reading them.
    ///
    /// # Errors
    /// [`ArtefactError::Corrupt`] with the first that is not, and the command that makes it.
    pub fn require_files<'a>(
        &self,
        folder: &Path,
        files: impl IntoIterator<Item = &'a FileEntry>,
    ) -> Result<()> {
        self.require_each(folder, files, FileEntry::is_there)
    }

    fn require_each<'a>(
        &self,
        folder: &Path,
        files: impl IntoIterator<Item = &'a FileEntry>,
        is_there: impl Fn(&FileEntry, &Path) -> bool,
    ) -> Result<()> {
        match files.into_iter().find(|file| !is_there(file, folder)) {
            None => Ok(()),
            Some(file) => {
                let reason = format!(
                    "missing, or not of the size that manifest.json says; {}",
                    self.how_to_make_again(folder)
                );
                Err(ArtefactError::corrupt(folder.join(&file.path), reason))
            }
        }
    }

    /// The command that makes the output in `folder` again, as advice.
    pub(crate) fn how_to_make_again(&self, folder: &Path) -> String {
        match self.stage.as_str() {
            "import" => "run ossify-evaluate import again with --force".to_owned(),
            // Its folder says of which share it is.
            part if part.ends_with("-part") => ossify_storage::how_to_make_again(folder),
            stage => format!("run ossify-{stage} again with --force"),
        }
    }

    /// Whether `folder` already holds the output that has this fingerprint: milliseconds, no file
    /// is read. An output of which an object store has lost a file is not there, so that the stage
    /// makes that file again.
    pub fn is_current(folder: &Path, fingerprint: &str) -> Option<Self> {
        let manifest = Self::read(folder).ok().flatten()?;
        (manifest.fingerprint == fingerprint
            && manifest.files.iter().all(|file| file.is_kept(folder)))
        .then_some(manifest)
    }

    /// Hash of what the files hold, whenever and however they were made. A later stage depends on
    /// this and not on [`Manifest::fingerprint`], so that equal content reruns nothing.
    pub fn content_hash(&self) -> String {
        let mut fingerprint = Fingerprint::new("content");
        for file in &self.files {
            fingerprint.add(&file.path).add(&file.xxh3);
        }
        fingerprint.finish()
    }

    /// The entry of a file.
    pub fn file(&self, path: &str) -> Option<&FileEntry> {
        self.files.iter().find(|file| file.path == path)
    }
}

impl FileEntry {
    /// Describes a file by reading it.
    ///
    /// # Errors
    /// Fails where the file cannot be read.
    pub fn of(folder: &Path, path: &str, rows: Option<u64>) -> Result<Self> {
        let (bytes, hash) = hash_file(&folder.join(path))?;
        Ok(FileEntry {
            path: path.to_owned(),
            rows,
            bytes,
            xxh3: format!("{hash:016x}"),
            inputs: None,
        })
    }

    /// Checks size and hash.
    ///
    /// # Errors
    /// [`ArtefactError::Corrupt`] where they differ.
    pub fn verify(&self, folder: &Path) -> Result<()> {
        let path = folder.join(&self.path);
        let (bytes, hash) = hash_file(&path)?;
        self.check(&path, bytes, hash)
    }

    /// Refuses a file at `path` that has another size or hash.
    pub(crate) fn check(&self, path: &Path, bytes: u64, hash: u64) -> Result<()> {
        if bytes != self.bytes || format!("{hash:016x}") != self.xxh3 {
            let again = ossify_storage::how_to_make_again(path);
            let reason = format!("not the bytes that manifest.json says; {again}");
            return Err(ArtefactError::corrupt(path, reason));
        }
        Ok(())
    }

    /// Whether the file is as the manifest says; one that is still to be fetched from an object
    /// store is not fetched for that.
    ///
    /// # Errors
    /// Where an object store does not answer.
    pub fn is_whole(&self, folder: &Path) -> Result<bool> {
        let path = folder.join(&self.path);
        let known = ossify_storage::is_whole(&path, self.bytes, &self.xxh3)
            .map_err(ArtefactError::io("cannot look up", &path))?;
        Ok(known.unwrap_or_else(|| self.verify(folder).is_ok()))
    }

    pub(crate) fn is_there(&self, folder: &Path) -> bool {
        ossify_storage::size(&folder.join(&self.path)) == Some(self.bytes)
    }

    /// Whether the file is there for everybody: not on this machine alone, where the folder is in
    /// an object store.
    fn is_kept(&self, folder: &Path) -> bool {
        self.is_there(folder) && !ossify_storage::is_lost(&folder.join(&self.path))
    }
}

/// Whether a path, with `/` separators, stays in the folder that it begins in.
pub(crate) fn is_inside(path: &str) -> bool {
    let is_name = |part| matches!(part, Component::Normal(_));
    !path.is_empty() && Path::new(path).components().all(is_name)
}

/// Opens a file, which is fetched if it still lies in an object store alone.
///
/// # Errors
/// Fails where the file cannot be fetched or opened.
pub fn open(path: &Path) -> Result<File> {
    ossify_storage::fetch(path).map_err(ArtefactError::io("cannot fetch", path))?;
    File::open(path).map_err(ArtefactError::io("cannot open", path))
}

/// Size and XXH3 of a file.
///
/// # Errors
/// Fails where the file cannot be read.
pub fn hash_file(path: &Path) -> Result<(u64, u64)> {
    hash_of(&mut open(path)?, path)
}

/// Size and XXH3 of what is left to read of a file, which was opened at `path`.
pub(crate) fn hash_of(file: &mut File, path: &Path) -> Result<(u64, u64)> {
    let mut buffer = vec![0; 1 << 18];
    let (mut hash, mut bytes) = (Xxh3::new(), 0);
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok((bytes, hash.digest())),
            Ok(n) => {
                hash.update(&buffer[..n]);
                bytes += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(ArtefactError::io("cannot read", path)(e)),
        }
    }
}

/// A writer that hashes what passes, so that a file need not be read again for its manifest.
pub struct HashingWriter<W> {
    inner: W,
    hash: Xxh3,
    bytes: u64,
}

impl<W: Write> HashingWriter<W> {
    /// Wraps a writer.
    pub fn new(inner: W) -> Self {
        HashingWriter { inner, hash: Xxh3::new(), bytes: 0 }
    }

    /// The wrapped writer, the bytes written, and their XXH3.
    pub fn finish(self) -> (W, u64, u64) {
        let hash = self.hash.digest();
        (self.inner, self.bytes, hash)
    }
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(data)?;
        self.hash.update(&data[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Builds a hash over parts; the parts' borders count, so `ab, c` and `a, bc` differ.
#[derive(Clone)]
pub struct Fingerprint {
    hash: Xxh3,
}

impl Fingerprint {
    /// A hash for one purpose, such as a stage's name.
    pub fn new(purpose: &str) -> Self {
        let mut fingerprint = Fingerprint { hash: Xxh3::new() };
        fingerprint.add(purpose);
        fingerprint
    }

    /// Adds a part.
    pub fn add(&mut self, part: impl AsRef<[u8]>) -> &mut Self {
        let part = part.as_ref();
        self.hash.update(&(part.len() as u64).to_le_bytes());
        self.hash.update(part);
        self
    }

    /// 32 hexadecimal digits.
    pub fn finish(&self) -> String {
        format!("{:032x}", self.hash.digest128())
    }
}
