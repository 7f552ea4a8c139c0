//! What was planted, as data.

use std::collections::BTreeMap;

use ossify_contract::{Ledger, Split};
use serde::{Deserialize, Serialize};

use crate::anatomy::Anatomy;
use crate::expected::Expected;
use crate::leak::PlantedLeak;
use crate::parameters::Parameters;

/// What a dataset contains and what ingest should find in it; the content of `planted.json`.
///
/// Findings and ledger are those under ingest's default configuration with a threshold for rare
/// classes that is within [`Planted::rare_threshold`], as `conf/demo.toml` has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Planted {
    /// Version of the program that drew it.
    pub ossify_version: String,
    /// Revision of the drawing code; pictures differ between revisions.
    pub revision: u32,
    /// Requested number of images.
    pub images: u64,
    /// The seed.
    pub seed: u64,
    /// Whether all images are links to one tiny picture.
    pub labels_only: bool,
    /// The classes, by id.
    pub classes: Vec<PlantedClass>,
    /// The smallest and largest `ingest.min_objects_per_class` for which `faults` and `ledger` are
    /// right: only the planted rare class has fewer objects.
    pub rare_threshold: (u64, u64),
    /// What becomes of the label lines of each split.
    pub ledger: Ledger,
    /// What each split contains.
    pub splits: BTreeMap<Split, PlantedSplit>,
    /// Exactly the findings that ingest should report, by split, path and line.
    pub faults: Vec<Expected>,
    /// Findings that depend on a setting that is off by default.
    pub conditional: Vec<Conditional>,
    /// Files that look odd but are valid: nothing should be found in them by default.
    pub innocent: Vec<Innocent>,
    /// Images that are not stored as RGB JPEG.
    pub special_images: Vec<SpecialImage>,
    /// Requested number of leaks.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub leaks_wanted: u64,
    /// Images of train that were copied to another split.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leaks: Vec<PlantedLeak>,
    /// Files and bytes of each folder: a cheap check that the dataset is whole.
    pub folders: BTreeMap<String, FolderSize>,
}

/// A class of the dataset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlantedClass {
    /// Id in the label files.
    pub id: usize,
    /// Name in `data.yaml`.
    pub name: String,
}

/// What a split contains.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlantedSplit {
    /// Image files.
    pub images: u64,
    /// Label files.
    pub labels: u64,
    /// Images with an accepted object.
    pub labelled: u64,
    /// Images with an empty label file.
    pub background: u64,
    /// Images without a label file, or with one that cannot be used.
    pub unlabelled: u64,
    /// Images that cannot be used.
    pub unreadable: u64,
    /// Accepted objects of each class, by id.
    pub objects_per_class: [u64; Anatomy::ALL.len()],
    /// Images with an accepted object of each class, by id.
    pub images_per_class: [u64; Anatomy::ALL.len()],
}

/// A finding that only occurs with a certain setting.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conditional {
    /// The key.
    pub setting: String,
    /// The smallest value of the key with which it is found.
    pub from: u64,
    /// Name of the rule.
    pub rule: String,
    /// Path from the dataset root.
    pub path: String,
    /// Line from 1.
    pub line: u32,
}

/// A file that looks odd but is valid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Innocent {
    /// Path from the dataset root.
    pub path: String,
    /// What is odd about it.
    pub what: String,
}

/// An image in an unusual format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpecialImage {
    /// Path from the dataset root.
    pub path: String,
    /// How it is stored.
    pub what: String,
    /// Pixels a row, upright.
    pub width: usize,
    /// Rows, upright.
    pub height: usize,
}

/// The number and total size of the files directly in a folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FolderSize {
    /// How many.
    pub files: u64,
    /// Sum of their sizes.
    pub bytes: u64,
}

impl Planted {
    /// Raised whenever the same parameters give other pictures or labels.
    pub const REVISION: u32 = 1;

    /// Whether a dataset with this file was made with these parameters.
    pub fn is_of(&self, parameters: &Parameters) -> bool {
        let Planted { revision, images, seed, labels_only, leaks_wanted, .. } = self;
        let Parameters {
            images: images_wanted,
            seed: seed_wanted,
            labels_only: labels_only_wanted,
            ..
        } = *parameters;
        let wanted = (images_wanted, seed_wanted, labels_only_wanted, parameters.planted_leaks());
        *revision == Self::REVISION && (*images, *seed, *labels_only, *leaks_wanted) == wanted
    }
}

/// Without leaks, `planted.json` does not mention them.
fn is_zero(count: &u64) -> bool {
    *count == 0
}
