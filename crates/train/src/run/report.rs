use std::path::Path;

use anyhow::Result;
use ossify_contract::{ClassMap, Environment, EpochMetrics, RunSummary, SCORES, now_rfc3339};
use ossify_model::device::{self, ComputeDevice};
use ossify_settings::{Context, TrainMode};
use ossify_vocabulary::Task;

use crate::data::samples::SplitSamples;
use crate::run::checkpoint::RunState;
use crate::watch::progress;

/// Says what will be trained, and what is left out of it.
pub fn announce(
    context: &Context,
    device: &ComputeDevice,
    train: &SplitSamples,
    valid: &SplitSamples,
    classes: &ClassMap,
) {
    let (settings, reporter) = (&context.settings.train, &context.reporter);
    reporter.say(format_args!(
        "trains {} ({}) on {}, {} threads: {} train and {} valid {} of {} classes",
        settings.model.architecture,
        settings.mode.as_str(),
        device.name(),
        device.threads(),
        train.samples.len(),
        valid.samples.len(),
        match settings.task {
            Task::Classify => "samples",
            Task::Detect => "images",
        },
        classes.kept_names().len()
    ));
    if settings.task == Task::Detect {
        let [of_train, of_valid] = [train, valid].map(SplitSamples::backgrounds);
        reporter.say(format_args!("{of_train} and {of_valid} of the images show nothing"));
    }
    for split in [train, valid].into_iter().filter(|split| split.unkept_images > 0) {
        reporter.warn(format_args!(
            "{} images of {} are left out: all their objects are of classes that are not kept",
            split.unkept_images, split.split
        ));
    }
    for split in [train, valid].into_iter().filter(|split| split.undecoded_objects > 0) {
        reporter.warn(format_args!(
            "{} objects of {} are left out: their images could not be decoded",
            split.undecoded_objects, split.split
        ));
    }
    for split in [train, valid].into_iter().filter(|split| split.outside_objects > 0) {
        reporter.warn(format_args!(
            "{} objects of {} are left out: nothing of them is in the tensors, which show the \
             middle of each image (resize.geometry)",
            split.outside_objects, split.split
        ));
    }
    if valid.samples.is_empty() {
        reporter.warn("the valid split has no sample: the best epoch is chosen by train");
    }
    if settings.mode == TrainMode::Frozen && settings.model.weights == "none" {
        reporter.warn(
            "a frozen backbone with random weights (train.model.weights = \"none\") \
            learns little; use train.mode = \"scratch\" or pretrained weights",
        );
    }
}

/// `environment.json`: on what a run is made.
///
/// # Errors
/// Fails where it cannot be written as JSON.
pub fn environment(device: &ComputeDevice) -> Result<Vec<u8>> {
    let environment = Environment {
        ossify_version: env!("CARGO_PKG_VERSION").to_owned(),
        git_commit: option_env!("OSSIFY_GIT_COMMIT").map(str::to_owned),
        device_name: device.name(),
        libtorch_version: device.libtorch_version(),
        thread_count: device.threads(),
        features: device::features().into_iter().map(str::to_owned).collect(),
        command_line: std::env::args_os()
            .map(|argument| argument.to_string_lossy().into_owned())
            .collect(),
        started_at: now_rfc3339(),
    };
    let mut text = serde_json::to_vec_pretty(&environment)?;
    text.push(b'\n');
    Ok(text)
}

/// All but the run's id and its classes.
pub fn run_summary(
    state: &RunState,
    best: Option<&EpochMetrics>,
    reason: &str,
    train: &SplitSamples,
    valid: &SplitSamples,
) -> RunSummary {
    RunSummary {
        epochs: state.epoch,
        steps: state.step,
        stopped: reason.to_owned(),
        best_epoch: best.map(|metrics| metrics.epoch),
        train_samples: train.samples.len(),
        valid_samples: valid.samples.len(),
        undecoded_objects: train.undecoded_objects + valid.undecoded_objects,
        outside_objects: train.outside_objects + valid.outside_objects,
        train: best.map(|metrics| metrics.train),
        valid: best.and_then(|metrics| metrics.valid),
        elapsed_secs: state.elapsed_secs,
        ..RunSummary::default()
    }
}

/// The line that ends a run.
pub fn outcome_line(state: &RunState, best: Option<&EpochMetrics>, folder: &Path) -> String {
    let scores = best.map_or(String::new(), |metrics| {
        let (split, of_split) =
            metrics.valid.map_or(("train", metrics.train), |valid| ("valid", valid));
        let scores: Vec<String> = SCORES
            .iter()
            .filter_map(|score| {
                Some(format!("{} {:.*}", score.name, score.digits, (score.of)(&of_split)?))
            })
            .collect();
        match scores.as_slice() {
            [] => String::new(),
            scores => format!(": {split} {} at epoch {}", scores.join(", "), metrics.epoch),
        }
    });
    format!(
        "{} {} in {}{scores}; written to {}",
        state.epoch,
        if state.epoch == 1 { "epoch" } else { "epochs" },
        progress::duration(state.elapsed_secs),
        folder.display()
    )
}
