use std::path::Path;

use crate::error::Result;
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
    /// Fails where the table cannot be read.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        Ok(ClassMap { rows: read_table(path)? })
    }

    /// All classes, kept or not.
    pub fn rows(&self) -> &[ClassRow] {
        &self.rows
    }

    /// Names of the kept classes in the order of their `class_index`, which starts at 0. A class
    /// that was merged into another has that one's index and no name here.
    pub fn kept_names(&self) -> Vec<String> {
        let mut kept: Vec<_> = self
            .rows
            .iter()
            .filter(|row| row.kept)
            .filter_map(|row| Some((row.class_index?, row.class_name.clone())))
            .collect();
        kept.sort();
        kept.into_iter().map(|(_, name)| name).collect()
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
