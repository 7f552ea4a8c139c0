//! The stage: a dataset to label tables.

use std::cmp::Ordering;
use std::io::IsTerminal;
use std::path::Path;
use std::sync::mpsc::sync_channel;

use anyhow::{Context as _, anyhow};
use ossify_contract::{ClassRow, Fingerprint, ImageRow, IssueRow, MANIFEST_FILE, Manifest, ObjectRow, Publication, Row, Split, TableWriter};
use ossify_diagnostics::{Finding, printable};
use ossify_settings::{Context, Gate, Outcome, Progress, RareClasses, StageError};
use rayon::ThreadPool;
use rayon::prelude::*;

use crate::classes::{ClassCounts, NumberedClasses, RarePolicy, number_classes, rare_findings};
use crate::examine::{Examined, Examiner, StrayLabel, object_row};
use crate::findings::{FindingFormat, FindingStream, show};
use crate::label::{LabelRules, count};
use crate::layout::{self, Layout, LayoutError};
use crate::listing::{self, Listing, STAMPED_TOGETHER, SplitStamp};
use crate::rules::RuleBook;
use crate::spool::{ObjectSpool, SortedSpool};
use crate::summary;
use crate::tally::Tally;

/// Images examined between two visits to the writers; bounds what is in memory.
const BATCH_IMAGES: usize = STAMPED_TOGETHER;

impl From<LayoutError> for StageError {
    fn from(error: LayoutError) -> Self {
        if error.is_usage() { StageError::Usage(error.into()) } else { StageError::Failed(error.into()) }
    }
}

/// Reads a dataset and publishes its tables; with `format`, all findings go to standard output.
///
/// # Errors
/// [`StageError::Usage`] where the dataset is not there or the configuration does not fit it, else
/// [`StageError::Failed`].
pub fn run(context: &Context, format: Option<FindingFormat>) -> Result<Outcome, StageError> {
    let layout = layout::find(&context.dataset, &context.settings.dataset)?;
    let rare_policy = RarePolicy::new(&context.settings.ingest, &layout.classes).map_err(|reason| StageError::Usage(anyhow!(reason)))?;
    let book = RuleBook::new(&context.settings.ingest.rules);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(context.threads()).build().context("cannot start threads")?;
    let listings =
        pool.install(|| layout.splits.par_iter().map(|(split, sources)| listing::list(&layout, *split, sources, &book)).collect::<Result<Vec<_>, _>>())?;
    check_listings(&layout, &listings)?;
    let folder = context.out.tables();
    // Findings that are asked for are read anew: that takes no longer than to tell them apart.
    if !context.force && format.is_none() && folder.join(MANIFEST_FILE).exists() {
        let stamps: Vec<SplitStamp> = pool.install(|| listings.iter().map(|listing| listing.stamp(&layout)).collect());
        if let Some(manifest) = Manifest::is_current(&folder, &fingerprint(context, &layout, &stamps)) {
            return Ok(with_strict_gate(context, Outcome::current(manifest.summary)));
        }
    }
    for remark in layout.remarks.iter().chain(listings.iter().flat_map(|listing| &listing.remarks)) {
        context.reporter.warn(remark);
    }
    let root = layout.root.display().to_string();
    let stream = format.map(|format| {
        let stdout = std::io::stdout();
        let color = stdout.is_terminal() && context.reporter.color();
        FindingStream::new(format, color, &root, Box::new(std::io::BufWriter::new(stdout)))
    });
    let publication = Publication::begin(&folder)?;
    let examiner = examiner(context, &layout, book);
    let mut run = Run::new(&layout, rare_policy, &publication, stream)?;
    let images: usize = listings.iter().map(|listing| listing.images.len()).sum();
    let progress = context.reporter.progress("ingest", "images", Some(images as u64));
    let mut stamps = Vec::new();
    for listing in &listings {
        stamps.push(run.split(&examiner, listing, &pool, &progress)?);
    }
    drop(progress);
    let fingerprint = fingerprint(context, &layout, &stamps);
    let Finished { tally, classes, page } = run.finish(&pool)?;
    let gates = unmet_gates(context, &tally, &classes);
    let classes = classes.rows;
    let summary = summary::json(&layout, &tally, &classes, gates);
    publication.write("ingest.html", page.as_bytes())?;
    let (total, ledger) = tally.total();
    let rows = [
        (ImageRow::TABLE, total.images),
        (ObjectRow::TABLE, ledger.boxes + ledger.polygons),
        (IssueRow::TABLE, tally.severities.iter().sum()),
        (ClassRow::TABLE, classes.len() as u64),
    ];
    let mut files = vec![publication.describe("ingest.html", None)?];
    for (table, rows) in rows {
        files.push(publication.describe(&file_name(table), Some(rows))?);
    }
    publication.commit("ingest", &fingerprint, files, summary.clone())?;
    show(&tally, &root, &context.reporter);
    summary::say(&context.reporter, &layout, &tally, &classes, &folder);
    Ok(with_strict_gate(context, Outcome::done(summary)))
}

fn file_name(table: &str) -> String {
    format!("{table}.parquet")
}

/// Refuses datasets that have no images or no labels, and images that are in two splits.
fn check_listings(layout: &Layout, listings: &[Listing]) -> Result<(), StageError> {
    let folders = || {
        let mut all: Vec<&str> = layout.splits.iter().flat_map(|(_, sources)| sources.folders.iter().chain(&sources.lists).map(String::as_str)).collect();
        all.dedup();
        all.join(", ")
    };
    if listings.iter().all(|listing| listing.images.is_empty()) {
        return Err(StageError::Failed(anyhow!("the dataset {} is empty: there are no images in {}", layout.root.display(), folders())));
    }
    if listings.iter().all(|listing| listing.labels.is_empty() && listing.refused.is_empty()) {
        let mut searched: Vec<&str> = listings.iter().flat_map(|listing| listing.label_folders.iter().map(String::as_str)).collect();
        searched.dedup();
        return Err(StageError::Failed(anyhow!(
            "the dataset {} has images and no labels: there is no .txt file in {}; YOLO labels lie in a folder `labels` beside `images`",
            layout.root.display(),
            searched.join(", ")
        )));
    }
    for (at, first) in listings.iter().enumerate() {
        for second in &listings[at + 1..] {
            if let Some((count, example)) = first.images.shared(&second.images) {
                return Err(LayoutError::SharedImages { count, first: first.split, second: second.split, example: example.to_owned() }.into());
            }
        }
    }
    Ok(())
}

/// All that decides what the tables hold.
fn fingerprint(context: &Context, layout: &Layout, stamps: &[SplitStamp]) -> String {
    let mut fingerprint: Fingerprint = context.fingerprint("ingest", &["dataset", "ingest"]);
    let described = layout.splits.iter().flat_map(|(_, sources)| &sources.lists).chain(&layout.yaml);
    for path in described {
        fingerprint.add(listing::stamp_of((path, std::fs::metadata(layout.locate(path))), None));
    }
    stamps.iter().for_each(|stamp| {
        fingerprint.add(stamp.finish());
    });
    fingerprint.finish()
}

/// Gates of the configuration that were not met.
fn unmet_gates(context: &Context, tally: &Tally, classes: &NumberedClasses) -> Vec<Gate> {
    let settings = &context.settings.ingest;
    let mut gates = Vec::new();
    let limit = settings.max_quarantined_share;
    let figure = tally.quarantined_share();
    let ledger = tally.total().1;
    if figure > limit {
        gates.push(Gate {
            name: "ingest.max_quarantined_share".into(),
            figure,
            limit,
            message: format!("{} of {} label lines were quarantined, a share of {figure:.4}; the limit is {limit}", ledger.quarantined, ledger.lines),
        });
    }
    for (rule, &limit) in &settings.max_findings {
        let found = tally.rules.get(rule).map_or(0, |tally| tally.count);
        if found > limit {
            let message = format!("{} of this rule; the limit is {limit}", count(found, "finding"));
            gates.push(Gate { name: format!("ingest.max_findings.{rule}"), figure: found as f64, limit: limit as f64, message });
        }
    }
    if settings.rare_classes == RareClasses::Fail {
        let is_named = |row: &&ClassRow| row.kept && classes.rare.contains_key(&row.class_id);
        for row in classes.rows.iter().filter(is_named) {
            let reason = classes.rare.get(&row.class_id).map(String::as_str).unwrap_or_default();
            let objects = row.train_objects < i64::try_from(settings.min_objects_per_class).unwrap_or(i64::MAX);
            let (key, figure, limit) = match objects {
                true => ("ingest.min_objects_per_class", row.train_objects, settings.min_objects_per_class),
                false => ("ingest.min_images_per_class", row.train_images, settings.min_images_per_class),
            };
            let message = format!("class {} `{}`: {reason}", row.class_id, printable(&row.class_name));
            gates.push(Gate { name: key.into(), figure: figure as f64, limit: limit as f64, message });
        }
    }
    gates
}

/// `--strict` is no part of the configuration, so that its gate is not kept with the tables.
fn with_strict_gate(context: &Context, outcome: Outcome) -> Outcome {
    let errors = outcome.summary["findings"]["errors"].as_u64().unwrap_or(0);
    if !context.strict || errors == 0 {
        return outcome;
    }
    let message = format!("{} in the labels and images; --strict allows 0", count(errors, "error"));
    outcome.with_gate(Gate { name: "--strict".into(), figure: errors as f64, limit: 0.0, message })
}

fn examiner<'a>(context: &Context, layout: &'a Layout, book: RuleBook) -> Examiner<'a> {
    let settings = &context.settings.ingest;
    let rules = LabelRules { tolerance: settings.tolerance, min_polygon_vertices: settings.min_polygon_vertices, classes: layout.classes.clone(), book };
    Examiner { layout, rules, min_side_px: settings.min_side_px, missing_labels: context.settings.dataset.missing_labels }
}

/// The tables while they are written.
struct Run<'a> {
    layout: &'a Layout,
    rare_policy: RarePolicy,
    has_train: bool,
    images: TableWriter<ImageRow>,
    objects: TableWriter<ObjectRow>,
    issues: TableWriter<IssueRow>,
    /// The findings of the split that is being read: images, labels and lists come in orders of their own.
    found: SortedSpool<IssueRow>,
    classes_path: std::path::PathBuf,
    spool: std::path::PathBuf,
    stream: Option<FindingStream<'a>>,
    tally: Tally,
    counts: ClassCounts,
}

impl<'a> Run<'a> {
    fn new(layout: &'a Layout, rare_policy: RarePolicy, publication: &Publication, stream: Option<FindingStream<'a>>) -> Result<Self, StageError> {
        let stage = |table: &str| publication.stage(&file_name(table));
        Ok(Run {
            layout,
            rare_policy,
            has_train: layout.splits.iter().any(|(split, _)| *split == Split::Train),
            images: TableWriter::create(stage(ImageRow::TABLE)?)?,
            objects: TableWriter::create(stage(ObjectRow::TABLE)?)?,
            issues: TableWriter::create(stage(IssueRow::TABLE)?)?,
            found: SortedSpool::new(publication.stage("issues.spool")?, by_place),
            classes_path: stage(ClassRow::TABLE)?,
            spool: publication.stage("objects.spool")?,
            stream,
            tally: Tally::default(),
            counts: ClassCounts::default(),
        })
    }

    /// Examines a split in batches: while one is written, the threads work on the next.
    fn split(&mut self, examiner: &Examiner, listing: &Listing, pool: &ThreadPool, progress: &Progress) -> anyhow::Result<SplitStamp> {
        let split = listing.split;
        self.tally.begin_split(split, listing.labels.len() as u64, listing.ignored);
        // Which classes are rare is known once train has been read, and holds for the other splits from
        // their first row.
        let numbering = (split != Split::Train).then(|| self.class_indices());
        let mut spool = ObjectSpool::new(self.spool.clone());
        let mut stamp = SplitStamp::of(split);
        std::thread::scope(|scope| -> anyhow::Result<()> {
            let (sender, batches) = sync_channel::<anyhow::Result<Vec<Examined>>>(1);
            scope.spawn(move || {
                for start in (0..listing.images.len()).step_by(BATCH_IMAGES) {
                    let end = listing.images.len().min(start + BATCH_IMAGES);
                    let batch = pool.install(|| (start..end).into_par_iter().with_min_len(16).map(|at| examiner.image(listing, at)).collect());
                    // A receiver that went away has met an error of its own.
                    if sender.send(batch).is_err() {
                        return;
                    }
                }
            });
            for batch in batches {
                let batch = batch?;
                progress.inc(batch.len() as u64);
                let mut of_part = SplitStamp::of(split);
                batch.iter().for_each(|examined| of_part.add(&examined.stamp));
                stamp.add_part(&of_part);
                for examined in batch {
                    self.write_image(split, examined, &mut spool, numbering.as_deref())?;
                }
            }
            Ok(())
        })?;
        self.write_strays(examiner, listing, pool)?;
        if split == Split::Train {
            let indices = self.class_indices();
            spool.drain(|row| write_object(&mut self.objects, &mut self.tally, row, &indices))?;
            let place = self.layout.yaml.clone().unwrap_or_else(|| ".".into());
            for finding in rare_findings(&self.classes(), &place, &examiner.rules.book) {
                self.write_finding(split, finding, None)?;
            }
        }
        self.found.drain(|row| self.issues.push(row))?;
        stamp.add_orphans(listing, self.layout);
        Ok(stamp)
    }

    /// Class ids with the ids of training.
    fn class_indices(&self) -> Vec<(i16, Option<i16>)> {
        self.classes().rows.iter().map(|row| (row.class_id, row.class_index)).collect()
    }

    fn classes(&self) -> NumberedClasses {
        number_classes(&self.layout.classes, &self.counts, &self.rare_policy, self.has_train)
    }

    fn write_image(&mut self, split: Split, examined: Examined, spool: &mut ObjectSpool, indices: Option<&[(i16, Option<i16>)]>) -> anyhow::Result<()> {
        self.tally.add_image(split, &examined);
        self.counts.add_image(split, &examined.objects);
        for object in examined.objects {
            let row = object_row(&examined.image.image_id, split, self.layout.classes.name(object.class_id), object);
            match indices {
                Some(indices) => write_object(&mut self.objects, &mut self.tally, row, indices)?,
                None => spool.push(row)?,
            }
        }
        for finding in examined.findings {
            self.write_finding(split, finding, Some(&examined.image))?;
        }
        self.images.push(examined.image)?;
        Ok(())
    }

    /// Label files that no image owns, and what was found while listing.
    fn write_strays(&mut self, examiner: &Examiner, listing: &Listing, pool: &ThreadPool) -> anyhow::Result<()> {
        let mut findings = listing.findings.clone();
        let mut shared: Vec<u32> = (0..listing.images.len()).filter(|at| listing.collides[*at]).filter_map(|at| listing.label_of[at]).collect();
        shared.sort_unstable();
        shared.dedup();
        let read = |labels: &[u32], examine: &(dyn Fn(&Examiner, u32) -> anyhow::Result<StrayLabel> + Sync)| {
            pool.install(|| labels.par_iter().map(|label| examine(examiner, *label)).collect::<anyhow::Result<Vec<_>>>())
        };
        let mut strays = read(&shared, &|examiner, label| examiner.shared_label(listing, label))?;
        strays.append(&mut read(&listing.orphans, &|examiner, label| examiner.orphan(listing, label))?);
        for stray in strays {
            self.tally.add_quarantined(listing.split, stray.lines);
            findings.extend(stray.finding);
        }
        findings.into_iter().try_for_each(|finding| self.write_finding(listing.split, finding, None))
    }

    fn write_finding(&mut self, split: Split, finding: Finding, image: Option<&ImageRow>) -> anyhow::Result<()> {
        self.tally.add_finding(&finding, image);
        if let Some(stream) = &mut self.stream {
            stream.add(&finding).context("cannot write the findings to standard output")?;
        }
        let narrow = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
        self.found.push(IssueRow {
            split,
            path: finding.place.path,
            line: finding.place.line.map(narrow),
            column: finding.place.column.map(narrow),
            rule: finding.rule,
            severity: finding.severity,
            action: finding.action,
            message: finding.message,
            text: finding.source,
        })?;
        Ok(())
    }

    /// Closes the tables, draws the page, and checks that every line is accounted for.
    fn finish(self, pool: &ThreadPool) -> anyhow::Result<Finished> {
        let classes = self.classes();
        let (images, objects, issues) = (self.images, self.objects, self.issues);
        // What is written last is most of what a small dataset has.
        let ((images, objects), (issues, page)) = pool.install(|| {
            rayon::join(
                || rayon::join(|| images.finish(), || objects.finish()),
                || {
                    let page = || crate::page::render(self.layout, &self.tally, &classes.rows);
                    rayon::join(|| write_classes(&self.classes_path, &classes.rows).and_then(|()| Ok(issues.finish()?)), page)
                },
            )
        });
        let (images, objects, issues) = (images?, objects?, issues?);
        if let Some(stream) = self.stream {
            let left_out = stream.finish().context("cannot write the findings to standard output")?;
            if left_out > 0 {
                eprintln!("warning: {left_out} findings did not fit into the SARIF document; issues.parquet has all");
            }
        }
        let (total, ledger) = self.tally.total();
        let adds_up = self.tally.ledger.values().all(|ledger| ledger.adds_up());
        let written = images == total.images && objects == ledger.boxes + ledger.polygons && issues == self.tally.severities.iter().sum::<u64>();
        if !adds_up || !written {
            return Err(anyhow!(
                "the ledger does not add up: {:?}, and the tables have {images} images, {objects} objects and {issues} issues; \
                 nothing was published. This is a fault of ossify: please report it",
                self.tally.ledger
            ));
        }
        Ok(Finished { tally: self.tally, classes, page })
    }
}

/// What a run came to.
struct Finished {
    tally: Tally,
    classes: NumberedClasses,
    page: String,
}

/// The order of the issues of a split.
fn by_place(a: &IssueRow, b: &IssueRow) -> Ordering {
    (&a.path, a.line, a.column).cmp(&(&b.path, b.line, b.column))
}

fn write_classes(path: &Path, rows: &[ClassRow]) -> anyhow::Result<()> {
    let mut writer = TableWriter::create(path)?;
    rows.iter().cloned().try_for_each(|row| writer.push(row))?;
    writer.finish()?;
    Ok(())
}

fn write_object(
    objects: &mut TableWriter<ObjectRow>,
    tally: &mut Tally,
    mut row: ObjectRow,
    indices: &[(i16, Option<i16>)],
) -> Result<(), ossify_contract::ArtefactError> {
    row.class_index = indices.binary_search_by_key(&row.class_id, |(id, _)| *id).ok().and_then(|at| indices[at].1);
    tally.add_row(&row);
    objects.push(row)
}
