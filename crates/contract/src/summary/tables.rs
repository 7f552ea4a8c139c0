//! What `ossify-ingest` says of label tables.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::typed::Summary;
use crate::tables::Ledger;
use crate::words::Split;

/// What `ossify-ingest` says of a dataset's label tables.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TablesSummary {
    /// Name of the dataset's folder.
    pub dataset: String,
    /// Images and objects of each split.
    pub splits: BTreeMap<Split, SplitCounts>,
    /// Where each label line went.
    pub ledger: Ledger,
    /// Share of the label lines that were left out, 0..=1.
    pub quarantined_share: f64,
    /// Accepted objects of which a coordinate was moved into the image.
    pub repaired_objects: u64,
    /// The classes.
    pub classes: ClassesSummary,
    /// The findings.
    pub findings: FindingsSummary,
    /// What is unusual about the dataset as a whole, a sentence each.
    pub remarks: Vec<String>,
}

impl Summary for TablesSummary {
    const OF: &'static str = "label tables";
    const STAGES: &'static [&'static str] = &["ingest"];
}

/// Images of a split by status, and its objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitCounts {
    /// Images.
    pub images: u64,
    /// Images with an accepted object.
    pub labelled: u64,
    /// Images with nothing to find on them.
    pub background: u64,
    /// Images of which nobody said what is on them.
    pub unlabelled: u64,
    /// Images that cannot be used.
    pub unreadable: u64,
    /// Accepted objects.
    pub objects: u64,
    /// Label files.
    pub label_files: u64,
    /// Files that are neither images nor labels.
    pub ignored_files: u64,
}

/// The classes of a dataset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassesSummary {
    /// How many the dataset has.
    pub total: u64,
    /// How many are trained under their own name.
    pub kept: u64,
    /// Those that are not trained.
    pub filtered: Vec<FilteredClass>,
    /// Those that are trained as another class.
    pub merged: Vec<MergedClass>,
    /// Those that are rare and trained all the same.
    pub rare_kept: Vec<RareClass>,
}

/// A class that is not trained.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilteredClass {
    /// Class as in the source.
    pub class_id: i16,
    /// Its name.
    pub class_name: String,
    /// Why.
    pub reason: Option<String>,
}

/// A class that is trained as another one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MergedClass {
    /// Class as in the source.
    pub class_id: i16,
    /// Its name.
    pub class_name: String,
    /// The id that both have in training.
    pub class_index: Option<i16>,
    /// Why.
    pub reason: Option<String>,
}

/// A rare class that is trained all the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RareClass {
    /// Class as in the source.
    pub class_id: i16,
    /// Its name.
    pub class_name: String,
    /// Accepted objects in train.
    pub objects: i64,
    /// Images of train with an accepted object of the class.
    pub images: i64,
    /// Why it is rare.
    pub reason: String,
}

/// How many findings there are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindingsSummary {
    /// Errors.
    pub errors: u64,
    /// Warnings.
    pub warnings: u64,
    /// Notes.
    pub notes: u64,
    /// All of them by rule.
    pub by_rule: BTreeMap<String, u64>,
}
