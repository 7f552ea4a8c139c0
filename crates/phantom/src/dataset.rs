//! The dataset's folder.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use ossify_contract::{ArtefactError, Split, write_atomic};
use rayon::prelude::*;

use crate::anatomy::Anatomy;
use crate::error::{PhantomError, Result};
use crate::files::{measure, remove, rename, write_file};
use crate::leak::leaks;
use crate::parameters::Parameters;
use crate::plan::plan;
use crate::planted::Planted;
use crate::summarise::summarise;
use crate::write_item::{Images, TinyImages, WrittenItem, write_item, write_leak};

/// The file that makes a phantom dataset valid; it is written last.
pub const PLANTED_FILE: &str = "planted.json";

/// The file that names the classes.
const DATA_YAML: &str = "data.yaml";

/// What the dataset in `folder` contains, if it is complete and was made with these parameters.
/// Counts files and bytes without reading any pictures.
pub fn existing(folder: &Path, parameters: &Parameters) -> Option<Planted> {
    let text = fs::read_to_string(folder.join(PLANTED_FILE)).ok()?;
    let planted: Planted =
        serde_json::from_str(&text).ok().filter(|planted: &Planted| planted.is_of(parameters))?;
    planted
        .folders
        .iter()
        .all(|(name, size)| measure(&folder.join(name)).is_ok_and(|found| found == *size))
        .then_some(planted)
}

/// Makes the dataset in `folder`, in the caller's thread pool, and returns what it planted.
///
/// It is made beside `folder` and moved into place once it is complete, so `folder` never contains
/// half a dataset. A phantom dataset with other parameters is replaced. `advance` is called with
/// the number of images done.
///
/// # Errors
/// Fails if there are too few images, if `folder` contains anything else, or if the disk fails.
pub fn generate(
    folder: &Path,
    parameters: &Parameters,
    advance: &(dyn Fn(u64) + Sync),
) -> Result<Planted> {
    if parameters.images < Parameters::MIN_IMAGES {
        return Err(PhantomError::TooFewImages { images: parameters.images });
    }
    if parameters.images > Parameters::MAX_IMAGES {
        return Err(PhantomError::TooManyImages { images: parameters.images });
    }
    // A link is kept: the folder that it points to is written.
    let folder = &match fs::canonicalize(folder) {
        Ok(target) => target,
        Err(e) if e.kind() == io::ErrorKind::NotFound && !folder.is_symlink() => {
            folder.to_path_buf()
        }
        Err(e) => return Err(ArtefactError::io("cannot use the folder", folder)(e).into()),
    };
    check_replaceable(folder)?;
    let parent =
        folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = folder
        .file_name()
        .ok_or_else(|| PhantomError::NoName { path: folder.to_path_buf() })?
        .to_string_lossy();
    fs::create_dir_all(parent).map_err(ArtefactError::io("cannot create the folder", parent))?;
    let _lock = lock(&parent.join(format!(".{name}.lock")), folder)?;
    let partial = parent.join(format!(".{name}.partial"));
    let previous = parent.join(format!(".{name}.previous"));
    remove(&partial)?;
    let made = write(&partial, parameters, advance).and_then(|planted| {
        remove(&previous)?;
        if folder.exists() {
            rename(folder, &previous)?;
        }
        rename(&partial, folder)?;
        Ok(planted)
    });
    if made.is_err() {
        // Half a dataset is useless, above all on a full disk.
        let _ = remove(&partial);
    }
    let planted = made?;
    remove(&previous)?;
    Ok(planted)
}

fn write(root: &Path, parameters: &Parameters, advance: &(dyn Fn(u64) + Sync)) -> Result<Planted> {
    for split in Split::ALL {
        for kind in ["images", "labels"] {
            let folder = root.join(split.as_str()).join(kind);
            fs::create_dir_all(&folder)
                .map_err(ArtefactError::io("cannot create the folder", &folder))?;
        }
    }
    let images =
        if parameters.labels_only { Images::Tiny(TinyImages::new(root)?) } else { Images::Drawn };
    let items = plan(parameters);
    let mut written = items
        .par_iter()
        .map(|item| {
            let item = write_item(root, item, parameters.seed, &images);
            advance(1);
            item
        })
        .collect::<Result<Vec<WrittenItem>>>()?;
    let leaks = leaks(&items, parameters);
    written.extend(
        leaks
            .par_iter()
            .map(|leak| write_leak(root, leak, parameters.seed))
            .collect::<Result<Vec<WrittenItem>>>()?,
    );
    write_file(&root.join(DATA_YAML), data_yaml().as_bytes())?;
    let planted = summarise(root, DATA_YAML, parameters, written, &leaks)?;
    // This file makes the dataset valid. It contains the sizes of all others, so that files that a
    // power failure left empty are noticed. Drawing them again is cheaper than syncing every file.
    let text = serde_json::to_string_pretty(&planted)
        .map_err(|e| ArtefactError::corrupt(root.join(PLANTED_FILE), e.to_string()))?;
    write_atomic(&root.join(PLANTED_FILE), format!("{text}\n").as_bytes())?;
    Ok(planted)
}

fn data_yaml() -> String {
    let names: Vec<String> =
        Anatomy::ALL.iter().map(|anatomy| format!("'{}'", anatomy.class_name())).collect();
    format!(
        "# Synthetic radiographs; planted.json says what is wrong with them on purpose.\n\
         train: ../train/images\nval: ../valid/images\ntest: ../test/images\n\nnc: {}\nnames: \
         [{}]\n",
        names.len(),
        names.join(", ")
    )
}

/// Refuses to replace a folder unless it does not exist, is empty, or is a phantom dataset itself.
fn check_replaceable(folder: &Path) -> Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(ArtefactError::io("cannot read the folder", folder)(e).into()),
    };
    let is_phantom = folder.join(PLANTED_FILE).is_file();
    for entry in entries {
        let name = entry
            .map_err(ArtefactError::io("cannot read the folder", folder))?
            .file_name()
            .to_string_lossy()
            .into_owned();
        let is_ours = is_phantom
            && [PLANTED_FILE, DATA_YAML, "train", "valid", "test"].contains(&name.as_str());
        if !is_ours {
            return Err(PhantomError::Occupied { path: folder.to_path_buf(), name });
        }
    }
    Ok(())
}

fn lock(path: &Path, folder: &Path) -> Result<File> {
    // The target of a link may be somebody else's file.
    let file = File::options()
        .write(true)
        .create(true)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32)
        .open(path)
        .map_err(ArtefactError::io("cannot create", path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(ArtefactError::Busy { path: folder.to_path_buf() }.into())
        }
        Err(TryLockError::Error(e)) => Err(ArtefactError::io("cannot lock", path)(e).into()),
    }
}
