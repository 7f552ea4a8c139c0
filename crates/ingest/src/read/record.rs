//! What a dataset holds, thing by thing, on its way from the files to the tables.

use std::borrow::Cow;

use ossify_contract::ImageRow;
use ossify_diagnostics::Finding;
use serde::{Deserialize, Serialize};

use super::object::LabelObject;

/// Images of a split in order of their paths, then what belongs to no image, in order of
/// [`Record::position`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Record {
    Image(Box<Examined>),
    Stray(Box<Stray>),
}

/// What was seen of an image and its label file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Examined {
    pub image: ImageRow,
    pub objects: Vec<LabelObject>,
    pub findings: Vec<Finding>,
    /// Label lines that are not blank, of label files that are this image's alone.
    pub lines: u64,
    pub quarantined: u64,
    /// Tells whether the image or its label file has changed.
    pub stamp: String,
}

/// What belongs to no image, or to several.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Stray {
    pub kind: StrayKind,
    /// The label file, or what was listed.
    pub path: String,
    pub finding: Option<Finding>,
    /// Label lines whose objects cannot be used.
    pub lines: u64,
    /// Tells whether a label file without an image has changed.
    pub stamp: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum StrayKind {
    /// Something found while listing.
    Listed,
    /// A label file that two images share; the images carry the findings.
    SharedLabel,
    /// A label file without an image.
    OrphanLabel,
}

/// Where a record stands among those of its split: images before all else.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position<'a> {
    pub kind: Option<StrayKind>,
    pub path: Cow<'a, str>,
    pub line: Option<u32>,
    pub column: Option<u32>,
}

impl Record {
    pub fn position(&self) -> Position<'_> {
        match self {
            Record::Image(examined) => Position {
                kind: None,
                path: Cow::Borrowed(&examined.image.image_id),
                line: None,
                column: None,
            },
            Record::Stray(stray) => {
                let found_at = stray.finding.as_ref().map(|finding| &finding.place);
                Position {
                    kind: Some(stray.kind),
                    path: Cow::Borrowed(&stray.path),
                    line: found_at.and_then(|place| place.line),
                    column: found_at.and_then(|place| place.column),
                }
            }
        }
    }
}

impl Position<'_> {
    pub fn into_owned(self) -> Position<'static> {
        Position { path: Cow::Owned(self.path.into_owned()), ..self }
    }
}
