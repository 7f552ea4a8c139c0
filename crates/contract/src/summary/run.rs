//! What `ossify-train` says of a run.

use serde::{Deserialize, Serialize};

use super::typed::Summary;
use crate::run::SplitMetrics;

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
