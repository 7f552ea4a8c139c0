use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use ossify_contract::{ArtefactError, Fingerprint, WorkFolder};
use ossify_storage::{Mirror, Moved, Requests, is_url};
use serde::{Deserialize, Serialize};

use crate::error::ConfigError;
use crate::layers::Layers;
use crate::reporter::{Reporter, Verbosity};
use crate::schema::Effect;
use crate::sections::Settings;

/// The command line that all stages share.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct StageArgs {
    /// The conf file, as in conf/demo.toml; without one the built-in defaults hold
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Folder of the dataset, or its URL in an object store [default: dataset.path of the
    /// configuration]
    #[arg(long, value_name = "DIR")]
    pub dataset: Option<PathBuf>,
    /// Work folder for everything that stages write, or its URL in an object store [default:
    /// data/work/<name of the conf file>]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Sets one key, as in --set train.epochs=10; may be repeated
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    pub set: Vec<String>,
    /// Runs even where the output is already there
    #[arg(long)]
    pub force: bool,
    /// Takes every error found in the data as a reason for exit code 3
    #[arg(long)]
    pub strict: bool,
    /// Prints a summary as one JSON object on standard output
    #[arg(long)]
    pub json: bool,
    /// Prints the resolved configuration with the origin of each value, and ends
    #[arg(long)]
    pub print_config: bool,
    /// Says more
    #[arg(short, long, conflicts_with = "quiet")]
    pub verbose: bool,
    /// Says nothing but errors
    #[arg(short, long)]
    pub quiet: bool,
}

/// What a stage is given.
#[derive(Clone, Debug)]
pub struct Context {
    /// The resolved configuration.
    pub settings: Settings,
    /// Folder of the dataset, or its URL.
    pub dataset: PathBuf,
    /// The work folder; of one in an object store, its mirror on this machine.
    pub out: WorkFolder,
    /// Whether to run although the output is there.
    pub force: bool,
    /// Whether every error in the data is a gate that was not met.
    pub strict: bool,
    /// Where to say things.
    pub reporter: Reporter,
    mirror: Option<Arc<Mirror>>,
    layers: Layers,
}

impl Context {
    /// The context that these arguments and the environment give.
    ///
    /// # Errors
    /// Fails where the configuration does not fit.
    pub fn resolve(args: &StageArgs) -> Result<Self, ConfigError> {
        let mut layers = Layers::defaults();
        if let Some(config) = &args.config {
            layers.add_file(config)?;
        }
        layers.add_environment(std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        }))?;
        for assignment in &args.set {
            layers.add_set(assignment)?;
        }
        let settings = layers.resolve()?;
        let dataset = args.dataset.clone().unwrap_or_else(|| PathBuf::from(&settings.dataset.path));
        let name = args
            .config
            .as_deref()
            .and_then(Path::file_stem)
            .map_or_else(|| "default".into(), |stem| stem.to_string_lossy().into_owned());
        let out = args.out.clone().unwrap_or_else(|| Path::new("data/work").join(name));
        let verbosity = match (args.quiet, args.verbose) {
            (true, _) => Verbosity::Quiet,
            (_, true) => Verbosity::Verbose,
            _ => Verbosity::Normal,
        };
        let reporter = Reporter::new(verbosity);
        let storage = &settings.storage;
        ossify_storage::configure(Requests {
            in_flight: storage.requests,
            retries: storage.retries,
            timeout: Duration::from_secs(storage.timeout_s),
        });
        let mirror = is_url(&out)
            .then(|| Mirror::open(&out, Path::new(&storage.cache), (storage.cache_gb * 1e9) as u64))
            .transpose();
        let mirror =
            mirror.map_err(|source| ConfigError::WorkFolder { path: out.clone(), source })?;
        let out =
            WorkFolder::new(mirror.as_ref().map_or(out, |mirror| mirror.root().to_path_buf()));
        Ok(Context {
            settings,
            dataset,
            out,
            force: args.force,
            strict: args.strict,
            reporter,
            mirror,
            layers,
        })
    }

    /// Brings folders of the work folder up to date, where that lies in an object store.
    ///
    /// # Errors
    /// Fails where the store does not answer.
    pub fn pull(&self, folders: &[String]) -> anyhow::Result<()> {
        let Some(mirror) = &self.mirror else { return Ok(()) };
        let moved = mirror
            .pull(folders)
            .with_context(|| format!("cannot read the work folder {}", mirror.url().display()))?;
        self.tell_moved("fetched from", mirror, moved);
        Ok(())
    }

    /// Sends what was published in these folders, where the work folder lies in an object store.
    ///
    /// # Errors
    /// Fails where the store does not answer, and where another process published one of these
    /// folders meanwhile. What was made stays in the mirror: a second run sends it.
    pub fn push(&self, folders: &[String]) -> anyhow::Result<()> {
        let Some(mirror) = &self.mirror else { return Ok(()) };
        let moved = mirror.push(folders).with_context(|| {
            format!("cannot write to the work folder {}", mirror.url().display())
        })?;
        self.tell_moved("sent to", mirror, moved);
        Ok(())
    }

    fn tell_moved(&self, way: &str, mirror: &Mirror, moved: Moved) {
        if moved.files > 0 {
            self.reporter.detail(format_args!(
                "{} files, {:.1} MB, {way} {}",
                moved.files,
                moved.bytes as f64 / 1e6,
                mirror.url().display()
            ));
        }
    }

    /// The work folder as it was named.
    pub fn out_name(&self) -> std::path::Display<'_> {
        self.mirror.as_ref().map_or(self.out.root(), |mirror| mirror.url()).display()
    }

    /// Threads that read the dataset: where each waits for an object store most of the time, as
    /// many as requests may be in flight.
    pub fn reading_threads(&self) -> usize {
        if is_url(&self.dataset) {
            self.threads().max(self.settings.storage.requests)
        } else {
            self.threads()
        }
    }

    /// Threads to use: as configured, or one a processor.
    pub fn threads(&self) -> usize {
        match self.settings.general.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        }
    }

    /// Seed of everything random.
    pub fn seed(&self) -> u64 {
        self.settings.general.seed
    }

    /// The beginning of a stage's fingerprint: its name, the program's version, and the resolved
    /// values of these sections that decide the output. The stage adds its inputs.
    pub fn fingerprint(&self, stage: &str, sections: &[&str]) -> Fingerprint {
        self.fingerprint_of(stage, sections, &[Effect::Output, Effect::Length])
    }

    /// As [`Context::fingerprint`], of the keys with these effects alone.
    pub fn fingerprint_of(
        &self,
        stage: &str,
        sections: &[&str],
        effects: &[Effect],
    ) -> Fingerprint {
        let mut fingerprint = Fingerprint::new(stage);
        fingerprint.add(env!("CARGO_PKG_VERSION")).add(ossify_contract::SCHEMA_VERSION.to_string());
        for section in sections {
            fingerprint.add(section).add(self.layers.canonical(section, effects));
        }
        fingerprint
    }

    /// The resolved configuration as a conf file with the origin of each value.
    pub fn print_config(&self) -> String {
        self.layers.print()
    }
}

/// A limit that the user set and the data did not meet. A stage lists its unmet gates under `gates`
/// in the summary of its manifest, so that a second run, which does nothing, fails the same way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gate {
    /// The key or flag, as in `evaluate.min_accuracy`.
    pub name: String,
    /// What was measured.
    pub figure: f64,
    /// What was asked for.
    pub limit: f64,
    /// One sentence with both.
    pub message: String,
}

/// How a stage ended well.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What it says of its work; the `--json` summary.
    pub summary: serde_json::Value,
    /// Gates that were not met; those of `summary.gates` to begin with.
    pub gates: Vec<Gate>,
    /// Whether the output was already there.
    pub current: bool,
}

impl Outcome {
    /// The stage did its work.
    pub fn done(summary: serde_json::Value) -> Self {
        let gates = summary
            .get("gates")
            .and_then(|gates| serde_json::from_value(gates.clone()).ok())
            .unwrap_or_default();
        Outcome { summary, gates, current: false }
    }

    /// The output was already there; `summary` is that of its manifest.
    pub fn current(summary: serde_json::Value) -> Self {
        Outcome { current: true, ..Self::done(summary) }
    }

    /// Adds a gate that was not met.
    pub fn with_gate(mut self, gate: Gate) -> Self {
        self.gates.push(gate);
        self
    }
}

/// How a stage ended badly.
#[derive(Debug)]
pub enum StageError {
    /// The command line or the configuration is wrong: exit code 2.
    Usage(anyhow::Error),
    /// The run failed: exit code 1.
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for StageError {
    fn from(error: anyhow::Error) -> Self {
        StageError::Failed(error)
    }
}

impl From<ArtefactError> for StageError {
    fn from(error: ArtefactError) -> Self {
        StageError::Failed(error.into())
    }
}

/// The folder whose content is of use before it is whole.
const UNFINISHED: &str = "runs";

/// The frame around a stage: resolves the configuration, runs it, says how it ended, and gives the
/// exit code: 0 clean, 1 failed, 2 usage or configuration, 3 a gate was not met. Where the work
/// folder lies in an object store, `folders` of it are brought here before and sent back after.
pub fn run_stage<Cli>(
    stage: &str,
    cli: Cli,
    args: impl FnOnce(&Cli) -> &StageArgs,
    folders: impl FnOnce(&Cli) -> Vec<String>,
    run: impl FnOnce(&Cli, &Context) -> Result<Outcome, StageError>,
) -> ExitCode {
    let args = args(&cli).clone();
    let context = match Context::resolve(&args) {
        Ok(context) => context,
        Err(error) => return fail(stage, &args, 2, &anyhow::Error::from(error)),
    };
    if args.print_config {
        return print(&context.print_config());
    }
    let folders = folders(&cli);
    let run = || {
        context.pull(&folders)?;
        let outcome = run(&cli, &context);
        // A run that was stopped goes on from what it left, wherever it is run again.
        let left: Vec<String> = folders
            .iter()
            .filter(|folder| outcome.is_ok() || *folder == UNFINISHED)
            .cloned()
            .collect();
        let sent = context.push(&left);
        let outcome = outcome?;
        sent?;
        Ok(outcome)
    };
    match run() {
        Err(StageError::Usage(error)) => fail(stage, &args, 2, &error),
        Err(StageError::Failed(error)) => fail(stage, &args, 1, &error),
        Ok(outcome) => finish(stage, &args, &context, &outcome),
    }
}

fn finish(stage: &str, args: &StageArgs, context: &Context, outcome: &Outcome) -> ExitCode {
    if outcome.current {
        context
            .reporter
            .say(format_args!("{stage}: already there, nothing to do (--force runs it anyway)"));
    }
    for gate in &outcome.gates {
        error_line(&format!("gate {} not met: {}", gate.name, gate.message));
    }
    if args.json {
        let status = match (outcome.gates.is_empty(), outcome.current) {
            (false, _) => "gate",
            (true, true) => "current",
            (true, false) => "done",
        };
        let summary = serde_json::json!({
            "stage": stage,
            "status": status,
            "out": context.out_name().to_string(),
            "gates": outcome.gates,
            "summary": outcome.summary,
        });
        print(&format!("{summary}\n"));
    }
    if outcome.gates.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(3) }
}

fn fail(stage: &str, args: &StageArgs, code: u8, error: &anyhow::Error) -> ExitCode {
    let mut text = error.to_string();
    let mut said = text.clone();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        // Many errors already tell their source: say each thing once.
        if !said.contains(&cause) {
            let _ = write!(text, "\n  cause: {cause}");
            said.push_str(&cause);
        }
    }
    error_line(&text);
    if args.json {
        let status = if code == 2 { "usage" } else { "failed" };
        print(&format!(
            "{}\n",
            serde_json::json!({ "stage": stage, "status": status, "error": text })
        ));
    }
    ExitCode::from(code)
}

fn error_line(text: &str) {
    let reporter = Reporter::new(Verbosity::Quiet);
    let _ = writeln!(
        std::io::stderr(),
        "{}",
        reporter.labelled("error", anstyle::AnsiColor::Red, &text)
    );
}

/// Writes to standard output; a reader that went away is no failure of the stage.
fn print(text: &str) -> ExitCode {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            error_line(&format!("cannot write to standard output: {e}"));
            ExitCode::from(1)
        }
        _ => ExitCode::SUCCESS,
    }
}
