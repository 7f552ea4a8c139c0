//! The stage.

use std::fs::File;
use std::time::Instant;

use anyhow::{Context as _, anyhow};
use ossify_contract::{
    Action, FileEntry, FingerprintRow, IssueRow, Manifest, Publication, Severity, Split,
    TableReader, TableWriter,
};
use ossify_settings::{Context, Outcome, Share, StageError};
use ossify_storage::is_url;

use crate::kept::keep_published;
use crate::leaks::{LeakCounts, LeakSearch, MEMORY_BYTES, Print, Scratch};
use crate::plan::Plan;
use crate::shard_record::{Failure, RowRecord, Store};
use crate::summary::{Counts, failed_images, show, strict_gate};
use crate::tensor::Recipe;
use crate::tensors::Tensors;
use crate::write::{From, write_shards};

pub(crate) const STAGE: &str = "resize";
const IMAGES: &str = "images.parquet";
pub(crate) const FINGERPRINTS: &str = "fingerprints.parquet";
pub(crate) const ISSUES: &str = "issues.parquet";
const LEAKS: &str = "leaks.parquet";

/// Reads the tables and the images and publishes the shards, or a part of them, unless they are
/// there already. Or merges the parts of all shares.
///
/// # Errors
/// [`StageError::Usage`] where the dataset's folder does not exist. [`StageError::Failed`] without
/// tables, where no image at all can be decoded, where the disk fails or is full, where another
/// process writes the same output, or where a part is missing or does not belong to the others. A
/// single bad image is no error: it is left out and listed in the summary.
pub fn run(context: &Context, share: Share) -> Result<Outcome, StageError> {
    // A merge reads no image.
    let has_dataset = || {
        ossify_storage::is_dir(&context.dataset)
            .with_context(|| format!("cannot look up {}", context.dataset.display()))
    };
    if !matches!(share, Share::Merge(_)) && !has_dataset()? {
        let path = context.dataset.display();
        return Err(StageError::Usage(anyhow!(
            "the dataset's folder {path} does not exist; name it with --dataset or dataset.path"
        )));
    }
    let threads = rayon::ThreadPoolBuilder::new()
        .num_threads(context.reading_threads())
        .build()
        .context("cannot start threads")?;
    threads.install(|| {
        let mut stage = Stage::plan(context)?;
        match share {
            Share::Whole => stage.whole(),
            Share::Part(partition) => stage.part(partition),
            Share::Merge(count) => stage.merge(count),
        }
    })
}

/// What all ways to run have in common.
pub(crate) struct Stage<'a> {
    pub(crate) context: &'a Context,
    pub(crate) plan: Plan,
    pub(crate) recipe: Recipe,
    /// Hash of the configuration and of the table of images.
    pub(crate) configuration: String,
    pub(crate) clock: Clock<'a>,
}

impl<'a> Stage<'a> {
    fn plan(context: &'a Context) -> Result<Self, StageError> {
        let settings = &context.settings.resize;
        let tables = context.out.tables();
        let tables_manifest = Manifest::require(&tables, "run ossify-ingest first")?;
        let images = tables_manifest.file(IMAGES).ok_or_else(|| {
            anyhow!("{} lists no {IMAGES}; run ossify-ingest again with --force", tables.display())
        })?;
        images.verify(&tables)?;
        // Of the tables only the images' ids, splits, sizes and readability count, so that a change
        // of labels resizes nothing.
        let mut clock = Clock::new(context);
        let recipe = Recipe::new(settings);
        let configuration = context.fingerprint(STAGE, &[STAGE]);
        let table = tables.join(IMAGES);
        let plan = Plan::read(
            &table,
            settings.images_per_shard,
            &recipe.fingerprint(),
            configuration.clone(),
        )?;
        if plan.images() == 0 {
            return Err(anyhow!(
                "{} has no readable image; see the issues that ossify-ingest found",
                table.display()
            )
            .into());
        }
        clock.lap("planned");
        let configuration = configuration.clone().add(&images.xxh3).finish();
        Ok(Stage { context, plan, recipe, configuration, clock })
    }

    fn whole(&mut self) -> Result<Outcome, StageError> {
        let context = self.context;
        self.plan.look_up(&context.dataset, |_| true)?;
        self.clock.lap("looked files up");
        let folder = context.out.shards();
        if let Some(manifest) = Manifest::is_current(&folder, &self.plan.fingerprint())
            && !context.force
            && !can_now_be_read(context, &manifest)
        {
            let failed = failed_images(&manifest.summary);
            return Ok(with_gate(Outcome::current(manifest.summary), context, failed));
        }
        let publication = if context.force {
            Publication::begin(&folder)?
        } else {
            Publication::resume(&folder)?
        };
        let known = known_shards(context, &self.plan, &publication)?;
        self.make_shards(|shard| !known[shard], Store::Staging(&publication))?;
        self.publish(publication)
    }

    /// Makes the tensors of the shards that `is_missing` names.
    pub(crate) fn make_shards(
        &mut self,
        is_missing: impl Fn(usize) -> bool,
        store: Store,
    ) -> Result<(), StageError> {
        let (context, started) = (self.context, Instant::now());
        let images: usize = self
            .plan
            .shards
            .iter()
            .enumerate()
            .filter(|(shard, _)| is_missing(*shard))
            .map(|(_, shard)| shard.images)
            .sum();
        let progress = context.reporter.progress("resize", "images", Some(images as u64));
        let from = From {
            dataset: &context.dataset,
            ahead: context.settings.storage.requests.div_ceil(context.threads()),
        };
        write_shards(
            &self.plan,
            is_missing,
            store,
            from,
            &self.recipe,
            context.threads(),
            &progress,
        )?;
        drop(progress);
        let seconds = started.elapsed().as_secs_f64();
        self.clock.lap("made tensors");
        if images > 0 {
            context.reporter.say(format_args!(
                "resize: {images} images decoded in {seconds:.1} s, {:.0} images/s",
                images as f64 / seconds.max(1e-9)
            ));
        }
        Ok(())
    }

    /// Writes the tables beside the staged shards and makes all of them the folder's content.
    pub(crate) fn publish(&mut self, publication: Publication) -> Result<Outcome, StageError> {
        let (context, plan) = (self.context, &self.plan);
        let settings = &context.settings.resize;
        let (files, counts) =
            write_tables(plan, settings.leak_candidates_per_image, &publication, &mut self.clock)?;
        self.clock.lap("wrote tables");
        show(&counts, &context.dataset, &context.reporter);
        if counts.rows == 0 {
            return Err(anyhow!(
                "none of the {} images could be decoded; is {} the dataset of these tables?",
                plan.images(),
                context.dataset.display()
            )
            .into());
        }
        let summary = counts.summary(plan, &self.recipe, settings);
        let shards = files.iter().filter(|file| file.inputs.is_some()).count();
        publication.commit(STAGE, &plan.fingerprint(), files, summary.clone())?;
        self.clock.lap("published");
        context.reporter.say(format_args!(
            "resize: {} images in {shards} shards; {} failed, {} unreadable by the tables",
            counts.rows, counts.failed, plan.unreadable
        ));
        warn_of_leaks(context, counts.leaks);
        Ok(with_gate(Outcome::done(summary), context, counts.failed))
    }
}

/// Says with --verbose how long each part took.
pub(crate) struct Clock<'a> {
    context: &'a Context,
    last: Instant,
}

impl<'a> Clock<'a> {
    fn new(context: &'a Context) -> Self {
        Clock { context, last: Instant::now() }
    }

    pub(crate) fn lap(&mut self, what: impl std::fmt::Display) {
        let now = Instant::now();
        self.context
            .reporter
            .detail(format_args!("resize: {what} in {:.3} s", (now - self.last).as_secs_f64()));
        self.last = now;
    }
}

/// Which shards of the plan need not be made: those that a killed run finished, and those of the
/// last output that still hold what they should.
fn known_shards(
    context: &Context,
    plan: &Plan,
    publication: &Publication,
) -> Result<Vec<bool>, StageError> {
    let mut known = Vec::with_capacity(plan.shards.len());
    for shard in &plan.shards {
        known.push(Store::Staging(publication).has(shard)?);
    }
    let count = |known: &[bool]| {
        plan.shards
            .iter()
            .zip(known)
            .filter(|(_, known)| **known)
            .map(|(shard, _)| shard.images)
            .sum::<usize>()
    };
    let finished = count(&known);
    if finished > 0 {
        context.reporter.say(format_args!(
            "resize: going on where the last run was stopped; {finished} of {} images are done",
            plan.images()
        ));
    }
    if !context.force {
        keep_published(plan, &mut known, publication)?;
        let kept = count(&known) - finished;
        if kept > 0 {
            context.reporter.say(format_args!(
                "resize: {kept} of {} images are in shards that stay as they are",
                plan.images()
            ));
        }
    }
    Ok(known)
}

/// Whether an image that the file system withheld from the last run can be opened now.
fn can_now_be_read(context: &Context, manifest: &Manifest) -> bool {
    if failed_images(&manifest.summary) == 0 {
        return false;
    }
    let Ok(issues) = TableReader::<IssueRow>::open(context.out.shards().join(ISSUES)) else {
        return true;
    };
    let withheld = issues.flatten().flatten().filter(|issue| issue.rule == Failure::NOT_READ);
    withheld.into_iter().any(|issue| {
        let path = context.dataset.join(issue.path);
        if is_url(&path) {
            ossify_storage::is_file(&path).unwrap_or(true)
        } else {
            File::open(path).is_ok()
        }
    })
}

pub(crate) fn with_gate(outcome: Outcome, context: &Context, failed: u64) -> Outcome {
    match strict_gate(failed).filter(|_| context.strict) {
        Some(gate) => outcome.with_gate(gate),
        None => outcome,
    }
}

/// Writes the tables beside the shards from the shards' records, and lists all files. The records
/// are read one by one, twice: what leaks is known when all were seen.
fn write_tables(
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
            search.add(&Print { split: shard.split, bytes_xxh3, pixels_xxh3, perceptual_hash })?;
        }
        files.extend(record.entry.map(|entry| FileEntry { inputs: Some(record.inputs), ..entry }));
    }
    files.push(publication.describe(ISSUES, Some(issues.finish()?))?);

    clock.lap("read records");
    let mut leaks = search.find(candidates_per_image, |row| tensors.picture(row))?;
    clock.lap(format_args!(
        "looked at {} pairs of alike hashes in different splits",
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

fn issue(split: Split, failure: &Failure) -> IssueRow {
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

fn warn_of_leaks(context: &Context, leaks: LeakCounts) {
    if leaks.groups > 0 {
        context.reporter.warn(format_args!(
            "{} images in {} groups show the same picture in more than one split (pairs: {} with the same bytes, {} with the same pixels, {} near): \
             scores on them are no test; leaks.parquet names them",
            leaks.images, leaks.groups, leaks.same_bytes, leaks.same_pixels, leaks.near
        ));
    }
}
