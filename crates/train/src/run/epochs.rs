//! Trains epoch by epoch, and scores each.

use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use ossify_contract::{EpochMetrics, SplitMetrics};
use ossify_detection::boxes::Truth;
use ossify_model::{ClassifierOutput, Head, Network, Output};
use ossify_settings::Progress;
use ossify_vocabulary::Task;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::data::batches::{self, Batch};
use crate::data::sampler::{Pass, PassRecipe};
use crate::host::numbers;
use crate::objective::Objective;
use crate::objective::detection::loss::{HostOutput, Terms};
use crate::objective::detection::scores::DetectionScores;
use crate::objective::scores::Scores;
use crate::optimise::frozen_part::{FrozenPart, of_features};
use crate::optimise::optimiser::Optimiser;
use crate::optimise::phases::{Phase, Trained, phase_of};
use crate::optimise::recipe::Recipe;
use crate::optimise::schedule::LearningRate;
use crate::random::{Purpose, random_bits};
use crate::run::outputs::read;
use crate::run::session::{Session, epoch_under_way};
use crate::run::stopping::{self, best_epoch, course};
use crate::run::training::{Finished, Training};
use crate::watch::progress::{self, RecentLosses};

impl Training<'_> {
    /// Trains `model`, which lies on the training device, from its last checkpoint or from the
    /// start, until a rule says stop.
    ///
    /// # Errors
    /// Fails where the device or the disk does, where a score becomes NaN or infinite, or on a
    /// signal. The last checkpoint stays.
    pub fn run(&self, model: Network) -> Result<Finished> {
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

    fn epoch(&self, session: &mut Session) -> Result<()> {
        let epoch = session.state.epoch + 1;
        let phase = *phase_of(self.phases, epoch).context("a run without phases")?;
        let (started, is_whole) = (Instant::now(), session.state.batches == 0);
        if is_whole && stopping::begins_plain_end(self.settings, &session.state) {
            session.state.plain_from = Some(epoch);
            self.reporter.say(format_args!(
                "from epoch {epoch} on there are no mosaics and no mixed images \
                 (train.augment.plain_share)"
            ));
        }
        if is_whole && epoch == phase.first_epoch {
            session.optimiser = Optimiser::new(Recipe::new(self.settings));
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
        let train = self.means(&session.state.scores);
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
        let source = self.train.of(phase, self.settings.task)?;
        let source = if session.state.plain_from.is_some() { source.plain() } else { source };
        let recipe = PassRecipe {
            sampler: self.settings.sampler.kind,
            batch_size: self.settings.batch_size,
            background_share: match self.objective {
                Objective::Classification(_) => 1.0,
                Objective::Detection(_) => self.settings.detect.background_share,
            },
        };
        let samples = source.samples;
        let classes: Vec<_> =
            samples.samples.iter().map(|sample| samples.class_of(sample)).collect();
        let pass = Pass::training(&classes, &recipe, self.seed, epoch);
        let expected = pass.draws.len();
        let rate = self.learning_rate(phase, pass.batches.len() as u64);
        let plateaus = course(self.settings, &session.state.metrics, phase.first_epoch).plateaus;
        let frozen = FrozenPart::of(&session.model, phase);
        let mut losses = RecentLosses::default();
        std::thread::scope(|scope| -> Result<()> {
            for batch in batches::spawn(scope, source, pass, epoch, session.state.batches)? {
                let batch = batch?;
                let learning_rate = rate.at(session.optimiser.steps(), plateaus);
                let before = session.state.scores;
                self.step(session, phase, &frozen, learning_rate, &batch)?;
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
        frozen: &FrozenPart,
        learning_rate: f64,
        batch: &Batch,
    ) -> Result<()> {
        // Dropout depends on the step alone, so a run that is continued draws what it would have
        // drawn.
        self.device.seed(random_bits(self.seed, Purpose::Step, 0, session.state.step));
        let (loss, said) = self.loss(&session.model, frozen, batch)?;
        let mut gradients = loss.backward();
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
        self.add(&mut state.scores, said, session.optimiser.penalised_squares(), batch)?;
        if !state.scores.is_finite() {
            let (step, epoch) = (state.step, epoch_under_way(state));
            bail!(
                "the loss became NaN or infinite at step {step} (epoch {epoch}); \
                 lower train.optimizer.learning_rate, or set train.optimizer.clip_norm"
            );
        }
        Ok(())
    }

    /// The loss of a batch, and what is to be counted of it once the step is done: each read waits
    /// until the device has done its work.
    fn loss(
        &self,
        model: &Network,
        frozen: &FrozenPart,
        batch: &Batch,
    ) -> Result<(Tensor<1>, Said)> {
        match &self.objective {
            Objective::Classification(loss) => {
                let sizes = model.head.output_sizes(model.backbone.feature_channels());
                let sizes = sizes.context(OTHER_HEAD)?;
                let targets = loss.targets(batch, sizes, &self.device.training());
                let output = frozen.output(model, &self.input, batch)?;
                let output = output.classifier().context(OTHER_HEAD)?;
                Ok((loss.of(&output, &targets), Said::Classifier(output)))
            }
            Objective::Detection(loss) => {
                let output = frozen.output(model, &self.input, batch)?;
                let output = output.detector().context(OTHER_HEAD)?;
                let objects: Vec<&[Truth]> = batch.objects_of_samples().collect();
                let said = HostOutput::read(&output)?;
                let terms = loss.of(&output, &said, &objects, |object| batch.object_weight(object));
                let total = terms.classification.clone() + terms.boxes.clone();
                Ok((total, Said::Detector(terms)))
            }
        }
    }

    /// Adds what was said of a batch to the sums of an epoch. `squares` are those that the penalty
    /// is on.
    fn add(
        &self,
        scores: &mut Scores,
        said: Said,
        squares: Option<Tensor<1>>,
        batch: &Batch,
    ) -> Result<()> {
        match (&self.objective, said) {
            (Objective::Classification(loss), Said::Classifier(output)) => {
                let (outputs, squares) = read(output, squares)?;
                scores.add(loss, &outputs, f64::from(squares) * self.settings.loss.l2, batch);
            }
            (_, Said::Detector(terms)) => {
                let [classification, boxes] = host_terms(terms)?;
                scores.add_detection(classification, boxes, batch.len());
            }
            (Objective::Detection(_), Said::Classifier(_)) => bail!(OTHER_HEAD),
        }
        Ok(())
    }

    fn means(&self, scores: &Scores) -> SplitMetrics {
        match self.objective {
            Objective::Classification(_) => scores.metrics(),
            Objective::Detection(_) => scores.detection_metrics(),
        }
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
        let source = self.valid.of(phase, self.settings.task)?;
        let model = session.average.network(&session.model);
        let penalty = self.penalty(&model)?;
        let mut scores = Scores::default();
        let mut found = match &model.head {
            Head::Detector(head) => Some(DetectionScores::new(head.classes())),
            Head::Classifier(_) => None,
        };
        std::thread::scope(|scope| -> Result<()> {
            let pass = Pass::scoring(samples, self.settings.batch_size);
            for batch in batches::spawn(scope, source, pass, 0, 0)? {
                let batch = batch?;
                let output = match (phase.trained, self.settings.task) {
                    (Trained::Head, Task::Classify) => {
                        of_features(&model, self.input.features(&batch)?)?
                    }
                    _ => model.forward(self.input.pixels(&batch)?),
                };
                match (&self.objective, output) {
                    (Objective::Classification(loss), Output::Classifier(output)) => {
                        let (outputs, _) = read(output, None)?;
                        scores.add(loss, &outputs, penalty, &batch);
                    }
                    (Objective::Detection(loss), Output::Detector(output)) => {
                        let said = HostOutput::read(&output)?;
                        let objects: Vec<&[Truth]> = batch.objects_of_samples().collect();
                        let weight = |object| batch.object_weight(object);
                        let terms = loss.of(&output, &said, &objects, weight);
                        let [classification, boxes] = host_terms(terms)?;
                        scores.add_detection(classification, boxes, batch.len());
                        for (said, truths) in said.images().zip(objects) {
                            found.iter_mut().for_each(|found| found.add(&said, truths));
                        }
                    }
                    _ => bail!(OTHER_HEAD),
                }
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
        let losses = self.means(&scores);
        Ok(Some(found.map_or(losses, |found| found.metrics(losses))))
    }

    /// `train.loss.l2` times the sum of squared kernels of the head's dense layers, as Keras' L2
    /// adds it to the loss.
    fn penalty(&self, model: &Network) -> Result<f64> {
        match (self.settings.loss.l2 > 0.0).then(|| model.head.l2_penalty()).flatten() {
            Some(sum) => {
                Ok(numbers(sum)?.first().copied().map_or(0.0, f64::from) * self.settings.loss.l2)
            }
            None => Ok(0.0),
        }
    }

    fn learning_rate(&self, phase: &Phase, steps_of_an_epoch: u64) -> LearningRate {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "not negative; what is too large becomes the largest number"
        )]
        let warmup_steps =
            (self.settings.schedule.warmup_epochs * steps_of_an_epoch as f64).round() as u64;
        LearningRate {
            peak: phase.learning_rate,
            schedule: self.settings.schedule.kind,
            warmup_steps,
            total_steps: steps_of_an_epoch.saturating_mul(u64::from(phase.epochs)),
            final_share: self.settings.schedule.final_share,
            plateau_factor: self.settings.schedule.plateau_factor,
        }
    }
}

const OTHER_HEAD: &str =
    "the network's head is not that of train.task; this is a defect of ossify-train";

/// What is counted of a batch, still on the device.
#[expect(clippy::large_enum_variant, reason = "there is one of a batch")]
enum Said {
    Classifier(ClassifierOutput),
    Detector(Terms),
}

/// The terms of a detector's loss: of scores, and of boxes.
fn host_terms(terms: Terms) -> Result<[f64; 2]> {
    let terms = vec![terms.classification.without_autodiff(), terms.boxes.without_autodiff()];
    match numbers(Tensor::cat(terms, 0))?[..] {
        [classification, boxes] => Ok([f64::from(classification), f64::from(boxes)]),
        ref other => bail!("a loss of {} terms; this is a defect of ossify-train", other.len()),
    }
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
