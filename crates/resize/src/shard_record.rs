//! Records of finished shards, stored beside the staged shards until the output is published, so
//! that a killed run can be resumed.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use ossify_contract::{
    ArtefactError, FailedImage, FileEntry, PartFolder, Publication, TempPath, open, write_atomic,
};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::plan::ShardPlan;

/// The image of a row.
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
    /// Hash of everything that determined its bytes.
    pub(crate) inputs: String,
    /// The file; `None` if every image of the shard failed.
    pub(crate) entry: Option<FileEntry>,
    /// One for each row, in order.
    pub(crate) rows: Vec<RowRecord>,
    /// Images that did not become rows.
    pub(crate) failures: Vec<FailedImage>,
}

impl ShardRecord {
    /// Number of images that became rows or failed.
    pub(crate) fn images(&self) -> usize {
        self.rows.len() + self.failures.len()
    }

    /// Whether the record matches the plan, and contains no failure that might be temporary.
    pub(crate) fn is_of(&self, plan: &ShardPlan) -> bool {
        // Files that could not be read are tried again.
        let is_final = self.failures.iter().all(|failure| failure.rule != FailedImage::NOT_READ);
        is_final && self.inputs == plan.inputs && self.images() == plan.images
    }

    pub(crate) fn read(path: &Path) -> Result<Self, ArtefactError> {
        let mut text = Vec::new();
        open(path)?.read_to_end(&mut text).map_err(ArtefactError::io("cannot read", path))?;
        let corrupt = |reason: String| {
            let reason = format!(
                "not the record of a shard ({reason}); run ossify-resize again with --force"
            );
            ArtefactError::corrupt(path, reason)
        };
        let line_end = text.iter().position(|byte| *byte == b'\n').unwrap_or(text.len());
        let (hash, json) = text.split_at(line_end);
        if hash != Self::hash_line(json).as_bytes() {
            return Err(corrupt("its bytes are not those that were written".to_owned()));
        }
        serde_json::from_slice(json)
            .map_err(|_| corrupt("it is of another version of ossify".to_owned()))
    }

    /// A line with the hash of what follows, since no manifest lists a record that waits beside a
    /// staged shard; then the record as JSON.
    fn text(&self, path: &Path) -> Result<Vec<u8>, ArtefactError> {
        let json =
            serde_json::to_string(self).map_err(|e| ArtefactError::corrupt(path, e.to_string()))?;
        let json = format!("\n{json}");
        Ok(format!("{}{json}", Self::hash_line(json.as_bytes())).into_bytes())
    }

    fn hash_line(json: &[u8]) -> String {
        format!("{:016x}", xxh3_64(json))
    }
}

/// Where finished shards and their records are kept until they are published.
#[derive(Clone, Copy)]
pub(crate) enum Store<'a> {
    /// In the staging folder of the output, under their final names.
    Staging(&'a Publication),
    /// In a part, which several workers may write at once: shards are named after their content,
    /// records after the hash of their inputs.
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
    /// Starts a shard.
    pub(crate) fn begin(self, plan: &ShardPlan) -> Result<Unfinished, ArtefactError> {
        Ok(match self {
            Store::Staging(publication) => Unfinished::Staged(publication.stage(&plan.file)?),
            Store::Part(folder) => Unfinished::InPart(folder.begin_path()?),
        })
    }

    /// Keeps a finished shard and its record.
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

    /// Keeps the record of an existing shard.
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

    /// Whether there is a record of exactly this shard, and the shard is complete: staged, or
    /// already published if the run was killed while publishing.
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

    /// The record of an existing shard.
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
    format!("{}.record", plan.file)
}

/// Named after the inputs, because the shard's number may change.
pub(crate) fn record_name_in_part(plan: &ShardPlan) -> String {
    format!("{}-{}.record", plan.split, plan.inputs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_which_any_bit_is_flipped_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.record");
        let row = |image_id: &str| RowRecord {
            image_id: image_id.to_owned(),
            bytes_xxh3: u64::MAX,
            pixels_xxh3: 1,
            perceptual_hash: 0x0123_4567_89ab_cdef,
            brightness: 0.1,
            contrast: 1.0 / 3.0,
        };
        let record = ShardRecord {
            inputs: "abc".to_owned(),
            entry: None,
            rows: vec![row("a.png"), row("b.png")],
            failures: vec![FailedImage::default()],
        };
        let whole = record.text(&path).unwrap();
        std::fs::write(&path, &whole).unwrap();
        assert_eq!(ShardRecord::read(&path).unwrap(), record);
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, &flipped).unwrap();
            let error = ShardRecord::read(&path).unwrap_err().to_string();
            assert!(error.contains("not the record of a shard"), "bit {bit}: {error}");
        }
    }
}
