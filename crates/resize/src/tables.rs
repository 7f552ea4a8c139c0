//! Writes the tables beside the shards.

use ossify_contract::{
    Action, FailedImage, FileEntry, FingerprintRow, IssueRow, Publication, Severity, Split,
    TableWriter,
};
use ossify_settings::StageError;

use crate::clock::Clock;
use crate::leaks::{ImageHashes, LeakSearch, MEMORY_BYTES, Scratch};
use crate::names::{FINGERPRINTS, ISSUES, LEAKS};
use crate::plan::Plan;
use crate::shard_record::{RowRecord, Store};
use crate::summary::Counts;
use crate::tensors::Tensors;

/// Writes the tables beside the shards from the shards' records, and lists all files. The records
/// are read one by one, twice, because leaks are only known once all have been seen.
pub(crate) fn write_tables(
    plan: &Plan,
    candidates_per_image: f64,
    publication: &Publication,
    clock: &mut Clock,
) -> Result<(Vec<FileEntry>, Counts), StageError> {
    let mut files = Vec::with_capacity(plan.shards.len() + 3);
    let (mut counts, mut tensors) = (Counts::default(), Tensors::new(publication));
    let mut search = LeakSearch::new(Scratch::new(publication.stage("")?, MEMORY_BYTES));
    let mut issues = TableWriter::create(publication.stage(ISSUES)?)?;
    for shard in &plan.shards {
        let record = Store::Staging(publication).record(shard)?;
        counts.add(shard.split, &record);
        tensors.add(shard, &record);
        for failure in &record.failures {
            issues.push(issue(shard.split, failure))?;
        }
        for row in &record.rows {
            let RowRecord { bytes_xxh3, pixels_xxh3, perceptual_hash, .. } = *row;
            search.add(&ImageHashes {
                split: shard.split,
                bytes_xxh3,
                pixels_xxh3,
                perceptual_hash,
            })?;
        }
        files.extend(record.entry.map(|entry| FileEntry { inputs: Some(record.inputs), ..entry }));
    }
    files.push(publication.describe(ISSUES, Some(issues.finish()?))?);

    clock.lap("read records");
    let mut leaks = search.find(candidates_per_image, |row| tensors.picture(row))?;
    clock.lap(format_args!(
        "compared {} pairs of similar hashes in different splits",
        leaks.candidates
    ));
    counts.leaks = leaks.counts;
    let mut writer = TableWriter::create(publication.stage(LEAKS)?)?;
    leaks.for_each_pair(|pair, group| {
        writer.push(pair.row(
            group,
            tensors.image(pair.row as usize)?,
            tensors.image(pair.other_row as usize)?,
        ))
    })?;
    files.push(publication.describe(LEAKS, Some(writer.finish()?))?);

    let mut writer = TableWriter::create(publication.stage(FINGERPRINTS)?)?;
    let mut row = 0;
    for shard in &plan.shards {
        for record in Store::Staging(publication).record(shard)?.rows {
            let RowRecord {
                image_id,
                bytes_xxh3,
                pixels_xxh3,
                perceptual_hash,
                brightness,
                contrast,
            } = record;
            let (split, leak_group) = (shard.split, leaks.group(row)?);
            writer.push(FingerprintRow {
                image_id,
                split,
                bytes_xxh3,
                pixels_xxh3,
                perceptual_hash,
                brightness,
                contrast,
                leak_group,
            })?;
            row += 1;
        }
    }
    files.push(publication.describe(FINGERPRINTS, Some(writer.finish()?))?);
    Ok((files, counts))
}

fn issue(split: Split, failure: &FailedImage) -> IssueRow {
    IssueRow {
        split,
        path: failure.image_id.clone(),
        line: None,
        column: None,
        rule: failure.rule.clone(),
        severity: Severity::Error,
        action: Action::Dropped,
        message: failure.reason.clone(),
        text: None,
    }
}
