//! What was planted, as data.

use std::collections::BTreeMap;

use ossify_contract::{Ledger, Split};
use serde::{Deserialize, Serialize};

use crate::anatomy::Anatomy;
use crate::leak::PlantedLeak;
use crate::parameters::Parameters;
use crate::plant::Expected;

/// What a dataset holds and what ingest is to find in it; the content of `planted.json`.
///
/// Findings and ledger are those under ingest's default configuration with a threshold for rare
/// classes that is within [`Planted::rare_threshold`], as `conf/demo.toml` has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Planted {
    /// Version of the program that drew it.
    pub ossify_version: String,
    /// Number of the way of drawing; another number, other pictures.
    pub revision: u32,
    /// Images asked for.
    pub images: u64,
    /// The seed.
    pub seed: u64,
    /// Whether all images are one tiny picture under many names.
    pub labels_only: bool,
    /// The classes, by id.
    pub classes: Vec<PlantedClass>,
    /// The values of `ingest.min_objects_per_class`, least and most, for which `faults` and
    /// `ledger` hold: the planted rare class is below them, all others are not.
    pub rare_threshold: (u64, u64),
    /// Where the label lines of each split go.
    pub ledger: Ledger,
    /// What each split holds.
    pub splits: BTreeMap<Split, PlantedSplit>,
    /// The findings that ingest is to come to, and no other, by split, path and line.
    pub faults: Vec<Expected>,
    /// Findings that depend on a setting which is off by default.
    pub conditional: Vec<Conditional>,
    /// Files that look odd and are sound: nothing may be found in them by default.
    pub innocent: Vec<Innocent>,
    /// Images that are not stored as RGB JPEG.
    pub special_images: Vec<SpecialImage>,
    /// How many leaks were asked for.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub leaks_wanted: u64,
    /// Images of train that stand once more in another split, by kind in turn.
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

/// What a split holds.
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

/// A finding that only a setting brings about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conditional {
    /// The key.
    pub setting: String,
    /// The least value of the key with which it is found.
    pub from: u64,
    /// Name of the rule.
    pub rule: String,
    /// Path from the dataset root.
    pub path: String,
    /// Line from 1.
    pub line: u32,
}

/// A file that looks odd and is sound.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Innocent {
    /// Path from the dataset root.
    pub path: String,
    /// What is odd about it.
    pub what: String,
}

/// An image with something special about it.
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

/// Files directly in a folder, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FolderSize {
    /// How many.
    pub files: u64,
    /// Sum of their sizes.
    pub bytes: u64,
}

impl Planted {
    /// Changes with the pictures and labels that the same parameters give.
    pub const REVISION: u32 = 1;

    /// Whether a dataset with this file is what these parameters give.
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

/// Without leaks `planted.json` says nothing of them.
fn is_zero(count: &u64) -> bool {
    *count == 0
}
