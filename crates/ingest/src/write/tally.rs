//! Counts for the summary, the gates, the page and the terminal, in bounded memory.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use ossify_contract::{
    ImageRow, ImageStatus, Ledger, ObjectRow, Shape, Split, SplitCounts, SplitLedger,
};
use ossify_diagnostics::{Finding, Severity};

use crate::read::object::LabelObject;
use crate::read::record::Examined;

/// Number of cells along each side of the density maps of boxes.
pub(crate) const MAP_CELLS: usize = 32;
/// Number of example findings that are kept for each rule.
const EXAMPLES: usize = 5;
/// Number of images that are drawn for each class.
const DRAWN_PER_CLASS: usize = 2;
/// Number of classes for which images are drawn.
const DRAWN_CLASSES: usize = 16;
/// Number of objects drawn on an image.
const DRAWN_OBJECTS: usize = 100;
/// Number of distinct image sizes that are counted.
const MAX_SIZES: usize = 1 << 16;

/// Findings of one rule.
#[derive(Clone, Debug, Default)]
pub(crate) struct RuleTally {
    /// How many.
    pub count: u64,
    /// By severity: note, warning, error.
    pub by_severity: [u64; 3],
    /// The first of them.
    pub examples: Vec<Example>,
}

/// A finding with the image that its file belongs to.
#[derive(Clone, Debug)]
pub(crate) struct Example {
    pub finding: Finding,
    pub image: Option<DrawnImage>,
}

/// The data needed to show an image.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DrawnImage {
    pub image_id: String,
    pub format: String,
    pub size: (i32, i32),
    pub bytes: i64,
    pub exif_orientation: i8,
}

impl DrawnImage {
    fn of(row: &ImageRow) -> Option<Self> {
        let is_drawable = row.width > 0 && row.height > 0;
        is_drawable.then(|| DrawnImage {
            image_id: row.image_id.clone(),
            format: row.format.clone(),
            size: (row.width, row.height),
            bytes: row.bytes,
            exif_orientation: row.exif_orientation,
        })
    }
}

/// A labelled image that represents a class.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// The hash of its id, by which samples are selected, so that the selection does not depend on
    /// the order of images.
    hash: u64,
    pub image: DrawnImage,
    pub objects: Vec<LabelObject>,
}

/// A grid of counts over the unit square.
#[derive(Clone, Debug)]
pub(crate) struct Grid {
    counts: Vec<u64>,
}

impl Default for Grid {
    fn default() -> Self {
        Grid { counts: vec![0; MAP_CELLS * MAP_CELLS] }
    }
}

impl Grid {
    fn add(&mut self, x: f32, y: f32) {
        let cell = |value: f32| ((value * MAP_CELLS as f32) as usize).min(MAP_CELLS - 1);
        self.counts[cell(y) * MAP_CELLS + cell(x)] += 1;
    }

    /// The centre of each counted point's cell.
    pub fn points(&self) -> impl Iterator<Item = (f64, f64)> {
        let center = |cell: usize| (cell as f64 + 0.5) / MAP_CELLS as f64;
        self.counts.iter().enumerate().flat_map(move |(at, &count)| {
            std::iter::repeat_n((center(at % MAP_CELLS), center(at / MAP_CELLS)), count as usize)
        })
    }
}

/// All counts.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub splits: BTreeMap<Split, SplitCounts>,
    pub ledger: Ledger,
    pub rules: BTreeMap<String, RuleTally>,
    pub severities: [u64; 3],
    /// Centres of boxes.
    pub centers: Grid,
    /// Width and height of boxes.
    pub extents: Grid,
    pub sizes: HashMap<(i32, i32), u64>,
    pub more_sizes: bool,
    pub formats: BTreeMap<String, u64>,
    pub repaired: u64,
    /// Images to draw, by class id.
    pub samples: BTreeMap<i16, Vec<Sample>>,
}

impl Tally {
    pub fn begin_split(&mut self, split: Split, label_files: u64, ignored_files: u64) {
        self.splits
            .insert(split, SplitCounts { label_files, ignored_files, ..SplitCounts::default() });
        self.ledger.insert(split, SplitLedger::default());
    }

    pub fn add_image(&mut self, split: Split, examined: &Examined) {
        let counts = self.splits.entry(split).or_default();
        counts.images += 1;
        counts.objects += examined.objects.len() as u64;
        match examined.image.status {
            ImageStatus::Labelled => counts.labelled += 1,
            ImageStatus::Background => counts.background += 1,
            ImageStatus::Unlabelled => counts.unlabelled += 1,
            ImageStatus::Unreadable => counts.unreadable += 1,
        }
        let ledger = self.ledger.entry(split).or_default();
        ledger.lines += examined.lines;
        ledger.quarantined += examined.quarantined;
        if examined.image.width > 0 {
            let size = (examined.image.width, examined.image.height);
            if self.sizes.len() < MAX_SIZES || self.sizes.contains_key(&size) {
                *self.sizes.entry(size).or_default() += 1;
            } else {
                self.more_sizes = true;
            }
        }
        *self.formats.entry(examined.image.format.clone()).or_default() += 1;
        for object in &examined.objects {
            self.add_object(split, object);
        }
        if examined.image.status == ImageStatus::Labelled {
            self.add_sample(examined);
        }
    }

    /// Keeps the images with the smallest hashes of each class.
    fn add_sample(&mut self, examined: &Examined) {
        let mut hasher = DefaultHasher::new();
        examined.image.image_id.hash(&mut hasher);
        let hash = hasher.finish();
        let classes: BTreeSet<i16> =
            examined.objects.iter().map(|object| object.class_id).collect();
        for class_id in classes {
            if self.samples.len() >= DRAWN_CLASSES && !self.samples.contains_key(&class_id) {
                continue;
            }
            let samples = self.samples.entry(class_id).or_default();
            let index = samples.partition_point(|sample| sample.hash < hash);
            if index < DRAWN_PER_CLASS
                && let Some(image) = DrawnImage::of(&examined.image)
            {
                let objects = examined.objects.iter().take(DRAWN_OBJECTS).cloned().collect();
                samples.insert(index, Sample { hash, image, objects });
                samples.truncate(DRAWN_PER_CLASS);
            }
        }
    }

    fn add_object(&mut self, split: Split, object: &LabelObject) {
        let ledger = self.ledger.entry(split).or_default();
        match object.shape() {
            Shape::Box => ledger.boxes += 1,
            Shape::Polygon => ledger.polygons += 1,
        }
        let unit_box = object.unit_box;
        self.centers
            .add((unit_box.xmin + unit_box.xmax) / 2.0, (unit_box.ymin + unit_box.ymax) / 2.0);
        self.extents.add(unit_box.width(), unit_box.height());
        self.repaired += u64::from(object.repaired);
    }

    /// Counts lines of a label file whose objects cannot be used.
    pub fn add_quarantined(&mut self, split: Split, lines: u64) {
        let ledger = self.ledger.entry(split).or_default();
        ledger.lines += lines;
        ledger.quarantined += lines;
    }

    /// Counts a written object.
    pub fn add_row(&mut self, row: &ObjectRow) {
        if row.class_index.is_none() {
            self.ledger.entry(row.split).or_default().rare_filtered += 1;
        }
    }

    /// Counts a finding about a label file of this image, or about the image itself.
    pub fn add_finding(&mut self, finding: &Finding, image: Option<&ImageRow>) {
        let severity = severity_index(finding.severity);
        self.severities[severity] += 1;
        let tally = self.rules.entry(finding.rule.clone()).or_default();
        tally.count += 1;
        tally.by_severity[severity] += 1;
        if tally.examples.len() < EXAMPLES {
            tally
                .examples
                .push(Example { finding: finding.clone(), image: image.and_then(DrawnImage::of) });
        }
    }

    /// Sums over the splits.
    pub fn total(&self) -> (SplitCounts, SplitLedger) {
        let mut counts = SplitCounts::default();
        for split in self.splits.values() {
            counts.images += split.images;
            counts.labelled += split.labelled;
            counts.background += split.background;
            counts.unlabelled += split.unlabelled;
            counts.unreadable += split.unreadable;
            counts.objects += split.objects;
            counts.label_files += split.label_files;
            counts.ignored_files += split.ignored_files;
        }
        let mut ledger = SplitLedger::default();
        for split in self.ledger.values() {
            ledger.lines += split.lines;
            ledger.boxes += split.boxes;
            ledger.polygons += split.polygons;
            ledger.quarantined += split.quarantined;
            ledger.rare_filtered += split.rare_filtered;
        }
        (counts, ledger)
    }

    /// Share of the label lines that were quarantined; 0 without lines.
    pub fn quarantined_share(&self) -> f64 {
        let ledger = self.total().1;
        if ledger.lines == 0 { 0.0 } else { ledger.quarantined as f64 / ledger.lines as f64 }
    }
}

pub(crate) fn severity_index(severity: Severity) -> usize {
    match severity {
        Severity::Note => 0,
        Severity::Warning => 1,
        Severity::Error => 2,
    }
}
