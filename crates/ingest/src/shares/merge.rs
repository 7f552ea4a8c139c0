//! The parts of all shares to one stream of records.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::path::PathBuf;

use anyhow::{Result, bail};
use ossify_contract::{
    Fingerprint, Part, Partition, Split, WorkFolder, read_parts, share_place, share_place_of_label,
    write_atomic,
};
use serde::{Deserialize, Serialize};

use super::part::{PartSummary, RecordReader, SplitSummary};
use crate::read::record::{Place, Record, StrayKind};

pub(crate) const STAGE: &str = "ingest";
/// What the last merge of these parts came to; it lies among them.
const MERGED_FILE: &str = "merged.json";

/// The parts of all shares.
pub(crate) struct Parts {
    folder: PathBuf,
    parts: Vec<Part<PartSummary>>,
    /// Hash of what all of them hold.
    content: String,
}

#[derive(Serialize, Deserialize)]
struct Merged {
    parts: String,
    fingerprint: String,
}

impl Parts {
    /// Finds the parts of all `count` shares, and checks that they belong together: same version,
    /// same configuration, and the same files seen by all, each by the worker whose share it is in.
    ///
    /// # Errors
    /// Says which part does not fit, and what to do.
    pub fn find(out: &WorkFolder, count: u32, configuration: &str) -> Result<Self> {
        let parts: Vec<Part<PartSummary>> = read_parts(out, STAGE, count)?;
        let mut content = Fingerprint::new("parts");
        for Part { partition, manifest, summary, .. } in &parts {
            if summary.configuration != configuration {
                bail!(
                    "part {partition} was made with another configuration, data.yaml or list of images; run ossify-ingest --partition {partition} with \
                     those of the merge"
                );
            }
            content.add(manifest.content_hash()).add(serde_json::to_string(summary)?);
        }
        let parts = Parts { folder: out.parts(STAGE, count), parts, content: content.finish() };
        parts.check_census()?;
        Ok(parts)
    }

    /// All workers saw the same files, and took them all.
    fn check_census(&self) -> Result<()> {
        let Some((first, others)) = self.parts.split_first() else {
            bail!("{} has no part", self.folder.display())
        };
        let seen = |part: &Part<PartSummary>| {
            part.summary
                .splits
                .iter()
                .map(|split| (split.split, split.census, split.ignored_files))
                .collect::<Vec<_>>()
        };
        if let Some(other) = others.iter().find(|other| seen(other) != seen(first)) {
            bail!(
                "the dataset had other files when part {} was made than when part {} was; run both again, the one that is up to date has nothing to do",
                other.partition,
                first.partition
            );
        }
        for split in &first.summary.splits {
            let taken: u64 = self.splits(split.split).map(|split| split.own_files).sum();
            if taken != split.census.files {
                bail!(
                    "the parts have {taken} of the {} files of {}; this is a defect of ossify-ingest",
                    split.census.files,
                    split.split
                );
            }
        }
        Ok(())
    }

    /// A split, as each part has it.
    pub fn splits(&self, split: Split) -> impl Iterator<Item = &SplitSummary> {
        self.parts.iter().flat_map(move |part| {
            part.summary.splits.iter().filter(move |of_part| of_part.split == split)
        })
    }

    /// The fingerprint of the tables that these parts were merged into, if they were.
    pub fn merged_fingerprint(&self) -> Option<String> {
        let text = std::fs::read(self.folder.join(MERGED_FILE)).ok()?;
        let merged: Merged = serde_json::from_slice(&text).ok()?;
        (merged.parts == self.content).then_some(merged.fingerprint)
    }

    /// Notes that these parts were merged into the tables with this fingerprint.
    pub fn note_merged(&self, fingerprint: &str) -> Result<()> {
        let merged = Merged { parts: self.content.clone(), fingerprint: fingerprint.to_owned() };
        Ok(write_atomic(&self.folder.join(MERGED_FILE), &serde_json::to_vec(&merged)?)?)
    }

    /// Passes on the records of a split in order, and checks each file by the way.
    ///
    /// # Errors
    /// Fails where a file is not what its manifest says, where a record is in another share than
    /// its part, where two parts have the same, and where `take` fails.
    pub fn read_split(
        &self,
        split: Split,
        mut take: impl FnMut(Record) -> Result<()>,
    ) -> Result<()> {
        let mut readers = Vec::new();
        for part in &self.parts {
            let stem = format!("{split}-");
            let Some(entry) = part.manifest.files.iter().find(|file| file.path.starts_with(&stem))
            else {
                bail!(
                    "{} lists no file of {split}; run ossify-ingest --partition {} again with --force",
                    part.folder.display(),
                    part.partition
                );
            };
            readers.push(PartReader {
                partition: part.partition,
                records: RecordReader::open(&part.folder, entry)?,
            });
        }
        let mut heads = BinaryHeap::new();
        for (reader, part) in readers.iter_mut().enumerate() {
            heads.extend(part.next()?.map(|record| Head { record, reader }));
        }
        let mut last: Option<(usize, Place<'static>)> = None;
        while let Some(mut head) = heads.peek_mut() {
            let reader = head.reader;
            // One at the top is exchanged for the next of its part, which costs less than to take
            // it and to put that.
            let record = match readers[reader].next()? {
                Some(next) => std::mem::replace(&mut head.record, next),
                None => PeekMut::pop(head).record,
            };
            let place = record.place();
            if let Some((of, last)) = &last {
                // A link may be come upon twice in one walk.
                let may_repeat = place.kind == Some(StrayKind::Listed) && *of == reader;
                if place < *last || (place == *last && !may_repeat) {
                    let [first, second] = [*of, reader].map(|reader| readers[reader].partition);
                    bail!(
                        "{} of part {second} comes after {} of part {first}; this is a defect of ossify-ingest",
                        place.path,
                        last.path
                    );
                }
            }
            last = Some((reader, place.into_owned()));
            take(record)?;
        }
        readers.into_iter().try_for_each(|reader| Ok(reader.records.verify()?))
    }
}

/// The next record of a part; the first in order is the greatest, as a heap wants it.
struct Head {
    record: Record,
    reader: usize,
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> Ordering {
        other.record.place().cmp(&self.record.place()).then(other.reader.cmp(&self.reader))
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Head {}

/// The records of one part.
struct PartReader {
    partition: Partition,
    records: RecordReader,
}

impl PartReader {
    fn next(&mut self) -> Result<Option<Record>> {
        let record = self.records.next()?;
        let place = match &record {
            Some(Record::Image(examined)) => share_place(&examined.image.image_id),
            Some(Record::Stray(stray)) if stray.kind != StrayKind::Listed => {
                share_place_of_label(&stray.path)
            }
            _ => return Ok(record),
        };
        if self.partition.holds(place) {
            return Ok(record);
        }
        bail!(
            "{} has images of another share than {}; it was moved here",
            self.records.path().display(),
            self.partition
        )
    }
}
