//! What is known of a finished shard. Beside a staged shard it lets a killed run go on.

use std::path::Path;

use ossify_contract::{ArtefactError, FileEntry, Publication, write_atomic};
use serde::{Deserialize, Serialize};

use crate::inputs::ShardPlan;

/// Hashes of one image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hashes {
    pub(crate) image_id: String,
    pub(crate) bytes_xxh3: u64,
    pub(crate) pixels_xxh3: u64,
    pub(crate) perceptual_hash: u64,
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ShardRecord {
    /// Hash of all that decided its bytes.
    pub(crate) inputs: String,
    /// The file; `None` where every image of the shard failed.
    pub(crate) entry: Option<FileEntry>,
    /// One for each row, in order.
    pub(crate) hashes: Vec<Hashes>,
    /// Images that are no rows.
    pub(crate) failures: Vec<Failure>,
}

impl ShardRecord {
    /// Keeps the record beside the staged shard.
    pub(crate) fn store(&self, publication: &Publication, plan: &ShardPlan) -> Result<(), ArtefactError> {
        let path = publication.stage(&record_file(plan))?;
        let text = serde_json::to_vec(self).map_err(|e| ArtefactError::corrupt(&path, e.to_string()))?;
        write_atomic(&path, &text)
    }

    /// The record that a killed run left of this very shard, if the shard is whole.
    pub(crate) fn load(publication: &Publication, plan: &ShardPlan) -> Result<Option<Self>, ArtefactError> {
        let path = publication.stage(&record_file(plan))?;
        let Some(record) = std::fs::read(&path).ok().and_then(|text| serde_json::from_slice::<ShardRecord>(&text).ok()) else {
            return Ok(None);
        };
        let staging = path.parent().unwrap_or(Path::new("."));
        let is_whole = record.entry.as_ref().is_none_or(|entry| entry.path == plan.file && entry.verify(staging).is_ok());
        // What the file system withheld is asked for again.
        let is_final = record.failures.iter().all(|failure| failure.rule != Failure::NOT_READ);
        let is_same = record.inputs == plan.inputs && record.hashes.len() + record.failures.len() == plan.images.len();
        Ok((is_whole && is_final && is_same).then_some(record))
    }
}

fn record_file(plan: &ShardPlan) -> String {
    format!("{}.json", plan.file)
}
