//! The stage: turns a dataset into label tables, at once or share by share.

use std::io::IsTerminal;

use anyhow::{Context as _, anyhow};
use ossify_contract::{
    Fingerprint, PartFolder, PartSummary, Partition, Publication, Split, Summary as _,
    TablesSummary, current_part,
};
use ossify_diagnostics::Format;
use ossify_settings::{Context, Outcome, Share, StageError};
use rayon::ThreadPool;
use rayon::prelude::*;

use crate::find::error::LayoutError;
use crate::find::layout::{self, Layout};
use crate::find::listing::{self, Listing, MAX_TEXT_BYTES};
use crate::find::stamp::{SplitStamp, stamp_of};
use crate::gates;
use crate::read::examine::Examiner;
use crate::read::label_rules::LabelRules;
use crate::read::record::Record;
use crate::read::split::read_split;
use crate::rules::RuleBook;
use crate::shares::merge::Parts;
use crate::shares::part::{PartSplits, RecordWriter, STAGE};
use crate::wording::count;
use crate::write::classes::RarePolicy;
use crate::write::findings::{FindingStream, show};
use crate::write::summary;
use crate::write::tables::{Finished, LabelTables};

impl From<LayoutError> for StageError {
    fn from(error: LayoutError) -> Self {
        if error.is_usage() {
            StageError::Usage(error.into())
        } else {
            StageError::Failed(error.into())
        }
    }
}

/// Reads a dataset and publishes its tables, or reads a share and publishes a part, or merges the
/// parts of all shares. With `format`, all findings are written to standard output. Gates apply to
/// the whole dataset.
///
/// # Errors
/// [`StageError::Usage`] if the dataset does not exist or the configuration does not fit it,
/// otherwise [`StageError::Failed`].
pub fn run(context: &Context, share: Share, format: Option<Format>) -> Result<Outcome, StageError> {
    let layout = layout::find(&context.named_dataset, &context.settings.dataset)?;
    let rare_policy = RarePolicy::new(&context.settings.ingest, &layout.classes)
        .map_err(|reason| StageError::Usage(anyhow!(reason)))?;
    let book = RuleBook::new(&context.settings.ingest.rules);
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(context.reading_threads())
        .build()
        .context("cannot start threads")?;
    let root = layout.root.display().to_string();
    let stage = Stage {
        context,
        layout: &layout,
        book: &book,
        rare_policy,
        pool: &pool,
        format,
        root: &root,
    };
    match share {
        Share::Whole => stage.whole(),
        Share::Part(partition) => stage.part(partition),
        Share::Merge(count) => stage.merge(count),
    }
}

/// What all modes have in common.
struct Stage<'a> {
    context: &'a Context,
    layout: &'a Layout,
    book: &'a RuleBook,
    rare_policy: RarePolicy,
    pool: &'a ThreadPool,
    format: Option<Format>,
    root: &'a str,
}

impl Stage<'_> {
    fn whole(&self) -> Result<Outcome, StageError> {
        let listings = self.list(None)?;
        check_not_empty(self.layout, &SeenFiles::of_listings(&listings))?;
        let folder = self.context.out.tables();
        // To print findings, all files must be read again, because the tables do not store whole
        // findings.
        if !self.context.force && self.format.is_none() && folder.is_dir() {
            let fingerprint = self.fingerprint(&self.stamps(&listings)).finish();
            if let Some(outcome) = self.current(&fingerprint) {
                return Ok(outcome);
            }
        }
        self.print_remarks(&listings);
        let publication = Publication::begin(&folder)?;
        let mut tables = self.tables(&publication)?;
        let progress =
            self.progress(listings.iter().map(|listing| listing.images().len() as u64).sum());
        let examiner = self.examiner();
        let mut stamps = Vec::new();
        for listing in &listings {
            tables.begin_split(listing.split(), listing.labels().len() as u64, listing.ignored());
            read_split(&examiner, listing, self.pool, &progress, &mut |record| {
                tables.take(record)
            })?;
            stamps.push(tables.end_split()?);
        }
        drop(progress);
        self.publish(publication, tables, &self.fingerprint(&stamps).finish())
    }

    fn part(&self, partition: Partition) -> Result<Outcome, StageError> {
        let listings = self.list(Some(partition))?;
        let payload = PartSplits::new(&listings);
        let summary = PartSummary::new(partition, self.configuration()?, payload);
        let fingerprint =
            self.fingerprint(&self.stamps(&listings)).add(partition.to_string()).finish();
        let path = self.context.out.part(STAGE, partition);
        let json = summary.to_json(&path)?;
        if !self.context.force
            && self.format.is_none()
            && let Some(manifest) = current_part::<PartSplits>(&path, &fingerprint)
        {
            if manifest.summary != json {
                // Only other shares have changed.
                let folder = PartFolder::create(&path)?;
                folder.publish(&fingerprint, manifest.files, &summary)?;
            }
            return Ok(Outcome::current(json));
        }
        self.print_remarks(&listings);
        let folder = PartFolder::create(&path)?;
        let images = listings.iter().map(|listing| listing.images().len() as u64).sum();
        let progress = self.progress(images);
        let examiner = self.examiner();
        let mut stream = self.stream();
        let (mut files, mut findings) = (Vec::new(), 0);
        for listing in &listings {
            let mut writer = RecordWriter::begin(&folder, path.clone())?;
            read_split(&examiner, listing, self.pool, &progress, &mut |record| {
                let found = match &record {
                    Record::Image(examined) => &examined.findings[..],
                    Record::Stray(stray) => stray.finding.as_slice(),
                };
                findings += found.len() as u64;
                if let Some(stream) = &mut stream {
                    found
                        .iter()
                        .try_for_each(|finding| stream.add(finding))
                        .context("cannot write the findings to standard output")?;
                }
                writer.write(&record)
            })?;
            files.push(writer.finish(listing.split())?);
        }
        drop(progress);
        stream.map_or(Ok(()), FindingStream::end)?;
        folder.publish(&fingerprint, files, &summary)?;
        let (images, findings) = (count(images, "image"), count(findings, "finding"));
        self.context.reporter.say(format_args!(
            "part {partition}: {images}, {findings}; written to {}",
            path.display()
        ));
        Ok(Outcome::done(json))
    }

    fn merge(&self, shares: u32) -> Result<Outcome, StageError> {
        let parts = Parts::find(&self.context.out, shares, &self.configuration()?)?;
        check_not_empty(self.layout, &SeenFiles::of_parts(self.layout, &parts))?;
        let folder = self.context.out.tables();
        if !self.context.force
            && self.format.is_none()
            && let Some(outcome) =
                parts.merged_fingerprint().and_then(|fingerprint| self.current(&fingerprint))
        {
            return Ok(outcome);
        }
        self.print_remarks(&[]);
        let publication = Publication::begin(&folder)?;
        let mut tables = self.tables(&publication)?;
        let progress = self.progress(
            self.layout
                .splits
                .iter()
                .flat_map(|(split, _)| parts.splits(*split))
                .map(|split| split.images)
                .sum(),
        );
        let scratch = publication.stage("")?;
        let mut stamps = Vec::new();
        for (split, _) in &self.layout.splits {
            let label_files = parts.splits(*split).map(|split| split.label_files).sum();
            let ignored_files = parts.splits(*split).next().map_or(0, |split| split.ignored_files);
            tables.begin_split(*split, label_files, ignored_files);
            parts.read_split(*split, &scratch, |record| {
                progress.inc(u64::from(matches!(record, Record::Image(_))));
                tables.take(record)
            })?;
            stamps.push(tables.end_split()?);
        }
        drop(progress);
        let fingerprint = self.fingerprint(&stamps).finish();
        let outcome = self.publish(publication, tables, &fingerprint)?;
        parts.note_merged(&fingerprint)?;
        Ok(outcome)
    }

    /// The outcome, if the tables already exist.
    fn current(&self, fingerprint: &str) -> Option<Outcome> {
        let folder = self.context.out.tables();
        let (manifest, summary) =
            Publication::current_summary::<TablesSummary>(&folder, fingerprint)?;
        let gates = gates::unmet(self.context, &summary);
        Some(Outcome::current(manifest.summary).with_gates(gates))
    }

    /// Closes the tables and publishes them.
    fn publish(
        &self,
        publication: Publication,
        tables: LabelTables,
        fingerprint: &str,
    ) -> Result<Outcome, StageError> {
        let context = self.context;
        let finished = tables.finish(self.pool)?;
        let files = finished.files(&publication)?;
        let Finished { tally, classes, .. } = finished;
        let summary = summary::of_tables(self.layout, &tally, &classes);
        let classes = classes.rows;
        let json = summary.to_json(publication.folder())?;
        let manifest = publication.commit(STAGE, fingerprint, files, json)?;
        show(&tally, self.root, &context.reporter);
        summary::say(&context.reporter, self.layout, &tally, &classes, &context.out.tables());
        let gates = gates::unmet(context, &summary);
        Ok(Outcome::done(manifest.summary).with_gates(gates))
    }

    fn list(&self, partition: Option<Partition>) -> Result<Vec<Listing>, StageError> {
        let list = |(split, sources): &(Split, layout::Sources)| {
            listing::list(self.layout, *split, sources, partition, self.book)
        };
        let listings = self
            .pool
            .install(|| self.layout.splits.par_iter().map(list).collect::<Result<Vec<_>, _>>())?;
        check_splits(&listings)?;
        Ok(listings)
    }

    fn stamps(&self, listings: &[Listing]) -> Vec<SplitStamp> {
        self.pool.install(|| listings.iter().map(|listing| listing.stamp(self.layout)).collect())
    }

    fn tables(&self, publication: &Publication) -> Result<LabelTables<'_>, StageError> {
        Ok(LabelTables::create(
            self.layout,
            self.book,
            self.rare_policy.clone(),
            publication,
            self.stream(),
        )?)
    }

    fn stream(&self) -> Option<FindingStream<'_>> {
        self.format.map(|format| {
            let stdout = std::io::stdout();
            let color = stdout.is_terminal() && self.context.reporter.color();
            FindingStream::new(format, color, self.root, Box::new(std::io::BufWriter::new(stdout)))
        })
    }

    fn progress(&self, images: u64) -> ossify_settings::Progress {
        self.context.reporter.progress("ingest", "images", Some(images))
    }

    fn print_remarks(&self, listings: &[Listing]) {
        for remark in
            self.layout.remarks.iter().chain(listings.iter().flat_map(|listing| listing.remarks()))
        {
            self.context.reporter.warn(remark);
        }
    }

    fn examiner(&self) -> Examiner<'_> {
        let settings = &self.context.settings.ingest;
        let rules = LabelRules {
            tolerance: settings.tolerance,
            min_polygon_vertices: settings.min_polygon_vertices,
            classes: self.layout.classes.clone(),
            book: self.book.clone(),
        };
        Examiner {
            layout: self.layout,
            rules,
            min_side_px: settings.min_side_px,
            missing_labels: self.context.settings.dataset.missing_labels,
        }
    }

    /// Files that describe the dataset.
    fn descriptions(&self) -> impl Iterator<Item = &String> {
        self.layout.splits.iter().flat_map(|(_, sources)| &sources.lists).chain(&self.layout.yaml)
    }

    /// Everything that determines the tables.
    fn fingerprint(&self, stamps: &[SplitStamp]) -> Fingerprint {
        let mut fingerprint = self.context.fingerprint(STAGE, &["dataset", STAGE]);
        for path in self.descriptions() {
            fingerprint
                .add(stamp_of((path, ossify_storage::stat(&self.layout.locate(path))), None));
        }
        stamps.iter().for_each(|stamp| {
            fingerprint.add(stamp.finish());
        });
        fingerprint
    }

    /// What the parts of one dataset have in common, wherever they were made: the configuration,
    /// and the content of the files that describe the dataset.
    fn configuration(&self) -> Result<String, StageError> {
        let mut fingerprint = self.context.fingerprint(STAGE, &["dataset", STAGE]);
        for path in self.descriptions() {
            let full = self.layout.locate(path);
            fingerprint.add(path).add(
                ossify_storage::read(&full, MAX_TEXT_BYTES)
                    .with_context(|| format!("cannot read {}", full.display()))?,
            );
        }
        Ok(fingerprint.finish())
    }
}

/// What was found in a dataset, to tell whether it is empty.
#[derive(Default)]
struct SeenFiles {
    images: u64,
    labels: u64,
    refused_links: u64,
    label_folders: Vec<String>,
}

impl SeenFiles {
    fn of_listings(listings: &[Listing]) -> Self {
        SeenFiles {
            images: listings.iter().map(|listing| listing.images().len() as u64).sum(),
            labels: listings.iter().map(|listing| listing.labels().len() as u64).sum(),
            refused_links: listings.iter().map(|listing| listing.refused_links()).sum(),
            label_folders: listings
                .iter()
                .flat_map(|listing| listing.label_folders().to_vec())
                .collect(),
        }
    }

    fn of_parts(layout: &Layout, parts: &Parts) -> Self {
        let splits = || layout.splits.iter().flat_map(|(split, _)| parts.splits(*split));
        SeenFiles {
            images: splits().map(|split| split.images).sum(),
            labels: splits().map(|split| split.label_files).sum(),
            refused_links: splits().map(|split| split.refused_links).sum(),
            label_folders: layout
                .splits
                .iter()
                .filter_map(|(split, _)| parts.splits(*split).next())
                .flat_map(|split| split.label_folders.clone())
                .collect(),
        }
    }
}

/// Refuses datasets without images or without labels.
fn check_not_empty(layout: &Layout, seen: &SeenFiles) -> Result<(), StageError> {
    if seen.images == 0 {
        let mut folders: Vec<&str> = layout
            .splits
            .iter()
            .flat_map(|(_, sources)| {
                sources.folders.iter().chain(&sources.lists).map(String::as_str)
            })
            .collect();
        folders.dedup();
        return Err(StageError::Failed(anyhow!(
            "the dataset {} is empty: there are no images in {}",
            layout.root.display(),
            folders.join(", ")
        )));
    }
    if seen.labels == 0 && seen.refused_links == 0 {
        let mut searched = seen.label_folders.clone();
        searched.dedup();
        return Err(StageError::Failed(anyhow!(
            "the dataset {} has images and no labels: there is no .txt file in {}; YOLO labels \
            are in a folder `labels` beside `images`",
            layout.root.display(),
            searched.join(", ")
        )));
    }
    Ok(())
}

/// Refuses images that are in two splits.
fn check_splits(listings: &[Listing]) -> Result<(), StageError> {
    for (at, first) in listings.iter().enumerate() {
        for second in &listings[at + 1..] {
            if let Some((count, example)) = first.images().shared(second.images()) {
                return Err(LayoutError::SharedImages {
                    count,
                    first: first.split(),
                    second: second.split(),
                    example: example.to_owned(),
                }
                .into());
            }
        }
    }
    Ok(())
}
