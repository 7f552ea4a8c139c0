//! `ossify-download`: fetches the dataset of the reference recipe with the user's own key.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::{Parser, Subcommand};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use ossify_download::{
    ArchiveError, BONE_FRACTURE, CredentialsError, DatasetError, DownloadError, Fetch,
    KnownDataset, fetch, find_credentials, install_archive, is_installed,
};

#[derive(Parser)]
#[command(name = "ossify-download", version, about = "Fetches data that is not part of ossify")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Download BoneFractureYolo8 from Kaggle with your own key, check it and unpack it
    Dataset {
        /// Folder in which the dataset gets a folder of its own
        #[arg(long, value_name = "DIR", default_value = "data/datasets")]
        data: PathBuf,
        /// Unpack this archive, downloaded by hand, instead of downloading
        #[arg(long, value_name = "FILE")]
        archive: Option<PathBuf>,
        /// Address of Kaggle's API
        #[arg(
            long,
            value_name = "URL",
            env = "OSSIFY_KAGGLE_URL",
            default_value = "https://www.kaggle.com/api/v1"
        )]
        url: String,
    },
}

#[global_allocator]
static ALLOCATOR: ossify_process::Allocator = ossify_process::Allocator;

fn main() -> ExitCode {
    ossify_process::prepare();
    let Command::Dataset { data, archive, url } = Cli::parse().command;
    match dataset(&BONE_FRACTURE, &data, archive.as_deref(), &url) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            // No key, or an address that cannot be one, is a matter of configuration.
            let is_configuration = |e: &DownloadError| {
                matches!(e, DownloadError::Address { .. } | DownloadError::NotUtf8 { .. })
            };
            if error.downcast_ref::<CredentialsError>().is_some()
                || error.downcast_ref::<DownloadError>().is_some_and(is_configuration)
            {
                ExitCode::from(2)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

fn dataset(
    known: &KnownDataset,
    data: &Path,
    archive: Option<&Path>,
    url: &str,
) -> anyhow::Result<()> {
    let target = data.join(known.name);
    if is_installed(known, &target)? {
        eprintln!("{} is already there, whole: {}", known.name, target.display());
        return Ok(());
    }
    let (archive, is_ours) = match archive {
        Some(archive) => (archive.to_path_buf(), false),
        None => (download(known, data, url)?, true),
    };
    eprintln!("unpacking {} and checking its counts", archive.display());
    let mut progress = Progress::new("files");
    let outcome = install_archive(known, &archive, &target, |done, total| {
        progress.update(done as u64, Some(total as u64))
    });
    progress.finish();
    let is_useless =
        matches!(outcome, Ok(_) | Err(DatasetError::Archive(ArchiveError::Broken { .. })));
    if is_ours && is_useless {
        std::fs::remove_file(&archive)
            .with_context(|| format!("cannot remove {}", archive.display()))?;
    }
    let images = outcome?;
    eprintln!(
        "{}: {images} images in {} ({}); every count is as it should be",
        known.name,
        target.display(),
        known.licence
    );
    eprintln!("next: make ingest CONF=conf/bone-fracture.toml DATASET={}", target.display());
    Ok(())
}

fn download(known: &KnownDataset, data: &Path, url: &str) -> anyhow::Result<PathBuf> {
    let folder = std::env::current_dir().context("cannot find the current folder")?;
    let credentials = match find_credentials(&folder, |name| std::env::var_os(name)) {
        Ok(credentials) => credentials,
        Err(error @ CredentialsError::NotFound { .. }) => {
            return Err(anyhow::Error::from(error).context(advice(known)));
        }
        Err(error) => return Err(error.into()),
    };
    let archive = data.join(format!("{}.zip", known.name));
    let url = format!("{}/datasets/download/{}", url.trim_end_matches('/'), known.kaggle_id);
    eprintln!(
        "downloading {} ({}, about {} MB) to {}",
        known.name,
        known.licence,
        known.archive_megabytes,
        archive.display()
    );
    let mut progress = Progress::new("bytes");
    let fetched = fetch(
        &Fetch::new(url, &archive)
            .header("Authorization", credentials.authorization())
            .max_bytes(known.archive_megabytes * 10_000_000),
        |done, total| progress.update(done, total),
    );
    progress.finish();
    match fetched {
        Ok(fetched) => Ok(fetched.path),
        Err(error @ DownloadError::Denied { .. }) => {
            Err(anyhow::Error::from(error).context(format!(
                "Kaggle does not accept this key; make a new one on the settings page of your \
            account, or download {} by hand and pass --archive FILE",
                known.name
            )))
        }
        Err(error) => Err(error.into()),
    }
}

fn advice(known: &KnownDataset) -> String {
    format!(
        "{name} comes from Kaggle, which wants a key of your own (free: kaggle.com, Settings, \
        API, Create New Token). Any of these will do:
  1. put the kaggle.json that Kaggle gives you into ~/.kaggle/
  2. set KAGGLE_USERNAME and KAGGLE_KEY (or KAGGLE_API_TOKEN) in the environment
  3. write the same NAME=value lines into a file .env in this folder
or without a key: download kaggle.com/datasets/{id} in a browser and run
  make dataset ARGS='--archive PATH/TO/archive.zip'
or without the dataset: make ingest train evaluate, which uses the demo
why",
        name = known.name,
        id = known.kaggle_id,
    )
}

/// A bar on a terminal, a line every five seconds elsewhere.
struct Progress {
    bar: ProgressBar,
    unit: &'static str,
    last_line: Option<Instant>,
}

impl Progress {
    fn new(unit: &'static str) -> Self {
        let bar = ProgressBar::no_length();
        let template = match unit {
            "bytes" => "  {bar:32} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left",
            _ => "  {bar:32} {pos} of {len} files, {eta} left",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        let is_terminal = std::io::stderr().is_terminal();
        if !is_terminal {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        Progress { bar, unit, last_line: (!is_terminal).then(Instant::now) }
    }

    fn update(&mut self, done: u64, total: Option<u64>) {
        if let Some(total) = total {
            self.bar.set_length(total);
        }
        self.bar.set_position(done);
        if let Some(last_line) = self
            .last_line
            .as_mut()
            .filter(|last_line| last_line.elapsed() >= Duration::from_secs(5))
        {
            *last_line = Instant::now();
            let amount = |n: u64| {
                if self.unit == "bytes" {
                    format!("{:.1} MB", n as f64 / 1e6)
                } else {
                    format!("{n} {}", self.unit)
                }
            };
            match total {
                Some(total) => eprintln!("  {} of {}", amount(done), amount(total)),
                None => eprintln!("  {}", amount(done)),
            }
        }
    }

    fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
