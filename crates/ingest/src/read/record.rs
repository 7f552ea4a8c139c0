//! The items of a dataset on their way from the files to the tables.

use std::borrow::Cow;

use ossify_contract::ImageRow;
use ossify_diagnostics::Finding;
use serde::{Deserialize, Serialize};

use super::object::LabelObject;

/// First the images of a split, in order of their paths, then everything that belongs to no image,
/// in order of [`Record::position`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Record {
    Image(Box<Examined>),
    Stray(Box<Stray>),
}

/// An image with its label file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Examined {
    pub image: ImageRow,
    pub objects: Vec<LabelObject>,
    pub findings: Vec<Finding>,
    /// Non-blank label lines, if the label file belongs only to this image.
    pub lines: u64,
    pub quarantined: u64,
    /// Changes when the image or its label file changes.
    pub stamp: String,
}

/// A label file or finding that belongs to no image, or to several.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Stray {
    pub kind: StrayKind,
    /// The label file, or the listed path.
    pub path: String,
    pub finding: Option<Finding>,
    /// Number of label lines whose objects cannot be used.
    pub lines: u64,
    /// Changes when a label file without an image changes.
    pub stamp: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum StrayKind {
    /// A finding of the listing.
    Listed,
    /// A label file that two images share; the images carry the findings.
    SharedLabel,
    /// A label file without an image.
    OrphanLabel,
}

/// The position of a record within its split: images come first.
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
                let found_at = stray.finding.as_ref().map(|finding| &finding.location);
                Position {
                    kind: Some(stray.kind),
                    path: Cow::Borrowed(&stray.path),
                    line: found_at.and_then(|location| location.line),
                    column: found_at.and_then(|location| location.column),
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
