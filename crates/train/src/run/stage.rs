use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow, bail};
use burn::module::Module;
use ossify_contract::{
    ArtefactError, ClassMap, Environment, EpochMetrics, Fingerprint, Inputs, Manifest, Publication,
    RunSummary, Split, Summary as _, begin_unchanged, now_rfc3339, read_latest, refuse_changed,
    shards_of, write_atomic, write_latest,
};
use ossify_model::device::{self, ComputeDevice, DeviceChoice, Precision};
use ossify_model::{Classifier, ModelConfig, on_device, weights};
use ossify_settings::{Context, Outcome, StageError, TrainMode, TrainPrecision, TrainSettings};
use serde_json::json;

use crate::data::augment::Augmentation;
use crate::data::batches::Source;
use crate::data::features::FeatureRecipe;
use crate::data::input::InputMaker;
use crate::data::samples::{ISSUES, SplitSamples, check_train};
use crate::interrupt::Interrupt;
use crate::objective::loss::Loss;
use crate::optimise::parameters;
use crate::optimise::phases::phases;
use crate::random::{Purpose, random_bits};
use crate::run::checkpoint::{RunState, checkpoint_file};
use crate::run::pretrained::imagenet_weights;
use crate::run::setup::{
    Fingerprints, check_batches, check_settings, fingerprints, needs_features,
};
use crate::run::stopping::best_epoch;
use crate::run::training::{Finished, Sources, Training};
use crate::run::unfinished::Unfinished;
use crate::watch::curves::curves;
use crate::watch::preview::write_contact_sheet;
use crate::watch::{layer_table, progress};

/// Tables that are read.
const TABLES: [&str; 3] = ["images.parquet", "objects.parquet", "classes.parquet"];
const RUN_INGEST: &str = "there are no label tables; run ossify-ingest first";
const RUN_RESIZE: &str = "there are no shards; run ossify-resize first";
/// What is asked for on the command line besides the configuration.
#[derive(Clone, Copy, Debug, Default)]
pub struct CliRequest {
    /// There must be a run to continue.
    pub resume: bool,
    /// Draw a contact sheet of varied samples and end.
    pub preview: bool,
    /// Tell of the layers and end.
    pub summary: bool,
}

/// The stage: tables and shards to a run.
///
/// # Errors
/// A configuration that does not fit is [`StageError::Usage`]; everything else that goes wrong is
/// [`StageError::Failed`].
pub fn run(context: &Context, asked: CliRequest) -> Result<Outcome, StageError> {
    let started = Instant::now();
    let settings = &context.settings.train;
    let config = check_settings(settings)?;
    if asked.summary {
        inputs(context)?;
        return Ok(tell_layers(context, &config)?);
    }
    if asked.preview {
        return Ok(draw_preview(context, &config)?);
    }
    let runs = context.out.runs();
    let name_run = || -> Result<RunToBe, StageError> {
        let [tables, shards, issues] = inputs(context)?;
        let fingerprints = fingerprints(context, &tables, &shards)?;
        let id = format!("{}-{}", settings.model.architecture, &fingerprints.recipe[..8]);
        let folder = runs.join(&id);
        Ok(RunToBe { inputs: [tables, shards, issues], fingerprints, id, folder })
    };
    let begin = |run: &RunToBe| -> Result<_, StageError> {
        if !context.force
            && let Some(manifest) = Publication::current(&run.folder, &run.fingerprints.whole)
        {
            return Ok(Err(manifest));
        }
        let unfinished = Unfinished::of(&run.folder);
        check_resume(context, asked, &unfinished, &run.folder)?;
        let device = device::choose(&settings.device).map_err(anyhow::Error::from)?;
        device
            .prepare(context.threads(), precision(settings), settings.deterministic)
            .map_err(anyhow::Error::from)?;
        Ok(Ok((device, unfinished, Publication::begin(&run.folder)?)))
    };
    let (run_to_be, begun) = begin_unchanged(name_run, |run| &run.inputs, begin)?;
    let RunToBe { inputs, fingerprints, id, folder } = run_to_be;
    let (device, unfinished, publication) = match begun {
        Ok(begun) => begun,
        Err(manifest) => {
            name_latest(&runs, &id)?;
            return Ok(Outcome::current(manifest.summary));
        }
    };
    let [tables, shards, _] = &inputs;
    check_room(shards)?;
    inputs.iter().try_for_each(Inputs::verify)?;
    let classes = ClassMap::read(tables.folder().join("classes.parquet"))?;
    let read = |split| SplitSamples::read(tables.folder(), shards, split, settings.sampler.unit);
    let (train, valid) = (read(Split::Train)?, read(Split::Valid)?);
    // Shards are opened again while the run trains, and compared with what they were here.
    refuse_changed(&inputs)?;
    check_train(&train, &classes)?;
    if let Some(shape) = train.shards.shape() {
        check_batches(settings, shape)?;
    }
    tell(context, &device, &train, &valid, &classes);

    let config = ModelConfig { classes: classes.kept_names().len(), ..config };
    let interrupt = Interrupt::listen()?;
    unfinished.prepare(&folder, context.force)?;
    write_atomic(
        &unfinished.path().join("config.toml"),
        toml::to_string(&context.settings).context("cannot write the configuration")?.as_bytes(),
    )?;
    let environment_file = unfinished.path().join("environment.json");
    if !environment_file.exists() {
        write_atomic(&environment_file, &environment(&device)?)?;
    }
    let run = Run {
        context,
        settings,
        config,
        device: &device,
        train: &train,
        valid: &valid,
        shards,
        interrupt: &interrupt,
        started,
    };
    let Finished { model, state, reason } =
        on_device("train.batch_size or train.model.input_px", || {
            run.train(unfinished.path(), &fingerprints.recipe)
        })?;

    let config = run.config;
    let description = weights::Metadata { config, class_names: classes.kept_names() };
    weights::save(&publication.stage("model.safetensors")?, &model, &description)
        .map_err(anyhow::Error::from)?;
    let mut files = vec![publication.describe("model.safetensors", None)?];
    publication.write("curves.svg", curves(&id, &state.metrics).as_bytes())?;
    files.push(publication.describe("curves.svg", None)?);
    files.extend(unfinished.stage(&publication)?);
    let best = best_epoch(settings.checkpoint.best_by, &state.metrics);
    let summary = RunSummary {
        run: id.clone(),
        class_map: Some(classes.digest()),
        ..run_summary(&state, best, &reason, &train, &valid)
    };
    let manifest =
        publication.commit("train", &fingerprints.whole, files, summary.to_json(&folder)?)?;
    unfinished.remove()?;
    name_latest(&runs, &id)?;
    context.reporter.say(format_args!("stopped: {reason}"));
    context.reporter.say(outcome_line(&state, best, &folder));
    Ok(Outcome::done(manifest.summary))
}

/// Names the run as the newest; where it is so already, nothing is written, since the folder may be
/// read-only.
fn name_latest(runs: &Path, id: &str) -> Result<()> {
    if read_latest(runs)?.as_deref() != Some(id) {
        write_latest(runs, id)?;
    }
    Ok(())
}

/// A run that is named after its inputs.
struct RunToBe {
    /// Tables, shards, and the images that became no tensor.
    inputs: [Inputs; 3],
    fingerprints: Fingerprints,
    id: String,
    folder: PathBuf,
}

/// What is read of the tables and of the shards, and of the latter the list of images that became
/// no tensor: it decides whether images may lack, and nothing of the run.
fn inputs(context: &Context) -> Result<[Inputs; 3], ArtefactError> {
    let (tables, shards) = (context.out.tables(), context.out.shards());
    let tables_manifest = Manifest::require(&tables, RUN_INGEST)?;
    let shards_manifest = Manifest::require(&shards, RUN_RESIZE)?;
    let read_shards = [Split::Train, Split::Valid]
        .into_iter()
        .flat_map(|split| shards_of(&shards_manifest, split))
        .map(|file| &file.path);
    Ok([
        Inputs::declare(&tables, &tables_manifest, TABLES)?,
        Inputs::declare(&shards, &shards_manifest, read_shards)?,
        Inputs::declare(&shards, &shards_manifest, [ISSUES])?,
    ])
}

/// Training reads all shards in any order: those of an object store must all have room here.
fn check_room(shards: &Inputs) -> Result<()> {
    let wanted: u64 = shards.files().iter().map(|file| file.bytes).sum();
    match ossify_storage::room_for(shards.folder()) {
        Some(room) if wanted > room => bail!(
            "the shards have {:.1} GB and training needs all of them here; storage.cache_gb \
                allows {:.1}: raise it, or make gray shards, which take a third",
            wanted as f64 / 1e9,
            room as f64 / 1e9
        ),
        _ => Ok(()),
    }
}

/// `--summary`: the layers, with as many classes as the tables have.
fn tell_layers(context: &Context, config: &ModelConfig) -> Result<Outcome> {
    let classes = ClassMap::read(context.out.tables().join("classes.parquet"))?.kept_names().len();
    let config = ModelConfig { classes, ..config.clone() };
    let table = layer_table::table(&config, &phases(&context.settings.train));
    context.reporter.say(table.trim_end());
    let layers = ossify_model::summary::layers(&config);
    let parameters: usize = layers.iter().map(|layer| layer.parameters).sum();
    let multiply_adds: u64 = layers.iter().map(|layer| layer.multiply_adds).sum();
    Ok(Outcome::done(
        json!({ "layers": layers.len(), "parameters": parameters, "multiply_adds": multiply_adds }),
    ))
}

/// `--preview`: what training would see.
fn draw_preview(context: &Context, config: &ModelConfig) -> Result<Outcome> {
    let settings = &context.settings.train;
    let [tables, shards, issues] = inputs(context)?;
    tables.verify()?;
    issues.verify()?;
    let unit = settings.sampler.unit;
    let train = SplitSamples::read(tables.folder(), &shards, Split::Train, unit)?;
    let shape = train.shards.shape().context("the train split has no image")?;
    let device = device::choose(&settings.device)?;
    device.prepare(context.threads(), Precision::Float32, false)?;
    let augmentation = Augmentation::new(settings, context.seed());
    let source = Source {
        samples: &train,
        features: None,
        augmentation: augmentation.is_on().then_some(augmentation),
        workers: 1,
    };
    let path = context.out.root().join("preview.png");
    on_device("train.model.input_px", || {
        let input = InputMaker::new(
            shape,
            config.input_px,
            config.normalization,
            augmentation,
            device.inference(),
        );
        write_contact_sheet(&path, &source, &input)
    })?;
    context.reporter.say(format_args!(
        "samples as they are (left) and as each of the first epochs sees them: {}",
        path.display()
    ));
    Ok(Outcome::done(json!({ "preview": path })))
}

/// `--resume` is for jobs that must not start over in silence.
fn check_resume(
    context: &Context,
    asked: CliRequest,
    unfinished: &Unfinished,
    folder: &Path,
) -> Result<(), StageError> {
    if !asked.resume {
        return Ok(());
    }
    if context.force {
        return Err(StageError::Usage(anyhow!(
            "--resume goes on with a run and --force starts it over: give one of them"
        )));
    }
    if !unfinished.has_checkpoint(folder) {
        return Err(anyhow!(
            "--resume: {} is not there; this configuration and these inputs have no run that was \
             cut short or can be made longer",
            checkpoint_file(unfinished.path(), "last").display()
        )
        .into());
    }
    Ok(())
}

/// What training needs, once all inputs are read.
struct Run<'a> {
    context: &'a Context,
    settings: &'a TrainSettings,
    config: ModelConfig,
    device: &'a ComputeDevice,
    train: &'a SplitSamples,
    valid: &'a SplitSamples,
    shards: &'a Inputs,
    interrupt: &'a Interrupt,
    started: Instant,
}

impl Run<'_> {
    fn train(&self, folder: &Path, recipe: &str) -> Result<Finished> {
        let seed = self.context.seed();
        let mut model = Classifier::new(
            &self.config,
            random_bits(seed, Purpose::Weights, 0, 0),
            &self.device.training(),
        )?;
        self.load_pretrained(&mut model)?;
        let is_half = precision(self.settings) == Precision::Bfloat16;
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
            loss: Loss::new(self.settings, &self.train.class_counts(self.config.classes)),
            seed,
            recipe,
            folder,
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

    fn load_pretrained(&self, model: &mut Classifier) -> Result<()> {
        let path = match self.settings.model.weights.as_str() {
            "none" => return Ok(()),
            "imagenet" => imagenet_weights(self.config.architecture, &self.context.reporter)?,
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
    fn features(&self, model: &Classifier) -> Result<Vec<crate::data::features::FeatureSet>> {
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
            DeviceChoice::Cuda(_) => format!("cuda {}", precision(self.settings)),
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

fn precision(settings: &TrainSettings) -> Precision {
    match settings.precision {
        TrainPrecision::Float32 => Precision::Float32,
        TrainPrecision::Tf32 => Precision::Tf32,
        TrainPrecision::Bfloat16 => Precision::Bfloat16,
    }
}

fn tell(
    context: &Context,
    device: &ComputeDevice,
    train: &SplitSamples,
    valid: &SplitSamples,
    classes: &ClassMap,
) {
    let (settings, reporter) = (&context.settings.train, &context.reporter);
    reporter.say(format_args!(
        "trains {} ({}) on {}, {} threads: {} train and {} valid samples of {} classes",
        settings.model.architecture,
        settings.mode.as_str(),
        device.name(),
        device.threads(),
        train.samples.len(),
        valid.samples.len(),
        classes.kept_names().len()
    ));
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

fn environment(device: &ComputeDevice) -> Result<Vec<u8>> {
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
fn run_summary(
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

fn outcome_line(state: &RunState, best: Option<&EpochMetrics>, folder: &Path) -> String {
    let scores = best.map_or(String::new(), |metrics| {
        let split = metrics.valid.map_or(("train", metrics.train), |valid| ("valid", valid));
        format!(
            ": {} accuracy {:.4}, mean IoU {:.3} at epoch {}",
            split.0, split.1.accuracy, split.1.mean_iou, metrics.epoch
        )
    });
    format!(
        "{} epochs in {}{scores}; written to {}",
        state.epoch,
        progress::duration(state.elapsed_secs),
        folder.display()
    )
}
