//! The files of a split: its images, its label files, and which belongs to which.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;

use ossify_contract::{
    Fingerprint, Partition, Split, label_path, labels_folder, share_place, share_place_of_label,
};
use ossify_diagnostics::{Finding, Place};
use ossify_storage::{Stat, is_url};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use walkdir::WalkDir;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::layout::{Layout, LayoutError, Sources};
use crate::paths::{PathList, extension, file_name, is_normal, join, normalized};
use crate::record::Record;
use crate::rules::{Rule, RuleBook};

/// Extensions of files that are meant as images, whether or not their format is supported.
const IMAGE_EXTENSIONS: [&str; 17] = [
    "jpg", "jpeg", "png", "bmp", "tif", "tiff", "webp", "dng", "mpo", "pfm", "heic", "heif",
    "avif", "jp2", "gif", "dcm", "dicom",
];

/// Text files that lie among labels and are none, by stem.
const NO_LABELS: [&str; 8] =
    ["classes", "readme", "license", "notes", "obj", "requirements", "labels", "changelog"];

/// Largest list of images or label file that is read.
pub(crate) const MAX_TEXT_BYTES: u64 = 1 << 30;

/// All images and label files that a walk came upon, whichever share they are in: two walks that
/// saw the same have the same census, whatever the order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Census {
    /// Images and label files, one that is listed twice counted twice.
    pub files: u64,
    /// Sum of the paths' hashes (XXH3, 64 of its bits), modulo 2^64.
    pub digest: u64,
}

impl Census {
    fn add(&mut self, path: &str, is_label: bool) {
        self.files += 1;
        self.digest = self
            .digest
            .wrapping_add(xxh3_128_with_seed(path.as_bytes(), u64::from(is_label)) as u64);
    }

    fn absorb(&mut self, other: Census) {
        self.files += other.files;
        self.digest = self.digest.wrapping_add(other.digest);
    }
}

/// The files of a split, or of a share of it, each list sorted by path.
#[derive(Debug)]
pub struct Listing {
    /// The split.
    pub split: Split,
    /// The share whose files these are; all files without one.
    pub partition: Option<Partition>,
    /// What was seen in all shares; nothing without one.
    pub census: Census,
    /// Files of the census that are in this share.
    pub own_files: u64,
    /// Images.
    pub images: PathList,
    /// Label files.
    pub labels: PathList,
    /// For each image its label file's index in `labels`.
    pub label_of: Vec<Option<u32>>,
    /// For each image whether another has its path but for the extension.
    pub collides: Vec<bool>,
    /// Label files without an image, by index.
    pub orphans: Vec<u32>,
    /// Links that lead outside the dataset and were not followed, from the root.
    pub refused: HashSet<String>,
    /// Images whose names are not UTF-8, as they are shown.
    pub unspeakable: HashSet<String>,
    /// What was found while listing.
    pub findings: Vec<Finding>,
    /// Files that are neither images nor labels, in all shares.
    pub ignored: u64,
    /// Folders that were searched for labels.
    pub label_folders: Vec<String>,
    /// Things worth telling the user.
    pub remarks: Vec<String>,
}

/// What is looked for in a folder.
#[derive(Clone, Copy)]
struct Wants {
    images: bool,
    labels: bool,
}

/// Lists the files of a split, or of a share of it.
///
/// # Errors
/// Fails where a folder or a list cannot be read, or leads outside the dataset.
pub fn list(
    layout: &Layout,
    split: Split,
    sources: &Sources,
    partition: Option<Partition>,
    book: &RuleBook,
) -> Result<Listing, LayoutError> {
    let mut listing = Listing::empty(split, partition);
    let mut walks = Vec::new();
    for folder in &sources.folders {
        let is_convention = labels_folder(folder).is_some();
        // Without a folder called `images` above, labels lie somewhere among the images.
        walks.push((folder.clone(), Wants { images: true, labels: !is_convention }));
        listing.label_folders.push(labels_folder(folder).unwrap_or_else(|| folder.clone()));
        if let Some(labels) = layout.labels_of(folder)? {
            walks.push((labels, Wants { images: false, labels: true }));
        }
    }
    let walk = |(folder, wants): (String, Wants)| {
        let mut listing = Listing::empty(split, partition);
        listing.walk(layout, &folder, wants, book).map(|()| listing)
    };
    for walked in walks.into_par_iter().map(walk).collect::<Vec<_>>() {
        listing.absorb(walked?);
    }
    for path in &sources.lists {
        listing.read_list(layout, path, book)?;
    }
    let repeated = listing.images.sort();
    if repeated > 0 {
        listing.remarks.push(format!(
            "{repeated} images of {split} are listed more than once; each counts once"
        ));
    }
    listing.labels.sort();
    listing.match_labels();
    listing.findings.sort_by(|a, b| {
        (&a.place.path, a.place.line, a.place.column).cmp(&(
            &b.place.path,
            b.place.line,
            b.place.column,
        ))
    });
    Ok(listing)
}

impl Listing {
    fn empty(split: Split, partition: Option<Partition>) -> Self {
        Listing {
            split,
            partition,
            census: Census::default(),
            own_files: 0,
            images: PathList::default(),
            labels: PathList::default(),
            label_of: Vec::new(),
            collides: Vec::new(),
            orphans: Vec::new(),
            refused: HashSet::new(),
            unspeakable: HashSet::new(),
            findings: Vec::new(),
            ignored: 0,
            label_folders: Vec::new(),
            remarks: Vec::new(),
        }
    }

    /// Takes over what a walk of one folder has listed.
    fn absorb(&mut self, walked: Listing) {
        self.census.absorb(walked.census);
        self.own_files += walked.own_files;
        self.images.append(walked.images);
        self.labels.append(walked.labels);
        self.refused.extend(walked.refused);
        self.unspeakable.extend(walked.unspeakable);
        self.findings.extend(walked.findings);
        self.ignored += walked.ignored;
        self.remarks.extend(walked.remarks);
    }

    /// Takes an image, if it is in the share.
    fn add_image(&mut self, path: &str) {
        if self.counts_and_holds(path, false) {
            self.images.push(path);
        }
    }

    /// Takes a label file, if it is in the share.
    fn add_label(&mut self, path: &str) {
        if self.counts_and_holds(path, true) {
            self.labels.push(path);
        }
    }

    fn counts_and_holds(&mut self, path: &str, is_label: bool) -> bool {
        let Some(partition) = self.partition else { return true };
        self.census.add(path, is_label);
        let is_held =
            partition.holds(if is_label { share_place_of_label(path) } else { share_place(path) });
        self.own_files += u64::from(is_held);
        is_held
    }

    /// Takes what was found at a place, if the place is in the share.
    fn add_finding(&mut self, finding: Option<Finding>) {
        let is_held = |finding: &Finding| {
            self.partition.is_none_or(|partition| {
                partition.holds(share_place_of_label(&finding.place.to_string()))
            })
        };
        let held = finding.filter(is_held);
        self.findings.extend(held);
    }

    fn match_labels(&mut self) {
        let Listing { images, labels, .. } = self;
        self.label_of = (0..images.len())
            .into_par_iter()
            .map(|at| {
                labels.find(&label_path(images.get(at))).and_then(|at| u32::try_from(at).ok())
            })
            .collect();
        let mut has_image = vec![false; labels.len()];
        for label in self.label_of.iter().flatten() {
            has_image[*label as usize] = true;
        }
        self.orphans = (0u32..)
            .zip(&has_image)
            .filter(|(_, has_image)| !**has_image)
            .map(|(at, _)| at)
            .collect();
        self.collides = images.stem_collisions();
    }

    /// Lists a folder with all below it. Links are rare, and to follow them takes a look at every
    /// file: that is done where there is one.
    fn walk(
        &mut self,
        layout: &Layout,
        folder: &str,
        wants: Wants,
        book: &RuleBook,
    ) -> Result<(), LayoutError> {
        if is_url(&layout.root) {
            return self.walk_objects(layout, folder, wants);
        }
        let before =
            (self.images.len(), self.labels.len(), self.ignored, self.census, self.own_files);
        if self.walk_tree(layout, folder, wants, false, book)? {
            return Ok(());
        }
        self.images.truncate(before.0);
        self.labels.truncate(before.1);
        (self.ignored, self.census, self.own_files) = (before.2, before.3, before.4);
        self.walk_tree(layout, folder, wants, true, book).map(|_| ())
    }

    /// Lists a folder of an object store, where there are neither links nor names that are not
    /// UTF-8.
    fn walk_objects(
        &mut self,
        layout: &Layout,
        folder: &str,
        wants: Wants,
    ) -> Result<(), LayoutError> {
        let base = layout.locate(folder);
        for object in ossify_storage::list(&base).map_err(LayoutError::io(&base))? {
            let (inner, _) = object.map_err(LayoutError::io(&base))?;
            // What lies in a folder that is passed over is not counted, as in a folder of this
            // machine.
            let (folders, name) = inner.rsplit_once('/').unwrap_or(("", &inner));
            if folders.split('/').any(is_passed_over) {
                continue;
            }
            let path = join(folder, &inner);
            if is_passed_over(name) {
                self.ignored += 1;
            } else if wants.images && is_image_name(&path) {
                self.add_image(&path);
            } else if wants.labels && extension(&path) == "txt" && is_label_name(&path) {
                self.add_label(&path);
            } else {
                self.ignored += 1;
            }
        }
        Ok(())
    }

    /// Lists a folder; without following links it stops at the first and returns false.
    fn walk_tree(
        &mut self,
        layout: &Layout,
        folder: &str,
        wants: Wants,
        follows_links: bool,
        book: &RuleBook,
    ) -> Result<bool, LayoutError> {
        let base = layout.locate(folder);
        let base_text = base.to_str().unwrap_or("\0");
        let mut entries = WalkDir::new(&base).follow_links(follows_links).into_iter();
        while let Some(entry) = entries.next() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    self.skip_or_fail(&base, folder, wants.images, error)?;
                    continue;
                }
            };
            if entry.depth() == 0 {
                continue;
            }
            if entry.file_type().is_symlink() {
                return Ok(false);
            }
            let name = entry.file_name().to_string_lossy();
            let is_folder = entry.file_type().is_dir();
            if is_passed_over(&name) {
                self.ignored += u64::from(!is_folder);
                if is_folder {
                    entries.skip_current_dir();
                }
                continue;
            }
            // By far the most names need no work, and listings are long.
            let plain = entry
                .path()
                .to_str()
                .and_then(|path| path.strip_prefix(base_text))
                .map(|inner| inner.trim_start_matches('/'))
                .filter(|inner| is_normal(inner));
            let (path, is_escaped) = match plain {
                Some(inner) => (join(folder, inner), false),
                None => {
                    let (inner, is_escaped) =
                        normalized(entry.path().strip_prefix(&base).unwrap_or(entry.path()));
                    (join(folder, &inner), is_escaped)
                }
            };
            let is_refused =
                entry.path_is_symlink() && self.refuse_link(layout, entry.path(), &path, book);
            if is_folder {
                if is_refused {
                    entries.skip_current_dir();
                }
                continue;
            }
            if wants.images && is_image_name(&path) {
                self.add_image(&path);
                if is_escaped {
                    self.unspeakable.insert(path);
                }
            } else if wants.labels
                && extension(&path) == "txt"
                && is_label_name(&path)
                && entry.file_type().is_file()
                && !is_escaped
            {
                if !is_refused {
                    self.add_label(&path);
                }
            } else {
                self.ignored += 1;
            }
        }
        Ok(true)
    }

    /// A link that leads nowhere is an image that cannot be read; a circle of links is passed over;
    /// what cannot be listed ends the run, as nobody knows what is in it.
    fn skip_or_fail(
        &mut self,
        base: &Path,
        folder: &str,
        wants_images: bool,
        error: walkdir::Error,
    ) -> Result<(), LayoutError> {
        let path = error.path().map_or_else(|| base.to_path_buf(), Path::to_path_buf);
        let inner = normalized(path.strip_prefix(base).unwrap_or(&path)).0;
        if error.loop_ancestor().is_some() {
            self.remarks.push(format!(
                "{} is a link to a folder around it; it was not entered",
                ossify_diagnostics::printable(&join(folder, &inner))
            ));
            return Ok(());
        }
        let is_dangling = path.symlink_metadata().is_ok_and(|metadata| metadata.is_symlink());
        if is_dangling {
            if wants_images && is_image_name(&inner) {
                self.add_image(&join(folder, &inner));
            } else {
                self.ignored += 1;
            }
            return Ok(());
        }
        let source = error.into_io_error().unwrap_or_else(|| io::Error::other("a circle of links"));
        Err(LayoutError::Io { path, source })
    }

    fn refuse_link(&mut self, layout: &Layout, full: &Path, path: &str, book: &RuleBook) -> bool {
        if layout.follow_links {
            return false;
        }
        let Ok(target) = full.canonicalize() else { return false };
        if target.starts_with(&layout.canonical_root) {
            return false;
        }
        let message = format!("a link to {}, outside the dataset", target.display());
        self.add_finding(escape_finding(book, Place::file(path), message));
        self.refused.insert(path.to_owned());
        true
    }

    /// Reads a list of images, one path a line.
    fn read_list(
        &mut self,
        layout: &Layout,
        list: &str,
        book: &RuleBook,
    ) -> Result<(), LayoutError> {
        let full = layout.locate(list);
        let size = ossify_storage::stat(&full).map_err(LayoutError::io(&full))?.bytes();
        if size > MAX_TEXT_BYTES {
            return Err(LayoutError::BadYaml {
                path: full,
                reason: format!("{size} bytes; is this a list of images?"),
            });
        }
        let bytes = ossify_storage::read(&full, MAX_TEXT_BYTES).map_err(LayoutError::io(&full))?;
        let text = String::from_utf8(bytes).map_err(|e| LayoutError::BadYaml {
            path: full.clone(),
            reason: format!("a list of images should be UTF-8: {e}"),
        })?;
        let folder = list.rfind('/').map_or("", |at| &list[..at]).to_owned();
        let mut is_inside = HashMap::new();
        let present = Present::of(self.partition, layout, &folder, &text)?;
        for (number, raw) in (1u32..).zip(text.trim_start_matches('\u{feff}').lines()) {
            let entry = raw.trim();
            if entry.is_empty() {
                continue;
            }
            let column = (raw.len() - raw.trim_start().len()) as u32 + 1;
            let place = Place::span(list, number, column, entry.chars().count() as u32);
            let Some(path) = self.listed_path(layout, &folder, entry, &present, &mut is_inside)
            else {
                self.add_finding(
                    escape_finding(book, place, format!("`{entry}` is outside the dataset"))
                        .map(|finding| finding.with_source(raw)),
                );
                continue;
            };
            if !is_image_name(&path) {
                self.ignored += 1;
                continue;
            }
            if !self.counts_and_holds(&path, false) {
                continue;
            }
            let label = label_path(&path);
            if present.is_file(layout, &label) {
                self.labels.push(&label);
            }
            if present.exists(layout, &path) {
                self.images.push(&path);
            } else {
                let finding = book.finding(
                    Rule::ImageMissing,
                    place,
                    format!("the list names `{path}`, which is not there"),
                );
                self.findings.extend(finding.map(|finding| {
                    finding.with_source(raw).with_help("restore the image, or remove the line")
                }));
            }
        }
        self.label_folders.push(labels_folder(&folder).unwrap_or(folder));
        Ok(())
    }

    /// The path from the root that a line of a list means: relative to the list's folder, else to
    /// the root; `None` where it leads outside.
    fn listed_path(
        &self,
        layout: &Layout,
        folder: &str,
        entry: &str,
        present: &Present,
        is_inside: &mut HashMap<String, bool>,
    ) -> Option<String> {
        let [beside_list, from_root] = listed_candidates(layout, folder, entry);
        let path = if entry.starts_with("./") || present.exists(layout, &beside_list) {
            beside_list
        } else {
            from_root
        };
        if layout.follow_links {
            return Some(path);
        }
        if path.starts_with("..") || path.starts_with('/') {
            return None;
        }
        if is_url(&layout.root) {
            return Some(path);
        }
        let parent = path.rfind('/').map_or("", |at| &path[..at]).to_owned();
        let is_folder_inside = *is_inside.entry(parent).or_insert_with_key(|parent| {
            layout
                .locate(parent)
                .canonicalize()
                .map_or(true, |target| target.starts_with(&layout.canonical_root))
        });
        let full = layout.locate(&path);
        let is_link = full.symlink_metadata().is_ok_and(|metadata| metadata.is_symlink());
        let leads_inside = !is_link
            || full
                .canonicalize()
                .map_or(true, |target| target.starts_with(&layout.canonical_root));
        (is_folder_inside && leads_inside).then_some(path)
    }

    /// The label file that belongs to an image.
    pub fn label_path_of(&self, at: usize) -> Option<&str> {
        self.label_of[at].map(|label| self.labels.get(label as usize))
    }

    /// What tells whether any of the files has changed. Examining them gives the same by the way.
    pub fn stamp(&self, layout: &Layout) -> SplitStamp {
        let mut stamp = SplitStamp::of(self.split);
        let parts = (0..self.images.len().div_ceil(STAMPED_TOGETHER)).into_par_iter().map(|part| {
            let images =
                part * STAMPED_TOGETHER..self.images.len().min((part + 1) * STAMPED_TOGETHER);
            let mut of_part = SplitStamp::of(self.split);
            for at in images {
                let stat = |path: &str| ossify_storage::stat(&layout.locate(path));
                let label = self.label_path_of(at).map(|path| (path, stat(path)));
                let path = self.images.get(at);
                of_part.add(&stamp_of((path, stat(path)), label));
            }
            of_part
        });
        parts.collect::<Vec<_>>().iter().for_each(|part| stamp.add_part(part));
        stamp.add_orphans(self, layout);
        stamp
    }
}

/// The paths from the root that a line of a list can mean: relative to the list's folder, and to
/// the root.
fn listed_candidates(layout: &Layout, folder: &str, entry: &str) -> [String; 2] {
    let entry = entry.replace('\\', "/");
    [layout.locate(folder), layout.root.clone()].map(|base| {
        let full = base.join(&entry);
        let inside = full
            .strip_prefix(&layout.root)
            .or_else(|_| full.strip_prefix(&layout.canonical_root))
            .unwrap_or(&full);
        normalized(inside).0
    })
}

/// Which of the files that a list can mean are there.
enum Present {
    /// The file system is asked for each.
    Local,
    /// The object store was asked for all at once.
    Objects(HashSet<String>),
}

impl Present {
    fn of(
        partition: Option<Partition>,
        layout: &Layout,
        folder: &str,
        text: &str,
    ) -> Result<Self, LayoutError> {
        if !is_url(&layout.root) {
            return Ok(Present::Local);
        }
        let mut asked = HashSet::new();
        for entry in text
            .trim_start_matches('\u{feff}')
            .lines()
            .map(str::trim)
            .filter(|entry| !entry.is_empty())
        {
            for path in listed_candidates(layout, folder, entry) {
                let is_inside = !path.starts_with("..") && !path.starts_with('/');
                if is_inside
                    && is_image_name(&path)
                    && partition.is_none_or(|partition| partition.holds(share_place(&path)))
                {
                    asked.insert(label_path(&path));
                    asked.insert(path);
                }
            }
        }
        let find = |path: String| {
            let full = layout.locate(&path);
            let found = ossify_storage::is_file(&full).map_err(LayoutError::io(&full))?;
            Ok(found.then_some(path))
        };
        let found = asked.into_par_iter().map(find).collect::<Result<Vec<_>, _>>()?;
        Ok(Present::Objects(found.into_iter().flatten().collect()))
    }

    /// Whether there is a file or a link.
    fn exists(&self, layout: &Layout, path: &str) -> bool {
        match self {
            Present::Local => layout.locate(path).symlink_metadata().is_ok(),
            Present::Objects(there) => there.contains(path),
        }
    }

    fn is_file(&self, layout: &Layout, path: &str) -> bool {
        match self {
            Present::Local => layout.locate(path).is_file(),
            Present::Objects(there) => there.contains(path),
        }
    }
}

/// Images whose stamps make a part of a split's.
pub(crate) const STAMPED_TOGETHER: usize = 1024;

/// What tells whether a file of a split has changed: paths, sizes, and times of change.
#[derive(Clone)]
pub struct SplitStamp {
    hash: Fingerprint,
}

impl SplitStamp {
    /// That of no file.
    pub fn of(split: Split) -> Self {
        SplitStamp { hash: Fingerprint::new(split.as_str()) }
    }

    /// Adds an image with its label.
    pub fn add(&mut self, stamp: &str) {
        self.hash.add(stamp);
    }

    /// Adds the stamp of the next [`STAMPED_TOGETHER`] images.
    pub fn add_part(&mut self, part: &SplitStamp) {
        self.hash.add(part.hash.finish());
    }

    /// Adds a label file that no image owns, after all images.
    pub fn add_orphan(&mut self, stamp: &str) {
        self.hash.add(stamp);
    }

    /// Adds the label files that no image owns.
    pub fn add_orphans(&mut self, listing: &Listing, layout: &Layout) {
        for label in &listing.orphans {
            let path = listing.labels.get(*label as usize);
            self.add_orphan(&stamp_of((path, ossify_storage::stat(&layout.locate(path))), None));
        }
    }

    /// 32 hexadecimal digits.
    pub fn finish(&self) -> String {
        self.hash.finish()
    }
}

/// The stamp of a split whose records come one by one.
pub(crate) struct RecordStamp {
    split: Split,
    whole: SplitStamp,
    part: SplitStamp,
    /// Images in the part.
    images: usize,
}

impl RecordStamp {
    pub fn of(split: Split) -> Self {
        RecordStamp { split, whole: SplitStamp::of(split), part: SplitStamp::of(split), images: 0 }
    }

    pub fn add(&mut self, record: &Record) {
        match record {
            Record::Image(examined) => {
                self.part.add(&examined.stamp);
                self.images += 1;
                if self.images == STAMPED_TOGETHER {
                    self.end_part();
                }
            }
            Record::Stray(stray) => {
                self.end_part();
                if let Some(stamp) = &stray.stamp {
                    self.whole.add_orphan(stamp);
                }
            }
        }
    }

    fn end_part(&mut self) {
        if self.images > 0 {
            let part = std::mem::replace(&mut self.part, SplitStamp::of(self.split));
            self.whole.add_part(&part);
            self.images = 0;
        }
    }

    pub fn finish(mut self) -> SplitStamp {
        self.end_part();
        self.whole
    }
}

/// The stamp of a file and of one that belongs to it.
pub(crate) fn stamp_of(
    file: (&str, io::Result<Stat>),
    other: Option<(&str, io::Result<Stat>)>,
) -> String {
    let mut stamp = Fingerprint::new("file");
    for (path, stat) in std::iter::once(file).chain(other) {
        stamp.add(path);
        match stat {
            Ok(stat) => stat.stamp(|part| {
                stamp.add(part);
            }),
            Err(error) => {
                stamp.add(error.kind().to_string());
            }
        }
    }
    stamp.finish()
}

/// Whether a file or folder is none of the dataset's by its name.
fn is_passed_over(name: &str) -> bool {
    name.starts_with('.') || name == "__MACOSX"
}

fn escape_finding(book: &RuleBook, place: Place, message: String) -> Option<Finding> {
    let finding = book.finding(Rule::PathEscapesDataset, place, message)?;
    Some(finding.with_help("copy the file into the dataset, or set dataset.follow_links = true"))
}

/// Whether a file is meant as an image.
fn is_image_name(path: &str) -> bool {
    let extension = extension(path);
    IMAGE_EXTENSIONS.iter().any(|known| known.eq_ignore_ascii_case(extension))
}

/// Whether a text file's name is that of a label and not of a file that people put beside them.
fn is_label_name(path: &str) -> bool {
    let name = file_name(path).to_ascii_lowercase();
    let stem = name.strip_suffix(".txt").unwrap_or(&name);
    !NO_LABELS.iter().any(|other| {
        stem == *other || stem.strip_prefix(other).is_some_and(|rest| rest.starts_with('.'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_people_put_beside_labels_are_none() {
        assert!(!is_label_name("labels/classes.txt"));
        assert!(!is_label_name("labels/README.dataset.txt"));
        assert!(is_label_name("labels/classes_0.txt"));
    }
}
