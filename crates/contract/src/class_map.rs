use std::path::Path;

use crate::error::{ArtefactError, Result};
use crate::manifest::Fingerprint;
use crate::table::read_table;
use crate::tables::ClassRow;

/// The classes of a dataset and the ids that training gives to those it keeps.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassMap {
    rows: Vec<ClassRow>,
}

impl ClassMap {
    /// A map of these rows, which are in order of `class_id`.
    pub fn new(rows: Vec<ClassRow>) -> Self {
        ClassMap { rows }
    }

    /// Reads `classes.parquet`.
    ///
    /// # Errors
    /// Fails where the table cannot be read, or the kept classes have not the ids 0, 1, 2 and so
    /// on, each once.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let map = ClassMap { rows: read_table(path)? };
        map.check().map_err(|reason| ArtefactError::corrupt(path, reason))?;
        Ok(map)
    }

    fn check(&self) -> std::result::Result<(), String> {
        let kept = self.kept();
        let misfit = kept.iter().zip(0..).find(|((index, _), expected)| index != expected);
        let Some(((index, name), expected)) = misfit else { return Ok(()) };
        let other = kept.iter().find(|(other, other_name)| other == index && other_name != name);
        Err(match other {
            Some((_, other)) => format!("`{other}` and `{name}` have the class_index {index} both"),
            None => format!(
                "class `{name}` has the class_index {index} where {expected} is the next one; \
                 trained classes count from 0 without gaps"
            ),
        })
    }

    /// All classes, kept or not.
    pub fn rows(&self) -> &[ClassRow] {
        &self.rows
    }

    /// Names of the kept classes in the order of their `class_index`, which starts at 0. A class
    /// that was merged into another has that one's index and no name here.
    pub fn kept_names(&self) -> Vec<String> {
        self.kept().into_iter().map(|(_, name)| name.to_owned()).collect()
    }

    /// The kept classes with their ids, in order of these.
    fn kept(&self) -> Vec<(i16, &str)> {
        let kept = self.rows.iter().filter(|row| row.kept);
        let mut kept: Vec<_> =
            kept.filter_map(|row| Some((row.class_index?, row.class_name.as_str()))).collect();
        kept.sort_unstable();
        kept
    }

    /// Hash of the trained classes, their ids and names. Predictions made with another map are not
    /// comparable.
    pub fn digest(&self) -> String {
        let mut fingerprint = Fingerprint::new("class-map");
        for row in &self.rows {
            fingerprint
                .add(row.class_id.to_string())
                .add(&row.class_name)
                .add(format!("{:?}", row.class_index));
        }
        fingerprint.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::TableWriter;

    #[test]
    fn kept_classes_count_from_0_each_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("classes.parquet");
        let read = |indices: [Option<i16>; 3]| {
            let mut writer = TableWriter::create(&path).unwrap();
            for ((class_id, name), class_index) in (0..).zip(["a", "b", "c"]).zip(indices) {
                let (kept, class_name) = (class_index.is_some(), name.to_owned());
                let [train_objects, valid_objects, test_objects] = [0; 3];
                let [train_images, valid_images, test_images] = [0; 3];
                let reason = None;
                writer
                    .push(ClassRow {
                        class_id,
                        class_name,
                        class_index,
                        train_objects,
                        valid_objects,
                        test_objects,
                        train_images,
                        valid_images,
                        test_images,
                        kept,
                        reason,
                    })
                    .unwrap();
            }
            writer.finish().unwrap();
            ClassMap::read(&path).map(|map| map.kept_names()).map_err(|e| e.to_string())
        };
        assert_eq!(read([Some(1), None, Some(0)]), Ok(vec!["c".to_owned(), "a".to_owned()]));
        let error = read([Some(0), Some(1), Some(0)]).unwrap_err();
        assert!(error.ends_with("`a` and `c` have the class_index 0 both"), "{error}");
        let error = read([Some(0), Some(1000), None]).unwrap_err();
        assert!(error.contains("class `b` has the class_index 1000 where 1 is"), "{error}");
    }
}
