//! From images to shards: decoding runs on all threads while finished tensors are written in order.

use std::path::Path;

use ossify_contract::{ArtefactError, Publication, ShardWriter};
use ossify_settings::Progress;
use rayon::prelude::*;

use crate::inputs::{Plan, ShardPlan, Source};
use crate::shard_record::{Failure, ShardRecord};
use crate::tensor::{Recipe, Resized, resized};

/// Tensors that wait to be written, at most; two such chunks are in memory.
const CHUNK_BYTES: usize = 16 << 20;

/// Writes the shards that have no record yet; afterwards each has one.
///
/// The images of all missing shards form one sequence. While a chunk of it is decoded in parallel, the
/// chunk before is written by one thread, in order: the bytes do not depend on the number of threads,
/// and memory holds two chunks of tensors, the writer's open batch, and one image a thread.
pub(crate) fn write_shards(
    plan: &Plan,
    records: &mut [Option<ShardRecord>],
    publication: &Publication,
    dataset: &Path,
    recipe: &Recipe,
    progress: &Progress,
) -> Result<(), ArtefactError> {
    let missing = plan.shards.iter().enumerate().filter(|(at, _)| records[*at].is_none());
    let jobs: Vec<(usize, &Source)> = missing.flat_map(|(at, shard)| shard.images.iter().map(move |source| (at, source))).collect();
    let chunk_images = (CHUNK_BYTES / recipe.spec.bytes()).max(4 * rayon::current_num_threads()).max(1);
    let mut sink = Sink { plan, records, publication, recipe, open: None };
    let mut waiting = Vec::new();
    for chunk in jobs.chunks(chunk_images) {
        let decode = |(shard, source): &(usize, &Source)| {
            let done = resized(dataset, source, recipe);
            progress.inc(1);
            (*shard, done)
        };
        let (written, next) = rayon::join(|| sink.take_all(waiting), || chunk.par_iter().map(decode).collect::<Vec<_>>());
        written?;
        waiting = next;
    }
    sink.take_all(waiting)
}

/// Writes tensors to the shard they belong to, one shard open at a time.
struct Sink<'a> {
    plan: &'a Plan,
    records: &'a mut [Option<ShardRecord>],
    publication: &'a Publication,
    recipe: &'a Recipe,
    open: Option<OpenShard>,
}

struct OpenShard {
    writer: ShardWriter,
    record: ShardRecord,
}

impl Sink<'_> {
    fn take_all(&mut self, done: Vec<(usize, Result<Resized, Failure>)>) -> Result<(), ArtefactError> {
        done.into_iter().try_for_each(|(shard, done)| self.take(shard, done))
    }

    fn take(&mut self, at: usize, done: Result<Resized, Failure>) -> Result<(), ArtefactError> {
        let shard = &self.plan.shards[at];
        let mut open = match self.open.take() {
            Some(open) => open,
            None => OpenShard {
                writer: ShardWriter::create(self.publication.stage(&shard.file)?, self.recipe.shape())?,
                record: ShardRecord { inputs: shard.inputs.clone(), entry: None, hashes: Vec::new(), failures: Vec::new() },
            },
        };
        match done {
            Ok(resized) => {
                open.writer.push(resized.row)?;
                open.record.hashes.push(resized.hashes);
            }
            Err(failure) => open.record.failures.push(failure),
        }
        if open.record.hashes.len() + open.record.failures.len() == shard.images.len() {
            self.records[at] = Some(self.close(open, shard)?);
        } else {
            self.open = Some(open);
        }
        Ok(())
    }

    fn close(&self, open: OpenShard, shard: &ShardPlan) -> Result<ShardRecord, ArtefactError> {
        let entry = open.writer.finish(&shard.file)?;
        let record = ShardRecord { entry: (!open.record.hashes.is_empty()).then_some(entry), ..open.record };
        record.store(self.publication, shard)?;
        Ok(record)
    }
}
