//! Finds where a dataset keeps its images and labels.

use std::io;
use std::path::{Path, PathBuf};

use ossify_contract::{Split, labels_folder};
use ossify_diagnostics::printable;
use ossify_settings::DatasetSettings;
use ossify_storage::{canonicalize, is_dir, is_file};

use super::class_names::ClassNames;
use super::description::{self, DataYaml};
use super::error::LayoutError;
use super::paths::{join, normalized};

/// The sources of a split's images.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sources {
    /// Folders, from the dataset root.
    pub folders: Vec<String>,
    /// Lists of images, from the dataset root.
    pub lists: Vec<String>,
}

/// A dataset's layout.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// The dataset's folder.
    pub root: PathBuf,
    /// The same path with all links resolved.
    pub canonical_root: PathBuf,
    /// Whether paths may lead outside the dataset.
    pub follow_links: bool,
    /// Path of the description from the root, if it exists.
    pub yaml: Option<String>,
    /// The classes.
    pub classes: ClassNames,
    /// The existing splits, in order.
    pub splits: Vec<(Split, Sources)>,
    /// Remarks for the user, a sentence each.
    pub remarks: Vec<String>,
}

/// Folder names of a split, the usual one first.
fn folder_names(split: Split) -> &'static [&'static str] {
    match split {
        Split::Train => &["train", "training"],
        Split::Valid => &["valid", "val", "validation"],
        Split::Test => &["test", "testing"],
    }
}

/// Finds the parts of the dataset at `path`, a folder or its data.yaml.
///
/// # Errors
/// [`LayoutError`] says what was looked for and not found.
pub(crate) fn find(path: &Path, settings: &DatasetSettings) -> Result<Layout, LayoutError> {
    // For a store, check for a folder first: some stores answer the look-up of such an object with
    // an error.
    let found = if is_dir(path).map_err(LayoutError::io(path))? {
        Ok(true)
    } else {
        ossify_storage::stat(path).map(|stat| stat.is_dir())
    };
    let (root, yaml) = match found {
        Ok(true) => (path.to_path_buf(), description::find(path)?),
        Ok(_)
            if path
                .extension()
                .is_some_and(|extension| extension == "yaml" || extension == "yml") =>
        {
            let folder = path
                .parent()
                .filter(|parent| !parent.as_os_str().is_empty())
                .unwrap_or(Path::new("."));
            (folder.to_path_buf(), Some(DataYaml::read(path)?))
        }
        Ok(_) => {
            return Err(no_dataset(
                path,
                "that is a file; name the dataset's folder, or its data.yaml",
            ));
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Err(no_dataset(
                path,
                "name its folder with --dataset, or with dataset.path in the conf; `make ingest` \
                generates the demo's",
            ));
        }
        Err(e) => return Err(LayoutError::io(path)(e)),
    };
    let canonical_root = canonicalize(&root).map_err(LayoutError::io(&root))?;
    let mut layout = Layout {
        yaml: yaml
            .as_ref()
            .map(|yaml| normalized(yaml.file.strip_prefix(&root).unwrap_or(&yaml.file)).0),
        root,
        canonical_root,
        follow_links: settings.follow_links,
        classes: ClassNames::default(),
        splits: Vec::new(),
        remarks: settings.remarks.clone(),
    };
    match &yaml {
        Some(yaml) if yaml.has_splits() => layout.take_described_splits(yaml)?,
        _ => layout.take_usual_folders()?,
    }
    layout.classes = classes(yaml.as_ref(), settings, &mut layout.remarks)?;
    Ok(layout)
}

fn no_dataset(path: &Path, hint: &str) -> LayoutError {
    LayoutError::NoDataset { path: path.to_path_buf(), hint: hint.to_owned() }
}

/// The class names from the conf, or else from the description.
fn classes(
    yaml: Option<&DataYaml>,
    settings: &DatasetSettings,
    remarks: &mut Vec<String>,
) -> Result<ClassNames, LayoutError> {
    let configured = &settings.class_names;
    let described = yaml.and_then(|yaml| match (&yaml.names, yaml.class_count) {
        (Some(names), _) => Some(names.clone()),
        (None, Some(count)) => {
            let count = count.min(i16::MAX as u64);
            if configured.is_empty() {
                remarks.push(format!(
                    "{} has no `names`; classes are called class_0 to class_{}",
                    yaml.file.display(),
                    count.saturating_sub(1)
                ));
            }
            Some(ClassNames::from_list((0..count).map(|id| format!("class_{id}"))))
        }
        (None, None) => None,
    });
    let names = match (described, configured.is_empty()) {
        (Some(described), true) => described,
        (Some(described), false) => {
            described.renamed(configured).ok_or_else(|| LayoutError::ClassCount {
                configured: configured.len(),
                described: described.len(),
                yaml: yaml.map(|yaml| yaml.file.clone()).unwrap_or_default(),
            })?
        }
        (None, false) => ClassNames::from_list(configured.iter().cloned()),
        (None, true) => {
            let reason = match yaml {
                Some(yaml) => format!("{} has neither `names` nor `nc`", yaml.file.display()),
                None => {
                    format!("there is no {} in the dataset", description::USUAL_NAMES.join(", no "))
                }
            };
            return Err(LayoutError::NoClasses { reason });
        }
    };
    if names.is_empty() {
        return Err(LayoutError::NoClasses { reason: "the list of names is empty".into() });
    }
    if let Some((first, second, name)) = names.shared_name() {
        remarks.push(format!(
            "classes {first} and {second} are both called `{}`; tables and \
            reports tell them apart by id alone",
            printable(name)
        ));
    }
    Ok(names)
}

impl Layout {
    /// The file or folder at a path from the root.
    pub fn locate(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// Refuses paths that lead outside the dataset.
    fn check_inside(&self, path: &Path, what: impl FnOnce() -> String) -> Result<(), LayoutError> {
        let target = canonicalize(path).map_err(LayoutError::io(path))?;
        if self.follow_links || target.starts_with(&self.canonical_root) {
            Ok(())
        } else {
            Err(LayoutError::Escapes { what: what(), target })
        }
    }

    /// Adds the splits that the description names. Paths are resolved as Ultralytics does: relative
    /// to `path`, or to the description's folder. A leading `../`, which Roboflow writes, may be
    /// ignored.
    fn take_described_splits(&mut self, yaml: &DataYaml) -> Result<(), LayoutError> {
        let base = self.base(yaml)?;
        for (split, key, values) in [
            (Split::Train, "train", &yaml.train),
            (Split::Valid, "val", &yaml.valid),
            (Split::Test, "test", &yaml.test),
        ] {
            let mut sources = Sources::default();
            for value in values {
                match self.resolve(&base, value, key, yaml)? {
                    Some(path) if self.is_dir(&path)? => sources.folders.push(path),
                    Some(path) => sources.lists.push(path),
                    None => {}
                }
            }
            if !(sources.folders.is_empty() && sources.lists.is_empty()) {
                self.splits.push((split, sources));
            } else if values.is_empty()
                && let Some(folder) = self.usual_folder(split)?
            {
                self.remarks.push(format!(
                    "{folder} is there, yet {} names no {split} split; it is left out",
                    yaml.file.display()
                ));
            }
        }
        if self.splits.is_empty() {
            let looked_for = format!("the splits that {} names", yaml.file.display());
            return Err(LayoutError::NoSplits { root: self.root.clone(), looked_for });
        }
        Ok(())
    }

    /// The folder, from the root, that the description's splits are relative to.
    fn base(&mut self, yaml: &DataYaml) -> Result<String, LayoutError> {
        let Some(path) = yaml.path.as_deref().filter(|path| !path.is_empty() && *path != ".")
        else {
            return Ok(String::new());
        };
        let full = self.root.join(path);
        if !is_dir(&full).map_err(LayoutError::io(&full))? {
            self.remarks.push(format!(
                "{}: `path: {}` is not there; splits are taken relative to the dataset's folder",
                yaml.file.display(),
                printable(path)
            ));
            return Ok(String::new());
        }
        self.check_inside(&full, || {
            format!("`path: {}` in {}", printable(path), yaml.file.display())
        })?;
        Ok(self.relative_to_root(&full))
    }

    /// A path relative to the root.
    fn relative_to_root(&self, path: &Path) -> String {
        if let Ok(inside) = canonicalize(path).and_then(|target| {
            target
                .strip_prefix(&self.canonical_root)
                .map(Path::to_path_buf)
                .map_err(io::Error::other)
        }) {
            // A link inside the dataset keeps its own name if the path is written relative to the
            // root.
            let written = path.strip_prefix(&self.root).map(|path| normalized(path).0);
            return match written {
                Ok(written) if !written.starts_with("..") => written,
                _ => normalized(&inside).0,
            };
        }
        normalized(path.strip_prefix(&self.root).unwrap_or(path)).0
    }

    fn resolve(
        &mut self,
        base: &str,
        value: &str,
        key: &'static str,
        yaml: &DataYaml,
    ) -> Result<Option<String>, LayoutError> {
        let what = || format!("`{key}: {}` in {}", printable(value), yaml.file.display());
        let mut candidates = vec![self.locate(base).join(value)];
        if let Some(shorter) = value.strip_prefix("../") {
            candidates.push(self.locate(base).join(shorter));
        }
        let mut refused = None;
        for candidate in &candidates {
            let exists = || Ok(is_dir(candidate)? || is_file(candidate)?);
            if !exists().map_err(LayoutError::io(candidate))? {
                continue;
            }
            match self.check_inside(candidate, what) {
                Ok(()) => {
                    if let Some(LayoutError::Escapes { target, .. }) = &refused {
                        let taken = self.relative_to_root(candidate);
                        self.remarks.push(format!(
                            "{} could also mean {}, which is outside the dataset; {taken} is taken",
                            what(),
                            target.display()
                        ));
                    }
                    return Ok(Some(self.relative_to_root(candidate)));
                }
                Err(error) => refused = Some(error),
            }
        }
        if let Some(error) = refused {
            return Err(error);
        }
        let tried: Vec<String> =
            candidates.iter().map(|candidate| candidate.display().to_string()).collect();
        if key == "test" {
            self.remarks.push(format!(
                "{} is not there (looked for {}); there is no test split",
                what(),
                tried.join(", ")
            ));
            return Ok(None);
        }
        Err(LayoutError::MissingSource {
            yaml: yaml.file.clone(),
            key,
            value: printable(value).into_owned(),
            tried,
        })
    }

    /// The folder of a split's images, from the root, found by its usual names.
    fn usual_folder(&self, split: Split) -> Result<Option<String>, LayoutError> {
        let names = folder_names(split);
        for folder in names.iter().flat_map(|name| [join(name, "images"), join("images", name)]) {
            if self.is_dir(&folder)? {
                return Ok(Some(folder));
            }
        }
        Ok(None)
    }

    fn is_dir(&self, folder: &str) -> Result<bool, LayoutError> {
        let full = self.locate(folder);
        is_dir(&full).map_err(LayoutError::io(&full))
    }

    fn take_usual_folders(&mut self) -> Result<(), LayoutError> {
        for split in Split::ALL {
            if let Some(folder) = self.usual_folder(split)? {
                self.check_inside(&self.locate(&folder), || format!("the folder {folder}"))?;
                self.splits.push((split, Sources { folders: vec![folder], lists: Vec::new() }));
            }
        }
        if self.splits.is_empty() {
            let looked_for = format!(
                "{} with `train:` and `val:`, train/images with train/labels, and images/train \
                with labels/train (also valid or val, and test)",
                description::USUAL_NAMES.join(", ")
            );
            return Err(LayoutError::NoSplits { root: self.root.clone(), looked_for });
        }
        Ok(())
    }

    /// The label folder of a folder of images; refuses one that leads outside the dataset.
    pub fn labels_of(&self, folder: &str) -> Result<Option<String>, LayoutError> {
        let Some(labels) = labels_folder(folder) else { return Ok(None) };
        let full = self.locate(&labels);
        if !is_dir(&full).map_err(LayoutError::io(&full))? {
            return Ok(None);
        }
        self.check_inside(&full, || format!("the folder {labels}"))?;
        Ok(Some(labels))
    }
}
