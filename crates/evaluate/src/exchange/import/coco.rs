//! COCO results, and the `predictions.json` of Ultralytics, which is nearly the same.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use ossify_contract::ArtefactError;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};

use crate::exchange::import::categories::{CategoryIds, Classes, Evidence};
use crate::exchange::import::error::ImportError;
use crate::exchange::import::json::{self, Loose};
use crate::exchange::import::names::ImageNames;
use crate::exchange::import::rows::{
    Accepted, Imported, Reason, Unfit, box_of_pixels, score, shown,
};

/// How the ids of a file are understood.
pub(crate) enum Ids<'a> {
    /// The ground truth that belongs to the file says what they mean.
    GroundTruth(&'a GroundTruth),
    /// Images by name, or by a stem of digits; classes numbered so.
    Numbered(CategoryIds),
    /// As [`Ids::Numbered`], where the ids have to say from where the classes are numbered.
    /// `file_name` says so too where Ultralytics wrote the file.
    Evident { is_ultralytics: bool },
}

/// Reads a list of detections, `image_id`, `category_id`, `bbox` and `score` each, boxes in pixels.
pub(crate) fn read(
    path: &Path,
    ids: &Ids,
    names: &ImageNames,
    classes: &Classes,
) -> Result<Imported, ImportError> {
    let file = File::open(path).map_err(ArtefactError::io("cannot open", path))?;
    let detections = Detections { ids, names, classes };
    detections.read(BufReader::new(file), &path.display().to_string())
}

struct Detections<'a> {
    ids: &'a Ids<'a>,
    names: &'a ImageNames,
    classes: &'a Classes,
}

/// The image, and the width and height that its boxes are pixels of.
type Placed = (u32, (f64, f64));

/// A detection whose class is not looked up yet.
struct Unclassed {
    image: u32,
    category_id: i64,
    score: f32,
    unit_box: ossify_contract::UnitBox,
}

impl Detections<'_> {
    fn read(&self, reader: impl BufRead, path: &str) -> Result<Imported, ImportError> {
        let mut evidence = Evidence::default();
        let mut unclassed = Vec::new();
        let mut number = 0_u64;
        json::for_each(reader, |entry: Entry| {
            number += 1;
            if let Entry::Fields(fields) = &entry {
                evidence.has_file_name |= matches!(fields.file_name, Loose::Text(_));
                if let Some(category_id) = fields.category_id.as_integer() {
                    evidence.add(category_id, self.classes);
                }
            }
            unclassed.push(self.unclassed(&entry));
        })
        .map_err(|source| ImportError::NotDetections { path: path.into(), source })?;
        // With a ground truth, it says which images nothing was found on.
        if number == 0 && !matches!(self.ids, Ids::GroundTruth(_)) {
            return Err(ImportError::Empty { path: path.into(), what: "the list has no entry" });
        }

        let numbering = match self.ids {
            Ids::GroundTruth(_) => None,
            Ids::Numbered(numbering) => Some(*numbering),
            Ids::Evident { is_ultralytics } => {
                evidence.has_file_name &= *is_ultralytics;
                // Where nothing can be used anyway, the reasons say more than a question about
                // classes.
                if unclassed.iter().any(Result::is_ok) {
                    Some(evidence.decide(self.classes)?)
                } else {
                    None
                }
            }
        };
        let mut imported = Imported::default();
        imported.category_ids = numbering.map(CategoryIds::as_str);
        if let Ids::GroundTruth(truth) = self.ids {
            imported.looked_at = Some(truth.images().collect());
        }
        for (i, row) in unclassed.into_iter().enumerate() {
            let row = row.and_then(|row| {
                let class_index = match (self.ids, numbering) {
                    (Ids::GroundTruth(truth), _) => truth.class(row.category_id)?,
                    (_, Some(numbering)) => {
                        let unknown = || {
                            Unfit::new(
                                Reason::UnknownClass,
                                format!(
                                    "category_id {} is not one of COCO's 80 classes",
                                    row.category_id
                                ),
                            )
                        };
                        self.classes
                            .of_id(numbering.class_id(row.category_id).ok_or_else(unknown)?)?
                    }
                    (_, None) => {
                        return Err(Unfit::new(
                            Reason::UnknownClass,
                            format!("category_id {}", row.category_id),
                        ));
                    }
                };
                Ok(Accepted {
                    image: row.image,
                    class_index,
                    score: row.score,
                    unit_box: row.unit_box,
                })
            });
            imported.push(row, || format!("{path}: entry {}", i + 1));
        }
        Ok(imported)
    }

    fn unclassed(&self, entry: &Entry) -> Result<Unclassed, Unfit> {
        let fields = match entry {
            Entry::Fields(fields) => fields,
            Entry::Other(value) => return Err(Unfit::new(Reason::BadEntry, value.to_string())),
        };
        let no_category =
            || Unfit::new(Reason::BadEntry, format!("category_id is {}", fields.category_id));
        let category_id = fields.category_id.as_integer().ok_or_else(no_category)?;
        let (image, size_px) = self.image(fields)?;
        let corner_and_size = match &fields.bbox {
            Loose::List(values, 4) => values
                .iter()
                .map(Loose::as_number)
                .collect::<Option<Vec<f64>>>()
                .and_then(|values| <[f64; 4]>::try_from(values).ok()),
            _ => None,
        };
        let Some(corner_and_size) = corner_and_size else {
            return Err(Unfit::new(
                Reason::BadBox,
                format!("bbox is {}, and should be x, y, width and height", fields.bbox),
            ));
        };
        let unit_box = box_of_pixels(corner_and_size, size_px)?;
        let confidence = fields
            .score
            .as_number()
            .ok_or_else(|| Unfit::new(Reason::BadScore, format!("score is {}", fields.score)))?;
        Ok(Unclassed { image, category_id, score: score(confidence)?, unit_box })
    }

    fn image(&self, fields: &Fields) -> Result<Placed, Unfit> {
        if let Ids::GroundTruth(truth) = self.ids
            && let Some(known) = Key::of(&fields.image_id).and_then(|key| truth.images.get(&key))
        {
            return known.clone();
        }
        let image = match (&fields.file_name, &fields.image_id) {
            (Loose::Text(name), _) | (_, Loose::Text(name)) => self.names.find_text(name)?,
            (_, id) => {
                let number = id
                    .as_integer()
                    .ok_or_else(|| Unfit::new(Reason::BadEntry, format!("image_id is {id}")))?;
                if let Ids::GroundTruth(_) = self.ids {
                    return Err(Unfit::new(
                        Reason::UnknownImage,
                        format!("image_id {number} is not in the ground truth"),
                    ));
                }
                self.names.find_number(number)?
            }
        };
        Ok((image, size_in_tables(self.names, image)?))
    }
}

fn size_in_tables(names: &ImageNames, image: u32) -> Result<(f64, f64), Unfit> {
    let named = &names.images[image as usize];
    named.size_px().ok_or_else(|| Unfit::new(Reason::SizelessImage, shown(&named.image_id)))
}

/// An element of the list.
enum Entry {
    Fields(Box<Fields>),
    /// Whatever else.
    Other(Loose),
}

#[derive(Default)]
struct Fields {
    image_id: Loose,
    file_name: Loose,
    category_id: Loose,
    bbox: Loose,
    score: Loose,
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EntryVisitor)
    }
}

struct EntryVisitor;

impl<'de> Visitor<'de> for EntryVisitor {
    type Value = Entry;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a detection")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entry, A::Error> {
        let mut fields = Box::<Fields>::default();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "image_id" => fields.image_id = map.next_value()?,
                "file_name" => fields.file_name = map.next_value()?,
                "category_id" => fields.category_id = map.next_value()?,
                "bbox" => fields.bbox = map.next_value()?,
                "score" => fields.score = map.next_value()?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Entry::Fields(fields))
    }
    fn visit_unit<E: de::Error>(self) -> Result<Entry, E> {
        Ok(Entry::Other(Loose::Other("null")))
    }
    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Entry, E> {
        Ok(Entry::Other(Loose::Other(if value { "true" } else { "false" })))
    }
    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Entry, E> {
        Ok(Entry::Other(Loose::Integer(value)))
    }
    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Entry, E> {
        Ok(Entry::Other(Loose::Number(value as f64)))
    }
    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Entry, E> {
        Ok(Entry::Other(Loose::Number(value)))
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<Entry, E> {
        Ok(Entry::Other(Loose::Text(text.to_owned())))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Entry, A::Error> {
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Entry::Other(Loose::Other("a list")))
    }
}

/// The id of an image in a ground truth: most tools write integers, some names.
#[derive(PartialEq, Eq, Hash)]
enum Key {
    Number(i64),
    Text(String),
}

impl Key {
    fn of(value: &Loose) -> Option<Self> {
        match value {
            Loose::Text(text) => Some(Key::Text(text.clone())),
            value => value.as_integer().map(Key::Number),
        }
    }
}

/// What the ids of a COCO ground truth mean in the tables.
pub(crate) struct GroundTruth {
    images: HashMap<Key, Result<Placed, Unfit>>,
    categories: HashMap<i64, Result<i16, Unfit>>,
}

#[derive(Deserialize)]
struct GroundTruthFile {
    images: Vec<GroundTruthImage>,
    categories: Vec<GroundTruthCategory>,
}

#[derive(Deserialize)]
struct GroundTruthImage {
    id: Loose,
    file_name: String,
    width: Option<f64>,
    height: Option<f64>,
}

#[derive(Deserialize)]
struct GroundTruthCategory {
    id: i64,
    name: String,
}

impl GroundTruth {
    /// Reads `images` and `categories` of a COCO ground truth; its annotations are passed over.
    pub fn read(path: &Path, names: &ImageNames, classes: &Classes) -> Result<Self, ImportError> {
        let file = File::open(path).map_err(ArtefactError::io("cannot open", path))?;
        let bad = |reason: String| ImportError::GroundTruth { path: path.to_path_buf(), reason };
        let truth: GroundTruthFile =
            json::read(BufReader::new(file)).map_err(|error| bad(error.to_string()))?;
        let mut images = HashMap::new();
        for (i, image) in truth.images.iter().enumerate() {
            let key = Key::of(&image.id)
                .ok_or_else(|| bad(format!("images, entry {}: id is {}", i + 1, image.id)))?;
            if images.insert(key, placed(image, names)).is_some() {
                return Err(bad(format!("images, entry {}: id {} occurs twice", i + 1, image.id)));
            }
        }
        let mut categories = HashMap::new();
        for (i, category) in truth.categories.iter().enumerate() {
            if categories.insert(category.id, classes.of_name(&category.name)).is_some() {
                return Err(bad(format!(
                    "categories, entry {}: id {} occurs twice",
                    i + 1,
                    category.id
                )));
            }
        }
        Ok(GroundTruth { images, categories })
    }

    /// Its images that are in the split.
    fn images(&self) -> impl Iterator<Item = u32> {
        self.images.values().filter_map(|placed| placed.as_ref().ok().map(|(image, _)| *image))
    }

    fn class(&self, category_id: i64) -> Result<i16, Unfit> {
        let unknown = || {
            Err(Unfit::new(
                Reason::UnknownClass,
                format!("category_id {category_id} is not in the ground truth"),
            ))
        };
        self.categories.get(&category_id).cloned().unwrap_or_else(unknown)
    }
}

/// Boxes are pixels of the size in the ground truth, which may be of resized copies.
fn placed(theirs: &GroundTruthImage, names: &ImageNames) -> Result<Placed, Unfit> {
    let image = names.find_text(&theirs.file_name)?;
    let ours_px = names.images[image as usize].size_px();
    let theirs_px =
        theirs.width.zip(theirs.height).filter(|(width, height)| *width > 0.0 && *height > 0.0);
    match (theirs_px, ours_px) {
        (Some(theirs_px), Some(ours_px))
            if theirs_px != ours_px && theirs_px == (ours_px.1, ours_px.0) =>
        {
            Err(Unfit::new(
                Reason::TurnedImage,
                format!("{} is {}x{} there", shown(&theirs.file_name), theirs_px.0, theirs_px.1),
            ))
        }
        (Some(theirs_px), _) => Ok((image, theirs_px)),
        (None, _) => Ok((image, size_in_tables(names, image)?)),
    }
}
