//! What becomes of each foreign row: a prediction, or a reason why it cannot be one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display};

use ossify_contract::{LeftOutRows, UnitBox};

/// Shares of an image larger than this are pixels.
const MAX_SHARE: f64 = 2.0;
/// A box that leaves the image by more than this share is counted.
const BEYOND_SHARE: f32 = 0.01;
/// Characters of a foreign text that a message shows.
const MAX_SHOWN: usize = 60;

/// Why a foreign row cannot be a prediction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reason {
    BadEntry,
    BadLine,
    BadScore,
    BadBox,
    FarBox,
    UnknownImage,
    AmbiguousImage,
    SizelessImage,
    TurnedImage,
    UnknownClass,
    OtherSplit,
    UntrainedClass,
}

impl Reason {
    /// Whether something is wrong with the row, rather than that this import does not ask for it.
    pub fn is_error(self) -> bool {
        !matches!(self, Reason::OtherSplit | Reason::UntrainedClass)
    }
}

impl Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::BadEntry => "no object with image_id, category_id, bbox and score",
            Reason::BadLine => {
                "not the six columns: class, x centre, y centre, width, height, \
                confidence"
            }
            Reason::BadScore => "the score is not a number between 0 and 1",
            Reason::BadBox => "the box is not made of finite numbers with a size of 0 or more",
            Reason::FarBox => "the box lies far outside its image",
            Reason::UnknownImage => "its image is not in the tables",
            Reason::AmbiguousImage => "several images of the split have that name",
            Reason::SizelessImage => {
                "the tables do not know the size of its image, so pixels \
                cannot become shares"
            }
            Reason::TurnedImage => {
                "the ground truth has its image with width and height \
                exchanged: as stored, not as its EXIF orientation turns it"
            }
            Reason::UnknownClass => "its class is not in the tables",
            Reason::OtherSplit => "its image is in another split",
            Reason::UntrainedClass => "its class was filtered as rare and is not scored",
        })
    }
}

/// A row that cannot be used.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Unfit {
    pub reason: Reason,
    /// The value that does not fit.
    pub detail: String,
}

impl Unfit {
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Unfit { reason, detail: detail.into() }
    }
}

/// A foreign prediction that can be scored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Accepted {
    /// Index of the image among those of the split.
    pub image: u32,
    pub class_index: i16,
    pub score: f32,
    pub unit_box: UnitBox,
}

/// All rows of the foreign file or folder: `entries = rows.len() + left_out`.
#[derive(Default)]
pub(crate) struct Imported {
    /// In order of appearance.
    pub rows: Vec<Accepted>,
    pub entries: u64,
    /// Boxes that leave their image visibly; they are kept as they are, as pycocotools keeps them.
    pub boxes_beyond_image: u64,
    /// Which ids the classes have in the file, in words, where there was a choice.
    pub category_ids: Option<&'static str>,
    /// Images that the source says were looked at, beside those of its rows; `None` where it does
    /// not say.
    pub looked_at: Option<BTreeSet<u32>>,
    left_out: BTreeMap<Reason, (u64, String)>,
}

impl Imported {
    /// Takes a row in, or counts why not; `location` is asked for the first of each reason alone.
    pub fn push(&mut self, row: Result<Accepted, Unfit>, location: impl FnOnce() -> String) {
        self.entries += 1;
        match row {
            Ok(row) => {
                let edges = row.unit_box.to_array();
                self.boxes_beyond_image += u64::from(
                    edges.iter().any(|edge| !(-BEYOND_SHARE..=1.0 + BEYOND_SHARE).contains(edge)),
                );
                self.rows.push(row);
            }
            Err(Unfit { reason, detail }) => {
                let group = self
                    .left_out
                    .entry(reason)
                    .or_insert_with(|| (0, format!("{}: {detail}", location())));
                group.0 += 1;
            }
        }
    }

    /// All images that were looked at, where the source says which.
    pub fn images_looked_at(&self) -> Option<BTreeSet<u32>> {
        let mut images = self.looked_at.clone()?;
        images.extend(self.rows.iter().map(|row| row.image));
        Some(images)
    }

    /// What was left out, errors first.
    pub fn left_out(&self) -> Vec<LeftOutRows> {
        let rows = self.left_out.iter().map(|(reason, (count, example))| LeftOutRows {
            reason: reason.to_string(),
            count: *count,
            example: example.clone(),
            is_error: reason.is_error(),
        });
        rows.collect()
    }
}

/// A confidence.
pub(crate) fn score(value: f64) -> Result<f32, Unfit> {
    if (0.0..=1.0).contains(&value) {
        Ok(value as f32)
    } else {
        Err(Unfit::new(Reason::BadScore, format!("score {value}")))
    }
}

/// A box of pixels, x and y of its top left corner, width and height, on an image of this width and
/// height.
pub(crate) fn box_of_pixels(xywh_px: [f64; 4], size_px: (f64, f64)) -> Result<UnitBox, Unfit> {
    let [x, y, width, height] = xywh_px;
    let shares = [x / size_px.0, y / size_px.1, (x + width) / size_px.0, (y + height) / size_px.1];
    let describe = || {
        let (width, height) = size_px;
        format!("bbox {xywh_px:?} on an image of {width} x {height} pixels")
    };
    checked(shares, (width, height), describe)
}

/// A box of shares, its centre, width and height.
pub(crate) fn box_of_shares(cxcywh: [f64; 4]) -> Result<UnitBox, Unfit> {
    let [x, y, width, height] = cxcywh;
    if cxcywh.iter().any(|share| share.is_finite() && share.abs() > MAX_SHARE) {
        return Err(Unfit::new(
            Reason::BadBox,
            format!(
                "box {cxcywh:?}: are these pixels? YOLO's boxes are shares of the image, 0 to 1"
            ),
        ));
    }
    let shares = [x - width / 2.0, y - height / 2.0, x + width / 2.0, y + height / 2.0];
    checked(shares, (width, height), || format!("box {cxcywh:?}"))
}

fn checked(
    edges: [f64; 4],
    size: (f64, f64),
    describe: impl FnOnce() -> String,
) -> Result<UnitBox, Unfit> {
    let edges = edges.map(|edge| edge as f32);
    let unit_box = UnitBox::from(edges);
    if !edges.iter().all(|edge| edge.is_finite()) || size.0 < 0.0 || size.1 < 0.0 {
        Err(Unfit::new(Reason::BadBox, describe()))
    } else if unit_box.is_far_outside() {
        Err(Unfit::new(Reason::FarBox, describe()))
    } else {
        Ok(unit_box)
    }
}

/// A foreign text for a message: no control characters, not too long.
pub(crate) fn shown(text: &str) -> String {
    let cut = if text.chars().nth(MAX_SHOWN).is_some() { ".." } else { "" };
    let start: String = text.chars().take(MAX_SHOWN).collect();
    format!("`{}{cut}`", start.escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_become_shares_of_their_image() {
        assert_eq!(
            box_of_pixels([16.0, 12.0, 32.0, 24.0], (64.0, 48.0)),
            Ok(UnitBox::new(0.25, 0.25, 0.75, 0.75))
        );
        assert_eq!(
            box_of_shares([0.5, 0.5, 0.5, 0.25]),
            Ok(UnitBox::new(0.25, 0.375, 0.75, 0.625))
        );
    }

    #[test]
    fn impossible_boxes_and_scores_are_refused() {
        for bad in [
            [f64::NAN, 0.0, 1.0, 1.0],
            [0.0, 0.0, -1.0, 1.0],
            [0.0, 0.0, 1.0, f64::INFINITY],
            [1e300, 0.0, 1.0, 1.0],
        ] {
            assert_eq!(
                box_of_pixels(bad, (64.0, 48.0)).map_err(|unfit| unfit.reason),
                Err(Reason::BadBox),
                "{bad:?}"
            );
        }
        assert!(
            box_of_shares([320.0, 240.0, 10.0, 10.0])
                .is_err_and(|unfit| unfit.detail.contains("are these pixels?"))
        );
        for bad in [-0.01, 1.01, f64::NAN, f64::INFINITY] {
            assert_eq!(score(bad).map_err(|unfit| unfit.reason), Err(Reason::BadScore), "{bad}");
        }
    }

    #[test]
    fn rows_are_accepted_or_counted_with_the_first_example() {
        let mut imported = Imported::default();
        let row = Accepted {
            image: 0,
            class_index: 0,
            score: 0.5,
            unit_box: UnitBox::new(0.0, 0.0, 1.5, 1.0),
        };
        imported.push(Ok(row), || unreachable!());
        for i in 1..=3 {
            imported.push(Err(Unfit::new(Reason::BadScore, format!("score {i}"))), || {
                format!("entry {i}")
            });
        }
        imported.push(Err(Unfit::new(Reason::OtherSplit, "`a` is in train")), || "entry 4".into());
        let left_out = imported.left_out();
        assert_eq!((imported.entries, imported.rows.len(), imported.boxes_beyond_image), (5, 1, 1));
        assert_eq!(
            (left_out[0].count, left_out[0].example.as_str(), left_out[0].is_error),
            (3, "entry 1: score 1", true)
        );
        assert!(!left_out[1].is_error);
    }

    #[test]
    fn foreign_texts_are_cut_and_harmless() {
        assert_eq!(shown("a\u{1b}[31m"), "`a\\u{1b}[31m`");
        assert_eq!(shown(&"x".repeat(61)), format!("`{}..`", "x".repeat(60)));
    }
}
