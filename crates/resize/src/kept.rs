//! Keeps shards of the previous output that need not be made again.

use std::collections::HashMap;
use std::path::Path;

use ossify_contract::{
    ArtefactError, FailedImage, FileEntry, FingerprintRow, IssueRow, Manifest, Publication, Split,
    TableReader, read_table, shards_of,
};
use rayon::prelude::*;

use crate::names::{FINGERPRINTS, ISSUES};
use crate::plan::Plan;
use crate::shard_record::{RowRecord, ShardRecord, Store};

/// A shard of the previous output, and which shard of the plan it is.
struct Kept<'a> {
    planned: usize,
    entry: &'a FileEntry,
    /// Number of its first row in the table of fingerprints.
    first_row: u64,
}

impl Kept<'_> {
    /// Whether some of its images became no rows.
    fn has_failures(&self, plan: &Plan) -> bool {
        self.entry.rows != Some(plan.shards[self.planned].images as u64)
    }
}

/// Keeps the shards of the previous output that match a shard of the plan: same images, same
/// recipe, and the bytes that the manifest says. Such a shard stays where it is, or gets a second
/// name if its number has changed; in both cases it has a record afterwards. `known` says for each
/// shard of the plan whether it already has a record.
pub(crate) fn keep_published(
    plan: &Plan,
    known: &mut [bool],
    publication: &Publication,
) -> Result<(), ArtefactError> {
    let folder = publication.folder();
    let Some(manifest) = Manifest::read(folder).ok().flatten() else { return Ok(()) };
    let by_inputs: HashMap<&str, usize> = plan
        .shards
        .iter()
        .enumerate()
        .map(|(number, shard)| (shard.inputs.as_str(), number))
        .collect();
    let (mut candidates, mut first_row) = (Vec::new(), 0);
    for entry in Split::ALL.into_iter().flat_map(|split| shards_of(&manifest, split)) {
        if let Some(planned) =
            entry.inputs.as_deref().and_then(|inputs| by_inputs.get(inputs)).copied()
            && !known[planned]
        {
            candidates.push(Kept { planned, entry, first_row });
        }
        first_row += entry.rows.unwrap_or(0);
    }
    let is_whole = |name: &str| manifest.file(name).is_some_and(|file| file.verify(folder).is_ok());
    if candidates.is_empty() || !is_whole(FINGERPRINTS) {
        return Ok(());
    }
    // Only these shards need the table that says which of their images failed.
    if candidates.iter().any(|kept| kept.has_failures(plan)) && !is_whole(ISSUES) {
        candidates.retain(|kept| !kept.has_failures(plan));
    }
    let whole =
        candidates.into_par_iter().map(|kept| Ok(kept.entry.is_whole(folder)?.then_some(kept)));
    let candidates: Vec<Kept> =
        whole.collect::<Result<Vec<_>, ArtefactError>>()?.into_iter().flatten().collect();
    let mut failures = failures_of(plan, &candidates, &folder.join(ISSUES))?;

    let mut fingerprints = TableReader::<FingerprintRow>::open(folder.join(FINGERPRINTS))?
        .flat_map(|batch| match batch {
            Ok(rows) => rows.into_iter().map(Ok).collect(),
            Err(e) => vec![Err(e)],
        });
    let mut next_row = 0;
    for kept in candidates {
        let planned = &plan.shards[kept.planned];
        let skipped = usize::try_from(kept.first_row - next_row).unwrap_or(usize::MAX);
        let count = kept.entry.rows.unwrap_or(0);
        let of_shard =
            fingerprints.by_ref().skip(skipped).take(usize::try_from(count).unwrap_or(usize::MAX));
        let rows = of_shard.map(|row| row.map(record_of)).collect::<Result<Vec<_>, _>>()?;
        next_row = kept.first_row + count;
        let entry = FileEntry { path: planned.file.clone(), ..kept.entry.clone() };
        let failures = failures.remove(&kept.planned).unwrap_or_default();
        let record =
            ShardRecord { inputs: planned.inputs.clone(), entry: Some(entry), rows, failures };
        if record.is_of(planned) {
            if kept.entry.path != planned.file {
                give_second_name(
                    &folder.join(&kept.entry.path),
                    &publication.stage(&planned.file)?,
                )?;
            }
            Store::Staging(publication).keep_record(planned, &record)?;
            known[kept.planned] = true;
        }
    }
    Ok(())
}

fn record_of(row: FingerprintRow) -> RowRecord {
    let FingerprintRow {
        image_id,
        bytes_xxh3,
        pixels_xxh3,
        perceptual_hash,
        brightness,
        contrast,
        ..
    } = row;
    RowRecord { image_id, bytes_xxh3, pixels_xxh3, perceptual_hash, brightness, contrast }
}

/// The failed images of these shards, by the shard's number in the plan.
fn failures_of(
    plan: &Plan,
    kept: &[Kept],
    issues: &Path,
) -> Result<HashMap<usize, Vec<FailedImage>>, ArtefactError> {
    let mut failures: HashMap<usize, Vec<FailedImage>> = HashMap::new();
    let has_failures: Vec<usize> =
        kept.iter().filter(|kept| kept.has_failures(plan)).map(|kept| kept.planned).collect();
    if has_failures.is_empty() {
        return Ok(failures);
    }
    let issues: HashMap<String, IssueRow> = read_table::<IssueRow>(issues)?
        .into_iter()
        .map(|issue| (issue.path.clone(), issue))
        .collect();
    for source in plan.sources(|shard| has_failures.contains(&shard)) {
        let (shard, source) = source?;
        if let Some(issue) = issues.get(&source.image_id) {
            let failure = FailedImage {
                image_id: source.image_id,
                rule: issue.rule.clone(),
                reason: issue.message.clone(),
            };
            failures.entry(shard).or_default().push(failure);
        }
    }
    Ok(failures)
}

/// Creates a hard link, or a copy if the file system does not support links.
pub(crate) fn give_second_name(file: &Path, name: &Path) -> Result<(), ArtefactError> {
    match std::fs::remove_file(name) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            return Err(ArtefactError::io("cannot remove", name)(e));
        }
        _ => {}
    }
    ossify_storage::give_second_name(file, name)
        .map_err(ArtefactError::io("cannot copy to", name))?;
    if !file.exists() && ossify_storage::size(name).is_some() {
        return Ok(());
    }
    std::fs::hard_link(file, name)
        .or_else(|_| std::fs::copy(file, name).map(drop))
        .map_err(ArtefactError::io("cannot copy to", name))
}
