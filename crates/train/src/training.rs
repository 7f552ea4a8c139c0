use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow, bail};
use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::{DType, Device, Tensor, TensorData};
use ossify_contract::{EpochMetrics, ShardShape, SplitMetrics, write_atomic};
use ossify_model::device::ComputeDevice;
use ossify_model::{Classifier, HeadOutput, Normalization, pixels};
use ossify_settings::{Progress, Reporter, TrainMode, TrainSettings};

use crate::augment::Augmentation;
use crate::batches::{self, Batch, Inputs, Pass, Source};
use crate::checkpoint::{self, BestEpoch, Checkpoint, RunState, checkpoint_file};
use crate::interrupt::Interrupt;
use crate::loss::{Loss, Scores};
use crate::optimiser::Adam;
use crate::parameters;
use crate::random::{Purpose, random_bits};
use crate::schedule::LearningRate;
use crate::stopping;
use crate::watch;

/// All that a run is made of.
pub struct Training<'a> {
    /// The recipe.
    pub settings: &'a TrainSettings,
    /// Seed of the run.
    pub seed: u64,
    /// Of the run's inputs and configuration.
    pub fingerprint: &'a str,
    /// The run's folder.
    pub folder: &'a Path,
    /// Where to compute.
    pub device: &'a ComputeDevice,
    /// How bytes become input.
    pub normalization: Normalization,
    /// What is learnt from.
    pub train: Source<'a>,
    /// What is scored after each epoch; without samples nothing is.
    pub valid: Source<'a>,
    /// Where to say things.
    pub reporter: &'a Reporter,
    /// Whether somebody wants the run to end.
    pub interrupt: &'a Interrupt,
}

impl Training<'_> {
    /// Trains `model`, which lies on the training device, from its last checkpoint or from the start, until a rule says
    /// stop. Returns the network of the best epoch, without gradients, the final state, and why it stopped.
    ///
    /// # Errors
    /// Fails where the device or the disk does, where the loss is no number any more, or on a signal. The checkpoint of
    /// the last whole epoch stays.
    pub fn run(&self, model: Classifier) -> Result<(Classifier, RunState, String)> {
        let (mut model, mut adam, mut state) = self.start(model)?;
        loop {
            if let Some(reason) = stopping::reason_to_stop(self.settings, &state) {
                return Ok((self.best(model, &state)?, state, reason));
            }
            let started = Instant::now();
            let epoch = state.epoch + 1;
            let progress = self.reporter.progress(&format!("epoch {epoch}/{}", self.settings.epochs), "samples", Some(self.samples_of_an_epoch()));
            let (trained, train_scores) = self.train_epoch(model, &mut adam, epoch, &progress)?;
            model = trained;
            let train_secs = started.elapsed().as_secs_f64();
            let valid = self.score(&model, &progress)?;
            drop(progress);

            state.epoch = epoch;
            state.step = adam.steps();
            state.elapsed_secs += started.elapsed().as_secs_f64();
            let metrics = EpochMetrics {
                epoch,
                step: state.step,
                train: train_scores,
                valid,
                learning_rate: self.learning_rate().at(state.step.saturating_sub(1)),
                elapsed_secs: state.elapsed_secs,
                images_per_sec: train_scores.rows as f64 / train_secs.max(1e-9),
                peak_memory_bytes: watch::peak_memory_bytes(),
            };
            let score = stopping::score(&metrics);
            let is_best = state.best.is_none_or(|best| score > best.score);
            if is_best {
                state.best = Some(BestEpoch { epoch, score });
            }
            self.reporter.say(watch::epoch_line(&metrics, self.settings.epochs, is_best));
            state.metrics.push(metrics);
            self.keep(&model, &adam, &state, is_best)?;
        }
    }

    /// Model, optimiser and state as the last checkpoint has them, or fresh ones.
    fn start(&self, model: Classifier) -> Result<(Classifier, Adam, RunState)> {
        let path = checkpoint_file(self.folder, "last");
        match checkpoint::load(&path)? {
            Some(saved) if saved.state.fingerprint == self.fingerprint => {
                self.reporter.say(format_args!("continues after epoch {} of an earlier run that was cut short", saved.state.epoch));
                let steps = saved.state.step;
                let adam = Adam::restore(self.settings.clip_norm, steps, saved.optimiser, &self.device.inference())
                    .map_err(|reason| anyhow!("{}: {reason}; start over with --force", path.display()))?;
                Ok((self.restore(model, saved.model, &path)?, adam, saved.state))
            }
            _ => Ok((model, Adam::new(self.settings.clip_norm), RunState { fingerprint: self.fingerprint.to_owned(), ..Default::default() })),
        }
    }

    /// The network of the best epoch.
    fn best(&self, model: Classifier, state: &RunState) -> Result<Classifier> {
        if state.best.is_none_or(|best| best.epoch == state.epoch) {
            return Ok(model.valid());
        }
        let path = checkpoint_file(self.folder, "best");
        let Checkpoint { model: saved, .. } = checkpoint::load(&path)?.with_context(|| format!("{} is gone; start over with --force", path.display()))?;
        Ok(self.restore(model, saved, &path)?.valid())
    }

    /// Writes checkpoints and `metrics.jsonl`. The last checkpoint is written last: it is where a killed run goes on.
    fn keep(&self, model: &Classifier, adam: &Adam, state: &RunState, is_best: bool) -> Result<()> {
        // Running statistics lag by one update until the module is asked for its inference form.
        let model = model.valid();
        let saved = match self.settings.mode {
            TrainMode::Frozen => parameters::snapshot(&model.head),
            TrainMode::Full => parameters::snapshot(&model),
        };
        let saved = saved.map_err(|reason| anyhow!("cannot read the weights from the device: {reason}"))?;
        if is_best {
            checkpoint::save(&checkpoint_file(self.folder, "best"), state, &saved, &Default::default())?;
        }
        let mut lines = String::new();
        for epoch in &state.metrics {
            lines.push_str(&serde_json::to_string(epoch)?);
            lines.push('\n');
        }
        write_atomic(&self.folder.join("metrics.jsonl"), lines.as_bytes())?;
        let moments = adam.snapshot().map_err(|reason| anyhow!("cannot read the optimiser from the device: {reason}"))?;
        checkpoint::save(&checkpoint_file(self.folder, "last"), state, &saved, &moments)
    }

    /// Puts the numbers of a checkpoint into the part that is trained.
    fn restore(&self, model: Classifier, saved: std::collections::BTreeMap<String, parameters::ParameterData>, path: &Path) -> Result<Classifier> {
        let restored = match self.settings.mode {
            TrainMode::Frozen => parameters::restore(model.head, saved).map(|head| Classifier { backbone: model.backbone, head }),
            TrainMode::Full => parameters::restore(model, saved),
        };
        restored.map_err(|reason| anyhow!("{} does not fit the network: {reason}; start over with --force", path.display()))
    }

    fn samples_of_an_epoch(&self) -> u64 {
        (self.train.samples.samples.len() + self.valid.samples.samples.len()) as u64
    }

    fn learning_rate(&self) -> LearningRate {
        let steps = self.train.samples.samples.len().div_ceil(self.settings.batch_size) as u64;
        LearningRate {
            peak: self.settings.learning_rate,
            cosine: self.settings.schedule == ossify_settings::Schedule::Cosine,
            warmup_steps: (self.settings.warmup_epochs * steps as f64).round() as u64,
            total_steps: steps * u64::from(self.settings.epochs),
        }
    }

    fn loss(&self) -> Loss {
        Loss { box_weight: self.settings.box_weight, label_smoothing: self.settings.label_smoothing }
    }

    /// One pass over the training samples.
    fn train_epoch(&self, mut model: Classifier, adam: &mut Adam, epoch: u32, progress: &Progress) -> Result<(Classifier, SplitMetrics)> {
        let samples = self.train.samples.samples.len();
        let augmentation = Augmentation { seed: self.seed, flip: self.settings.flip, brightness: self.settings.brightness, shift: self.settings.shift };
        let pass = Pass::training(samples, self.settings.batch_size, self.seed, epoch, augmentation);
        let (rate, loss, device) = (self.learning_rate(), self.loss(), self.device.training());
        let mut scores = Scores::default();
        let model = std::thread::scope(|scope| -> Result<Classifier> {
            for batch in batches::spawn(scope, self.train, pass) {
                let batch = batch?;
                self.interrupt.check(&format!("the checkpoint after epoch {} is kept", epoch - 1))?;
                // Dropout depends on the step alone, so a run that is continued draws what it would have drawn.
                self.device.seed(random_bits(self.seed, Purpose::Step, 0, adam.steps()));
                let output = self.forward(&model, &batch, &device)?;
                let penalty = self.penalty(&model);
                let mut total = loss.of(output.logits.clone(), output.boxes.clone(), &batch);
                if let Some(penalty) = &penalty {
                    total = total + penalty.clone();
                }
                let mut gradients = total.backward();
                let learning_rate = rate.at(adam.steps());
                model = match self.settings.mode {
                    TrainMode::Frozen => {
                        let gradients = GradientsParams::from_module(&mut gradients, &model.head);
                        Classifier { head: adam.step(learning_rate, model.head, gradients), backbone: model.backbone }
                    }
                    TrainMode::Full => {
                        let gradients = GradientsParams::from_module(&mut gradients, &model);
                        adam.step(learning_rate, model, gradients)
                    }
                };
                add(&mut scores, &loss, output, penalty, &batch)?;
                if !scores.is_finite() {
                    bail!("the loss is no number any more at step {} (epoch {epoch}); lower train.learning_rate, or set train.clip_norm", adam.steps());
                }
                progress.inc(batch.len() as u64);
            }
            Ok(model)
        })?;
        check_seen(&scores, samples, "train")?;
        Ok((model, scores.metrics()))
    }

    /// Scores every sample of the valid split exactly once; `None` where it has none.
    fn score(&self, model: &Classifier, progress: &Progress) -> Result<Option<SplitMetrics>> {
        let samples = self.valid.samples.samples.len();
        if samples == 0 {
            return Ok(None);
        }
        let model = model.valid();
        let (loss, device) = (self.loss(), self.device.inference());
        let penalty = self.penalty(&model);
        let mut scores = Scores::default();
        std::thread::scope(|scope| -> Result<()> {
            for batch in batches::spawn(scope, self.valid, Pass::scoring(samples, self.settings.batch_size)) {
                let batch = batch?;
                self.interrupt.check("the checkpoint of the epoch before is kept")?;
                let output = self.forward(&model, &batch, &device)?;
                add(&mut scores, &loss, output, penalty.clone(), &batch)?;
                progress.inc(batch.len() as u64);
            }
            Ok(())
        })?;
        check_seen(&scores, samples, "valid")?;
        Ok(Some(scores.metrics()))
    }

    fn forward(&self, model: &Classifier, batch: &Batch, device: &Device) -> Result<HeadOutput> {
        match &batch.inputs {
            Inputs::Features(rows) => {
                let width = rows.len() / batch.len().max(1);
                let features = Tensor::<2>::from_data(TensorData::new(rows.clone(), [batch.len(), width]), (device, DType::F32));
                Ok(model.head.forward(features))
            }
            Inputs::Pixels(bytes) => {
                let ShardShape { height, width, channels } = self.train.samples.shards.shape().context("a split without shards")?;
                let shape = [batch.len(), height as usize, width as usize, channels as usize];
                let input = pixels::to_input(bytes.clone(), shape, device, self.normalization, self.settings.input_px as usize)?;
                Ok(model.forward(input))
            }
        }
    }

    /// `train.l2` times the sum of squared kernels of the head's dense layers, as Keras' L2 adds it to the loss.
    fn penalty(&self, model: &Classifier) -> Option<Tensor<1>> {
        (self.settings.l2 > 0.0).then(|| model.head.l2_penalty()).flatten().map(|sum| sum * self.settings.l2)
    }
}

/// Reads a batch's outputs from the device and adds them up.
fn add(scores: &mut Scores, loss: &Loss, output: HeadOutput, penalty: Option<Tensor<1>>, batch: &Batch) -> Result<()> {
    let logits = numbers(output.logits)?;
    let boxes = numbers(output.boxes)?;
    let penalty = match penalty {
        Some(penalty) => numbers(penalty)?.first().copied().unwrap_or_default(),
        None => 0.0,
    };
    scores.add(loss, &logits, &boxes, f64::from(penalty), batch);
    Ok(())
}

fn numbers<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>> {
    let data = tensor.try_into_data().map_err(|e| anyhow!("cannot read from the device: {e}"))?;
    data.try_into_vec().map_err(|e| anyhow!("cannot read from the device: {e:?}"))
}

fn check_seen(scores: &Scores, expected: usize, split: &str) -> Result<()> {
    if scores.rows() != expected as u64 {
        bail!("{} samples of {split} were seen and {expected} were expected; this is a defect of ossify-train", scores.rows());
    }
    Ok(())
}
