use std::path::{Path, PathBuf};

/// The command line that all stages share.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct StageArgs {
    /// The conf file, as in conf/demo.toml; without one the built-in defaults hold
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Folder of the dataset, its data.yaml, or its URL in an object store [default: dataset.path
    /// of the configuration]
    #[arg(long, value_name = "DIR")]
    pub dataset: Option<PathBuf>,
    /// Work folder for everything that stages write, or its URL in an object store [default:
    /// data/work/<name of the conf file>, data/work/default without one]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Sets one key, as in --set train.epochs=10; may be repeated
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    pub set: Vec<String>,
    /// Runs even if the output is already there
    #[arg(long)]
    pub force: bool,
    /// Ends with exit code 3 if the data has any error
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

impl StageArgs {
    /// The work folder: as named, or `data/work/NAME` after the conf file, `data/work/default`
    /// without one.
    pub(crate) fn work_folder(&self) -> PathBuf {
        if let Some(out) = &self.out {
            return out.clone();
        }
        let name = self.config.as_deref().and_then(Path::file_stem);
        let name = name.map_or_else(|| "default".into(), |stem| stem.to_string_lossy());
        Path::new("data/work").join(name.as_ref())
    }
}
