use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::path::{Component, Path, PathBuf};

use zip::ZipArchive;
use zip::result::ZipError;

/// How much an archive may unpack to.
#[derive(Clone, Copy, Debug)]
pub struct ArchiveLimits {
    /// Most files and folders.
    pub entries: usize,
    /// Most bytes in all, counted as they are unpacked and not as the archive says.
    pub bytes: u64,
}

/// Why an archive was not unpacked.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It is not a zip archive, or a broken one.
    #[error("{}: not a whole zip archive ({reason}); download it again", path.display())]
    Broken {
        /// The archive.
        path: PathBuf,
        /// What the reader says.
        reason: String,
    },
    /// An entry that no honest dataset has. Nothing was unpacked.
    #[error("{}: refused, its entry `{entry}` {reason}", path.display())]
    Refused {
        /// The archive.
        path: PathBuf,
        /// Name of the entry, with what a terminal could misread escaped.
        entry: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It unpacks to more than it may.
    #[error("{}: refused, it unpacks to more than {limit}", path.display())]
    TooLarge {
        /// The archive.
        path: PathBuf,
        /// The limit that it passes.
        limit: String,
    },
    /// The disk said no.
    #[error("{action} {}: {}", path.display(), crate::error::disk_reason(source))]
    Disk {
        /// What was tried, as in "cannot write".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

impl ArchiveError {
    fn disk(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| ArchiveError::Disk { action, path: path.to_path_buf(), source }
    }
}

/// Unpacks a zip archive into `folder`, which is made, and returns the number of files. All entries
/// are looked at first: absolute paths, paths with `..`, links, special files and encrypted entries
/// are refused before anything is written. Files are on the disk, not only in its cache, when this
/// returns.
///
/// `progress` receives the entries done and their total.
///
/// # Errors
/// See [`ArchiveError`]; what was unpacked until then stays in `folder`, for the caller to remove.
pub fn extract(
    archive: &Path,
    folder: &Path,
    limits: ArchiveLimits,
    mut progress: impl FnMut(usize, usize),
) -> Result<usize, ArchiveError> {
    let file = File::open(archive).map_err(ArchiveError::disk("cannot open", archive))?;
    let broken = |error: ZipError| ArchiveError::Broken {
        path: archive.to_path_buf(),
        reason: error.to_string(),
    };
    let mut zip = ZipArchive::new(BufReader::new(file)).map_err(broken)?;
    if zip.len() > limits.entries {
        return Err(ArchiveError::TooLarge {
            path: archive.to_path_buf(),
            limit: format!("{} files", limits.entries),
        });
    }
    let mut targets = Vec::with_capacity(zip.len());
    for index in 0..zip.len() {
        let entry = zip.by_index_raw(index).map_err(broken)?;
        let name = entry.name();
        let refused = |reason: &str| ArchiveError::Refused {
            path: archive.to_path_buf(),
            entry: name.escape_debug().to_string(),
            reason: reason.to_owned(),
        };
        if entry.encrypted() {
            return Err(refused("is encrypted"));
        }
        const KIND: u32 = 0o170_000;
        match entry.unix_mode().map_or(0, |mode| mode & KIND) {
            0 | 0o100_000 | 0o040_000 => {}
            0o120_000 => return Err(refused("is a symbolic link")),
            _ => return Err(refused("is a special file")),
        }
        let inside = path_inside(name).map_err(refused)?;
        targets.push((folder.join(inside), entry.is_dir()));
    }

    let mut left = limits.bytes;
    let mut files = 0;
    fs::create_dir_all(folder).map_err(ArchiveError::disk("cannot create the folder", folder))?;
    let total = targets.len();
    for (index, (target, is_dir)) in targets.into_iter().enumerate() {
        if is_dir {
            fs::create_dir_all(&target)
                .map_err(ArchiveError::disk("cannot create the folder", &target))?;
        } else {
            if let Some(parent) = target.parent() {
                fs::create_dir_all(parent)
                    .map_err(ArchiveError::disk("cannot create the folder", parent))?;
            }
            let mut entry = zip.by_index(index).map_err(broken)?;
            left = unpack(archive, &mut entry, &target, left, limits)?;
            files += 1;
        }
        progress(index + 1, total);
    }
    sync_all(folder)?;
    Ok(files)
}

/// Makes everything below the folder durable, in one call: a call a file takes minutes for
/// thousands of them.
fn sync_all(folder: &Path) -> Result<(), ArchiveError> {
    let handle = File::open(folder).map_err(ArchiveError::disk("cannot open", folder))?;
    rustix::fs::syncfs(&handle)
        .map_err(|e| ArchiveError::disk("cannot write to disk", folder)(e.into()))
}

/// Writes one entry and returns how many bytes the others may still have.
fn unpack(
    archive: &Path,
    entry: &mut impl Read,
    target: &Path,
    mut left: u64,
    limits: ArchiveLimits,
) -> Result<u64, ArchiveError> {
    // A second entry of this name would overwrite the first behind the back of whoever looked at
    // the list.
    let mut file = File::create_new(target).map_err(ArchiveError::disk("cannot create", target))?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let n = match entry.read(&mut buffer) {
            Ok(0) => return Ok(left),
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => {
                return Err(ArchiveError::Broken {
                    path: archive.to_path_buf(),
                    reason: e.to_string(),
                });
            }
        };
        left = left.checked_sub(n as u64).ok_or_else(|| ArchiveError::TooLarge {
            path: archive.to_path_buf(),
            limit: format!("{} MB", limits.bytes / 1_000_000),
        })?;
        file.write_all(&buffer[..n]).map_err(ArchiveError::disk("cannot write", target))?;
    }
}

/// The entry's path, if it stays inside the folder.
fn path_inside(name: &str) -> Result<PathBuf, &'static str> {
    if name.contains('\0') {
        return Err("has a zero byte in its name");
    }
    if name.contains('\\') {
        return Err("has a backslash in its name");
    }
    if name.as_bytes().get(1) == Some(&b':') {
        return Err("is an absolute path");
    }
    let mut inside = PathBuf::new();
    for component in Path::new(name).components() {
        match component {
            Component::Normal(part) => inside.push(part),
            Component::CurDir => {}
            Component::ParentDir => return Err("leaves the folder with `..`"),
            Component::RootDir | Component::Prefix(_) => return Err("is an absolute path"),
        }
    }
    if inside.as_os_str().is_empty() { Err("has no name") } else { Ok(inside) }
}
