use std::io::Read as _;
use std::path::Path;

use serde::{Deserialize, Deserializer, Serialize};

use crate::error::{ArtefactError, Result};
use crate::manifest::open;
use crate::publish::write_atomic;

/// One line of `metrics.jsonl`: an epoch.
///
/// Runs of the same inputs, configuration and seed on the same device and number of threads have
/// equal lines to the last digit, interrupted or not, but for `elapsed_secs`, `images_per_sec` and
/// `peak_memory_bytes`: see [`Self::timeless`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EpochMetrics {
    /// Epoch from 1.
    pub epoch: u32,
    /// Optimiser steps since the start.
    pub step: u64,
    /// Over the batches as they were trained.
    pub train: SplitMetrics,
    /// Over every sample of the valid split exactly once, by the averaged weights where
    /// `train.optimizer.ema_decay` is set; null where the split has none.
    pub valid: Option<SplitMetrics>,
    /// Learning rate of the epoch's last step.
    pub learning_rate: f64,
    /// XXH3 over all training batches so far: inputs, targets and augmentation, in order; 16
    /// hexadecimal digits.
    #[serde(default)]
    pub batches_xxh3: String,
    /// Since the run's start, earlier sessions of a resumed run included.
    pub elapsed_secs: f64,
    /// Training samples a second, validation left out.
    pub images_per_sec: f64,
    /// Most memory that the process held: resident on CPU, on the device on GPU.
    pub peak_memory_bytes: u64,
}

impl EpochMetrics {
    /// Without what differs between equal runs: times, rates, memory.
    pub fn timeless(self) -> Self {
        EpochMetrics { elapsed_secs: 0.0, images_per_sec: 0.0, peak_memory_bytes: 0, ..self }
    }
}

/// Means over the samples of a split, and what of scores the network's task has. JSON has no NaN
/// and no infinity: they are written as null, which is read as NaN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SplitMetrics {
    /// What is minimised: classification, box and penalty terms with their weights.
    #[serde(deserialize_with = "nan_where_null")]
    pub loss: f64,
    /// Cross-entropy, nats, with class weights and label smoothing where they are configured.
    #[serde(deserialize_with = "nan_where_null")]
    pub classification_loss: f64,
    /// Terms of the box with their weights, as configured.
    #[serde(deserialize_with = "nan_where_null")]
    pub box_loss: f64,
    /// Of a classifier: share of samples whose most probable class is theirs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    /// Of a classifier: mean squared error of the four box edges, in shares of the tensor's sides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub box_mse: Option<f64>,
    /// Of a classifier: mean IoU of predicted and true box.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_iou: Option<f64>,
    /// Of a detector on the valid split: average precision at an IoU of 0.5, as COCO has it, mean
    /// of the classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ap50: Option<f64>,
    /// Of a detector on the valid split: average precision over IoUs from 0.5 to 0.95, as COCO has
    /// it, mean of the classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ap: Option<f64>,
    /// Of a detector on the valid split: area under the ROC curve of "any finding" by image, whose
    /// score is the highest of the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auroc: Option<f64>,
    /// Samples seen.
    pub rows: u64,
}

/// A score of [`SplitMetrics`] that people are shown: a share, 1 at best.
#[derive(Clone, Copy, Debug)]
pub struct Score {
    /// Its key in `metrics.jsonl`.
    pub key: &'static str,
    /// What it is called in a line of many numbers.
    pub short_name: &'static str,
    /// What it is called where there is room.
    pub name: &'static str,
    /// Title of its chart.
    pub title: &'static str,
    /// Name of the axis of its chart.
    pub axis: &'static str,
    /// Digits that a line shows of it.
    pub digits: usize,
    /// The score, where the network's task has it.
    pub of: fn(&SplitMetrics) -> Option<f64>,
}

/// The scores that people are shown, in order.
pub const SCORES: [Score; 5] = [
    Score {
        key: "accuracy",
        short_name: "accuracy",
        name: "accuracy",
        title: "Accuracy",
        axis: "share right",
        digits: 4,
        of: |metrics| metrics.accuracy,
    },
    Score {
        key: "mean_iou",
        short_name: "IoU",
        name: "mean IoU",
        title: "Mean IoU",
        axis: "IoU",
        digits: 3,
        of: |metrics| metrics.mean_iou,
    },
    Score {
        key: "ap50",
        short_name: "AP50",
        name: "AP50",
        title: "Average precision at IoU 0.5",
        axis: "AP50",
        digits: 3,
        of: |metrics| metrics.ap50,
    },
    Score {
        key: "ap",
        short_name: "AP",
        name: "AP",
        title: "Average precision at IoU 0.5 to 0.95",
        axis: "AP",
        digits: 3,
        of: |metrics| metrics.ap,
    },
    Score {
        key: "auroc",
        short_name: "AUROC",
        name: "AUROC of any finding",
        title: "Any finding, by image",
        axis: "AUROC",
        digits: 3,
        of: |metrics| metrics.auroc,
    },
];

impl Score {
    /// Whether any of the epochs has it, on either split.
    pub fn is_in(&self, epochs: &[EpochMetrics]) -> bool {
        epochs.iter().any(|epoch| {
            [Some(&epoch.train), epoch.valid.as_ref()]
                .into_iter()
                .flatten()
                .any(|metrics| (self.of)(metrics).is_some())
        })
    }
}

pub(crate) fn nan_where_null<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<f64, D::Error> {
    Ok(Option::<f64>::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

/// `environment.json`: where and how a run was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// Version of ossify.
    pub ossify_version: String,
    /// Commit of the source, where it was built from a checkout.
    pub git_commit: Option<String>,
    /// Device, as its maker names it.
    pub device_name: String,
    /// Version of libtorch; null on Flex.
    pub libtorch_version: Option<String>,
    /// Threads that the device's operations use.
    pub thread_count: usize,
    /// Features that the binary was built with.
    pub features: Vec<String>,
    /// The command line.
    pub command_line: Vec<String>,
    /// RFC 3339, UTC.
    pub started_at: String,
}

/// Name of the file beside the runs (and beside the predictions) that names the newest.
pub const LATEST_FILE: &str = "latest";

/// Whether `id` can name a run or predictions: one folder name, not hidden.
pub fn is_plain_id(id: &str) -> bool {
    !id.is_empty() && !id.contains(['/', '\\']) && !id.starts_with('.')
}

/// Names `id` as the newest entry of `folder` (`runs/` or `predictions/`). Where it is that
/// already, nothing is written: a finished work folder may be read-only.
///
/// # Errors
/// Fails where the disk does, or a folder has the file's name.
pub fn write_latest(folder: &Path, id: &str) -> Result<()> {
    match read_latest(folder) {
        Ok(latest) if latest.as_deref() == Some(id) => return Ok(()),
        Err(error) if folder.join(LATEST_FILE).is_dir() => return Err(error),
        _ => {}
    }
    write_atomic(&folder.join(LATEST_FILE), format!("{id}\n").as_bytes())
}

/// The newest entry of `folder`, if one was named.
///
/// # Errors
/// Fails where the file is there and cannot be read.
pub fn read_latest(folder: &Path) -> Result<Option<String>> {
    let path = folder.join(LATEST_FILE);
    match std::fs::read(&path).map(String::from_utf8) {
        Ok(Ok(id)) => Ok(Some(id.trim().to_owned())),
        Ok(Err(_)) => Err(ArtefactError::corrupt(
            &path,
            "damaged: it names no output; delete it, and run the stage again",
        )),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(_) if path.is_dir() => Err(ArtefactError::corrupt(
            &path,
            "a folder, where the file belongs that names the newest output; move it away, and run \
             the stage again",
        )),
        Err(e) => Err(ArtefactError::io("cannot read", &path)(e)),
    }
}

/// Reads `metrics.jsonl`.
///
/// # Errors
/// Fails where the file cannot be read or a line is no [`EpochMetrics`].
pub fn read_metrics(path: &Path) -> Result<Vec<EpochMetrics>> {
    let mut text = Vec::new();
    open(path)?.read_to_end(&mut text).map_err(ArtefactError::io("cannot read", path))?;
    let parse = |(number, line): (usize, &[u8])| {
        serde_json::from_slice(line).map_err(|_| {
            let reason = format!(
                "line {} is not as ossify-train writes it; run ossify-train again with --force",
                number + 1
            );
            ArtefactError::corrupt(path, reason)
        })
    };
    let lines = text.split(|byte| *byte == b'\n').enumerate();
    lines.filter(|(_, line)| !line.trim_ascii().is_empty()).map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_that_are_not_finite_come_back_as_nan() {
        let valid = SplitMetrics { loss: f64::INFINITY, accuracy: Some(0.5), ..Default::default() };
        let line =
            serde_json::to_string(&EpochMetrics { valid: Some(valid), ..Default::default() });
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        std::fs::write(&path, line.unwrap()).unwrap();
        let found = read_metrics(&path).unwrap()[0].valid.unwrap();
        assert!(found.loss.is_nan());
        assert_eq!((found.accuracy, found.box_loss), (Some(0.5), 0.0));
    }

    #[test]
    fn the_scores_that_people_are_shown_are_those_of_their_keys() {
        for score in &SCORES {
            let only: SplitMetrics = serde_json::from_value(serde_json::json!({
                "loss": 0.0, "classification_loss": 0.0, "box_loss": 0.0, "rows": 1,
                score.key: 0.25,
            }))
            .unwrap();
            let found: Vec<&str> = SCORES
                .iter()
                .filter(|other| (other.of)(&only) == Some(0.25))
                .map(|other| other.key)
                .collect();
            assert_eq!(found, [score.key]);
            let valid = EpochMetrics { valid: Some(only), ..Default::default() };
            let train = EpochMetrics { train: only, ..Default::default() };
            assert!(score.is_in(&[valid]) && score.is_in(&[train]));
            assert!(!score.is_in(&[EpochMetrics::default()]));
        }
    }

    #[test]
    fn the_newest_entry_is_not_named_again() {
        let folder = tempfile::tempdir().unwrap();
        let inode = || {
            use std::os::unix::fs::MetadataExt as _;
            std::fs::metadata(folder.path().join(LATEST_FILE)).unwrap().ino()
        };
        write_latest(folder.path(), "run-1").unwrap();
        let before = inode();
        write_latest(folder.path(), "run-1").unwrap();
        assert_eq!(inode(), before, "the file was replaced");
        write_latest(folder.path(), "run-2").unwrap();
        assert_eq!(read_latest(folder.path()).unwrap().as_deref(), Some("run-2"));
    }

    #[test]
    fn a_folder_in_the_place_of_the_newest_name_is_named_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(LATEST_FILE)).unwrap();
        let errors = [
            read_latest(folder.path()).unwrap_err(),
            write_latest(folder.path(), "a").unwrap_err(),
        ];
        for error in errors.map(|error| error.to_string()) {
            assert!(error.contains("/latest: a folder, where") && error.contains("move it away"));
        }
    }

    #[test]
    fn an_id_never_leads_out_of_its_folder() {
        assert!(is_plain_id("run-1"));
        for id in ["../x", "..", ".hidden", "", "a/b", "/a", "a\\b"] {
            assert!(!is_plain_id(id), "{id}");
        }
    }
}
