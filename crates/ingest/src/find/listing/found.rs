//! Collects what walks and lists find.

use std::collections::HashSet;

use ossify_contract::{Partition, share_position, share_position_of_label};
use ossify_diagnostics::{Finding, Location};

use super::census::Census;
use crate::find::paths::PathList;
use crate::rules::{Rule, RuleBook};

/// Files of a split, or of a share of it, in the order in which they were found.
#[derive(Debug, Default)]
pub(super) struct FoundFiles {
    /// The share whose files are kept; `None` keeps all files.
    pub partition: Option<Partition>,
    /// The files of all shares; empty if there is no share.
    pub census: Census,
    /// Files of the census that are in this share.
    pub own_files: u64,
    pub images: PathList,
    pub labels: PathList,
    /// Links that lead outside the dataset and were not followed.
    pub refused: HashSet<String>,
    /// Images whose names are not UTF-8, in escaped form, which may equal another file's name.
    pub escaped: Vec<String>,
    pub findings: Vec<Finding>,
    /// Files that are neither images nor labels, in all shares.
    pub ignored: u64,
    /// Remarks for the user, a sentence each.
    pub remarks: Vec<String>,
}

impl FoundFiles {
    pub fn of_share(partition: Option<Partition>) -> Self {
        FoundFiles { partition, ..FoundFiles::default() }
    }

    /// Adds what another walk has found.
    pub fn absorb(&mut self, other: FoundFiles) {
        self.census.absorb(other.census);
        self.own_files += other.own_files;
        self.images.append(other.images);
        self.labels.append(other.labels);
        self.refused.extend(other.refused);
        self.escaped.extend(other.escaped);
        self.findings.extend(other.findings);
        self.ignored += other.ignored;
        self.remarks.extend(other.remarks);
    }

    /// Adds an image, if it is in the share.
    pub fn add_image(&mut self, path: &str) {
        if self.count_and_check(path, false) {
            self.images.push(path);
        }
    }

    /// Adds an image whose name is not UTF-8, if it is in the share.
    pub fn add_escaped_image(&mut self, path: String) {
        if self.count_and_check(&path, false) {
            self.escaped.push(path);
        }
    }

    /// Adds a label file, if it is in the share.
    pub fn add_label(&mut self, path: &str) {
        if self.count_and_check(path, true) {
            self.labels.push(path);
        }
    }

    /// Adds a file to the census, and returns whether it is in the share.
    pub fn count_and_check(&mut self, path: &str, is_label: bool) -> bool {
        let Some(partition) = self.partition else { return true };
        self.census.add(path, is_label);
        let position = if is_label { share_position_of_label(path) } else { share_position(path) };
        let is_held = partition.holds(position);
        self.own_files += u64::from(is_held);
        is_held
    }

    /// Adds a finding, if its location is in the share.
    pub fn add_finding(&mut self, finding: Option<Finding>) {
        let is_held = |finding: &Finding| {
            self.partition.is_none_or(|partition| {
                partition.holds(share_position_of_label(&finding.location.to_string()))
            })
        };
        let held = finding.filter(is_held);
        self.findings.extend(held);
    }
}

/// A finding about a path that leads outside the dataset.
pub(super) fn escape_finding(
    book: &RuleBook,
    location: Location,
    message: String,
) -> Option<Finding> {
    let finding = book.finding(Rule::PathEscapesDataset, location, message)?;
    Some(finding.with_help("copy the file into the dataset, or set dataset.follow_links = true"))
}
