//! The ordered files of a split, or of a share of it.

use std::collections::HashSet;

use ossify_contract::{Partition, Split, labels_folder};
use ossify_diagnostics::{Finding, Location};
use rayon::prelude::*;

use super::census::Census;
use super::found::FoundFiles;
use super::list_file::read_list;
use super::matching::Matches;
use super::walk::{Walk, Wants};
use crate::find::error::LayoutError;
use crate::find::layout::{Layout, Sources};
use crate::find::paths::PathList;
use crate::find::stamp::{STAMPED_TOGETHER, SplitStamp, stamp_of};
use crate::rules::{Rule, RuleBook};

/// The files of a split, or of a share of it. Images and label files are sorted by path, and
/// identified by their index.
#[derive(Debug)]
pub(crate) struct Listing {
    split: Split,
    census: Census,
    own_files: u64,
    images: PathList,
    labels: PathList,
    matches: Matches,
    refused: HashSet<String>,
    escaped: HashSet<String>,
    findings: Vec<Finding>,
    ignored: u64,
    label_folders: Vec<String>,
    remarks: Vec<String>,
}

/// Lists the files of a split, or of a share of it.
///
/// # Errors
/// Fails if a folder or a list cannot be read, or leads outside the dataset.
pub(crate) fn list(
    layout: &Layout,
    split: Split,
    sources: &Sources,
    partition: Option<Partition>,
    book: &RuleBook,
) -> Result<Listing, LayoutError> {
    let mut label_folders = Vec::new();
    let mut walks = Vec::new();
    for folder in &sources.folders {
        let is_convention = labels_folder(folder).is_some();
        // Without a parent folder called `images`, labels are somewhere among the images.
        walks.push((folder.clone(), Wants { images: true, labels: !is_convention }));
        label_folders.push(labels_folder(folder).unwrap_or_else(|| folder.clone()));
        if let Some(labels) = layout.labels_of(folder)? {
            walks.push((labels, Wants { images: false, labels: true }));
        }
    }
    let walk = |(folder, wants): (String, Wants)| {
        Walk { layout, folder: &folder, wants, partition, book }.run()
    };
    let mut found = FoundFiles::of_share(partition);
    for walked in walks.into_par_iter().map(walk).collect::<Vec<_>>() {
        found.absorb(walked?);
    }
    for path in &sources.lists {
        label_folders.push(read_list(&mut found, layout, path, book)?);
    }
    let repeated = found.images.sort();
    if repeated > 0 {
        found.remarks.push(format!(
            "{repeated} images of {split} are listed more than once; each counts once"
        ));
    }
    let escaped = add_escaped(&mut found, book);
    found.labels.sort();
    found.findings.sort_by(|a, b| {
        (&a.location.path, a.location.line, a.location.column).cmp(&(
            &b.location.path,
            b.location.line,
            b.location.column,
        ))
    });
    Ok(Listing {
        split,
        census: found.census,
        own_files: found.own_files,
        matches: Matches::of(&found.images, &found.labels),
        images: found.images,
        labels: found.labels,
        refused: found.refused,
        escaped,
        findings: found.findings,
        ignored: found.ignored,
        label_folders,
        remarks: found.remarks,
    })
}

/// Adds the images whose names are not UTF-8 under their escaped names. If an escaped name equals
/// the name of another image, it becomes a finding, so that neither image is lost.
fn add_escaped(found: &mut FoundFiles, book: &RuleBook) -> HashSet<String> {
    let mut added = HashSet::new();
    for path in std::mem::take(&mut found.escaped) {
        if found.images.find(&path).is_none() && added.insert(path.clone()) {
            continue;
        }
        let message = "the file's name is not UTF-8, and is shown as that of another image";
        let finding = book.finding(Rule::ImageUnreadable, Location::file(&path), message);
        found
            .findings
            .extend(finding.map(|finding| finding.with_help("rename the file and its label file")));
    }
    added.iter().for_each(|path| found.images.push(path));
    found.images.sort();
    added
}

impl Listing {
    pub fn split(&self) -> Split {
        self.split
    }

    /// The census of all shares; empty if the split was listed as a whole.
    pub fn census(&self) -> Census {
        self.census
    }

    /// Files of the census that are in this share.
    pub fn own_files(&self) -> u64 {
        self.own_files
    }

    pub fn images(&self) -> &PathList {
        &self.images
    }

    pub fn labels(&self) -> &PathList {
        &self.labels
    }

    /// The index of an image's label file.
    pub fn label_of(&self, image: usize) -> Option<u32> {
        self.matches.label_of[image]
    }

    /// The path of an image's label file.
    pub fn label_path_of(&self, image: usize) -> Option<&str> {
        self.label_of(image).map(|label| self.labels.get(label as usize))
    }

    /// Whether another image has the same path except for the extension.
    pub fn collides(&self, image: usize) -> bool {
        self.matches.collides[image]
    }

    /// Label files without an image, by index.
    pub fn orphans(&self) -> &[u32] {
        &self.matches.orphans
    }

    /// Whether a path is a link that leads outside the dataset and was not followed.
    pub fn is_refused(&self, path: &str) -> bool {
        self.refused.contains(path)
    }

    /// Links that lead outside the dataset and were not followed.
    pub fn refused_links(&self) -> u64 {
        self.refused.len() as u64
    }

    /// Whether an image's name is not UTF-8, so that its path is an escaped form.
    pub fn is_escaped(&self, path: &str) -> bool {
        self.escaped.contains(path)
    }

    /// The findings of the listing, in order of path, line and column.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Files that are neither images nor labels, in all shares.
    pub fn ignored(&self) -> u64 {
        self.ignored
    }

    /// Folders that were searched for labels, from the dataset root.
    pub fn label_folders(&self) -> &[String] {
        &self.label_folders
    }

    /// Remarks for the user, a sentence each.
    pub fn remarks(&self) -> &[String] {
        &self.remarks
    }

    /// A stamp that changes when any of the files changes. Examining the files yields the same
    /// stamp as a by-product.
    pub fn stamp(&self, layout: &Layout) -> SplitStamp {
        let stat = |path: &str| ossify_storage::stat(&layout.locate(path));
        let mut stamp = SplitStamp::of(self.split);
        let parts = (0..self.images.len().div_ceil(STAMPED_TOGETHER)).into_par_iter().map(|part| {
            let images =
                part * STAMPED_TOGETHER..self.images.len().min((part + 1) * STAMPED_TOGETHER);
            let mut of_part = SplitStamp::of(self.split);
            for image in images {
                let label = self.label_path_of(image).map(|path| (path, stat(path)));
                let path = self.images.get(image);
                of_part.add(&stamp_of((path, stat(path)), label));
            }
            of_part
        });
        parts.collect::<Vec<_>>().iter().for_each(|part| stamp.add_part(part));
        for label in self.orphans() {
            let path = self.labels.get(*label as usize);
            stamp.add_orphan(&stamp_of((path, stat(path)), None));
        }
        stamp
    }
}
