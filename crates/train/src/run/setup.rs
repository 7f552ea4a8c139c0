use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use ossify_contract::{Inputs, ShardShape};
use ossify_model::{BackboneShape, HeadConfig, ModelConfig};
use ossify_settings::{BestBy, Context, Effect, Schedule, StageError, TrainMode, TrainSettings};
use ossify_vocabulary::{Architecture, DeviceChoice, Task};

use crate::data::augment::Augmentation;
use crate::data::batches::MAX_WAITING_BATCHES;
use crate::optimise::phases::{Trained, phases};
use crate::run::memory_limit::MemoryLimit;
use crate::run::pretrained::weights_url;

/// The network that the settings describe, its classes still to be counted.
///
/// # Errors
/// Fails where settings contradict each other.
pub fn check_settings(settings: &TrainSettings) -> Result<ModelConfig, StageError> {
    let usage = |text: String| Err(StageError::Usage(anyhow!(text)));
    let architecture = settings.model.architecture;
    if settings.model.weights == "imagenet" && architecture == Architecture::DenseNetCompact {
        return usage(format!(
            "train.model.weights = \"imagenet\" is there for torchvision's networks alone; for \
                {architecture} use \"none\", or a file"
        ));
    }
    if settings.model.weights == "imagenet" {
        weights_url().map_err(StageError::Usage)?;
    }
    if settings.mode == TrainMode::Scratch && settings.model.weights != "none" {
        return usage(
            "train.mode = \"scratch\" starts from random weights: set \
            train.model.weights = \"none\", or train.mode = \"finetune\""
                .into(),
        );
    }
    for (key, share) in [("mosaic", settings.augment.mosaic), ("mixup", settings.augment.mixup)] {
        if settings.task == Task::Classify && share > 0.0 {
            return usage(format!(
                "train.augment.{key} makes samples of several images, and with train.task = \
                 \"classify\" each has one object: set it to 0, or train.task = \"detect\""
            ));
        }
    }
    if settings.task == Task::Classify
        && settings.mode == TrainMode::Frozen
        && Augmentation::new(settings, 0).is_on()
    {
        return usage(
            "train.mode = \"frozen\" computes the features of each image once, so images cannot \
                vary: switch off all of [train.augment], or set train.mode = \"finetune\""
                .into(),
        );
    }
    if settings.mode != TrainMode::Finetune
        && (settings.finetune.from_block > 0
            || settings.finetune.frozen_epochs > 0
            || settings.finetune.learning_rate > 0.0)
    {
        return usage(format!(
            "train.finetune.from_block, train.finetune.frozen_epochs and \
                train.finetune.learning_rate are for train.mode = \"finetune\", not \"{}\"",
            settings.mode.as_str()
        ));
    }
    let blocks = BackboneShape::of(architecture).block_layers.len();
    if settings.finetune.from_block > blocks {
        return usage(format!(
            "train.finetune.from_block is {}, but {architecture} has {blocks} dense blocks",
            settings.finetune.from_block
        ));
    }
    if let Some(task) = task_of(settings.checkpoint.best_by).filter(|task| *task != settings.task) {
        return usage(format!(
            "train.checkpoint.best_by = \"{}\" is a score of train.task = \"{task}\", and \
             train.task is \"{}\"",
            settings.checkpoint.best_by.as_str(),
            settings.task
        ));
    }
    if settings.task == Task::Classify
        && settings.loss.classification_weight == 0.0
        && settings.loss.box_weight == 0.0
        && settings.loss.giou_weight == 0.0
    {
        return usage(
            "train.loss.classification_weight, train.loss.box_weight and \
            train.loss.giou_weight are all 0: there is nothing to learn"
                .into(),
        );
    }
    let config = ModelConfig {
        architecture,
        classes: 1,
        head: match settings.task {
            Task::Classify => HeadConfig::Classifier {
                widths: settings.model.head_widths.clone(),
                dropout: settings.model.dropout,
            },
            Task::Detect => HeadConfig::Detector { channels: settings.detect.channels },
        },
        input_px: settings.model.input_px as usize,
        normalization: settings.model.normalization,
    };
    config.validate().map_err(|e| {
        StageError::Usage(anyhow::Error::new(e).context("the section [train] describes no network"))
    })?;
    check_memory(
        config.head_numbers().saturating_mul(u128::from(BYTES_PER_TRAINED_NUMBER)),
        "the head's weights, their gradients and what the optimizer remembers of them",
        "train.model.head_widths",
    )?;
    Ok(config)
}

/// The task that a score is of; `None` where it is of both.
fn task_of(best_by: BestBy) -> Option<Task> {
    match best_by {
        BestBy::Auto | BestBy::Loss => None,
        BestBy::Score | BestBy::Accuracy | BestBy::MeanIou => Some(Task::Classify),
        BestBy::Ap | BestBy::Ap50 | BestBy::Auroc => Some(Task::Detect),
    }
}

/// float32: the weight, its gradient, and two running means.
const BYTES_PER_TRAINED_NUMBER: u8 = 16;

/// float32.
const BYTES_PER_MAP_NUMBER: u8 = 4;

/// Refuses in words what the process may have no memory for, before it is asked for.
fn check_memory(bytes: u128, what: &str, lower: &str) -> Result<(), StageError> {
    match MemoryLimit::of_process() {
        Some(MemoryLimit { bytes: most, set_by }) if bytes > u128::from(most) => {
            Err(StageError::Usage(anyhow!(
                "{what} would take {:.1} GB, and this process may have {:.1} GB ({set_by}): lower \
                 {lower}",
                bytes as f64 / 1e9,
                most as f64 / 1e9
            )))
        }
        _ => Ok(()),
    }
}

/// Refuses shards of smaller images than the network is to see: it would see invented pixels.
///
/// # Errors
/// [`StageError::Usage`] with what to lower.
pub fn check_input_size(settings: &TrainSettings, shape: ShardShape) -> Result<(), StageError> {
    let (ShardShape { height, width, .. }, input_px) = (shape, settings.model.input_px);
    if height.min(width) < input_px {
        return Err(StageError::Usage(anyhow!(
            "train.model.input_px is {input_px}, and the images of the shards, {width} x {height} \
             pixels, cannot be enlarged: lower it, or make larger shards (resize.side_px)"
        )));
    }
    Ok(())
}

/// Refuses batches that the process may have no memory for: by their bytes, and on a processor by
/// the maps that a step keeps for its gradients, which are the least that it takes.
///
/// # Errors
/// [`StageError::Usage`] with what to lower.
pub fn check_batches(
    settings: &TrainSettings,
    config: &ModelConfig,
    samples: usize,
    shape: ShardShape,
    device: DeviceChoice,
) -> Result<(), StageError> {
    let ShardShape { height, width, channels } = shape;
    let image = [height, width, channels]
        .into_iter()
        .fold(1_u128, |bytes, side| bytes.saturating_mul(u128::from(side)));
    let batch = settings.batch_size.min(samples);
    let waiting = batch.saturating_mul(MAX_WAITING_BATCHES + 1).min(samples);
    check_memory(
        image.saturating_mul(waiting as u128),
        &format!("batches of {height}x{width}x{channels} tensors that wait for the device"),
        "train.batch_size, or make smaller shards",
    )?;
    let trained_from = phases(settings).iter().filter_map(|phase| phase.first_block()).min();
    match trained_from {
        Some(first_block) if !matches!(device, DeviceChoice::Cuda(_)) => check_memory(
            (u128::from(config.map_numbers(first_block)) * u128::from(BYTES_PER_MAP_NUMBER))
                .saturating_mul(batch as u128),
            &format!("the maps that a step on {batch} samples keeps for its gradients"),
            "train.batch_size or train.model.input_px",
        ),
        _ => Ok(()),
    }
}

/// Whether some phase of the run needs features of the frozen backbone.
pub fn needs_features(settings: &TrainSettings) -> bool {
    settings.task == Task::Classify
        && phases(settings).iter().any(|phase| phase.trained == Trained::Head)
}

/// What a run was made from.
pub struct Fingerprints {
    /// Of all that decides what each step does: it names the run.
    pub recipe: String,
    /// Of that, and of what decides when the run ends.
    pub whole: String,
}

/// Of the configuration, the files of tables and shards that are read, and a weight file's content.
///
/// A run of the same recipe that is to end later goes on where the one before ended. With the
/// cosine schedule the number of epochs decides the rate of each step, so there it is a part of the
/// recipe. Where mosaics and mixed images end before the run, all that decides when is.
///
/// # Errors
/// Fails where the weight file cannot be read.
pub fn fingerprints(context: &Context, tables: &Inputs, shards: &Inputs) -> Result<Fingerprints> {
    let settings = &context.settings.train;
    let file = &settings.model.weights;
    let weights = if ["imagenet", "none"].contains(&file.as_str()) {
        None
    } else {
        Some(
            ossify_contract::hash_file(Path::new(file))
                .context("train.model.weights is \"imagenet\", \"none\", or the path of a file")?,
        )
    };
    let of = |effects: &[Effect]| {
        let mut fingerprint = context.fingerprint_of("train", &["train"], effects);
        fingerprint.add(context.seed().to_string()).add(tables.hash()).add(shards.hash());
        if let Some((bytes, hash)) = weights {
            fingerprint.add(bytes.to_le_bytes()).add(hash.to_le_bytes());
        }
        let ends_plain = settings.augment.ends_plain();
        if settings.schedule.kind == Schedule::Cosine || ends_plain {
            fingerprint.add(settings.epochs.to_le_bytes());
        }
        if ends_plain {
            fingerprint.add(settings.stopping.max_minutes.to_le_bytes());
        }
        fingerprint.finish()
    };
    Ok(Fingerprints { recipe: of(&[Effect::Output]), whole: of(&[Effect::Output, Effect::Length]) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_that_no_memory_holds_are_refused_unless_there_are_few_samples() {
        let mut settings = TrainSettings {
            mode: TrainMode::Scratch,
            batch_size: 65_536,
            ..TrainSettings::default()
        };
        settings.model.weights = "none".into();
        settings.model.input_px = 4096;
        let config = check_settings(&settings).unwrap();
        let refusal = |settings: &TrainSettings, samples, side, device| {
            let shape = ShardShape { height: side, width: side, channels: 1 };
            match check_batches(settings, &config, samples, shape, device) {
                Ok(()) => String::new(),
                Err(StageError::Usage(error) | StageError::Failed(error)) => error.to_string(),
            }
        };
        let few = refusal(&settings, 1, 4096, DeviceChoice::Cpu);
        assert_eq!(few, "");
        let bytes = refusal(&settings, 1 << 30, 46_000, DeviceChoice::Cpu);
        assert!(bytes.contains("that wait for the device would take"), "{bytes}");
        let maps = refusal(&settings, 1 << 30, 32, DeviceChoice::Cpu);
        assert!(maps.contains("the maps that a step on 65536 samples keeps"), "{maps}");
        assert_eq!(refusal(&settings, 1 << 30, 32, DeviceChoice::Cuda(0)), "");
        settings.mode = TrainMode::Frozen;
        assert_eq!(refusal(&settings, 1 << 30, 32, DeviceChoice::Cpu), "");
    }
}
