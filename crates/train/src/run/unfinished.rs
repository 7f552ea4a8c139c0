use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use ossify_contract::{FileEntry, Manifest, Publication, RunSummary};

use crate::run::checkpoint::{self, checkpoint_file, second_name};

/// Files of a run besides the model and the curves, in the order in which they come to be.
const RUN_FILES: [&str; 6] = [
    "config.toml",
    "environment.json",
    "metrics.jsonl",
    "tensorboard/events.out.tfevents.ossify",
    "checkpoints/best/checkpoint.safetensors",
    "checkpoints/last/checkpoint.safetensors",
];

/// The folder inside a run's in which it is made, or made longer. What was published before stays
/// as it is until the new output is whole.
pub struct Unfinished(PathBuf);

impl Unfinished {
    /// That of the run in `folder`.
    pub fn of(folder: &Path) -> Self {
        Unfinished(folder.join("unfinished"))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Begins with the checkpoints of the published run in `folder`, unless there are some here
    /// already; `is_fresh` forgets all that is here instead. `warn` is called where the published
    /// run has lost the checkpoint that training goes on from.
    ///
    /// # Errors
    /// Fails where the disk does, or where the checkpoints cannot be fetched or are damaged: then
    /// none of them is taken along.
    pub fn prepare(&self, folder: &Path, is_fresh: bool, warn: impl FnOnce(String)) -> Result<()> {
        if is_fresh {
            return self.remove();
        }
        let last = checkpoint_file(&self.0, "last");
        fetch(&last)?;
        if last.exists() {
            return Ok(());
        }
        let is_there = |name: &str| -> Result<bool> {
            let found = checkpoint::load(&checkpoint_file(folder, name)).context(
                "the run cannot be continued from its checkpoints; start over with --force",
            )?;
            Ok(found.is_some())
        };
        let (has_best, has_last) = (is_there("best")?, is_there("last")?);
        if !has_last {
            let published = checkpoint_file(folder, "last");
            if Manifest::read(folder)?.is_some() {
                warn(format!("{} is gone: the run starts over", published.display()));
            }
            return Ok(());
        }
        // The last one comes last: without it nothing is continued.
        for name in ["best", "last"].into_iter().skip(usize::from(!has_best)) {
            second_name(&checkpoint_file(folder, name), &checkpoint_file(&self.0, name))?;
        }
        Ok(())
    }

    /// Removes it where it is not ahead of the published run in `folder`, such as what a forced run
    /// that failed has left. What a longer run has left is kept: the same command goes on from it.
    ///
    /// # Errors
    /// Fails where the disk does, or where a checkpoint cannot be fetched.
    pub fn remove_unless_ahead(&self, folder: &Path) -> Result<()> {
        let last = checkpoint_file(&self.0, "last");
        if !self.0.exists() && ossify_storage::size(&last).is_none() {
            return Ok(());
        }
        // Another process may be at work there; and where this one may not write, it may read.
        let Ok(_lock) = Publication::begin(folder) else { return Ok(()) };
        let Some(manifest) = Manifest::read(folder)? else { return Ok(()) };
        let published = manifest.summary_of::<RunSummary>(folder)?.steps;
        match checkpoint::steps(&last)? {
            Some(steps) if steps > published => Ok(()),
            _ => self.remove(),
        }
    }

    /// Whether there is a checkpoint to go on from, here or in the published run.
    pub fn has_checkpoint(&self, folder: &Path) -> bool {
        [&self.0, folder]
            .iter()
            .any(|run| ossify_storage::size(&checkpoint_file(run, "last")).is_some())
    }

    /// Puts the files of the run beside its model, to be published.
    ///
    /// # Errors
    /// Fails where the disk does.
    pub fn stage(&self, publication: &Publication) -> Result<Vec<FileEntry>> {
        let mut files = Vec::with_capacity(RUN_FILES.len());
        for path in RUN_FILES {
            let (from, to) = (self.0.join(path), publication.stage(path)?);
            fetch(&from)?;
            // Checkpoints are replaced by renaming, never changed in place.
            if path.starts_with("checkpoints/") {
                second_name(&from, &to)?;
            } else {
                std::fs::copy(&from, &to).with_context(|| {
                    format!("cannot copy {} to {}", from.display(), to.display())
                })?;
            }
            files.push(publication.describe(path, None)?);
        }
        Ok(files)
    }

    /// Removes it.
    ///
    /// # Errors
    /// Fails where the disk does.
    pub fn remove(&self) -> Result<()> {
        match std::fs::remove_dir_all(&self.0) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e),
            _ => ossify_storage::forget(&self.0),
        }
        .with_context(|| format!("cannot remove {}", self.0.display()))
    }
}

fn fetch(path: &Path) -> Result<()> {
    ossify_storage::fetch(path).with_context(|| format!("cannot fetch {}", path.display()))
}
