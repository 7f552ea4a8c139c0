use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow};
use ossify_contract::{
    ClassMap, Inputs, Manifest, Publication, RunSummary, Split, Summary as _, begin_unchanged,
    read_latest, refuse_changed, write_atomic, write_latest,
};
use ossify_model::device::{self, ComputeDevice};
use ossify_model::{ModelConfig, on_device, weights};
use ossify_settings::{Context, Outcome, StageError};

use crate::data::samples::{SampleUnit, SplitSamples, check_train};
use crate::interrupt::Interrupt;
use crate::run::checkpoint::checkpoint_file;
use crate::run::inputs::{check_room, inputs};
use crate::run::inspection::{draw_preview, print_layers};
use crate::run::preparation::Run;
use crate::run::pretrained::is_wrong_address;
use crate::run::report::{announce, environment, outcome_line, run_summary};
use crate::run::setup::{
    Fingerprints, check_batches, check_input_size, check_settings, fingerprints,
};
use crate::run::stopping::best_epoch;
use crate::run::training::Finished;
use crate::run::unfinished::Unfinished;
use crate::watch::curves::curves;

/// What is asked for on the command line besides the configuration.
#[derive(Clone, Copy, Debug, Default)]
pub struct CliRequest {
    /// There must be a run to continue.
    pub resume: bool,
    /// Draw a contact sheet of varied samples and end.
    pub preview: bool,
    /// Print the layers and end.
    pub summary: bool,
}

/// The stage: tables and shards to a run.
///
/// # Errors
/// A configuration that does not fit is [`StageError::Usage`]; everything else that goes wrong is
/// [`StageError::Failed`].
pub fn run(context: &Context, asked: CliRequest) -> Result<Outcome, StageError> {
    let started = Instant::now();
    let config = check_settings(&context.settings.train)?;
    if asked.summary {
        inputs(context)?;
        return Ok(print_layers(context, &config)?);
    }
    if asked.preview {
        return draw_preview(context, &config);
    }
    let (named, begun) = begin_unchanged(
        || NamedRun::of(context),
        |named| &named.inputs,
        |named| begin(context, asked, named),
    )?;
    match begun {
        Begun::Current(manifest) => {
            Unfinished::of(&named.folder).remove_unless_ahead(&named.folder)?;
            write_latest(&context.out.runs(), &named.id)?;
            Ok(Outcome::current(manifest.summary))
        }
        Begun::ToTrain(begun) => train(context, config, asked, &named, *begun, started),
    }
}

/// A run that is named after its inputs.
struct NamedRun {
    /// Tables, shards, and the images that became no tensor.
    inputs: [Inputs; 3],
    fingerprints: Fingerprints,
    id: String,
    folder: PathBuf,
}

impl NamedRun {
    fn of(context: &Context) -> Result<Self, StageError> {
        let [tables, shards, issues] = inputs(context)?;
        let fingerprints = fingerprints(context, &tables, &shards)?;
        let architecture = &context.settings.train.model.architecture;
        let id = format!("{architecture}-{}", &fingerprints.recipe[..8]);
        let folder = context.out.runs().join(&id);
        Ok(NamedRun { inputs: [tables, shards, issues], fingerprints, id, folder })
    }
}

enum Begun {
    /// The run is there already.
    Current(Manifest),
    ToTrain(Box<BegunRun>),
}

/// The device that trains, and the folders that this process alone writes to.
struct BegunRun {
    device: ComputeDevice,
    unfinished: Unfinished,
    publication: Publication,
}

fn begin(context: &Context, asked: CliRequest, named: &NamedRun) -> Result<Begun, StageError> {
    if !context.force
        && let Some(manifest) = Publication::current(&named.folder, &named.fingerprints.whole)
    {
        return Ok(Begun::Current(manifest));
    }
    // What would keep the run from being named the newest is said before it is trained.
    read_latest(&context.out.runs())?;
    let settings = &context.settings.train;
    let unfinished = Unfinished::of(&named.folder);
    check_resume(context, asked, &unfinished, &named.folder)?;
    let device = device::choose(settings.device).map_err(anyhow::Error::from)?;
    device
        .prepare(context.threads(), settings.precision, settings.deterministic)
        .map_err(anyhow::Error::from)?;
    let publication = Publication::begin(&named.folder)?;
    Ok(Begun::ToTrain(Box::new(BegunRun { device, unfinished, publication })))
}

fn train(
    context: &Context,
    config: ModelConfig,
    asked: CliRequest,
    named: &NamedRun,
    begun: BegunRun,
    started: Instant,
) -> Result<Outcome, StageError> {
    let settings = &context.settings.train;
    let BegunRun { device, unfinished, publication } = begun;
    let [tables, shards, _] = &named.inputs;
    check_room(shards)?;
    named.inputs.iter().try_for_each(Inputs::verify)?;
    let classes = ClassMap::read(tables.folder().join("classes.parquet"))?;
    let read = |split| SplitSamples::read(tables.folder(), shards, split, SampleUnit::of(settings));
    let (train, valid) = (read(Split::Train)?, read(Split::Valid)?);
    // Shards are opened again while the run trains, and compared with what they were here.
    refuse_changed(&named.inputs)?;
    check_train(&train, &classes)?;
    let config = ModelConfig { classes: classes.kept_names().len(), ..config };
    if let Some(shape) = train.shards.shape() {
        check_input_size(settings, shape)?;
        check_batches(settings, &config, train.samples.len(), shape, device.kind())?;
    }
    announce(context, &device, &train, &valid, &classes);

    let interrupt = Interrupt::listen()?;
    unfinished.prepare(&named.folder, context.force, |lost| context.reporter.warn(lost))?;
    describe(context, &device, unfinished.path())?;
    let run = Run {
        context,
        settings,
        config,
        device: &device,
        train: &train,
        valid: &valid,
        shards,
        must_resume: asked.resume,
        interrupt: &interrupt,
        started,
    };
    let Finished { model, state, reason } =
        on_device("train.batch_size or train.model.input_px", || {
            run.train(unfinished.path(), &named.fingerprints.recipe)
        })
        .map_err(|error| {
            if is_wrong_address(&error) { StageError::Usage(error) } else { error.into() }
        })?;

    let description = weights::Metadata { config: run.config, class_names: classes.kept_names() };
    weights::save(&publication.stage("model.safetensors")?, &model, &description)
        .map_err(anyhow::Error::from)?;
    let mut files = vec![publication.describe("model.safetensors", None)?];
    publication.write("curves.svg", curves(&named.id, &state.metrics).as_bytes())?;
    files.push(publication.describe("curves.svg", None)?);
    files.extend(unfinished.stage(&publication)?);
    let best = best_epoch(settings.checkpoint.best_by, &state.metrics);
    let summary = RunSummary {
        run: named.id.clone(),
        class_map: Some(classes.digest()),
        ..run_summary(&state, best, &reason, &train, &valid)
    };
    let summary = summary.to_json(&named.folder)?;
    let manifest = publication.commit("train", &named.fingerprints.whole, files, summary)?;
    unfinished.remove()?;
    write_latest(&context.out.runs(), &named.id)?;
    context.reporter.say(format_args!("stopped: {reason}"));
    context.reporter.say(outcome_line(&state, best, &named.folder));
    Ok(Outcome::done(manifest.summary))
}

/// Writes with what configuration and on what the run is made.
fn describe(context: &Context, device: &ComputeDevice, folder: &Path) -> Result<()> {
    let config = toml::to_string(&context.settings).context("cannot write the configuration")?;
    write_atomic(&folder.join("config.toml"), config.as_bytes())?;
    let environment_file = folder.join("environment.json");
    if !environment_file.exists() {
        write_atomic(&environment_file, &environment(device)?)?;
    }
    Ok(())
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
