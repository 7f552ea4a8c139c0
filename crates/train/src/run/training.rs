use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow, bail};
use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use ossify_contract::{EpochMetrics, SplitMetrics, write_atomic};
use ossify_model::device::ComputeDevice;
use ossify_model::{Classifier, HeadOutput};
use ossify_settings::{Progress, Reporter, TrainMode, TrainSettings};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::data::batches::{self, Batch, Source};
use crate::data::input::InputMaker;
use crate::data::sampler::Pass;
use crate::interrupt::Interrupt;
use crate::objective::loss::Loss;
use crate::objective::scores::{Outputs, Scores};
use crate::optimise::average::WeightAverage;
use crate::optimise::frozen_part::FrozenPart;
use crate::optimise::optimiser::{Optimiser, Recipe};
use crate::optimise::parameters::{self, ParameterData};
use crate::optimise::phases::{Phase, Trained, phase_of};
use crate::optimise::schedule::LearningRate;
use crate::random::{Purpose, random_bits};
use crate::run::checkpoint::{self, Checkpoint, RunState, checkpoint_file, next_best_file};
use crate::run::stopping::{self, best_epoch, course};
use crate::watch::progress::{self, RecentLosses};
use crate::watch::tensorboard::EventFile;

/// A split, as images and, where a phase needs them, as features of the frozen backbone.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    /// Images, varied in training.
    pub pixels: Source<'a>,
    /// Features, for phases that train the head alone.
    pub features: Option<Source<'a>>,
}

impl<'a> Sources<'a> {
    fn of(&self, phase: &Phase) -> Result<Source<'a>> {
        match phase.trained {
            Trained::Head => self.features.context(
                "a phase that trains the head has no features; this is a defect of ossify-train",
            ),
            Trained::FromBlock(_) | Trained::All => Ok(self.pixels),
        }
    }

    fn samples(&self) -> usize {
        self.pixels.samples.samples.len()
    }
}

/// All that a run is made of.
pub struct Training<'a> {
    /// The recipe.
    pub settings: &'a TrainSettings,
    /// Which part of the network learns when.
    pub phases: &'a [Phase],
    /// What is minimised, without the penalty.
    pub loss: Loss,
    /// Seed of the run.
    pub seed: u64,
    /// Fingerprint of all that decides what each step does.
    pub recipe: &'a str,
    /// Where the run is made: see [`crate::run::unfinished::Unfinished`].
    pub folder: &'a Path,
    /// Where to compute.
    pub device: &'a ComputeDevice,
    /// How batches become input.
    pub input: InputMaker,
    /// What is learnt from.
    pub train: Sources<'a>,
    /// What is scored after each epoch; without samples nothing is.
    pub valid: Sources<'a>,
    /// Where to say things.
    pub reporter: &'a Reporter,
    /// Whether somebody wants the run to end.
    pub interrupt: &'a Interrupt,
    /// When this session began.
    pub started: Instant,
}

/// A run that has ended.
pub struct Finished {
    /// The network of the best epoch, without gradients.
    pub model: Classifier,
    /// How it went.
    pub state: RunState,
    /// Why it ended.
    pub reason: String,
}

/// What changes while a run goes on; a checkpoint holds all of it.
struct Session {
    model: Classifier,
    optimiser: Optimiser,
    average: WeightAverage,
    state: RunState,
    /// Seconds of earlier sessions.
    earlier_secs: f64,
    /// For TensorBoard.
    events: EventFile,
}

impl Training<'_> {
    /// Trains `model`, which lies on the training device, from its last checkpoint or from the
    /// start, until a rule says stop.
    ///
    /// # Errors
    /// Fails where the device or the disk does, where a score becomes NaN or infinite, or on a
    /// signal. The last checkpoint stays.
    pub fn run(&self, model: Classifier) -> Result<Finished> {
        let mut session = self.start(model)?;
        loop {
            if let Some(reason) =
                stopping::reason_to_stop(self.settings, self.phases, &session.state)
            {
                let model = self.best(&session)?;
                return Ok(Finished { model, state: session.state, reason });
            }
            self.epoch(&mut session)?;
        }
    }

    /// Model, optimiser and state as the last checkpoint has them, or fresh ones.
    fn start(&self, model: Classifier) -> Result<Session> {
        let path = checkpoint_file(self.folder, "last");
        let Some(saved) = self.last_checkpoint()? else {
            checkpoint::remove_all(self.folder)?;
            let state = RunState {
                recipe: self.recipe.to_owned(),
                began_unix_secs: progress::unix_secs(),
                ..Default::default()
            };
            let events = EventFile::begin(self.folder, state.began_unix_secs, &[])?;
            let average = WeightAverage::new(self.settings.optimizer.ema_decay);
            return Ok(Session {
                model,
                optimiser: Optimiser::new(self.optimiser_recipe()),
                average,
                state,
                earlier_secs: 0.0,
                events,
            });
        };
        let state = saved.state;
        checkpoint::settle_best(
            self.folder,
            best_epoch(self.settings.checkpoint.best_by, &state.metrics)
                .map(|metrics| metrics.epoch),
        )?;
        self.reporter.say(format_args!(
            "continues after step {} (epoch {}) of an earlier run",
            state.step,
            epoch_under_way(&state)
        ));
        let optimiser = Optimiser::restore(
            self.optimiser_recipe(),
            state.optimiser_steps,
            saved.optimiser,
            &self.device.inference(),
        )
        .map_err(|reason| anyhow!("{}: {reason}; start over with --force", path.display()))?;
        let earlier_secs = state.elapsed_secs;
        let events = EventFile::begin(self.folder, state.began_unix_secs, &state.metrics)?;
        let model = self.restore(model, saved.model, &path)?;
        let averaged = (!saved.average.is_empty())
            .then(|| self.restore(model.valid(), saved.average, &path))
            .transpose()?;
        let average = WeightAverage::restore(self.settings.optimizer.ema_decay, averaged);
        Ok(Session { model, optimiser, average, state, earlier_secs, events })
    }

    /// The checkpoint to go on from, if there is one. A run that has gone on for longer than is now
    /// asked for starts over: what is asked for is not on the way ahead of it.
    fn last_checkpoint(&self) -> Result<Option<Checkpoint>> {
        let saved = checkpoint::load_last(self.folder, |damage| self.reporter.warn(damage))?
            .filter(|saved| saved.state.recipe == self.recipe);
        let Some(saved) = saved else { return Ok(None) };
        match stopping::earlier_end(self.settings, self.phases, &saved.state) {
            None => Ok(Some(saved)),
            Some((epoch, reason)) => {
                self.reporter.say(format_args!(
                    "starts over: the run is at epoch {} and would have ended after epoch {epoch}, \
                     {reason}",
                    saved.state.epoch
                ));
                Ok(None)
            }
        }
    }

    fn epoch(&self, session: &mut Session) -> Result<()> {
        let epoch = session.state.epoch + 1;
        let phase = *phase_of(self.phases, epoch).context("a run without phases")?;
        let (started, is_whole) = (Instant::now(), session.state.batches == 0);
        if is_whole && epoch == phase.first_epoch {
            session.optimiser = Optimiser::new(self.optimiser_recipe());
            session.state.optimiser_steps = 0;
        }
        let samples = (self.train.samples() + self.valid.samples()) as u64;
        let progress = self.reporter.progress(
            &format!("epoch {epoch}/{}", self.settings.epochs),
            "samples",
            Some(samples),
        );
        let rows_before = session.state.scores.rows();
        progress.inc(rows_before);
        let learning_rate = self.train_epoch(session, &phase, epoch, &progress)?;
        let train_secs = started.elapsed().as_secs_f64();
        let train = session.state.scores.metrics();
        let valid = self.score(session, &phase, &progress)?;
        drop(progress);

        let state = &mut session.state;
        (state.epoch, state.batches, state.scores) = (epoch, 0, Scores::default());
        state.elapsed_secs = session.earlier_secs + self.started.elapsed().as_secs_f64();
        if is_whole {
            state.epoch_secs = started.elapsed().as_secs_f64();
        }
        let metrics = EpochMetrics {
            epoch,
            step: state.step,
            train,
            valid,
            learning_rate,
            batches_xxh3: format!("{:016x}", state.batches_digest),
            elapsed_secs: state.elapsed_secs,
            images_per_sec: (train.rows - rows_before) as f64 / train_secs.max(1e-9),
            peak_memory_bytes: progress::peak_memory_bytes(),
        };
        state.metrics.push(metrics.clone());
        let is_best = best_epoch(self.settings.checkpoint.best_by, &state.metrics)
            .is_some_and(|best| best.epoch == epoch);
        self.reporter.say(progress::epoch_line(
            &metrics,
            self.settings.epochs,
            state.epoch_secs,
            is_best,
        ));
        self.keep(session, is_best)?;
        session.events.add(&metrics)
    }

    /// The rest of one pass over the training samples. Returns the learning rate of its last step.
    fn train_epoch(
        &self,
        session: &mut Session,
        phase: &Phase,
        epoch: u32,
        progress: &Progress,
    ) -> Result<f64> {
        let source = self.train.of(phase)?;
        let pass = Pass::training(
            &source.samples.samples,
            self.settings.sampler.kind,
            self.settings.batch_size,
            self.seed,
            epoch,
        );
        let expected = pass.draws.len();
        let rate = self.learning_rate(phase, pass.batches.len() as u64);
        let plateaus = course(self.settings, &session.state.metrics, phase.first_epoch).plateaus;
        let still = FrozenPart::of(&session.model, phase);
        let mut losses = RecentLosses::default();
        std::thread::scope(|scope| -> Result<()> {
            for batch in batches::spawn(scope, source, pass, epoch, session.state.batches) {
                let batch = batch?;
                let learning_rate = rate.at(session.optimiser.steps(), plateaus);
                let before = session.state.scores;
                self.step(session, phase, &still, learning_rate, &batch)?;
                losses.push(session.state.scores.loss_since(&before));
                progress.message(format_args!("step {} {losses}", session.state.step));
                progress.inc(batch.len() as u64);
                let step = session.state.step;
                if self.interrupt.is_requested() {
                    return self.leave(session);
                }
                if self.settings.checkpoint.every_steps > 0
                    && step.is_multiple_of(self.settings.checkpoint.every_steps)
                {
                    self.keep_last(session)?;
                }
            }
            Ok(())
        })?;
        check_seen(&session.state.scores, expected, "train")?;
        Ok(rate.at(session.optimiser.steps().saturating_sub(1), plateaus))
    }

    /// One step of the optimiser.
    fn step(
        &self,
        session: &mut Session,
        phase: &Phase,
        still: &FrozenPart,
        learning_rate: f64,
        batch: &Batch,
    ) -> Result<()> {
        // Dropout depends on the step alone, so a run that is continued draws what it would have
        // drawn.
        self.device.seed(random_bits(self.seed, Purpose::Step, 0, session.state.step));
        let output = session.model.head.forward(still.features(
            &session.model.backbone,
            &self.input,
            batch,
        )?);
        let mut gradients = self.loss.of(&output, batch).backward();
        if phase.trained == Trained::Head {
            let gradients = GradientsParams::from_module(&mut gradients, &session.model.head);
            session.optimiser.step(learning_rate, &mut session.model.head, gradients);
        } else {
            let gradients = GradientsParams::from_module(&mut gradients, &session.model);
            session.optimiser.step(learning_rate, &mut session.model, gradients);
        }
        session.average.follow(&session.model, phase.trained, session.optimiser.steps());
        let state = &mut session.state;
        state.step += 1;
        state.batches += 1;
        state.optimiser_steps = session.optimiser.steps();
        state.batches_digest = xxh3_64_with_seed(&batch.digest.to_le_bytes(), state.batches_digest);
        let (outputs, squares) = read(output, session.optimiser.penalised_squares())?;
        state.scores.add(&self.loss, &outputs, f64::from(squares) * self.settings.loss.l2, batch);
        if !state.scores.is_finite() {
            let (step, epoch) = (state.step, epoch_under_way(state));
            bail!(
                "the loss became NaN or infinite at step {step} (epoch {epoch}); \
                 lower train.optimizer.learning_rate, or set train.optimizer.clip_norm"
            );
        }
        Ok(())
    }

    /// Scores every sample of the valid split exactly once; `None` where it has none.
    fn score(
        &self,
        session: &Session,
        phase: &Phase,
        progress: &Progress,
    ) -> Result<Option<SplitMetrics>> {
        let samples = self.valid.samples();
        if samples == 0 {
            return Ok(None);
        }
        let source = self.valid.of(phase)?;
        let model = session.average.network(&session.model);
        let penalty = self.penalty(&model)?;
        let mut scores = Scores::default();
        std::thread::scope(|scope| -> Result<()> {
            for batch in batches::spawn(
                scope,
                source,
                Pass::scoring(samples, self.settings.batch_size),
                0,
                0,
            ) {
                let batch = batch?;
                let output = match phase.trained {
                    Trained::Head => model.head.forward(self.input.features(&batch)?),
                    Trained::FromBlock(_) | Trained::All => {
                        model.forward(self.input.pixels(&batch)?)
                    }
                };
                let (outputs, _) = read(output, None)?;
                scores.add(&self.loss, &outputs, penalty, &batch);
                progress.inc(batch.len() as u64);
                if self.interrupt.is_requested() {
                    return self.leave(session);
                }
            }
            Ok(())
        })?;
        check_seen(&scores, samples, "valid")?;
        if !scores.is_finite() {
            bail!(
                "the valid loss became NaN or infinite in epoch {}, though that of train did not: \
                 lower train.optimizer.learning_rate, or set train.optimizer.clip_norm; the same \
                 command tries the epoch again from the last checkpoint, --force starts over",
                session.state.epoch + 1
            );
        }
        Ok(Some(scores.metrics()))
    }

    /// `train.loss.l2` times the sum of squared kernels of the head's dense layers, as Keras' L2
    /// adds it to the loss.
    fn penalty(&self, model: &Classifier) -> Result<f64> {
        match (self.settings.loss.l2 > 0.0).then(|| model.head.l2_penalty()).flatten() {
            Some(sum) => {
                Ok(numbers(sum)?.first().copied().map_or(0.0, f64::from) * self.settings.loss.l2)
            }
            None => Ok(0.0),
        }
    }

    fn optimiser_recipe(&self) -> Recipe {
        Recipe::new(self.settings)
    }

    fn learning_rate(&self, phase: &Phase, steps_of_an_epoch: u64) -> LearningRate {
        LearningRate {
            peak: phase.learning_rate,
            schedule: self.settings.schedule.kind,
            warmup_steps: (self.settings.schedule.warmup_epochs * steps_of_an_epoch as f64).round()
                as u64,
            total_steps: steps_of_an_epoch * u64::from(phase.epochs),
            final_share: self.settings.schedule.final_share,
            plateau_factor: self.settings.schedule.plateau_factor,
        }
    }

    /// Saves and ends, because somebody asked for it.
    fn leave(&self, session: &Session) -> Result<()> {
        self.keep_last(session)?;
        let state = &session.state;
        bail!(
            "interrupted; the checkpoint after step {} (epoch {}) is kept; the same command goes \
                on from there",
            state.step,
            epoch_under_way(state)
        );
    }

    /// Writes checkpoints and `metrics.jsonl`. The last checkpoint is where a killed run goes on.
    fn keep(&self, session: &Session, is_best: bool) -> Result<()> {
        if is_best {
            let model = self.snapshot(&session.average.network(&session.model))?;
            checkpoint::save(
                &next_best_file(self.folder),
                &Checkpoint { state: session.state.clone(), model, ..Default::default() },
            )?;
        }
        let mut lines = String::new();
        for epoch in &session.state.metrics {
            lines.push_str(&serde_json::to_string(epoch)?);
            lines.push('\n');
        }
        write_atomic(&self.folder.join("metrics.jsonl"), lines.as_bytes())?;
        self.keep_last(session)?;
        if is_best { checkpoint::promote_best(self.folder) } else { Ok(()) }
    }

    fn keep_last(&self, session: &Session) -> Result<()> {
        let optimiser = session
            .optimiser
            .snapshot()
            .map_err(|reason| anyhow!("cannot read the optimiser from the device: {reason}"))?;
        // Running statistics lag by one update until the module is asked for its inference form.
        let model = self.snapshot(&session.model.valid())?;
        let average = session
            .average
            .averaged()
            .map(|network| self.snapshot(network))
            .transpose()?
            .unwrap_or_default();
        let elapsed_secs = session.earlier_secs + self.started.elapsed().as_secs_f64();
        let state = RunState { elapsed_secs, ..session.state.clone() };
        checkpoint::save_last(self.folder, &Checkpoint { state, model, optimiser, average })
    }

    /// Whether more than the head is trained, now or in a longer run; else checkpoints hold the
    /// head alone.
    fn trains_backbone(&self) -> bool {
        self.settings.mode != TrainMode::Frozen
    }

    fn snapshot(&self, model: &Classifier) -> Result<BTreeMap<String, ParameterData>> {
        let saved = if self.trains_backbone() {
            parameters::snapshot(model)
        } else {
            parameters::snapshot(&model.head)
        };
        saved.map_err(|reason| anyhow!("cannot read the weights from the device: {reason}"))
    }

    /// Puts the numbers of a checkpoint into the part that it holds.
    fn restore(
        &self,
        model: Classifier,
        saved: BTreeMap<String, ParameterData>,
        path: &Path,
    ) -> Result<Classifier> {
        let restored = if self.trains_backbone() {
            parameters::restore(model, saved)
        } else {
            parameters::restore(model.head, saved)
                .map(|head| Classifier { backbone: model.backbone, head })
        };
        restored.map_err(|reason| {
            anyhow!(
                "{} does not fit the network: {reason}; start over with --force",
                path.display()
            )
        })
    }

    /// The network of the best epoch, averaged where there is an average.
    fn best(&self, session: &Session) -> Result<Classifier> {
        let best = best_epoch(self.settings.checkpoint.best_by, &session.state.metrics)
            .map(|metrics| metrics.epoch);
        if session.state.batches == 0 && best.is_none_or(|best| best == session.state.epoch) {
            return Ok(session.average.network(&session.model));
        }
        let path = checkpoint_file(self.folder, "best");
        let saved = checkpoint::load(&path)?
            .with_context(|| format!("{} is gone; start over with --force", path.display()))?;
        if saved.state.metrics.last().map(|metrics| metrics.epoch) != best {
            bail!(
                "{} is of another epoch than metrics.jsonl; start over with --force",
                path.display()
            );
        }
        Ok(self.restore(session.model.clone(), saved.model, &path)?.valid())
    }
}

/// The epoch that the next step belongs to, or the last one where it was just finished.
fn epoch_under_way(state: &RunState) -> u32 {
    if state.batches > 0 { state.epoch + 1 } else { state.epoch }
}

/// Reads a batch's outputs from the device, and beside them one number where there is one, else 0:
/// all at once, since each read waits until the device has done its work.
fn read(output: HeadOutput, beside: Option<Tensor<1>>) -> Result<(Outputs, f32)> {
    let HeadOutput { logits, places, candidates } = output;
    let [rows, classes] = logits.dims();
    let [_, place_count] = places.dims();
    let parts = [
        Some(logits.without_autodiff().reshape([rows * classes])),
        Some(places.without_autodiff().reshape([rows * place_count])),
        Some(candidates.without_autodiff().reshape([rows * place_count * 4])),
        beside,
    ];
    let mut values = numbers(Tensor::cat(parts.into_iter().flatten().collect(), 0))?;
    let beside = values.get(rows * (classes + place_count * 5)).copied().unwrap_or_default();
    values.truncate(rows * (classes + place_count * 5));
    let candidates = values.split_off(rows * (classes + place_count));
    let places = values.split_off(rows * classes);
    Ok((Outputs { logits: values, places, candidates }, beside))
}

fn numbers<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>> {
    parameters::values(tensor).map_err(|reason| anyhow!("cannot read from the device: {reason}"))
}

fn check_seen(scores: &Scores, expected: usize, split: &str) -> Result<()> {
    if scores.rows() != expected as u64 {
        bail!(
            "{} samples of {split} were seen and {expected} were expected; this is a defect of \
                ossify-train",
            scores.rows()
        );
    }
    Ok(())
}
