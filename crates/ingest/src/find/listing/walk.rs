//! The images and label files below a folder.

use std::io;
use std::path::Path;

use ossify_contract::Partition;
use ossify_diagnostics::{Location, printable};
use ossify_storage::is_url;
use walkdir::WalkDir;

use super::found::{FoundFiles, escape_finding};
use super::names::{is_image_name, is_label_name, is_passed_over};
use crate::find::error::LayoutError;
use crate::find::layout::Layout;
use crate::find::paths::{is_normal, join, normalized};
use crate::rules::{Rule, RuleBook};

/// Of an object whose name no request can have.
const UNUSABLE_NAME: &str = "a part of its name is empty, \".\" or \"..\", or has a control \
                             character, so that it cannot be read";

/// The kinds of files to look for in a folder.
#[derive(Clone, Copy)]
pub(super) struct Wants {
    pub images: bool,
    pub labels: bool,
}

/// Lists a folder recursively.
pub(super) struct Walk<'a> {
    pub layout: &'a Layout,
    /// The folder, from the dataset root.
    pub folder: &'a str,
    pub wants: Wants,
    pub partition: Option<Partition>,
    pub book: &'a RuleBook,
}

impl Walk<'_> {
    /// Lists the folder. Links are rare, and following them requires a look at every file, so that
    /// is only done if there is a link.
    ///
    /// # Errors
    /// Fails if a folder cannot be listed, because its content is unknown.
    pub fn run(&self) -> Result<FoundFiles, LayoutError> {
        if is_url(&self.layout.root) {
            return self.objects();
        }
        match self.tree(false)? {
            Some(found) => Ok(found),
            None => Ok(self.tree(true)?.unwrap_or_default()),
        }
    }

    /// Lists a folder of an object store, which has neither links nor names that are not UTF-8. It
    /// may have names that cannot be asked for.
    fn objects(&self) -> Result<FoundFiles, LayoutError> {
        let mut found = FoundFiles::of_share(self.partition);
        let base = self.layout.locate(self.folder);
        for object in ossify_storage::list(&base).map_err(LayoutError::io(&base))? {
            let (inner, _) = object.map_err(LayoutError::io(&base))?;
            // As on a disk, the content of an ignored folder does not count.
            let (folders, name) = inner.rsplit_once('/').unwrap_or(("", &inner));
            if folders.split('/').any(is_passed_over) {
                continue;
            }
            let path = join(self.folder, &inner);
            if is_passed_over(name) {
                found.ignored += 1;
            } else if self.wants.images && is_image_name(&path) {
                found.add_image(&path);
            } else if self.wants.labels && is_label_name(&path) {
                found.add_label(&path);
            } else {
                found.ignored += 1;
            }
        }
        self.add_unusable_objects(&mut found, &base)?;
        Ok(found)
    }

    /// Adds the objects whose names cannot be asked for: images as findings, others by number.
    fn add_unusable_objects(&self, found: &mut FoundFiles, base: &Path) -> Result<(), LayoutError> {
        let mut labels = Vec::new();
        for inner in ossify_storage::refused_below(base).map_err(LayoutError::io(base))? {
            let path = join(self.folder, &inner);
            if self.wants.images && is_image_name(&path) {
                if found.count_and_check(&path, false) {
                    let location = Location::file(&path);
                    let finding = self.book.finding(Rule::ImageUnreadable, location, UNUSABLE_NAME);
                    let help = "rename the object and its label file";
                    found.findings.extend(finding.map(|finding| finding.with_help(help)));
                }
            } else {
                labels.extend((self.wants.labels && is_label_name(&path)).then_some(path));
                found.ignored += 1;
            }
        }
        if let Some(first) = labels.first() {
            found.remarks.push(format!(
                "{} below {} left out, {} for one: {UNUSABLE_NAME}; rename the object",
                match labels.len() {
                    1 => "1 label file is".to_owned(),
                    several => format!("{several} label files are"),
                },
                base.display(),
                printable(first)
            ));
        }
        Ok(())
    }

    /// Lists a local folder; returns `None` if there is a link and links are not followed.
    fn tree(&self, follows_links: bool) -> Result<Option<FoundFiles>, LayoutError> {
        let mut found = FoundFiles::of_share(self.partition);
        let base = self.layout.locate(self.folder);
        let base_text = base.to_str().unwrap_or("\0");
        let mut entries = WalkDir::new(&base).follow_links(follows_links).into_iter();
        while let Some(entry) = entries.next() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    self.skip_or_fail(&mut found, &base, error)?;
                    continue;
                }
            };
            if entry.depth() == 0 {
                continue;
            }
            if entry.file_type().is_symlink() {
                return Ok(None);
            }
            let name = entry.file_name().to_string_lossy();
            let is_folder = entry.file_type().is_dir();
            if is_passed_over(&name) {
                found.ignored += u64::from(!is_folder);
                if is_folder {
                    entries.skip_current_dir();
                }
                continue;
            }
            // Almost all paths are already normalised, and listings are long.
            let normal = entry
                .path()
                .to_str()
                .and_then(|path| path.strip_prefix(base_text))
                .map(|inner| inner.trim_start_matches('/'))
                .filter(|inner| is_normal(inner));
            let (path, is_escaped) = match normal {
                Some(inner) => (join(self.folder, inner), false),
                None => {
                    let (inner, is_escaped) =
                        normalized(entry.path().strip_prefix(&base).unwrap_or(entry.path()));
                    (join(self.folder, &inner), is_escaped)
                }
            };
            let is_refused =
                entry.path_is_symlink() && self.refuse_link(&mut found, entry.path(), &path);
            if is_folder {
                if is_refused {
                    entries.skip_current_dir();
                }
                continue;
            }
            if self.wants.images && is_image_name(&path) {
                if is_escaped {
                    found.add_escaped_image(path);
                } else {
                    found.add_image(&path);
                }
            } else if self.wants.labels
                && is_label_name(&path)
                && entry.file_type().is_file()
                && !is_escaped
            {
                if !is_refused {
                    found.add_label(&path);
                }
            } else {
                found.ignored += 1;
            }
        }
        Ok(Some(found))
    }

    /// A dangling link is an unreadable image; a link to a folder that contains it is skipped; any
    /// other error ends the run.
    fn skip_or_fail(
        &self,
        found: &mut FoundFiles,
        base: &Path,
        error: walkdir::Error,
    ) -> Result<(), LayoutError> {
        let path = error.path().map_or_else(|| base.to_path_buf(), Path::to_path_buf);
        let inner = normalized(path.strip_prefix(base).unwrap_or(&path)).0;
        if error.loop_ancestor().is_some() {
            found.remarks.push(format!(
                "{} is a link to a folder that contains it; it was not followed",
                printable(&join(self.folder, &inner))
            ));
            return Ok(());
        }
        let is_dangling = path.symlink_metadata().is_ok_and(|metadata| metadata.is_symlink());
        if is_dangling {
            if self.wants.images && is_image_name(&inner) {
                found.add_image(&join(self.folder, &inner));
            } else {
                found.ignored += 1;
            }
            return Ok(());
        }
        let source = error.into_io_error().unwrap_or_else(|| io::Error::other("a loop of links"));
        Err(LayoutError::Io { path, source })
    }

    /// Whether a link leads outside the dataset and must not be followed; adds a finding.
    fn refuse_link(&self, found: &mut FoundFiles, full: &Path, path: &str) -> bool {
        if self.layout.follow_links {
            return false;
        }
        let Ok(target) = full.canonicalize() else { return false };
        if target.starts_with(&self.layout.canonical_root) {
            return false;
        }
        let message = format!("a link to {}, outside the dataset", target.display());
        found.add_finding(escape_finding(self.book, Location::file(path), message));
        found.refused.insert(path.to_owned());
        true
    }
}
