//! The run that predicts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow};
use ossify_contract::{Inputs, Manifest, PredictionsSummary, RunSummary, is_plain_id, read_latest};
use ossify_model::{device, on_device};
use ossify_settings::{Context, StageError};
use ossify_vocabulary::{Channels, Filter, Geometry, Limits, Precision, TensorSpec};
use serde::Deserialize;

use crate::network::Network;
use crate::tables::{Counts, Description};

const MODEL: &str = "model.safetensors";
const CONFIG: &str = "config.toml";
/// The stage.
pub(crate) const STAGE: &str = "predict";
/// The key that a run which has too little memory should lower.
pub(crate) const MEMORY_KEY: &str = "predict.batch_size";

/// The run that predicts.
pub(crate) struct Run {
    pub(crate) id: String,
    folder: PathBuf,
    /// Hash of its model: what predictions depend on, whatever the run's metrics say.
    pub(crate) model_hash: String,
    /// Digest of the class map that it was trained with, where the run says.
    pub(crate) class_map: Option<String>,
    pub(crate) model: Inputs,
    manifest: Manifest,
}

impl Run {
    /// That of `predict.run`.
    ///
    /// # Errors
    /// [`StageError::Usage`] where there is no such run, else where it is not whole.
    pub(crate) fn find(context: &Context) -> Result<Self, StageError> {
        let runs = context.out.runs();
        let id = match context.settings.predict.run.as_str() {
            "latest" => read_latest(&runs)?.with_context(|| {
                format!("{} has no run; run ossify-train first", runs.display())
            })?,
            id => id.to_owned(),
        };
        if !is_plain_id(&id) {
            return Err(StageError::Usage(anyhow!(
                "predict.run: \"{id}\" is not the id of a run; it is \"latest\", or the name of a \
             folder in {}",
                runs.display()
            )));
        }
        let folder = runs.join(&id);
        if !folder.is_dir() {
            return Err(StageError::Usage(anyhow!(
                "predict.run: there is no run `{id}` in {}; run ossify-train first, or name \
                 another",
                runs.display()
            )));
        }
        let manifest =
            Manifest::require(&folder, "the run was cut short; run ossify-train to go on with it")?;
        let model = Inputs::declare(&folder, &manifest, [MODEL])?;
        model.verify()?;
        Ok(Run {
            model_hash: model.files().iter().map(|file| file.xxh3.as_str()).collect(),
            class_map: manifest.summary_of::<RunSummary>(&folder)?.class_map,
            model,
            manifest,
            id,
            folder,
        })
    }

    /// Its network, on the device of `predict.device`.
    pub(crate) fn open_network(&self, context: &Context) -> Result<Network> {
        let device = device::choose(context.settings.predict.device)?;
        device.prepare(context.threads(), Precision::Float32, false)?;
        context.reporter.say(format_args!(
            "predicts with run {} on {}, {} threads",
            self.id,
            device.name(),
            device.threads()
        ));
        on_device(MEMORY_KEY, || {
            Network::read(&self.folder.join(MODEL), device.inference(), &context.settings.predict)
        })
    }

    /// What the manifest says of its predictions with these tables, by their stems.
    pub(crate) fn summary(
        &self,
        description: &Description,
        tables: &BTreeMap<String, Counts>,
    ) -> PredictionsSummary {
        let each = |count: fn(&Counts) -> u64| {
            tables.iter().map(|(stem, counts)| (stem.clone(), count(counts))).collect()
        };
        PredictionsSummary {
            run: self.id.clone(),
            task: Some(description.task),
            images: each(|counts| counts.images),
            images_with_findings: each(|counts| counts.images_with_findings),
            class_names: description.class_names.clone(),
            model_xxh3: Some(self.model_hash.clone()),
            class_map: self.class_map.clone(),
            ..PredictionsSummary::default()
        }
    }

    /// How its tensors were made.
    pub(crate) fn tensors(&self) -> Result<TrainedTensors> {
        Inputs::declare(&self.folder, &self.manifest, [CONFIG])?.verify()?;
        let config = self.folder.join(CONFIG);
        let text =
            std::fs::read(&config).with_context(|| format!("cannot read {}", config.display()))?;
        let trained = toml::from_slice::<Trained>(&text).map_err(|error| {
            anyhow!(
                "{} does not say how this version of ossify makes the tensors that the run was \
                 trained on ({}); train again with ossify-train, or name another run with \
                 predict.run",
                config.display(),
                error.message()
            )
        })?;
        Ok(trained.resize)
    }
}

/// What of a run's configuration decides its tensors, whatever else it says in this version or in
/// another.
#[derive(Deserialize)]
struct Trained {
    resize: TrainedTensors,
}

#[derive(Deserialize)]
pub(crate) struct TrainedTensors {
    side_px: u32,
    channels: Channels,
    geometry: Geometry,
    filter: Filter,
    antialias: bool,
    // Which images are refused is no matter of the tensors: an earlier version may not say.
    max_pixels: Option<u64>,
    max_memory_bytes: Option<u64>,
}

impl TrainedTensors {
    pub(crate) fn spec(&self) -> TensorSpec {
        TensorSpec {
            side_px: self.side_px,
            channels: self.channels,
            geometry: self.geometry,
            filter: self.filter,
            antialias: self.antialias,
        }
    }

    pub(crate) fn limits(&self) -> Limits {
        let default = Limits::default();
        Limits {
            max_pixels: self.max_pixels.unwrap_or(default.max_pixels),
            max_memory_bytes: self.max_memory_bytes.unwrap_or(default.max_memory_bytes),
        }
    }
}

/// Says how fast it went.
pub(crate) fn report_speed(context: &Context, images: u64, started: Instant, folder: &Path) {
    let secs = started.elapsed().as_secs_f64();
    context.reporter.say(format_args!(
        "{images} images in {secs:.1} s, {:.0} images/s; written to {}",
        images as f64 / secs.max(1e-9),
        folder.display()
    ));
}
