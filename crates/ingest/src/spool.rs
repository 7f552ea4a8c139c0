//! Accepted objects between the pass that reads labels and the moment the class numbers are known.

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::PathBuf;

use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use ossify_contract::{ArtefactError, ObjectRow, Result, Row};

/// Rows kept in memory before they go to the file.
const ROWS_IN_MEMORY: usize = 16_384;
/// Rows of a batch in the file.
const BATCH_ROWS: usize = 8192;

/// A queue of object rows that holds a bounded number in memory and the rest in a file.
pub(crate) struct ObjectSpool {
    path: PathBuf,
    rows: Vec<ObjectRow>,
    file: Option<StreamWriter<BufWriter<File>>>,
}

impl ObjectSpool {
    /// A queue whose file will be at `path`, if it needs one.
    pub fn new(path: PathBuf) -> Self {
        ObjectSpool { path, rows: Vec::new(), file: None }
    }

    /// Adds a row at the end.
    pub fn push(&mut self, row: ObjectRow) -> Result<()> {
        self.rows.push(row);
        if self.rows.len() >= ROWS_IN_MEMORY { self.spill() } else { Ok(()) }
    }

    fn spill(&mut self) -> Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let file = File::create(&self.path).map_err(ArtefactError::io("cannot create", &self.path))?;
                let writer = StreamWriter::try_new(BufWriter::new(file), &ObjectRow::schema()).map_err(ArtefactError::arrow(&self.path))?;
                self.file.insert(writer)
            }
        };
        for rows in self.rows.chunks(BATCH_ROWS) {
            let batch = ObjectRow::to_batch(rows).map_err(ArtefactError::arrow(&self.path))?;
            file.write(&batch).map_err(ArtefactError::arrow(&self.path))?;
        }
        self.rows.clear();
        Ok(())
    }

    /// Passes on all rows in the order they came, and removes the file.
    pub fn drain(mut self, mut take: impl FnMut(ObjectRow) -> Result<()>) -> Result<()> {
        if let Some(mut writer) = self.file.take() {
            writer.finish().map_err(ArtefactError::arrow(&self.path))?;
            drop(writer);
            let file = File::open(&self.path).map_err(ArtefactError::io("cannot open", &self.path))?;
            for batch in StreamReader::try_new(BufReader::new(file), None).map_err(ArtefactError::arrow(&self.path))? {
                let batch = batch.map_err(ArtefactError::arrow(&self.path))?;
                let rows = ObjectRow::from_columns(batch.columns(), batch.num_rows()).map_err(|reason| ArtefactError::corrupt(&self.path, reason))?;
                rows.into_iter().try_for_each(&mut take)?;
            }
            std::fs::remove_file(&self.path).map_err(ArtefactError::io("cannot remove", &self.path))?;
        }
        self.rows.into_iter().try_for_each(take)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ossify_contract::{Shape, Split};

    #[test]
    fn rows_come_out_as_they_went_in_whether_spilled_or_not() {
        let folder = tempfile::tempdir().unwrap();
        let row = |line: i32| ObjectRow {
            image_id: format!("train/images/{line}.jpg"),
            split: Split::Train,
            line,
            class_id: 1,
            class_name: "é".into(),
            class_index: None,
            shape: if line % 2 == 0 { Shape::Box } else { Shape::Polygon },
            vertices: (line % 2 == 1).then(|| vec![[0.25, line as f32]]),
            xmin: 0.1,
            ymin: 0.2,
            xmax: 0.3,
            ymax: 0.4,
            area: 0.04,
            repaired: line % 3 == 0,
        };
        for n in [0, 10, ROWS_IN_MEMORY as i32 * 2 + 5] {
            let path = folder.path().join("spool");
            let mut spool = ObjectSpool::new(path.clone());
            (0..n).for_each(|line| spool.push(row(line)).unwrap());
            let mut next = 0;
            spool
                .drain(|found| {
                    assert_eq!(found, row(next));
                    next += 1;
                    Ok(())
                })
                .unwrap();
            assert_eq!(next, n);
            assert!(!path.exists());
        }
    }
}
