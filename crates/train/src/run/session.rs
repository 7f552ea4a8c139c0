//! What changes while a run goes on: from the last checkpoint into memory, and back.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};
use burn::module::Module;
use ossify_contract::write_atomic;
use ossify_model::Network;
use ossify_settings::TrainMode;

use crate::optimise::average::WeightAverage;
use crate::optimise::optimiser::Optimiser;
use crate::optimise::parameters::{self, ParameterData};
use crate::optimise::recipe::Recipe;
use crate::run::checkpoint::{self, Checkpoint, RunState, checkpoint_file, next_best_file};
use crate::run::stopping::{self, best_epoch};
use crate::run::training::Training;
use crate::watch::progress;
use crate::watch::tensorboard::EventFile;

/// What changes while a run goes on; a checkpoint holds all of it.
pub(super) struct Session {
    pub(super) model: Network,
    pub(super) optimiser: Optimiser,
    pub(super) average: WeightAverage,
    pub(super) state: RunState,
    /// Seconds of earlier sessions.
    pub(super) earlier_secs: f64,
    /// For TensorBoard.
    pub(super) events: EventFile,
}

impl Training<'_> {
    /// Model, optimiser and state as the last checkpoint has them, or fresh ones.
    pub(super) fn start(&self, model: Network) -> Result<Session> {
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
                optimiser: Optimiser::new(Recipe::new(self.settings)),
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
            Recipe::new(self.settings),
            state.optimiser_steps,
            saved.optimiser,
            &self.device.inference(),
        )
        .map_err(|reason| anyhow!("{}: {reason}; start over with --force", path.display()))?;
        let earlier_secs = state.elapsed_secs;
        // There may be no epoch left to train: whatever is published is written here as well.
        self.keep_metrics(&state)?;
        let events = EventFile::begin(self.folder, state.began_unix_secs, &state.metrics)?;
        let model = self.restore(model, saved.model, &path)?;
        let averaged = (!saved.average.is_empty())
            .then(|| self.restore(model.valid(), saved.average, &path))
            .transpose()?;
        let average = WeightAverage::restore(self.settings.optimizer.ema_decay, averaged);
        Ok(Session { model, optimiser, average, state, earlier_secs, events })
    }

    /// The checkpoint to go on from, if there is one. A run that has gone on for longer than is now
    /// asked for starts over, unless it has to be continued: what is asked for is not on the way
    /// ahead of it.
    fn last_checkpoint(&self) -> Result<Option<Checkpoint>> {
        let saved = checkpoint::load_last(self.folder, |damage| self.reporter.warn(damage))?
            .filter(|saved| saved.state.recipe == self.recipe);
        let Some(saved) = saved else {
            if self.must_resume {
                bail!(
                    "--resume: {} is not there, or of another run; leave out --resume to train \
                     from the start",
                    checkpoint_file(self.folder, "last").display()
                );
            }
            return Ok(None);
        };
        let Some((epoch, reason)) = stopping::earlier_end(self.settings, self.phases, &saved.state)
        else {
            return Ok(Some(saved));
        };
        let ahead = format!(
            "the run is at epoch {} and would have ended after epoch {epoch}, {reason}",
            saved.state.epoch
        );
        if self.must_resume {
            bail!(
                "--resume: {ahead}; ask for a longer run, or leave out --resume to replace it by \
                 the shorter one, trained from the start"
            );
        }
        self.reporter.say(format_args!("starts over: {ahead}"));
        Ok(None)
    }

    /// Saves and ends, because somebody asked for it.
    pub(super) fn leave(&self, session: &Session) -> Result<()> {
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
    pub(super) fn keep(&self, session: &Session, is_best: bool) -> Result<()> {
        if is_best {
            let model = self.snapshot(&session.average.network(&session.model))?;
            checkpoint::save(
                &next_best_file(self.folder),
                &Checkpoint { state: session.state.clone(), model, ..Default::default() },
            )?;
        }
        self.keep_metrics(&session.state)?;
        self.keep_last(session)?;
        if is_best { checkpoint::promote_best(self.folder) } else { Ok(()) }
    }

    /// Writes `metrics.jsonl`.
    fn keep_metrics(&self, state: &RunState) -> Result<()> {
        let mut lines = String::new();
        for epoch in &state.metrics {
            lines.push_str(&serde_json::to_string(epoch)?);
            lines.push('\n');
        }
        Ok(write_atomic(&self.folder.join("metrics.jsonl"), lines.as_bytes())?)
    }

    pub(super) fn keep_last(&self, session: &Session) -> Result<()> {
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

    fn snapshot(&self, model: &Network) -> Result<BTreeMap<String, ParameterData>> {
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
        model: Network,
        saved: BTreeMap<String, ParameterData>,
        path: &Path,
    ) -> Result<Network> {
        let restored = if self.trains_backbone() {
            parameters::restore(model, saved)
        } else {
            parameters::restore(model.head, saved)
                .map(|head| Network { backbone: model.backbone, head })
        };
        restored.map_err(|reason| {
            anyhow!(
                "{} does not fit the network: {reason}; start over with --force",
                path.display()
            )
        })
    }

    /// The network of the best epoch, averaged where there is an average.
    pub(super) fn best(&self, session: &Session) -> Result<Network> {
        let best = best_epoch(self.settings.checkpoint.best_by, &session.state.metrics)
            .map(|metrics| metrics.epoch);
        let path = checkpoint_file(self.folder, "best");
        if session.state.batches == 0 && best.is_none_or(|best| best == session.state.epoch) {
            let network = session.average.network(&session.model);
            // It may have been lost from a run that ended before.
            if best.is_some() && ossify_storage::size(&path).is_none() {
                let model = self.snapshot(&network)?;
                let state = session.state.clone();
                checkpoint::save(&path, &Checkpoint { state, model, ..Default::default() })?;
            }
            return Ok(network);
        }
        let saved = checkpoint::load(&path)
            .context("the network of the best epoch cannot be read; start over with --force")?
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
pub(super) fn epoch_under_way(state: &RunState) -> u32 {
    if state.batches > 0 { state.epoch + 1 } else { state.epoch }
}
