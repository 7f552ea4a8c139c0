//! Reads text files that list images, one path per line.

use std::collections::{HashMap, HashSet};

use ossify_contract::{Partition, label_path, labels_folder, share_position, user_text};
use ossify_diagnostics::Location;
use ossify_storage::is_url;
use rayon::prelude::*;

use super::found::{FoundFiles, escape_finding};
use super::names::is_image_name;
use crate::find::error::LayoutError;
use crate::find::layout::Layout;
use crate::find::paths::normalized;
use crate::rules::{Rule, RuleBook};

/// Largest list of images that is read.
pub(crate) const MAX_TEXT_BYTES: u64 = 1 << 30;

/// Reads a list of images, adds them to `found`, and returns the folder of their labels.
///
/// # Errors
/// Fails if the list cannot be read, is too long, or is not UTF-8, or if an object store does not
/// answer.
pub(super) fn read_list(
    found: &mut FoundFiles,
    layout: &Layout,
    list: &str,
    book: &RuleBook,
) -> Result<String, LayoutError> {
    let full = layout.locate(list);
    let size = ossify_storage::stat(&full).map_err(LayoutError::io(&full))?.bytes();
    if size > MAX_TEXT_BYTES {
        return Err(LayoutError::Malformed {
            path: full,
            reason: format!("{size} bytes; is this a list of images?"),
        });
    }
    let bytes = ossify_storage::read(&full, MAX_TEXT_BYTES).map_err(LayoutError::io(&full))?;
    let text = user_text(&full, "list of images", bytes).map_err(LayoutError::NotUtf8)?;
    let folder = list.rfind('/').map_or("", |at| &list[..at]).to_owned();
    let present = Present::of(found.partition, layout, &folder, &text)?;
    let mut resolver = Resolver { layout, folder: &folder, present, is_inside: HashMap::new() };
    for (number, raw) in (1u32..).zip(lines(&text)) {
        let entry = raw.trim();
        if entry.is_empty() {
            continue;
        }
        let column = (raw.len() - raw.trim_start().len()) as u32 + 1;
        let location = Location::span(list, number, column, entry.chars().count() as u32);
        let Some(path) = resolver.resolve(entry) else {
            found.add_finding(
                escape_finding(book, location, format!("`{entry}` is outside the dataset"))
                    .map(|finding| finding.with_source(raw)),
            );
            continue;
        };
        if !is_image_name(&path) {
            found.ignored += 1;
            continue;
        }
        if !found.count_and_check(&path, false) {
            continue;
        }
        let label = label_path(&path);
        if resolver.present.is_file(layout, &label) {
            found.labels.push(&label);
        }
        if resolver.present.exists(layout, &path) {
            found.images.push(&path);
        } else {
            let message = format!("the list names `{path}`, which is not there");
            let finding = book.finding(Rule::ImageMissing, location, message);
            found.findings.extend(finding.map(|finding| {
                finding.with_source(raw).with_help("restore the image, or remove the line")
            }));
        }
    }
    Ok(labels_folder(&folder).unwrap_or(folder))
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.trim_start_matches('\u{feff}').lines()
}

/// Resolves the lines of a list.
struct Resolver<'a> {
    layout: &'a Layout,
    /// The list's folder, from the dataset root.
    folder: &'a str,
    present: Present,
    /// Whether each folder, given from the dataset root, is inside the dataset.
    is_inside: HashMap<String, bool>,
}

impl Resolver<'_> {
    /// The path, from the root, of a line, which is relative to the list's folder or else to the
    /// root; `None` if it leads outside the dataset.
    fn resolve(&mut self, entry: &str) -> Option<String> {
        let layout = self.layout;
        let [beside_list, from_root] = candidates(layout, self.folder, entry);
        let path = if entry.starts_with("./") || self.present.exists(layout, &beside_list) {
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
        let is_folder_inside = *self.is_inside.entry(parent).or_insert_with_key(|parent| {
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
}

/// The paths, from the root, that a line of a list can mean: relative to the list's folder, or to
/// the root.
fn candidates(layout: &Layout, folder: &str, entry: &str) -> [String; 2] {
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

/// Which of the files that a list can mean exist.
enum Present {
    /// Looks up each file in the file system.
    Local,
    /// The files that exist in the object store, looked up all at once.
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
        let mut sought = HashSet::new();
        for entry in lines(text).map(str::trim).filter(|entry| !entry.is_empty()) {
            for path in candidates(layout, folder, entry) {
                let is_inside = !path.starts_with("..") && !path.starts_with('/');
                if is_inside
                    && is_image_name(&path)
                    && partition.is_none_or(|partition| partition.holds(share_position(&path)))
                {
                    sought.insert(label_path(&path));
                    sought.insert(path);
                }
            }
        }
        let find = |path: String| {
            let full = layout.locate(&path);
            let found = ossify_storage::is_file(&full).map_err(LayoutError::io(&full))?;
            Ok(found.then_some(path))
        };
        let found = sought.into_par_iter().map(find).collect::<Result<Vec<_>, _>>()?;
        Ok(Present::Objects(found.into_iter().flatten().collect()))
    }

    /// Whether there is a file or a link at this path.
    fn exists(&self, layout: &Layout, path: &str) -> bool {
        match self {
            Present::Local => layout.locate(path).symlink_metadata().is_ok(),
            Present::Objects(present) => present.contains(path),
        }
    }

    fn is_file(&self, layout: &Layout, path: &str) -> bool {
        match self {
            Present::Local => layout.locate(path).is_file(),
            Present::Objects(present) => present.contains(path),
        }
    }
}
