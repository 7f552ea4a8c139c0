use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result};
use ossify_model::Network;
use ossify_model::device::ComputeDevice;
use ossify_settings::{Reporter, TrainSettings};
use ossify_vocabulary::Task;

use crate::data::batches::Source;
use crate::data::input::InputMaker;
use crate::interrupt::Interrupt;
use crate::objective::Objective;
use crate::optimise::phases::{Phase, Trained};
use crate::run::checkpoint::RunState;

/// A split, as images and, where a phase needs them, as features of the frozen backbone.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    /// Images, varied in training, and for a detector in all phases.
    pub pixels: Source<'a>,
    /// Features, for phases that train the head alone.
    pub features: Option<Source<'a>>,
}

impl<'a> Sources<'a> {
    /// The form in which a phase takes them.
    ///
    /// # Errors
    /// Fails where features were not computed for a phase that needs them.
    pub fn of(&self, phase: &Phase, task: Task) -> Result<Source<'a>> {
        match phase.trained {
            Trained::Head if task == Task::Classify => self.features.context(
                "a phase that trains the head has no features; this is a defect of ossify-train",
            ),
            Trained::Head | Trained::FromBlock(_) | Trained::All => Ok(self.pixels),
        }
    }

    /// How many samples.
    pub fn samples(&self) -> usize {
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
    pub objective: Objective,
    /// Seed of the run.
    pub seed: u64,
    /// Fingerprint of all that decides what each step does.
    pub recipe: &'a str,
    /// Where the run is made: see [`crate::run::unfinished::Unfinished`].
    pub folder: &'a Path,
    /// Whether it is an error if there is no checkpoint to go on from.
    pub must_resume: bool,
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
    pub model: Network,
    /// How it went.
    pub state: RunState,
    /// Why it ended.
    pub reason: String,
}
