//! Makes the part of a share, and merges the parts of all shares.

use std::collections::HashMap;
use std::path::PathBuf;

use anyhow::anyhow;
use ossify_contract::{
    ArtefactError, FileEntry, Part, PartFolder, PartPayload, PartSummary, Partition, Publication,
    begin_unchanged, current_part, read_parts,
};
use ossify_settings::{Context, Outcome, StageError};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::kept::give_second_name;
use crate::names::STAGE;
use crate::shard_record::{ShardRecord, Store, record_name_in_part};
use crate::stage::{Begun, Stage};

/// The shards of a part. Parts belong together if the configuration and the table of images are the
/// same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct PartShards {
    shards: Vec<ShardInPart>,
}

impl PartPayload for PartShards {
    const STAGE: &'static str = STAGE;
    const MADE_WITH: &'static str = "configuration or from another images.parquet";
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ShardInPart {
    /// The shard's name in the merged output.
    file: String,
    content: String,
    inputs: String,
    /// The file with its record, in the part.
    record: String,
}

/// Makes the shards of a share, and publishes them as a part.
pub(crate) fn part(context: &Context, partition: Partition) -> Result<Outcome, StageError> {
    let mut stage = Stage::plan(context)?;
    let share = stage.plan.share(partition);
    stage.plan.look_up(&context.dataset, |shard| share[shard])?;
    stage.clock.lap("looked files up");
    let payload = PartShards { shards: shards_in_part(&stage, &share) };
    let summary = PartSummary::new(partition, &stage.configuration, payload);
    let folder = PartFolder::create(context.out.part(STAGE, partition))?;
    let inputs = summary.to_json(folder.path())?.to_string();
    let fingerprint = context.fingerprint("resize-part", &[STAGE]).add(inputs).finish();
    if let Some(manifest) =
        current_part::<PartShards>(folder.path(), &fingerprint).filter(|_| !context.force)
    {
        return Ok(Outcome::current(manifest.summary));
    }
    let mut known = Vec::with_capacity(share.len());
    for (shard, is_own) in stage.plan.shards.iter().zip(&share) {
        known.push(!is_own || (!context.force && Store::Part(&folder).has(shard)?));
    }
    stage.make_shards(|shard| !known[shard], Store::Part(&folder))?;
    let (mut files, mut is_final) = (Vec::new(), true);
    for (shard, _) in stage.plan.shards.iter().zip(&share).filter(|(_, is_own)| **is_own) {
        let record = Store::Part(&folder).record(shard)?;
        is_final &= record.is_of(shard);
        files.extend(record.entry);
        files.push(FileEntry::of(folder.path(), &record_name_in_part(shard), None)?);
    }
    // Files that could not be read are tried again by the next run.
    let fingerprint =
        if is_final { fingerprint } else { format!("{fingerprint}, not all files could be read") };
    let manifest = folder.publish(&fingerprint, files, &summary)?;
    let rows: u64 = manifest.files.iter().filter_map(|file| file.rows).sum();
    context.reporter.say(format_args!(
        "part {partition}: {rows} images; written to {}",
        folder.path().display()
    ));
    Ok(Outcome::done(manifest.summary))
}

fn shards_in_part(stage: &Stage, share: &[bool]) -> Vec<ShardInPart> {
    let own = stage.plan.shards.iter().zip(share).filter(|(_, is_own)| **is_own);
    own.map(|(shard, _)| ShardInPart {
        file: shard.file.clone(),
        content: shard.content.clone(),
        inputs: shard.inputs.clone(),
        record: record_name_in_part(shard),
    })
    .collect()
}

/// A merge that is about to be made.
struct Merge<'a> {
    stage: Stage<'a>,
    /// Of each shard of the plan the folder of its part, and the file of its record.
    records: Vec<(PathBuf, FileEntry)>,
}

impl<'a> Merge<'a> {
    /// Finds the parts of all `count` shares, and each shard of the plan in one of them.
    fn plan(context: &'a Context, count: u32) -> Result<Self, StageError> {
        let mut stage = Stage::plan(context)?;
        let mut found = find_shards(&stage, count)?;
        let mut records = Vec::with_capacity(stage.plan.shards.len());
        for shard in &mut stage.plan.shards {
            let (folder, record, in_part) = found.remove(&shard.file).ok_or_else(|| {
                anyhow!("no part has {}; this is a bug in ossify-resize", shard.file)
            })?;
            if in_part.content != shard.content {
                return Err(anyhow!(
                    "{}: {} has other images than the tables; run the partition again with \
                     --force",
                    folder.display(),
                    shard.file
                )
                .into());
            }
            shard.inputs = in_part.inputs;
            records.push((folder, record));
        }
        Ok(Merge { stage, records })
    }

    /// Locks the output, unless it is there already.
    fn begin(&self) -> Result<Begun, StageError> {
        let context = self.stage.context;
        if !context.force
            && let Some(outcome) = self.stage.current()
        {
            return Ok(Begun::Current(outcome));
        }
        Ok(Begun::Publication(Publication::begin(context.out.shards())?))
    }

    /// Gives a shard of a part its name in the output, and its record. The shard itself is not
    /// read: its readers verify it, and advise `--force` if it is damaged. With `--force` it is
    /// verified here, where it is known which part has to be made again.
    fn take_over(&self, shard: usize, publication: &Publication) -> Result<(), ArtefactError> {
        let planned = &self.stage.plan.shards[shard];
        let (folder, record) = &self.records[shard];
        record.verify(folder)?;
        let path = folder.join(&record.path);
        let mut record = ShardRecord::read(&path)?;
        if record.inputs != planned.inputs || record.images() != planned.images {
            let reason =
                format!("not the record of {}; run the partition again with --force", planned.file);
            return Err(ArtefactError::corrupt(path, reason));
        }
        if let Some(entry) = record.entry.take() {
            let path = folder.join(&entry.path);
            if self.stage.context.force {
                // Says how the part is made again.
                entry.verify(folder)?;
            }
            give_second_name(&path, &publication.stage(&planned.file)?)?;
            record.entry = Some(FileEntry { path: planned.file.clone(), ..entry });
        }
        Store::Staging(publication).keep_record(planned, &record)
    }
}

/// Publishes the parts of all shares as one output, without copying tensors.
pub(crate) fn merge(context: &Context, count: u32) -> Result<Outcome, StageError> {
    let plan = || Merge::plan(context, count);
    let (mut merge, begun) = begin_unchanged(plan, |merge| merge.stage.inputs(), Merge::begin)?;
    let publication = match begun {
        Begun::Current(outcome) => return Ok(outcome),
        Begun::Publication(publication) => publication,
    };
    (0..merge.stage.plan.shards.len())
        .into_par_iter()
        .try_for_each(|shard| merge.take_over(shard, &publication))?;
    merge.stage.clock.lap("took over the parts' shards");
    merge.stage.publish(publication)
}

/// The shards of all parts, by name, each with the folder of its part and the file with its record.
fn find_shards(
    stage: &Stage,
    count: u32,
) -> Result<HashMap<String, (PathBuf, FileEntry, ShardInPart)>, ArtefactError> {
    let parts: Vec<Part<PartShards>> = read_parts(&stage.context.out, count, &stage.configuration)?;
    let mut found = HashMap::new();
    for part in parts {
        for shard in &part.payload.shards {
            let record = part.file(&shard.record)?.clone();
            found.insert(shard.file.clone(), (part.folder.clone(), record, shard.clone()));
        }
    }
    Ok(found)
}
