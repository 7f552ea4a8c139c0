use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow};
use burn::module::Module;
use ossify_contract::{Fingerprint, Inputs};
use ossify_model::device::ComputeDevice;
use ossify_model::{ModelConfig, Network, weights};
use ossify_settings::{Context, TrainSettings};
use ossify_vocabulary::{DeviceChoice, Precision};

use crate::data::augment::Augmentation;
use crate::data::batches::Source;
use crate::data::features::{FeatureRecipe, FeatureSet};
use crate::data::input::InputMaker;
use crate::data::samples::SplitSamples;
use crate::interrupt::Interrupt;
use crate::objective::Objective;
use crate::optimise::parameters;
use crate::optimise::phases::phases;
use crate::random::{Purpose, random_bits};
use crate::run::pretrained::imagenet_weights;
use crate::run::setup::needs_features;
use crate::run::training::{Finished, Sources, Training};

/// What training needs, once all inputs are read.
pub struct Run<'a> {
    /// Configuration, work folder, reporter.
    pub context: &'a Context,
    /// The section `[train]`.
    pub settings: &'a TrainSettings,
    /// The network, with as many classes as the tables have.
    pub config: ModelConfig,
    /// Where to compute.
    pub device: &'a ComputeDevice,
    /// What is learnt from.
    pub train: &'a SplitSamples,
    /// What is scored after each epoch.
    pub valid: &'a SplitSamples,
    /// The shards that hold both.
    pub shards: &'a Inputs,
    /// Whether it is an error if there is no checkpoint to go on from.
    pub must_resume: bool,
    /// Whether somebody wants the run to end.
    pub interrupt: &'a Interrupt,
    /// When this session began.
    pub started: Instant,
}

impl Run<'_> {
    /// Builds the network, computes the features that a frozen backbone gives, and trains.
    ///
    /// # Errors
    /// Fails where weights, the device or the disk do.
    pub fn train(&self, folder: &Path, recipe: &str) -> Result<Finished> {
        let seed = self.context.seed();
        let mut model = Network::new(
            &self.config,
            random_bits(seed, Purpose::Weights, 0, 0),
            &self.device.training(),
        )?;
        self.load_pretrained(&mut model)?;
        let is_half = self.settings.precision == Precision::Bfloat16;
        model.backbone = model
            .backbone
            .keeping_activations(self.settings.keep_activations)
            .in_half_precision(is_half);
        let features =
            if needs_features(self.settings) { self.features(&model)? } else { Vec::new() };
        let augmentation = Augmentation::new(self.settings, seed);
        let sources = |samples, varied: bool, index: usize| {
            let pixels = Source {
                samples,
                features: None,
                augmentation: varied.then_some(augmentation),
                workers: self.context.threads(),
            };
            let features = features.get(index).map(|features| Source {
                features: Some(features),
                augmentation: None,
                ..pixels
            });
            Sources { pixels, features }
        };
        let shape = self.train.shards.shape().context("a split without shards")?;
        let input_px = self.settings.model.input_px as usize;
        let training = Training {
            settings: self.settings,
            phases: &phases(self.settings),
            objective: Objective::new(self.settings, &self.train.class_counts(self.config.classes)),
            seed,
            recipe,
            folder,
            must_resume: self.must_resume,
            device: self.device,
            input: InputMaker::new(
                shape,
                input_px,
                self.config.normalization,
                augmentation,
                self.device.inference(),
            ),
            train: sources(self.train, augmentation.is_on(), 0),
            valid: sources(self.valid, false, 1),
            reporter: &self.context.reporter,
            interrupt: self.interrupt,
            started: self.started,
        };
        training.run(model)
    }

    fn load_pretrained(&self, model: &mut Network) -> Result<()> {
        let path = match self.settings.model.weights.as_str() {
            "none" => return Ok(()),
            "imagenet" => {
                imagenet_weights(self.config.architecture, &self.context.reporter, self.interrupt)?
            }
            path => path.into(),
        };
        let report = weights::load_torchvision(&path, &mut model.backbone)?;
        let (reporter, list) = (&self.context.reporter, |names: &[String]| {
            if names.is_empty() { "none".to_owned() } else { names.join(", ") }
        });
        let (loaded, missing, unused) =
            (report.loaded.len(), report.missing.len(), report.unused.len());
        reporter.say(format_args!(
            "{}: {loaded} tensors loaded, {missing} missing, {unused} unused",
            path.display()
        ));
        reporter.detail(format_args!(
            "missing: {}; unused: {}; loaded: {}",
            list(&report.missing),
            list(&report.unused),
            list(&report.loaded)
        ));
        Ok(())
    }

    /// Features of the train and the valid split, in this order.
    fn features(&self, model: &Network) -> Result<Vec<FeatureSet>> {
        let backbone = model.backbone.valid();
        let numbers = parameters::snapshot(&backbone)
            .map_err(|reason| anyhow!("cannot read the weights from the device: {reason}"))?;
        let mut hash = Fingerprint::new("backbone");
        for (name, data) in &numbers {
            hash.add(name);
            hash.add(data.values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>());
        }
        drop(numbers);
        let device_kind = match self.device.kind() {
            DeviceChoice::Cuda(_) => format!("cuda {}", self.settings.precision),
            DeviceChoice::Flex => "flex".to_owned(),
            DeviceChoice::Cpu | DeviceChoice::Auto => "cpu".to_owned(),
        };
        let recipe = FeatureRecipe {
            backbone: &backbone,
            weights_hash: &hash.finish(),
            normalization: self.config.normalization,
            input_px: self.config.input_px,
            shards_hash: &self.shards.hash(),
            device_kind: &device_kind,
            device: &self.device.inference(),
        };
        recipe.features(
            &self.context.out.root().join("features"),
            &[self.train, self.valid],
            &self.context.reporter,
            self.interrupt,
        )
    }
}
