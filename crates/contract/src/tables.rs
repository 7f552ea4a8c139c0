use std::collections::BTreeMap;

use ossify_diagnostics::{Action, Severity};
use serde::{Deserialize, Serialize};

use crate::UnitBox;
use crate::table::table;

/// A part of the dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// What a model learns from.
    Train,
    /// What choices are made on.
    Valid,
    /// What is looked at once, at the end.
    Test,
}

impl Split {
    /// All splits in the order of the tables.
    pub const ALL: [Split; 3] = [Split::Train, Split::Valid, Split::Test];

    /// The word in tables and folder names.
    pub fn as_str(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Valid => "valid",
            Split::Test => "test",
        }
    }
}

impl std::str::FromStr for Split {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let named = Split::ALL.into_iter().find(|split| split.as_str() == name);
        named.ok_or_else(|| "there are train, valid and test".to_owned())
    }
}

impl std::fmt::Display for Split {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// What is known of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImageStatus {
    /// It has at least one accepted object.
    Labelled,
    /// Its label file has no line: nothing to find, by the labeller's word.
    Background,
    /// It has no label file, or one of which nothing could be used: what is on it is not known.
    Unlabelled,
    /// It cannot be used: not decodable, cut short, or too small.
    Unreadable,
}

impl ImageStatus {
    /// The word in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            ImageStatus::Labelled => "labelled",
            ImageStatus::Background => "background",
            ImageStatus::Unlabelled => "unlabelled",
            ImageStatus::Unreadable => "unreadable",
        }
    }
}

/// How an object was drawn by the labeller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// Centre and size.
    Box,
    /// Vertices.
    Polygon,
}

impl Shape {
    /// The word in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Shape::Box => "box",
            Shape::Polygon => "polygon",
        }
    }
}

table! {
    /// One row an image.
    "images" => ImageRow {
        /// Path from the dataset root with `/` separators; the key everywhere.
        image_id: String,
        /// The part of the dataset.
        split: Split,
        /// Path of the label file from the dataset root, if there is one.
        label_path: Option<String>,
        /// Pixels across, after EXIF orientation; 0 where the header could not be read.
        width: i32,
        /// Pixels down, after EXIF orientation; 0 where the header could not be read.
        height: i32,
        /// Channels as stored: 1 gray, 2 gray and alpha, 3 colour, 4 colour and alpha or CMYK.
        channels: i8,
        /// `jpeg`, `png`, `bmp`, `tiff`, `webp`, `dicom`, or `unknown`.
        format: String,
        /// File size.
        bytes: i64,
        /// EXIF orientation, 1 to 8; 1 where there is none.
        exif_orientation: i8,
        /// File name before `.rf.`, else its stem: what an exporter made several images of.
        source_stem: String,
        /// What is known of the image.
        status: ImageStatus,
        /// Accepted objects.
        object_count: i32,
        /// Findings about the image and its label file.
        issue_count: i32,
    }
}

table! {
    /// One row an accepted label line.
    "objects" => ObjectRow {
        /// The image.
        image_id: String,
        /// The part of the dataset.
        split: Split,
        /// Line of the label file, from 1.
        line: i32,
        /// Class as in the source.
        class_id: i16,
        /// Name of the class.
        class_name: String,
        /// The id used in training; null where the class was filtered as rare.
        class_index: Option<i16>,
        /// Box or polygon.
        shape: Shape,
        /// Vertices as shares of width and height; null for boxes.
        vertices: Option<Vec<[f32; 2]>>,
        /// Left edge, share of the width.
        xmin: f32,
        /// Top edge, share of the height.
        ymin: f32,
        /// Right edge, share of the width.
        xmax: f32,
        /// Bottom edge, share of the height.
        ymax: f32,
        /// Area of the polygon or box, share of the image.
        area: f32,
        /// Whether a coordinate was moved into the image.
        repaired: bool,
    }
}

impl ObjectRow {
    /// The object's box.
    pub fn unit_box(&self) -> UnitBox {
        UnitBox::new(self.xmin, self.ymin, self.xmax, self.ymax)
    }
}

table! {
    /// One row a finding.
    "issues" => IssueRow {
        /// The part of the dataset.
        split: Split,
        /// File from the dataset root.
        path: String,
        /// Line from 1.
        line: Option<i32>,
        /// Column from 1, in characters.
        column: Option<i32>,
        /// Name of the rule.
        rule: String,
        /// How bad it is.
        severity: Severity,
        /// What was done.
        action: Action,
        /// What is wrong.
        message: String,
        /// The raw line.
        text: Option<String>,
    }
}

table! {
    /// One row a class of the dataset.
    "classes" => ClassRow {
        /// Class as in the source.
        class_id: i16,
        /// Name of the class.
        class_name: String,
        /// The id used in training; that of another class where this one was merged into it, null
        /// where it was filtered.
        class_index: Option<i16>,
        /// Accepted objects in train.
        train_objects: i64,
        /// Accepted objects in valid.
        valid_objects: i64,
        /// Accepted objects in test.
        test_objects: i64,
        /// Images of train with an accepted object of the class.
        train_images: i64,
        /// Images of valid with an accepted object of the class.
        valid_images: i64,
        /// Images of test with an accepted object of the class.
        test_images: i64,
        /// Whether the class is trained under its own name.
        kept: bool,
        /// Why not.
        reason: Option<String>,
    }
}

/// Where each label line of a split went: `lines = boxes + polygons + quarantined`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitLedger {
    /// Lines that are not blank.
    pub lines: u64,
    /// Accepted boxes.
    pub boxes: u64,
    /// Accepted polygons.
    pub polygons: u64,
    /// Lines left out.
    pub quarantined: u64,
    /// Accepted objects whose class was filtered as rare; counted inside boxes and polygons.
    pub rare_filtered: u64,
}

impl SplitLedger {
    /// Whether every line is accounted for.
    pub fn adds_up(&self) -> bool {
        self.lines == self.boxes + self.polygons + self.quarantined
            && self.rare_filtered <= self.boxes + self.polygons
    }
}

/// The ledger of each split; it stands in the tables' manifest under `summary.ledger`.
pub type Ledger = BTreeMap<Split, SplitLedger>;
