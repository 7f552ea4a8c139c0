//! Merges the parts of all shares into one stream of records.

use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use ossify_contract::{
    Fingerprint, Part, Partition, Split, WorkFolder, read_parts, share_position,
    share_position_of_label, write_atomic,
};
use ossify_sorting::{MAX_WINDOW_BYTES, Merge, Runs};
use serde::{Deserialize, Serialize};

use super::from_part::FromPart;
use super::part::{PartSplits, RecordReader, STAGE, SplitSummary};
use crate::read::record::{Position, Record, StrayKind};

/// Number of parts that are read at once, far below the limit of open files.
const MAX_OPEN_PARTS: usize = 32;
/// The result of the last merge of these parts, stored beside them.
const MERGED_FILE: &str = "merged.json";

/// The parts of all shares.
pub(crate) struct Parts {
    folder: PathBuf,
    parts: Vec<Part<PartSplits>>,
    /// Hash of the content of all parts.
    content: String,
}

#[derive(Serialize, Deserialize)]
struct Merged {
    parts: String,
    fingerprint: String,
}

impl Parts {
    /// Finds the parts of all `count` shares, and checks that they belong together: same version,
    /// same configuration, and the same census of files, with each file in exactly one part.
    ///
    /// # Errors
    /// Says which part does not fit, and what to do.
    pub fn find(out: &WorkFolder, count: u32, configuration: &str) -> Result<Self> {
        let parts: Vec<Part<PartSplits>> = read_parts(out, count, configuration)?;
        let mut content = Fingerprint::new("parts");
        content.add(configuration);
        for Part { partition, manifest, payload, .. } in &parts {
            content.add(partition.to_string()).add(manifest.content_hash());
            content.add(serde_json::to_string(payload)?);
        }
        let parts = Parts { folder: out.parts(STAGE, count), parts, content: content.finish() };
        parts.check_census()?;
        Ok(parts)
    }

    /// Checks that all workers saw the same files, and that together they took all of them.
    fn check_census(&self) -> Result<()> {
        let Some((first, others)) = self.parts.split_first() else {
            bail!("{} has no part", self.folder.display())
        };
        let seen = |part: &Part<PartSplits>| {
            part.payload
                .splits
                .iter()
                .map(|split| (split.split, split.census, split.ignored_files))
                .collect::<Vec<_>>()
        };
        if let Some(other) = others.iter().find(|other| seen(other) != seen(first)) {
            bail!(
                "the dataset had other files when part {} was made than when part {} was; run \
                both again, the one that is up to date has nothing to do",
                other.partition,
                first.partition
            );
        }
        for split in &first.payload.splits {
            let taken: u64 = self.splits(split.split).map(|split| split.own_files).sum();
            if taken != split.census.files {
                bail!(
                    "the parts have {taken} of the {} files of {}; this is a defect of \
                    ossify-ingest",
                    split.census.files,
                    split.split
                );
            }
        }
        Ok(())
    }

    /// The summary of a split in each part.
    pub fn splits(&self, split: Split) -> impl Iterator<Item = &SplitSummary> {
        self.parts.iter().flat_map(move |part| {
            part.payload.splits.iter().filter(move |of_part| of_part.split == split)
        })
    }

    /// The fingerprint of the tables that these parts were merged into, if any.
    pub fn merged_fingerprint(&self) -> Option<String> {
        let text = std::fs::read(self.folder.join(MERGED_FILE)).ok()?;
        let merged: Merged = serde_json::from_slice(&text).ok()?;
        (merged.parts == self.content).then_some(merged.fingerprint)
    }

    /// Records that these parts were merged into the tables with this fingerprint.
    pub fn note_merged(&self, fingerprint: &str) -> Result<()> {
        let merged = Merged { parts: self.content.clone(), fingerprint: fingerprint.to_owned() };
        Ok(write_atomic(&self.folder.join(MERGED_FILE), &serde_json::to_vec(&merged)?)?)
    }

    /// Calls `take` with the records of a split in order, and verifies each file while reading it.
    /// If there are too many parts to open at once, groups of parts are first merged into an
    /// unnamed file in `scratch`.
    ///
    /// # Errors
    /// Fails if a file does not match its manifest, if a record is not in the share of its part, if
    /// two parts contain the same record, or if `take` fails.
    pub fn read_split(
        &self,
        split: Split,
        scratch: &Path,
        mut take: impl FnMut(Record) -> Result<()>,
    ) -> Result<()> {
        if self.parts.len() <= MAX_OPEN_PARTS {
            let readers = self.open(split, 0..self.parts.len())?;
            return pass_on(readers, |from_part| take(from_part.record));
        }
        let mut runs = Runs::create(scratch)?;
        for start in (0..self.parts.len()).step_by(MAX_OPEN_PARTS) {
            let group = start..self.parts.len().min(start + MAX_OPEN_PARTS);
            let mut run = runs.begin();
            pass_on(self.open(split, group)?, |from_part| Ok(run.push(&from_part)?))?;
            run.end()?;
        }
        let readers = runs.readers(0..runs.count(), MAX_WINDOW_BYTES).into_iter();
        let readers = readers.map(|run| run.map(|record| record.map_err(Into::into))).collect();
        pass_on(readers, |from_part| take(from_part.record))
    }

    /// Readers of a split's records in these parts.
    fn open(&self, split: Split, parts: Range<usize>) -> Result<Vec<PartReader>> {
        let stem = format!("{split}-");
        let reader = |number: usize| {
            let part = &self.parts[number];
            let Some(entry) = part.manifest.files.iter().find(|file| file.path.starts_with(&stem))
            else {
                bail!(
                    "{} lists no file of {split}; run ossify-ingest --partition {} again with \
                     --force",
                    part.folder.display(),
                    part.partition
                );
            };
            Ok(PartReader {
                number: number as u32,
                partition: part.partition,
                records: Some(RecordReader::open(&part.folder, entry)?),
            })
        };
        parts.map(reader).collect()
    }
}

/// Calls `take` with the records of all readers in order.
fn pass_on(
    readers: Vec<impl Iterator<Item = Result<FromPart>>>,
    mut take: impl FnMut(FromPart) -> Result<()>,
) -> Result<()> {
    let mut last: Option<(u32, Position<'static>)> = None;
    for from_part in Merge::new(readers)? {
        let from_part = from_part?;
        let position = from_part.record.position();
        if let Some((of, last)) = &last {
            // One walk may find a link twice.
            let may_repeat = position.kind == Some(StrayKind::Listed) && *of == from_part.part;
            if position < *last || (position == *last && !may_repeat) {
                bail!(
                    "{} of part {} comes after {} of part {}; this is a bug in ossify-ingest",
                    position.path,
                    from_part.part + 1,
                    last.path,
                    of + 1
                );
            }
        }
        last = Some((from_part.part, position.into_owned()));
        take(from_part)?;
    }
    Ok(())
}

/// The records of one part. Its file is verified and closed after the last one.
struct PartReader {
    number: u32,
    partition: Partition,
    records: Option<RecordReader>,
}

impl PartReader {
    /// The next record, which must be in the share of its part.
    fn read(&mut self) -> Result<Option<FromPart>> {
        let Some(records) = &mut self.records else { return Ok(None) };
        let Some(record) = records.next()? else {
            if let Some(records) = self.records.take() {
                records.verify()?;
            }
            return Ok(None);
        };
        let position = match &record {
            Record::Image(examined) => Some(share_position(&examined.image.image_id)),
            Record::Stray(stray) if stray.kind != StrayKind::Listed => {
                Some(share_position_of_label(&stray.path))
            }
            Record::Stray(_) => None,
        };
        if position.is_some_and(|position| !self.partition.holds(position)) {
            bail!(
                "{} contains images of another share than {}; it was moved here",
                records.path().display(),
                self.partition
            );
        }
        Ok(Some(FromPart { part: self.number, record }))
    }
}

impl Iterator for PartReader {
    type Item = Result<FromPart>;

    fn next(&mut self) -> Option<Result<FromPart>> {
        self.read().transpose()
    }
}
