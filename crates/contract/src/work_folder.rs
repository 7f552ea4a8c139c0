use std::path::{Path, PathBuf};

use crate::partition::Partition;

/// The folders of one piece of work, below `OUT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkFolder {
    root: PathBuf,
}

impl WorkFolder {
    /// The work folder at this path, which need not exist yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        WorkFolder { root: root.into() }
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Label tables.
    pub fn tables(&self) -> PathBuf {
        self.root.join("tables")
    }

    /// Tensor shards.
    pub fn shards(&self) -> PathBuf {
        self.root.join("shards")
    }

    /// The part that a stage makes of a share, until all are merged: `parts/<stage>/<N>/<I>`.
    pub fn part(&self, stage: &str, partition: Partition) -> PathBuf {
        self.parts(stage, partition.count()).join(partition.number().to_string())
    }

    /// All parts of a stage for so many shares.
    pub fn parts(&self, stage: &str, count: u32) -> PathBuf {
        self.root.join("parts").join(stage).join(count.to_string())
    }

    /// All runs.
    pub fn runs(&self) -> PathBuf {
        self.root.join("runs")
    }

    /// All predictions.
    pub fn predictions(&self) -> PathBuf {
        self.root.join("predictions")
    }

    /// All reports.
    pub fn reports(&self) -> PathBuf {
        self.root.join("reports")
    }
}
