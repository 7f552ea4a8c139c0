//! What is known of a finished shard. It lies beside the staged shard until the output is published, so that a killed
//! run can go on.

use std::path::{Path, PathBuf};

use ossify_contract::{ArtefactError, FileEntry, Publication, write_atomic};
use serde::{Deserialize, Serialize};

use crate::plan::ShardPlan;

/// What is known of the image of a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RowRecord {
    pub(crate) image_id: String,
    pub(crate) bytes_xxh3: u64,
    pub(crate) pixels_xxh3: u64,
    pub(crate) perceptual_hash: u64,
    pub(crate) brightness: f32,
    pub(crate) contrast: f32,
}

/// An image that did not become a tensor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) image_id: String,
    pub(crate) rule: String,
    pub(crate) reason: String,
}

impl Failure {
    /// The bytes are no usable picture.
    pub(crate) const UNREADABLE: &str = "image-unreadable";
    /// The file system did not give the bytes; another time it may.
    pub(crate) const NOT_READ: &str = "image-not-read";
    /// The picture is not the one that the tables describe.
    pub(crate) const CHANGED: &str = "image-changed";
}

/// A finished shard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ShardRecord {
    /// Hash of all that decided its bytes.
    pub(crate) inputs: String,
    /// The file; `None` where every image of the shard failed.
    pub(crate) entry: Option<FileEntry>,
    /// One for each row, in order.
    pub(crate) rows: Vec<RowRecord>,
    /// Images that are no rows.
    pub(crate) failures: Vec<Failure>,
}

impl ShardRecord {
    /// How many images became rows or failed.
    pub(crate) fn images(&self) -> usize {
        self.rows.len() + self.failures.len()
    }

    /// Keeps the record beside the staged shard.
    pub(crate) fn store(&self, publication: &Publication, plan: &ShardPlan) -> Result<(), ArtefactError> {
        let path = Self::path(publication, plan)?;
        let text = serde_json::to_vec(self).map_err(|e| ArtefactError::corrupt(&path, e.to_string()))?;
        write_atomic(&path, &text)
    }

    /// Whether the record says what the plan wants, and nothing that another try might mend.
    pub(crate) fn is_of(&self, plan: &ShardPlan) -> bool {
        // What the file system withheld is asked for again.
        let is_final = self.failures.iter().all(|failure| failure.rule != Failure::NOT_READ);
        is_final && self.inputs == plan.inputs && self.images() == plan.images && self.entry.as_ref().is_none_or(|entry| entry.path == plan.file)
    }

    /// Whether there is a record of this very shard, and the shard is whole: staged, or already in its place where the
    /// run was killed while it published.
    pub(crate) fn is_there(publication: &Publication, plan: &ShardPlan) -> Result<bool, ArtefactError> {
        let path = Self::path(publication, plan)?;
        let Some(record) = std::fs::read(&path).ok().and_then(|text| serde_json::from_slice::<ShardRecord>(&text).ok()) else {
            return Ok(false);
        };
        let staging = path.parent().unwrap_or(Path::new("."));
        let is_whole = record.entry.as_ref().is_none_or(|entry| entry.verify(staging).is_ok() || entry.verify(publication.folder()).is_ok());
        Ok(is_whole && record.is_of(plan))
    }

    /// The record of a shard that is there.
    pub(crate) fn load(publication: &Publication, plan: &ShardPlan) -> Result<Self, ArtefactError> {
        let path = Self::path(publication, plan)?;
        let text = std::fs::read(&path).map_err(ArtefactError::io("cannot read", &path))?;
        serde_json::from_slice(&text).map_err(|e| ArtefactError::corrupt(&path, format!("{e}; run ossify-resize again with --force")))
    }

    fn path(publication: &Publication, plan: &ShardPlan) -> Result<PathBuf, ArtefactError> {
        publication.stage(&format!("{}.json", plan.file))
    }
}
