//! Enumerations that stand in tables as words.

use serde::{Deserialize, Serialize};

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

/// How alike two images of different splits are, from the surest on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeakTier {
    /// The files are the same, byte for byte.
    SameBytes,
    /// The decoded pixels are the same.
    SamePixels,
    /// The same picture, brightened, turned, mirrored, scaled or encoded again.
    Near,
}

impl LeakTier {
    /// The word in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            LeakTier::SameBytes => "same_bytes",
            LeakTier::SamePixels => "same_pixels",
            LeakTier::Near => "near",
        }
    }
}

/// What became of a prediction or of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MatchKind {
    /// Right class, IoU of at least 0.5.
    Match,
    /// Wrong class, IoU of at least 0.5.
    ClassError,
    /// Right class, IoU of at least 0.1 and below 0.5.
    LocationError,
    /// Wrong class, IoU of at least 0.1 and below 0.5.
    Both,
    /// Right class and box, yet a better prediction already has the object.
    Duplicate,
    /// IoU below 0.1 with every object.
    Background,
    /// An object that no prediction found.
    Miss,
}

impl MatchKind {
    /// The word in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            MatchKind::Match => "match",
            MatchKind::ClassError => "class_error",
            MatchKind::LocationError => "location_error",
            MatchKind::Both => "both",
            MatchKind::Duplicate => "duplicate",
            MatchKind::Background => "background",
            MatchKind::Miss => "miss",
        }
    }
}
