//! Helpers of the end-to-end tests: a project folder for each test, and the built programs.

mod hostile_store;
mod object_store;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

pub use hostile_store::{Honest, HostileStore, Hostility};
pub use object_store::{FAULTS, Fault, ObjectStore, copy_folder};
use serde_json::Value;
use tempfile::TempDir;

/// The stages of the main job, in order.
pub const STAGES: [&str; 5] = ["ingest", "resize", "train", "predict", "evaluate"];

/// The root of the workspace.
pub fn workspace_root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The reference dataset beside the workspace; if it is missing, `None` and a message on standard
/// error.
pub fn reference_dataset() -> Option<PathBuf> {
    let path = workspace_root().join("../shared/datasets/BoneFractureYolo8");
    if path.is_dir() {
        return Some(path);
    }
    eprintln!("skipped: {} is not there", path.display());
    None
}

/// A program of the workspace, built by `make test` or `cargo build --release --workspace`.
///
/// # Panics
/// If the program was not built.
#[allow(clippy::panic)]
pub fn binary(name: &str) -> PathBuf {
    let folder = std::env::current_exe()
        .ok()
        .and_then(|exe| Some(exe.parent()?.parent()?.to_path_buf()))
        .unwrap_or_default();
    let path = folder.join(name);
    if !path.is_file() {
        panic!("{} is not built; `make test` builds all that the tests need", path.display());
    }
    path
}

/// The folder of a test, with a conf file, a dataset and a work folder.
pub struct Project {
    folder: TempDir,
    /// Where the dataset is.
    pub dataset: PathBuf,
    /// The work folder.
    pub out: PathBuf,
}

/// A network small enough that an epoch takes a second.
const CONF: &str = r#"
[ingest]
min_objects_per_class = 5

[resize]
images_per_shard = 32

[train]
mode = "scratch"
epochs = 2
batch_size = 16
model.architecture = "densenet-compact"
model.weights = "none"
model.input_px = 32
model.head_widths = [16]
model.dropout = 0.1
sampler.unit = "image"
loss.l2 = 1e-4
optimizer.learning_rate = 2e-3
stopping.train_accuracy = 0

[evaluate]
bootstrap_samples = 50
overlays = 4
"#;

impl Project {
    /// An empty project.
    ///
    /// # Panics
    /// If the temporary folder cannot be created.
    #[allow(clippy::expect_used)]
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::write(folder.path().join("test.toml"), CONF).expect("the conf file is written");
        let (dataset, out) = (folder.path().join("dataset"), folder.path().join("work"));
        Project { folder, dataset, out }
    }

    /// A project with a phantom dataset of this many images, and what was planted in it.
    pub fn with_phantom(images: u32) -> (Self, Value) {
        let project = Self::new();
        project.run("phantom", &["--images", &images.to_string()]).success();
        let planted = read_json(&project.dataset.join("planted.json"));
        (project, planted)
    }

    /// The project's folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The command of a stage with the project's configuration, dataset and work folder.
    pub fn command(&self, stage: &str, args: &[&str]) -> Command {
        self.command_at(stage, &self.dataset, &self.out, args)
    }

    /// The command of a stage with the project's configuration, on another dataset and work folder.
    pub fn command_at(&self, stage: &str, dataset: &Path, out: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(binary(&format!("ossify-{stage}")));
        command.current_dir(self.folder.path());
        command
            .arg("--config")
            .arg(self.folder.path().join("test.toml"))
            .args(["--json", "--dataset"])
            .arg(dataset)
            .arg("--out")
            .arg(out);
        command.args(args).stdin(Stdio::null()).env_remove("RUST_BACKTRACE");
        command
    }

    /// Runs a stage to its end.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn run(&self, stage: &str, args: &[&str]) -> Ended {
        Ended::of(stage, self.command(stage, args))
    }

    /// Runs all stages, each with `args`, and returns their statuses (`done` or `current`).
    pub fn run_all(&self, args: &[&str]) -> Vec<String> {
        STAGES.iter().map(|stage| self.run(stage, args).success().status()).collect()
    }

    /// The id of the newest run.
    ///
    /// # Panics
    /// Where there is none.
    #[allow(clippy::expect_used)]
    pub fn run_id(&self) -> String {
        ossify_contract::read_latest(&self.out.join("runs")).ok().flatten().expect("a run")
    }

    /// Hashes of all files that the manifests in the work folder list, by path.
    ///
    /// # Panics
    /// If a file does not match its manifest.
    pub fn contents(&self) -> Vec<(String, String)> {
        Self::contents_of(&self.out)
    }

    /// Like [`Project::contents`], for any work folder.
    ///
    /// # Panics
    /// If a file does not match its manifest.
    #[allow(clippy::expect_used)]
    pub fn contents_of(out: &Path) -> Vec<(String, String)> {
        let mut found = Vec::new();
        let mut folders = vec![out.to_path_buf()];
        while let Some(folder) = folders.pop() {
            if let Some(manifest) =
                ossify_contract::Manifest::read(&folder).expect("a readable manifest")
            {
                let name = folder.strip_prefix(out).unwrap_or(&folder).display().to_string();
                for file in &manifest.files {
                    file.verify(&folder).expect("the file that the manifest lists");
                    // These files contain times and rates, which differ; everything else is
                    // compared through the other files.
                    let tells_time =
                        matches!(file.path.as_str(), "metrics.jsonl" | "environment.json")
                            || ["checkpoints/", "tensorboard/"]
                                .iter()
                                .any(|folder| file.path.starts_with(folder));
                    if !tells_time {
                        found.push((format!("{name}/{}", file.path), file.xxh3.clone()));
                    }
                }
            }
            let entries =
                fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
            folders.extend(entries.filter(|path| {
                path.is_dir()
                    && !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
            }));
        }
        found.sort();
        found
    }
}

impl Default for Project {
    fn default() -> Self {
        Self::new()
    }
}

/// A finished stage.
pub struct Ended {
    stage: String,
    output: Output,
}

impl Ended {
    /// Runs a stage's command to its end.
    ///
    /// # Panics
    /// If it cannot be started.
    #[allow(clippy::expect_used)]
    pub fn of(stage: &str, mut command: Command) -> Self {
        Ended { stage: stage.to_owned(), output: command.output().expect("the stage starts") }
    }

    /// Waits for a stage that was started with its output piped.
    ///
    /// # Panics
    /// Where its output cannot be read.
    #[allow(clippy::expect_used)]
    pub fn of_child(stage: &str, child: Child) -> Self {
        let output = child.wait_with_output().expect("the stage ends");
        Ended { stage: stage.to_owned(), output }
    }

    /// Exit code; -1 after a signal.
    pub fn code(&self) -> i32 {
        self.output.status.code().unwrap_or(-1)
    }

    /// Standard error.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    /// Standard output.
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.output.stdout).into_owned()
    }

    /// The `--json` summary.
    ///
    /// # Panics
    /// Where there is none.
    #[allow(clippy::panic)]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout()).unwrap_or_else(|e| {
            panic!("{}: no JSON summary ({e}): {:?}\n{}", self.stage, self.stdout(), self.stderr())
        })
    }

    /// `status` of the summary.
    pub fn status(&self) -> String {
        self.json()["status"].as_str().unwrap_or_default().to_owned()
    }

    /// Checks that the stage ended with code 0.
    ///
    /// # Panics
    /// If it did not.
    pub fn success(self) -> Self {
        assert_eq!(self.code(), 0, "{} failed:\n{}", self.stage, self.stderr());
        self
    }

    /// Checks the exit code, and that the message contains each of these parts, and no panic.
    ///
    /// # Panics
    /// If a check fails.
    pub fn fails_with(&self, code: i32, parts: &[&str]) {
        let stderr = self.stderr();
        assert_eq!(self.code(), code, "{}:\n{stderr}", self.stage);
        for part in parts {
            assert!(stderr.contains(part), "{}: `{part}` is not in:\n{stderr}", self.stage);
        }
        assert!(!stderr.contains("panicked"), "{stderr}");
    }
}

/// Reads a JSON file.
///
/// # Panics
/// If it is not one.
#[allow(clippy::panic)]
pub fn read_json(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}
