//! The stage.

use std::fs::File;
use std::time::Instant;

use anyhow::{Context as _, anyhow};
use ossify_contract::{FingerprintRow, Manifest, Publication, Split, TableWriter};
use ossify_settings::{Context, Outcome, StageError};

use crate::inputs::Plan;
use crate::leaks::{Leaks, mark_leaks};
use crate::shard_record::{Failure, ShardRecord};
use crate::summary::{failures, failures_of, show, strict_gate, summary};
use crate::tensor::Recipe;
use crate::write::write_shards;

const STAGE: &str = "resize";
const IMAGES: &str = "images.parquet";
const FINGERPRINTS: &str = "fingerprints.parquet";

/// Reads the tables and the images and publishes the shards, unless they are there already.
///
/// # Errors
/// [`StageError::Usage`] where the dataset's folder does not exist. [`StageError::Failed`] without tables,
/// where no image at all can be decoded, where the disk fails or is full, or where another process writes
/// the same output. A single bad image is no error: it is left out and listed in the summary.
pub fn run(context: &Context) -> Result<Outcome, StageError> {
    if !context.dataset.is_dir() {
        let path = context.dataset.display();
        return Err(StageError::Usage(anyhow!("the dataset's folder {path} does not exist; name it with --dataset or dataset.path")));
    }
    let threads = rayon::ThreadPoolBuilder::new().num_threads(context.threads()).build().context("cannot start threads")?;
    threads.install(|| resize(context))
}

fn resize(context: &Context) -> Result<Outcome, StageError> {
    let settings = &context.settings.resize;
    let tables = context.out.tables();
    let tables_manifest = Manifest::require(&tables, "run ossify-ingest first")?;
    let images = tables_manifest.file(IMAGES).ok_or_else(|| anyhow!("{} lists no {IMAGES}; run ossify-ingest again with --force", tables.display()))?;
    images.verify(&tables)?;
    // Of the tables only the images' ids, splits, sizes and readability count, so that a change of labels resizes nothing.
    let plan = Plan::read(&tables.join(IMAGES), &context.dataset, settings.images_per_shard, &context.fingerprint(STAGE, &[STAGE]))?;
    let folder = context.out.shards();
    if let Some(manifest) = Manifest::is_current(&folder, &plan.fingerprint).filter(|manifest| !context.force && !can_now_be_read(context, manifest)) {
        let failed = failures_of(&manifest.summary).len();
        return Ok(with_gate(Outcome::current(manifest.summary), context, failed));
    }
    if plan.images() == 0 {
        return Err(anyhow!("{} has no readable image; see the issues that ossify-ingest found", tables.join(IMAGES).display()).into());
    }

    let started = Instant::now();
    let recipe = Recipe::new(settings);
    let publication = if context.force { Publication::begin(&folder)? } else { Publication::resume(&folder)? };
    let mut records = Vec::with_capacity(plan.shards.len());
    for shard in &plan.shards {
        records.push(ShardRecord::load(&publication, shard)?);
    }
    let kept: usize = plan.shards.iter().zip(&records).filter(|(_, record)| record.is_some()).map(|(shard, _)| shard.images.len()).sum();
    if kept > 0 {
        context.reporter.say(format_args!("resize: going on where the last run was stopped; {kept} of {} images are done", plan.images()));
    }
    let new_images = plan.images() - kept;
    let progress = context.reporter.progress("resize", "images", Some(new_images as u64));
    write_shards(&plan, &mut records, &publication, &context.dataset, &recipe, &progress)?;
    drop(progress);
    let records: Vec<ShardRecord> = records.into_iter().flatten().collect();
    let seconds = started.elapsed().as_secs_f64();

    let failed: Vec<&Failure> = failures(&records).collect();
    show(&failed, &context.dataset, &context.reporter);
    if failed.len() == plan.images() {
        return Err(anyhow!("none of the {} images could be decoded; is {} the dataset of these tables?", failed.len(), context.dataset.display()).into());
    }
    let (rows, leaks) = write_fingerprints(&plan, &records, &publication)?;
    let summary = summary(&plan, &records, &leaks, &recipe, settings);
    let mut files = vec![publication.describe(FINGERPRINTS, Some(rows))?];
    files.extend(records.iter().filter_map(|record| record.entry.clone()));
    publication.commit(STAGE, &plan.fingerprint, files, summary.clone())?;

    let shards = records.iter().filter(|record| record.entry.is_some()).count();
    let rate = new_images as f64 / seconds.max(1e-9);
    context.reporter.say(format_args!(
        "resize: {rows} images in {shards} shards; {new_images} decoded in {seconds:.1} s, {rate:.0} images/s; {} failed, {} unreadable by the tables",
        failed.len(),
        plan.unreadable
    ));
    warn_of_leaks(context, &leaks);
    Ok(with_gate(Outcome::done(summary), context, failed.len()))
}

/// Whether an image that the file system withheld from the last run can be opened now.
fn can_now_be_read(context: &Context, manifest: &Manifest) -> bool {
    let withheld = failures_of(&manifest.summary).into_iter().filter(|failure| failure.rule == Failure::NOT_READ);
    withheld.into_iter().any(|failure| File::open(context.dataset.join(failure.image_id)).is_ok())
}

fn with_gate(outcome: Outcome, context: &Context, failed: usize) -> Outcome {
    match strict_gate(failed).filter(|_| context.strict) {
        Some(gate) => outcome.with_gate(gate),
        None => outcome,
    }
}

fn write_fingerprints(plan: &Plan, records: &[ShardRecord], publication: &Publication) -> Result<(u64, Leaks), StageError> {
    let hashes = plan.shards.iter().zip(records).flat_map(|(shard, record)| record.hashes.iter().map(|hashes| (shard.split, hashes)));
    let mut rows: Vec<FingerprintRow> = hashes
        .map(|(split, hashes)| FingerprintRow {
            image_id: hashes.image_id.clone(),
            split,
            bytes_xxh3: hashes.bytes_xxh3,
            pixels_xxh3: hashes.pixels_xxh3,
            perceptual_hash: hashes.perceptual_hash,
            leak_group: None,
        })
        .collect();
    let leaks = mark_leaks(&mut rows);
    let mut writer = TableWriter::create(publication.stage(FINGERPRINTS)?)?;
    for row in rows {
        writer.push(row)?;
    }
    Ok((writer.finish()?, leaks))
}

fn warn_of_leaks(context: &Context, leaks: &Leaks) {
    if leaks.groups > 0 {
        let splits = Split::ALL.map(Split::as_str).join(", ");
        context.reporter.warn(format_args!(
            "{} images in {} groups are the same picture in more than one of {splits} ({} groups with byte-identical files): scores on them are no test; fingerprints.parquet names them by leak_group",
            leaks.images, leaks.groups, leaks.groups_with_same_bytes
        ));
    }
}
