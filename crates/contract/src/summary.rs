//! What one stage writes into its manifest for another to read.

use std::collections::BTreeMap;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{ArtefactError, Result};
use crate::manifest::{MANIFEST_FILE, Manifest};
use crate::run::SplitMetrics;
use crate::words::Split;

/// The summary of a manifest, as a type.
pub trait Summary: Serialize + DeserializeOwned {
    /// What the manifest is of, as in "not the manifest of a run".
    const OF: &'static str;
    /// The stages that write it.
    const STAGES: &'static [&'static str];

    /// As it stands in a manifest.
    ///
    /// # Errors
    /// Fails where a value has no JSON form.
    fn to_json(&self, folder: &Path) -> Result<serde_json::Value> {
        serde_json::to_value(self)
            .map_err(|e| ArtefactError::corrupt(folder, format!("cannot encode the summary: {e}")))
    }
}

impl Manifest {
    /// The summary of this manifest, which lies in `folder`.
    ///
    /// # Errors
    /// [`ArtefactError::Corrupt`] where another stage wrote the manifest, or its summary lacks
    /// something; it says what to run again.
    pub fn summary_of<S: Summary>(&self, folder: &Path) -> Result<S> {
        let corrupt = |reason: String| ArtefactError::corrupt(folder.join(MANIFEST_FILE), reason);
        if !S::STAGES.contains(&self.stage.as_str()) {
            return Err(corrupt(format!(
                "not the manifest of {}: ossify-{} wrote it",
                S::OF,
                self.stage
            )));
        }
        S::deserialize(&self.summary).map_err(|e| {
            let stage = &self.stage;
            corrupt(format!(
                "not the manifest of {} ({e}); run ossify-{stage} again with --force",
                S::OF
            ))
        })
    }
}

/// What `ossify-train` says of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunSummary {
    /// Id of the run.
    pub run: String,
    /// Epochs that were trained.
    pub epochs: u32,
    /// Optimiser steps.
    pub steps: u64,
    /// Why training ended.
    pub stopped: String,
    /// Epoch of the published weights, from 1.
    pub best_epoch: Option<u32>,
    /// Samples of the train split.
    pub train_samples: usize,
    /// Samples of the valid split.
    pub valid_samples: usize,
    /// Objects left out because their image could not be decoded.
    pub undecoded_objects: u64,
    /// Objects left out because the tensor shows nothing of them.
    pub outside_objects: u64,
    /// Scores of the best epoch over the train split.
    pub train: Option<SplitMetrics>,
    /// Scores of the best epoch over the valid split.
    pub valid: Option<SplitMetrics>,
    /// Seconds since the run's start, earlier sessions of a resumed run included.
    pub elapsed_secs: f64,
    /// Digest of the class map that it was trained with; `None` where an earlier version trained.
    pub class_map: Option<String>,
}

impl Summary for RunSummary {
    const OF: &'static str = "a run";
    const STAGES: &'static [&'static str] = &["train"];
}

/// What is said of predictions, by `ossify-predict` or by an import.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PredictionsSummary {
    /// Id of the run, or of the import.
    pub run: String,
    /// Predicted images of each split, where there is one prediction for each image.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub images: BTreeMap<String, u64>,
    /// What was imported of each split.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub splits: BTreeMap<Split, ImportedSplit>,
    /// Names of the predicted classes in order of `class_index`.
    pub class_names: Vec<String>,
    /// XXH3 of the model, 16 hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_xxh3: Option<String>,
    /// Digest of the class map that the predictions are of.
    pub class_map: Option<String>,
    /// Of each predicted split, [`crate::Inputs::hash`] of its shards.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub shards_of_split: BTreeMap<Split, String>,
}

impl Summary for PredictionsSummary {
    const OF: &'static str = "predictions";
    const STAGES: &'static [&'static str] = &["predict", "import"];
}

/// What an import says of a split.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ImportedSplit {
    /// `coco`, `yolo` or `ultralytics`.
    pub format: String,
    /// The file or folder that was imported.
    pub source: String,
    /// Entries of the source.
    pub entries: u64,
    /// Rows of the table.
    pub predictions: u64,
    /// Images with a prediction.
    pub images: u64,
    /// Images without one.
    pub silent_images: u64,
    /// Boxes that reach beyond their image.
    pub boxes_beyond_image: u64,
    /// How the source numbers its classes, where that was asked or found out.
    pub category_ids: Option<String>,
    /// Rows of the source that could not be used.
    pub left_out: Vec<LeftOutRows>,
}

/// Rows of foreign predictions that were left out for one reason.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LeftOutRows {
    /// Why.
    pub reason: String,
    /// How many.
    pub count: u64,
    /// One of them.
    pub example: String,
    /// Whether the rows are wrong, and not merely of something else.
    pub is_error: bool,
}
