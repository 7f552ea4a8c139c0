//! Writes the tables.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use ossify_contract::{
    ArtefactError, ClassRow, FileEntry, ImageRow, IssueRow, ObjectRow, Publication, Row, Split,
    TableWriter,
};
use ossify_diagnostics::Finding;
use ossify_sorting::{Queue, Sorter};
use rayon::ThreadPool;

use super::classes::{ClassCounts, NumberedClasses, RarePolicy, number_classes, rare_findings};
use super::findings::FindingStream;
use super::page;
use super::spool::{MEMORY_BYTES, WaitingIssue, WaitingObject};
use super::tally::Tally;
use crate::find::layout::Layout;
use crate::find::stamp::SplitStamp;
use crate::read::object::LabelObject;
use crate::read::record::{Examined, Record, Stray};
use crate::read::record_stamp::RecordStamp;
use crate::rules::RuleBook;

fn file_name(table: &str) -> String {
    format!("{table}.parquet")
}

/// Takes the records of a dataset, split by split in the order of [`Split::ALL`], and writes the
/// tables.
pub(crate) struct LabelTables<'a> {
    layout: &'a Layout,
    book: &'a RuleBook,
    rare_policy: RarePolicy,
    has_train: bool,
    images: TableWriter<ImageRow>,
    objects: TableWriter<ObjectRow>,
    issues: TableWriter<IssueRow>,
    /// The findings of the current split, which arrive in a different order than they are written.
    found: Sorter<WaitingIssue>,
    classes_path: PathBuf,
    /// The folder for the rows that do not fit into memory.
    scratch: PathBuf,
    stream: Option<FindingStream<'a>>,
    tally: Tally,
    counts: ClassCounts,
    open: Option<OpenSplit>,
}

/// The split whose records are being written.
struct OpenSplit {
    split: Split,
    /// Class ids with their class indices. They are known once train has been read, and apply to
    /// the other splits from their first row.
    numbering: Option<Vec<(i16, Option<i16>)>>,
    /// Objects of train, until the class indices are known.
    waiting: Queue<WaitingObject>,
    stamp: RecordStamp,
}

/// The result of a run.
pub(crate) struct Finished {
    pub tally: Tally,
    pub classes: NumberedClasses,
    pub page: String,
}

impl<'a> LabelTables<'a> {
    pub fn create(
        layout: &'a Layout,
        book: &'a RuleBook,
        rare_policy: RarePolicy,
        publication: &Publication,
        stream: Option<FindingStream<'a>>,
    ) -> Result<Self, ArtefactError> {
        let stage = |table: &str| publication.stage(&file_name(table));
        let scratch = publication.stage("")?;
        Ok(LabelTables {
            layout,
            book,
            rare_policy,
            has_train: layout.splits.iter().any(|(split, _)| *split == Split::Train),
            images: TableWriter::create(stage(ImageRow::TABLE)?)?,
            objects: TableWriter::create(stage(ObjectRow::TABLE)?)?,
            issues: TableWriter::create(stage(IssueRow::TABLE)?)?,
            found: Sorter::new(&scratch, MEMORY_BYTES),
            classes_path: stage(ClassRow::TABLE)?,
            scratch,
            stream,
            tally: Tally::default(),
            counts: ClassCounts::default(),
            open: None,
        })
    }

    /// Starts a split that has this number of label files, and of files that are neither images nor
    /// labels.
    pub fn begin_split(&mut self, split: Split, label_files: u64, ignored_files: u64) {
        self.tally.begin_split(split, label_files, ignored_files);
        let numbering = (split != Split::Train).then(|| self.class_indices());
        self.open = Some(OpenSplit {
            split,
            numbering,
            waiting: Queue::new(&self.scratch, MEMORY_BYTES),
            stamp: RecordStamp::of(split),
        });
    }

    /// Writes the next record of the split.
    pub fn take(&mut self, record: Record) -> anyhow::Result<()> {
        let mut open = self
            .open
            .take()
            .context("a record outside of a split; this is a bug in ossify-ingest")?;
        open.stamp.add(&record);
        match record {
            Record::Image(examined) => self.take_image(&mut open, *examined)?,
            Record::Stray(stray) => self.take_stray(open.split, *stray)?,
        }
        self.open = Some(open);
        Ok(())
    }

    /// Ends a split, and returns the stamp of its files.
    pub fn end_split(&mut self) -> anyhow::Result<SplitStamp> {
        let open =
            self.open.take().context("the end of no split; this is a bug in ossify-ingest")?;
        if open.split == Split::Train {
            let indices = self.class_indices();
            for waiting in open.waiting.into_records() {
                write_object(&mut self.objects, &mut self.tally, waiting?.0, &indices)?;
            }
            let location = self.layout.yaml.clone().unwrap_or_else(|| ".".into());
            for finding in rare_findings(&self.classes(), &location, self.book) {
                self.write_finding(open.split, finding, None)?;
            }
        }
        let found = std::mem::replace(&mut self.found, Sorter::new(&self.scratch, MEMORY_BYTES));
        for issue in found.finish()?.into_records()? {
            self.issues.push(issue?.0)?;
        }
        Ok(open.stamp.finish())
    }

    /// Class ids with their class indices.
    fn class_indices(&self) -> Vec<(i16, Option<i16>)> {
        self.classes().rows.iter().map(|row| (row.class_id, row.class_index)).collect()
    }

    fn classes(&self) -> NumberedClasses {
        number_classes(&self.layout.classes, &self.counts, &self.rare_policy, self.has_train)
    }

    fn take_image(&mut self, open: &mut OpenSplit, examined: Examined) -> anyhow::Result<()> {
        let split = open.split;
        self.tally.add_image(split, &examined);
        self.counts.add_image(split, &examined.objects);
        for object in examined.objects {
            let row = object_row(
                &examined.image.image_id,
                split,
                self.layout.classes.name(object.class_id),
                object,
            );
            match &open.numbering {
                Some(indices) => write_object(&mut self.objects, &mut self.tally, row, indices)?,
                None => open.waiting.push(WaitingObject(row))?,
            }
        }
        for finding in examined.findings {
            self.write_finding(split, finding, Some(&examined.image))?;
        }
        self.images.push(examined.image)?;
        Ok(())
    }

    fn take_stray(&mut self, split: Split, stray: Stray) -> anyhow::Result<()> {
        self.tally.add_quarantined(split, stray.lines);
        stray.finding.into_iter().try_for_each(|finding| self.write_finding(split, finding, None))
    }

    fn write_finding(
        &mut self,
        split: Split,
        finding: Finding,
        image: Option<&ImageRow>,
    ) -> anyhow::Result<()> {
        self.tally.add_finding(&finding, image);
        if let Some(stream) = &mut self.stream {
            stream.add(&finding).context("cannot write the findings to standard output")?;
        }
        let narrow = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
        self.found.push(WaitingIssue(IssueRow {
            split,
            path: finding.location.path,
            line: finding.location.line.map(narrow),
            column: finding.location.column.map(narrow),
            rule: finding.rule,
            severity: finding.severity,
            action: finding.action,
            message: finding.message,
            text: finding.source,
        }))?;
        Ok(())
    }

    /// Closes the tables, draws the page, and checks that every line is accounted for.
    pub fn finish(self, pool: &ThreadPool) -> anyhow::Result<Finished> {
        let classes = self.classes();
        let (images, objects, issues) = (self.images, self.objects, self.issues);
        // For a small dataset, most of the work remains at the end.
        let ((images, objects), (issues, page)) = pool.install(|| {
            rayon::join(
                || rayon::join(|| images.finish(), || objects.finish()),
                || {
                    let page = || page::render(self.layout, &self.tally, &classes.rows);
                    rayon::join(
                        || {
                            write_classes(&self.classes_path, &classes.rows)
                                .and_then(|()| Ok(issues.finish()?))
                        },
                        page,
                    )
                },
            )
        });
        let (images, objects, issues) = (images?, objects?, issues?);
        if let Some(stream) = self.stream {
            stream.end()?;
        }
        let (total, ledger) = self.tally.total();
        let adds_up = self.tally.ledger.values().all(|ledger| ledger.adds_up());
        let written = images == total.images
            && objects == ledger.boxes + ledger.polygons
            && issues == self.tally.severities.iter().sum::<u64>();
        if !adds_up || !written {
            return Err(anyhow!(
                "the ledger does not add up: {:?}, and the tables have {images} images, {objects} \
                objects and {issues} issues; \
                 nothing was published. This is a bug in ossify: please report it",
                self.tally.ledger
            ));
        }
        Ok(Finished { tally: self.tally, classes, page })
    }
}

impl Finished {
    /// The files to be published, including the page.
    pub fn files(&self, publication: &Publication) -> Result<Vec<FileEntry>, ArtefactError> {
        publication.write("ingest.html", self.page.as_bytes())?;
        let (total, ledger) = self.tally.total();
        let rows = [
            (ImageRow::TABLE, total.images),
            (ObjectRow::TABLE, ledger.boxes + ledger.polygons),
            (IssueRow::TABLE, self.tally.severities.iter().sum()),
            (ClassRow::TABLE, self.classes.rows.len() as u64),
        ];
        let mut files = vec![publication.describe("ingest.html", None)?];
        for (table, rows) in rows {
            files.push(publication.describe(&file_name(table), Some(rows))?);
        }
        Ok(files)
    }
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
) -> Result<(), ArtefactError> {
    row.class_index = indices
        .binary_search_by_key(&row.class_id, |(id, _)| *id)
        .ok()
        .and_then(|at| indices[at].1);
    tally.add_row(&row);
    objects.push(row)
}

/// The row of an accepted object; the class index is filled in later.
fn object_row(image_id: &str, split: Split, class_name: &str, object: LabelObject) -> ObjectRow {
    ObjectRow {
        image_id: image_id.to_owned(),
        split,
        line: i32::try_from(object.line).unwrap_or(i32::MAX),
        class_id: object.class_id,
        class_name: class_name.to_owned(),
        class_index: None,
        shape: object.shape(),
        vertices: object.vertices,
        xmin: object.unit_box.xmin,
        ymin: object.unit_box.ymin,
        xmax: object.unit_box.xmax,
        ymax: object.unit_box.ymax,
        area: object.area,
        repaired: object.repaired,
    }
}
