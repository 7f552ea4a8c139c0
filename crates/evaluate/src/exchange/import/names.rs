//! Which image of the tables a foreign name or number means.

use std::collections::HashMap;

use ossify_contract::{ImageRow, Result, Split, TableReader};
use ossify_imaging::ImageFormat;

use crate::exchange::import::rows::{Reason, Unfit, shown};

/// An image of the tables.
pub(crate) struct NamedImage {
    pub image_id: String,
    pub split: Split,
    width: i32,
    height: i32,
}

impl NamedImage {
    /// Width and height in pixels, if they are known.
    pub fn size_px(&self) -> Option<(f64, f64)> {
        (self.width > 0 && self.height > 0).then(|| (f64::from(self.width), f64::from(self.height)))
    }
}

/// The images of a split under every name that a foreign file may give them.
///
/// A text is an `image_id` of the tables, else a file name (folders before it do not count), else a
/// stem, else a file name whose stem is right though its ending is that of another image format. A
/// number is a stem of digits, leading zeros or not. A name that several images share
/// identifies none of them.
pub(crate) struct ImageNames {
    /// In order of `image_id`.
    pub images: Vec<NamedImage>,
    of_split: Index,
    elsewhere: Index,
    others: Vec<NamedImage>,
}

impl ImageNames {
    /// Reads `images.parquet`.
    pub fn read(path: &std::path::Path, split: Split) -> Result<Self> {
        let mut rows = Vec::new();
        for batch in TableReader::<ImageRow>::open(path)? {
            let named = |row: ImageRow| NamedImage {
                image_id: row.image_id,
                split: row.split,
                width: row.width,
                height: row.height,
            };
            rows.extend(batch?.into_iter().map(named));
        }
        Ok(Self::new(rows, split))
    }

    fn new(rows: Vec<NamedImage>, split: Split) -> Self {
        let (mut images, others): (Vec<_>, Vec<_>) =
            rows.into_iter().partition(|row| row.split == split);
        images.sort_by(|a, b| a.image_id.cmp(&b.image_id));
        images.dedup_by(|a, b| a.image_id == b.image_id);
        ImageNames { of_split: Index::of(&images), elsewhere: Index::of(&others), images, others }
    }

    /// The image of this id, file name or stem.
    pub fn find_text(&self, name: &str) -> Result<u32, Unfit> {
        self.unique(
            self.of_split.find_text(name),
            || self.elsewhere.find_text(name),
            || shown(name),
        )
    }

    /// The image whose stem is this number.
    pub fn find_number(&self, number: i64) -> Result<u32, Unfit> {
        let find = |index: &Index| {
            u64::try_from(number).ok().and_then(|number| index.by_number.get(&number).copied())
        };
        self.unique(
            find(&self.of_split),
            || find(&self.elsewhere),
            || format!("image_id {number}, and no file of the split has that number as its name"),
        )
    }

    fn unique(
        &self,
        found: Option<Found>,
        elsewhere: impl FnOnce() -> Option<Found>,
        name: impl FnOnce() -> String,
    ) -> Result<u32, Unfit> {
        match (found, elsewhere) {
            (Some(Found::One(image)), _) => Ok(image),
            (Some(Found::Several(first)), _) => Err(Unfit::new(
                Reason::AmbiguousImage,
                format!(
                    "{} is that of `{}` and of others",
                    name(),
                    self.images[first as usize].image_id
                ),
            )),
            (None, elsewhere) => match elsewhere() {
                Some(Found::One(image) | Found::Several(image)) => {
                    let other = &self.others[image as usize];
                    Err(Unfit::new(
                        Reason::OtherSplit,
                        format!("`{}` is in {}", other.image_id, other.split),
                    ))
                }
                None => Err(Unfit::new(Reason::UnknownImage, name())),
            },
        }
    }
}

#[derive(Clone, Copy)]
enum Found {
    One(u32),
    /// The first of them.
    Several(u32),
}

/// Names to indices in a list of images.
#[derive(Default)]
struct Index {
    by_id: HashMap<String, Found>,
    by_file_name: HashMap<String, Found>,
    by_stem: HashMap<String, Found>,
    by_number: HashMap<u64, Found>,
}

impl Index {
    fn of(images: &[NamedImage]) -> Self {
        let mut index = Index::default();
        for (at, image) in images.iter().enumerate() {
            let at = at as u32;
            let file_name = file_name(&image.image_id);
            let stem = file_name.rsplit_once('.').map_or(file_name, |(stem, _)| stem);
            insert(&mut index.by_id, image.image_id.clone(), at);
            insert(&mut index.by_file_name, file_name.to_owned(), at);
            insert(&mut index.by_stem, stem.to_owned(), at);
            if let Some(number) = number_of(stem) {
                insert(&mut index.by_number, number, at);
            }
        }
        index
    }

    fn find_text(&self, name: &str) -> Option<Found> {
        let file_name = file_name(name);
        let found = self
            .by_id
            .get(name)
            .or_else(|| self.by_file_name.get(file_name))
            .or_else(|| self.by_stem.get(file_name));
        let of_another_ending = || {
            let (stem, ending) = file_name.rsplit_once('.')?;
            ImageFormat::EXTENSIONS
                .iter()
                .any(|known| ending.eq_ignore_ascii_case(known))
                .then(|| self.by_stem.get(stem))?
        };
        found.or_else(of_another_ending).copied()
    }
}

fn insert<K: std::hash::Hash + Eq>(index: &mut HashMap<K, Found>, key: K, at: u32) {
    let several = |found: &mut Found| {
        if let Found::One(first) = *found {
            *found = Found::Several(first);
        }
    };
    index.entry(key).and_modify(several).or_insert(Found::One(at));
}

/// What stands behind the last separator, Windows' included.
fn file_name(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

/// The number that a stem of ASCII digits is.
fn number_of(stem: &str) -> Option<u64> {
    stem.bytes().all(|byte| byte.is_ascii_digit()).then(|| stem.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(ids: &[(&str, Split)]) -> ImageNames {
        let row = |(id, split): &(&str, Split)| NamedImage {
            image_id: (*id).into(),
            split: *split,
            width: 4,
            height: 3,
        };
        ImageNames::new(ids.iter().map(row).collect(), Split::Valid)
    }

    #[test]
    fn an_image_is_found_by_id_file_name_stem_number_and_under_another_ending() {
        let names = names(&[
            ("valid/images/b.rf.12.dcm", Split::Valid),
            ("valid/images/0007.png", Split::Valid),
        ]);
        for name in [
            "valid/images/b.rf.12.dcm",
            "b.rf.12.dcm",
            "C:\\pictures\\b.rf.12.dcm",
            "/somewhere/b.rf.12.dcm",
            "b.rf.12",
            "b.rf.12.PNG",
        ] {
            assert_eq!(names.find_text(name), Ok(1), "{name}");
        }
        assert_eq!(names.find_number(7), Ok(0));
        assert_eq!(names.find_text("0007"), Ok(0));
        for name in ["", ".", "b", "b.rf.12.exe", "b.rf.12.dcm/", "7"] {
            assert_eq!(
                names.find_text(name).map_err(|unfit| unfit.reason),
                Err(Reason::UnknownImage),
                "{name}"
            );
        }
        for number in [-7, 12, i64::MIN, i64::MAX] {
            assert_eq!(
                names.find_number(number).map_err(|unfit| unfit.reason),
                Err(Reason::UnknownImage),
                "{number}"
            );
        }
    }

    #[test]
    fn names_of_several_images_and_of_other_splits_are_told() {
        let names = names(&[
            ("a/1.png", Split::Valid),
            ("b/1.png", Split::Valid),
            ("b/01.jpg", Split::Valid),
            ("t/2.png", Split::Train),
        ]);
        assert_eq!(names.find_text("b/1.png"), Ok(2));
        assert_eq!(
            names.find_text("1.png").map_err(|unfit| unfit.reason),
            Err(Reason::AmbiguousImage)
        );
        assert_eq!(names.find_number(1).map_err(|unfit| unfit.reason), Err(Reason::AmbiguousImage));
        assert_eq!(
            names.find_text("2"),
            Err(Unfit::new(Reason::OtherSplit, "`t/2.png` is in train"))
        );
        assert_eq!(names.find_number(2).map_err(|unfit| unfit.reason), Err(Reason::OtherSplit));
    }
}
