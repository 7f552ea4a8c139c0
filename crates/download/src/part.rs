use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::error::DownloadError;
use crate::hex::hex;

/// The unfinished file `<destination>.part`, locked against other processes, with its running
/// digest. `<destination>.part.etag` keeps the validator that the server gave for its content.
pub(crate) struct Part {
    file: File,
    path: PathBuf,
    validator_path: PathBuf,
    validator: Option<String>,
    digest: Sha256,
    bytes: u64,
}

impl Part {
    /// Opens what an earlier download left, or starts a new one.
    pub fn open(destination: &Path) -> Result<Self, DownloadError> {
        let path = with_suffix(destination, ".part");
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs::create_dir_all(parent)
                .map_err(DownloadError::disk("cannot create the folder", parent))?;
        }
        let mut file = open_locked(&path)?;
        let mut digest = Sha256::new();
        let bytes =
            digest_of(&mut file, &mut digest).map_err(DownloadError::disk("cannot read", &path))?;
        let validator_path = with_suffix(destination, ".part.etag");
        let validator = fs::read_to_string(&validator_path)
            .ok()
            .map(|text| text.trim().to_owned())
            .filter(|text| !text.is_empty());
        Ok(Part { file, path, validator_path, validator, digest, bytes })
    }

    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// ETag or date of the content that the bytes so far are of.
    pub fn validator(&self) -> Option<&str> {
        self.validator.as_deref()
    }

    /// Throws away what is here; the next bytes are the first, of content with this validator.
    pub fn restart(&mut self, validator: Option<String>) -> Result<(), DownloadError> {
        let disk = |e| DownloadError::disk("cannot write", &self.path)(e);
        self.file.set_len(0).map_err(disk)?;
        self.file.seek(SeekFrom::Start(0)).map_err(disk)?;
        self.digest = Sha256::new();
        self.bytes = 0;
        match &validator {
            // What a link of this name leads to belongs to somebody else.
            Some(text) => {
                remove_if_there(&self.validator_path)?;
                File::create_new(&self.validator_path)
                    .and_then(|mut file| file.write_all(text.as_bytes()))
                    .map_err(DownloadError::disk("cannot write", &self.validator_path))?;
            }
            None => remove_if_there(&self.validator_path)?,
        }
        self.validator = validator;
        Ok(())
    }

    /// Adds bytes at the end.
    pub fn append(&mut self, data: &[u8]) -> Result<(), DownloadError> {
        self.file.write_all(data).map_err(DownloadError::disk("cannot write", &self.path))?;
        self.digest.update(data);
        self.bytes += data.len() as u64;
        Ok(())
    }

    /// SHA-256 of the bytes so far.
    pub fn sha256(&self) -> String {
        hex(&self.digest.clone().finalize())
    }

    /// Makes the content durable and gives it its name.
    pub fn publish(self, destination: &Path) -> Result<(), DownloadError> {
        self.file.sync_all().map_err(DownloadError::disk("cannot write to disk", &self.path))?;
        fs::rename(&self.path, destination)
            .map_err(DownloadError::disk("cannot move into place", destination))?;
        remove_if_there(&self.validator_path)?;
        sync_parent(destination)
    }

    /// Removes the content, which turned out to be no good.
    pub fn discard(self) -> Result<(), DownloadError> {
        remove_if_there(&self.path)?;
        remove_if_there(&self.validator_path)
    }
}

/// Opens and locks the file. Another process may have moved it away between the two: then it opens
/// the new one.
fn open_locked(path: &Path) -> Result<File, DownloadError> {
    loop {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32)
            .open(path)
            .map_err(|e| match path.is_symlink() {
                true => DownloadError::NotAFile { path: path.to_path_buf() },
                false => DownloadError::disk("cannot create", path)(e),
            })?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(DownloadError::Busy { path: path.to_path_buf() });
            }
            Err(TryLockError::Error(e)) => return Err(DownloadError::disk("cannot lock", path)(e)),
        }
        let opened = file.metadata().map_err(DownloadError::disk("cannot read", path))?;
        if !opened.is_file() {
            return Err(DownloadError::NotAFile { path: path.to_path_buf() });
        }
        if fs::metadata(path)
            .is_ok_and(|named| named.ino() == opened.ino() && named.dev() == opened.dev())
        {
            return Ok(file);
        }
    }
}

/// Feeds the file from its start to its end into the digest and returns its length.
pub(crate) fn digest_of(file: &mut File, digest: &mut Sha256) -> io::Result<u64> {
    file.seek(SeekFrom::Start(0))?;
    let (mut buffer, mut bytes) = (vec![0; 1 << 18], 0);
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(bytes),
            Ok(n) => {
                digest.update(&buffer[..n]);
                bytes += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

fn sync_parent(path: &Path) -> Result<(), DownloadError> {
    let parent =
        path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)
        .and_then(|folder| folder.sync_all())
        .map_err(DownloadError::disk("cannot write to disk", parent))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn remove_if_there(path: &Path) -> Result<(), DownloadError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(DownloadError::disk("cannot remove", path)(e))
        }
        _ => Ok(()),
    }
}
