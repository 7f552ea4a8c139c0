use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::archive::{ArchiveError, ArchiveLimits, extract};

/// A public dataset and what it must hold.
#[derive(Clone, Copy, Debug)]
pub struct KnownDataset {
    /// Name of its folder.
    pub name: &'static str,
    /// `owner/dataset` on Kaggle.
    pub kaggle_id: &'static str,
    /// Licence, shown to whoever downloads it.
    pub licence: &'static str,
    /// Size of the archive, roughly, for people.
    pub archive_megabytes: u64,
    /// The splits.
    pub splits: &'static [ExpectedSplit],
}

/// What a split must hold.
#[derive(Clone, Copy, Debug)]
pub struct ExpectedSplit {
    /// Name of its folder.
    pub name: &'static str,
    /// Image files.
    pub images: u64,
    /// Label files without a line.
    pub empty_label_files: u64,
    /// Lines that are not blank.
    pub label_lines: u64,
    /// Lines by class id, from 0.
    pub lines_per_class: &'static [u64],
}

/// BoneFractureYolo8: 4,148 radiographs of the upper limb with polygons around fractures.
pub const BONE_FRACTURE: KnownDataset = KnownDataset {
    name: "BoneFractureYolo8",
    kaggle_id: "pkdarabi/bone-fracture-detection-computer-vision-project",
    licence: "CC BY 4.0",
    archive_megabytes: 180,
    splits: &[
        ExpectedSplit {
            name: "train",
            images: 3631,
            empty_label_files: 1827,
            label_lines: 2088,
            lines_per_class: &[339, 531, 316, 3, 311, 360, 228],
        },
        ExpectedSplit {
            name: "valid",
            images: 348,
            empty_label_files: 175,
            label_lines: 204,
            lines_per_class: &[29, 48, 43, 0, 36, 20, 28],
        },
        ExpectedSplit {
            name: "test",
            images: 169,
            empty_label_files: 86,
            label_lines: 96,
            lines_per_class: &[17, 27, 14, 0, 15, 17, 6],
        },
    ],
};

/// Why a dataset was not installed.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// The archive cannot be unpacked.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The archive holds no such dataset.
    #[error("{}: no folder in it has {}; is it the archive of \
        {name}?", archive.display(), .looked_for.join(", "))]
    NoRoot {
        /// The archive.
        archive: PathBuf,
        /// The dataset.
        name: &'static str,
        /// Folders that would mark it.
        looked_for: Vec<String>,
    },
    /// The folder does not hold what it must.
    #[error("{}: not the dataset {name} as it is known; nothing was \
        installed\n{differences}", path.display())]
    Counts {
        /// The folder or archive.
        path: PathBuf,
        /// The dataset.
        name: &'static str,
        /// A line for each count that differs.
        differences: String,
    },
    /// Something else stands where the dataset should go.
    #[error("{} is there, and does not hold {name} as it is known; move it away, then run \
        again\n{differences}", path.display())]
    InTheWay {
        /// The folder.
        path: PathBuf,
        /// The dataset.
        name: &'static str,
        /// A line for each count that differs.
        differences: String,
    },
    /// Another process installs the same dataset.
    #[error("{} is being installed by another process; wait for it to end, then run \
        again", path.display())]
    Busy {
        /// The folder.
        path: PathBuf,
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

impl DatasetError {
    fn disk(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| DatasetError::Disk { action, path: path.to_path_buf(), source }
    }
}

/// Whether `target` holds the dataset, whole.
///
/// # Errors
/// [`DatasetError::InTheWay`] where the folder is there and holds something else.
pub fn is_installed(dataset: &KnownDataset, target: &Path) -> Result<bool, DatasetError> {
    if !target.exists() {
        return Ok(false);
    }
    let differences = dataset.differences(target)?;
    if differences.is_empty() {
        Ok(true)
    } else {
        Err(DatasetError::InTheWay { path: target.to_path_buf(), name: dataset.name, differences })
    }
}

/// Unpacks the archive beside `target`, checks the dataset's counts, and moves it into place: it is
/// there whole or not at all. Returns the number of images.
///
/// # Errors
/// See [`DatasetError`].
pub fn install_archive(
    dataset: &KnownDataset,
    archive: &Path,
    target: &Path,
    progress: impl FnMut(usize, usize),
) -> Result<u64, DatasetError> {
    let name =
        target.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let parent =
        target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(DatasetError::disk("cannot create the folder", parent))?;
    let lock_path = target.with_file_name(format!(".{name}.lock"));
    // What a link of this name leads to belongs to somebody else.
    let lock = fs::File::options()
        .write(true)
        .create(true)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32)
        .open(&lock_path)
        .map_err(DatasetError::disk("cannot create", &lock_path))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => {
            return Err(DatasetError::Busy { path: target.to_path_buf() });
        }
        Err(fs::TryLockError::Error(e)) => {
            return Err(DatasetError::disk("cannot lock", &lock_path)(e));
        }
    }
    if is_installed(dataset, target)? {
        return Ok(dataset.images());
    }
    let beside = target.with_file_name(format!(".{name}.partial"));
    remove_folder(&beside)?;
    let outcome = unpack_and_check(dataset, archive, target, &beside, progress);
    // Also after an error: half an unpacked archive is of no use to anyone.
    let removed = remove_folder(&beside);
    let images = outcome?;
    removed.map(|()| images)
}

fn unpack_and_check(
    dataset: &KnownDataset,
    archive: &Path,
    target: &Path,
    beside: &Path,
    progress: impl FnMut(usize, usize),
) -> Result<u64, DatasetError> {
    extract(archive, beside, ArchiveLimits { entries: 60_000, bytes: 4_000_000_000 }, progress)?;
    let root = find_root(dataset, beside)?.ok_or_else(|| DatasetError::NoRoot {
        archive: archive.to_path_buf(),
        name: dataset.name,
        looked_for: dataset.splits.iter().map(|split| format!("{}/images", split.name)).collect(),
    })?;
    let differences = dataset.differences(&root)?;
    if !differences.is_empty() {
        return Err(DatasetError::Counts {
            path: archive.to_path_buf(),
            name: dataset.name,
            differences,
        });
    }
    fs::rename(&root, target).map_err(DatasetError::disk("cannot move into place", target))?;
    let parent =
        target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(parent)
        .and_then(|folder| folder.sync_all())
        .map_err(DatasetError::disk("cannot write to disk", parent))?;
    Ok(dataset.images())
}

/// The folder below `folder` that has all splits: archives nest it, and can hold it twice. The one
/// whose counts are right is taken, else the topmost.
///
/// # Errors
/// Fails where a folder cannot be read.
pub fn find_root(dataset: &KnownDataset, folder: &Path) -> Result<Option<PathBuf>, DatasetError> {
    let has_splits = |path: &PathBuf| {
        dataset.splits.iter().all(|split| path.join(split.name).join("images").is_dir())
    };
    let candidates: Vec<_> = folders_below(folder)?.into_iter().filter(has_splits).collect();
    for candidate in &candidates {
        if dataset.differences(candidate)?.is_empty() {
            return Ok(Some(candidate.clone()));
        }
    }
    Ok(candidates.into_iter().next())
}

/// The folder and all folders in it, parents first, in order of their names.
fn folders_below(folder: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    let mut found = vec![folder.to_path_buf()];
    let mut at = 0;
    while at < found.len() {
        let mut inside = Vec::new();
        for entry in
            fs::read_dir(&found[at]).map_err(DatasetError::disk("cannot read", &found[at]))?
        {
            let entry = entry.map_err(DatasetError::disk("cannot read", &found[at]))?;
            if entry.file_type().map_err(DatasetError::disk("cannot read", &entry.path()))?.is_dir()
            {
                inside.push(entry.path());
            }
        }
        inside.sort();
        found.extend(inside);
        at += 1;
    }
    Ok(found)
}

impl KnownDataset {
    /// Images of all splits.
    fn images(&self) -> u64 {
        self.splits.iter().map(|split| split.images).sum()
    }

    /// One line for each count of the folder that is not as expected; empty where all are.
    fn differences(&self, root: &Path) -> Result<String, DatasetError> {
        let mut differences = String::new();
        let mut compare = |what: String, expected: u64, found: u64| {
            if expected != found {
                // Writing to a string cannot fail.
                let _ = writeln!(differences, "  {what}: {expected} expected, {found} found");
            }
        };
        for expected in self.splits {
            let found = FoundSplit::count(&root.join(expected.name))?;
            let what = |count: &str| format!("{} {count}", expected.name);
            compare(what("images"), expected.images, found.images);
            compare(what("empty label files"), expected.empty_label_files, found.empty_label_files);
            compare(what("label lines"), expected.label_lines, found.label_lines);
            for (class_id, lines) in expected.lines_per_class.iter().enumerate() {
                compare(
                    what(&format!("lines of class {class_id}")),
                    *lines,
                    found.lines_per_class.get(&class_id.to_string()).copied().unwrap_or(0),
                );
            }
        }
        Ok(differences.trim_end().to_owned())
    }
}

#[derive(Default)]
struct FoundSplit {
    images: u64,
    empty_label_files: u64,
    label_lines: u64,
    lines_per_class: BTreeMap<String, u64>,
}

impl FoundSplit {
    fn count(split: &Path) -> Result<Self, DatasetError> {
        let mut found = FoundSplit {
            images: files_in(&split.join("images"))?.len() as u64,
            ..Default::default()
        };
        for path in files_in(&split.join("labels"))? {
            if path.extension().is_none_or(|extension| extension != "txt") {
                continue;
            }
            let bytes = fs::read(&path).map_err(DatasetError::disk("cannot read", &path))?;
            let text = String::from_utf8_lossy(&bytes);
            let mut lines =
                text.lines().filter_map(|line| line.split_whitespace().next()).peekable();
            if lines.peek().is_none() {
                found.empty_label_files += 1;
            }
            for class_id in lines {
                found.label_lines += 1;
                *found.lines_per_class.entry(class_id.to_owned()).or_default() += 1;
            }
        }
        Ok(found)
    }
}

/// Files of a folder, hidden ones left out; none where there is no such folder.
fn files_in(folder: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(e) => return Err(DatasetError::disk("cannot read", folder)(e)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(DatasetError::disk("cannot read", folder))?.path();
        let is_hidden =
            path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if path.is_file() && !is_hidden {
            files.push(path);
        }
    }
    Ok(files)
}

fn remove_folder(path: &Path) -> Result<(), DatasetError> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(DatasetError::disk("cannot remove", path)(e))
        }
        _ => Ok(()),
    }
}
