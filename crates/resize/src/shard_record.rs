//! What is known of a finished shard. It lies beside the staged shard until the output is
//! published, so that a killed run can go on.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use ossify_contract::{
    ArtefactError, FailedImage, FileEntry, PartFolder, Publication, TempPath, open, write_atomic,
};
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
    pub(crate) failures: Vec<FailedImage>,
}

impl ShardRecord {
    /// How many images became rows or failed.
    pub(crate) fn images(&self) -> usize {
        self.rows.len() + self.failures.len()
    }

    /// Whether the record says what the plan wants, and nothing that another try might mend.
    pub(crate) fn is_of(&self, plan: &ShardPlan) -> bool {
        // What the file system withheld is asked for again.
        let is_final = self.failures.iter().all(|failure| failure.rule != FailedImage::NOT_READ);
        is_final && self.inputs == plan.inputs && self.images() == plan.images
    }

    pub(crate) fn read(path: &Path) -> Result<Self, ArtefactError> {
        let mut text = Vec::new();
        open(path)?.read_to_end(&mut text).map_err(ArtefactError::io("cannot read", path))?;
        serde_json::from_slice(&text).map_err(|e| {
            ArtefactError::corrupt(path, format!("{e}; run ossify-resize again with --force"))
        })
    }

    fn text(&self, path: &Path) -> Result<Vec<u8>, ArtefactError> {
        serde_json::to_vec(self).map_err(|e| ArtefactError::corrupt(path, e.to_string()))
    }
}

/// Where finished shards and their records wait until they are published.
#[derive(Clone, Copy)]
pub(crate) enum Store<'a> {
    /// In the staging folder of the output, under their names.
    Staging(&'a Publication),
    /// In a part, which several workers may write at once: shards under names of their content,
    /// records under those of what decided it.
    Part(&'a PartFolder),
}

/// A shard that is being written.
pub(crate) enum Unfinished {
    Staged(PathBuf),
    InPart(TempPath),
}

impl Unfinished {
    pub(crate) fn path(&self) -> &Path {
        match self {
            Unfinished::Staged(path) => path,
            Unfinished::InPart(path) => path,
        }
    }
}

impl Store<'_> {
    /// Where the shard is to be written.
    pub(crate) fn begin(self, plan: &ShardPlan) -> Result<Unfinished, ArtefactError> {
        Ok(match self {
            Store::Staging(publication) => Unfinished::Staged(publication.stage(&plan.file)?),
            Store::Part(folder) => Unfinished::InPart(folder.begin_path()?),
        })
    }

    /// Keeps a shard that was written, and its record.
    pub(crate) fn keep(
        self,
        plan: &ShardPlan,
        shard: Unfinished,
        record: ShardRecord,
    ) -> Result<(), ArtefactError> {
        let entry = match (record.entry, self, shard) {
            (Some(entry), Store::Part(folder), Unfinished::InPart(file)) => {
                Some(folder.adopt(file, plan.split.as_str(), "arrow", entry)?)
            }
            (entry, ..) => entry,
        };
        self.keep_record(plan, &ShardRecord { entry, ..record })
    }

    /// Keeps the record of a shard that is there.
    pub(crate) fn keep_record(
        self,
        plan: &ShardPlan,
        record: &ShardRecord,
    ) -> Result<(), ArtefactError> {
        match self {
            Store::Staging(publication) => {
                let path = publication.stage(&record_name(plan))?;
                write_atomic(&path, &record.text(&path)?)
            }
            Store::Part(folder) => {
                folder.write(&record_name_in_part(plan), &record.text(folder.path())?)
            }
        }
    }

    /// Whether there is a record of this very shard, and the shard is whole: staged, or already in
    /// its place where the run was killed while it published.
    pub(crate) fn has(self, plan: &ShardPlan) -> Result<bool, ArtefactError> {
        let Ok(record) = self.record(plan) else { return Ok(false) };
        let is_whole = match (&record.entry, self) {
            (None, _) => true,
            (Some(entry), Store::Part(folder)) => entry.is_whole(folder.path())?,
            (Some(entry), Store::Staging(publication)) => {
                let staged = publication.stage(&entry.path)?;
                let staging = staged.parent().unwrap_or(publication.folder());
                entry.path == plan.file
                    && (entry.is_whole(staging)? || entry.is_whole(publication.folder())?)
            }
        };
        Ok(is_whole && record.is_of(plan))
    }

    /// The record of a shard that is there.
    pub(crate) fn record(self, plan: &ShardPlan) -> Result<ShardRecord, ArtefactError> {
        match self {
            Store::Staging(publication) => {
                ShardRecord::read(&publication.stage(&record_name(plan))?)
            }
            Store::Part(folder) => {
                ShardRecord::read(&folder.path().join(record_name_in_part(plan)))
            }
        }
    }
}

fn record_name(plan: &ShardPlan) -> String {
    format!("{}.json", plan.file)
}

/// Of what decided the content: the shard's number may change.
pub(crate) fn record_name_in_part(plan: &ShardPlan) -> String {
    format!("{}-{}.json", plan.split, plan.inputs)
}
