//! Stores rows until they can be written: objects wait for the class indices, issues to be sorted.
//! A bounded number waits in memory, the rest in files.

use std::cmp::Ordering;
use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};
use std::vec::IntoIter;

use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use ossify_contract::{ArtefactError, ObjectRow, Result, Row};

/// Number of rows in memory before they are written to a file.
const ROWS_IN_MEMORY: usize = 16_384;
/// Number of rows per batch in a file.
const BATCH_ROWS: usize = 2048;
/// Number of sorted files that are read at once.
const MAX_RUNS: usize = 64;

/// A file of rows being written.
struct RunWriter {
    path: PathBuf,
    file: StreamWriter<BufWriter<File>>,
}

impl RunWriter {
    fn create<R: Row>(path: PathBuf) -> Result<Self> {
        let file = File::create(&path).map_err(ArtefactError::io("cannot create", &path))?;
        let file = StreamWriter::try_new(BufWriter::new(file), &R::schema())
            .map_err(ArtefactError::arrow(&path))?;
        Ok(RunWriter { path, file })
    }

    fn write<R: Row>(&mut self, rows: &[R]) -> Result<()> {
        for rows in rows.chunks(BATCH_ROWS) {
            let batch = R::to_batch(rows).map_err(ArtefactError::arrow(&self.path))?;
            self.file.write(&batch).map_err(ArtefactError::arrow(&self.path))?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<PathBuf> {
        self.file.finish().map_err(ArtefactError::arrow(&self.path))?;
        Ok(self.path)
    }
}

/// Reads the rows of a file, whose name is removed at once.
struct RunReader<R: Row> {
    path: PathBuf,
    batches: StreamReader<BufReader<File>>,
    rows: IntoIter<R>,
}

impl<R: Row> RunReader<R> {
    fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(ArtefactError::io("cannot open", path))?;
        let batches = StreamReader::try_new(BufReader::new(file), None)
            .map_err(ArtefactError::arrow(path))?;
        std::fs::remove_file(path).map_err(ArtefactError::io("cannot remove", path))?;
        Ok(RunReader { path: path.to_path_buf(), batches, rows: Vec::new().into_iter() })
    }

    fn next(&mut self) -> Result<Option<R>> {
        loop {
            if let Some(row) = self.rows.next() {
                return Ok(Some(row));
            }
            let Some(batch) = self.batches.next() else { return Ok(None) };
            let batch = batch.map_err(ArtefactError::arrow(&self.path))?;
            let rows = R::from_columns(batch.columns(), batch.num_rows())
                .map_err(|reason| ArtefactError::corrupt(&self.path, reason))?;
            self.rows = rows.into_iter();
        }
    }
}

/// A queue of object rows.
pub(crate) struct ObjectSpool {
    path: PathBuf,
    rows: Vec<ObjectRow>,
    file: Option<RunWriter>,
}

impl ObjectSpool {
    /// A queue that uses a file at `path`, if it needs one.
    pub fn new(path: PathBuf) -> Self {
        ObjectSpool { path, rows: Vec::new(), file: None }
    }

    /// Appends a row.
    pub fn push(&mut self, row: ObjectRow) -> Result<()> {
        self.rows.push(row);
        if self.rows.len() < ROWS_IN_MEMORY {
            return Ok(());
        }
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(RunWriter::create::<ObjectRow>(self.path.clone())?),
        };
        file.write(&self.rows)?;
        self.rows.clear();
        Ok(())
    }

    /// Calls `take` with all rows in the order in which they were added.
    pub fn drain(mut self, mut take: impl FnMut(ObjectRow) -> Result<()>) -> Result<()> {
        if let Some(file) = self.file.take() {
            let mut rows = RunReader::open(&file.finish()?)?;
            while let Some(row) = rows.next()? {
                take(row)?;
            }
        }
        self.rows.into_iter().try_for_each(take)
    }
}

/// Sorts rows, with bounded memory.
pub(crate) struct SortedSpool<R: Row> {
    path: PathBuf,
    order: fn(&R, &R) -> Ordering,
    rows: Vec<R>,
    runs: Vec<PathBuf>,
    runs_made: usize,
}

impl<R: Row> SortedSpool<R> {
    /// A spool with this order; equal rows keep the order in which they were added. Files are named
    /// after `path`.
    pub fn new(path: PathBuf, order: fn(&R, &R) -> Ordering) -> Self {
        SortedSpool { path, order, rows: Vec::new(), runs: Vec::new(), runs_made: 0 }
    }

    /// Adds a row.
    pub fn push(&mut self, row: R) -> Result<()> {
        self.rows.push(row);
        if self.rows.len() < ROWS_IN_MEMORY {
            return Ok(());
        }
        let mut run = self.begin_run()?;
        self.rows.sort_by(self.order);
        run.write(&self.rows)?;
        self.rows.clear();
        self.runs.push(run.finish()?);
        if self.runs.len() == MAX_RUNS {
            let runs = std::mem::take(&mut self.runs);
            let mut run = self.begin_run()?;
            let mut held = Vec::new();
            merge(&runs, Vec::new(), self.order, |row| {
                held.push(row);
                if held.len() < BATCH_ROWS {
                    return Ok(());
                }
                let written = run.write(&held);
                held.clear();
                written
            })?;
            run.write(&held)?;
            self.runs.push(run.finish()?);
        }
        Ok(())
    }

    fn begin_run(&mut self) -> Result<RunWriter> {
        self.runs_made += 1;
        RunWriter::create::<R>(self.path.with_extension(format!("spool.{}", self.runs_made)))
    }

    /// Calls `take` with all rows in order; the spool is empty afterwards.
    pub fn drain(&mut self, take: impl FnMut(R) -> Result<()>) -> Result<()> {
        let mut rows = std::mem::take(&mut self.rows);
        rows.sort_by(self.order);
        merge(&std::mem::take(&mut self.runs), rows, self.order, take)
    }
}

/// Merges the rows of sorted files and of a sorted list that came after them.
fn merge<R: Row>(
    runs: &[PathBuf],
    last: Vec<R>,
    order: fn(&R, &R) -> Ordering,
    mut take: impl FnMut(R) -> Result<()>,
) -> Result<()> {
    let mut readers =
        runs.iter().map(|run| RunReader::open(run)).collect::<Result<Vec<RunReader<R>>>>()?;
    let mut last = last.into_iter();
    let mut heads = readers.iter_mut().map(RunReader::next).collect::<Result<Vec<_>>>()?;
    heads.push(last.next());
    loop {
        // Of equal rows, the one from the earliest run comes first.
        let smallest = heads
            .iter()
            .enumerate()
            .filter_map(|(at, head)| Some((at, head.as_ref()?)))
            .min_by(|(_, a), (_, b)| order(a, b));
        let Some((at, _)) = smallest else { return Ok(()) };
        let next = match readers.get_mut(at) {
            Some(reader) => reader.next()?,
            None => last.next(),
        };
        if let Some(row) = std::mem::replace(&mut heads[at], next) {
            take(row)?;
        }
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

    #[test]
    fn rows_leave_in_order_whatever_order_they_came_in_and_equal_ones_as_they_came() {
        use ossify_contract::IssueRow;
        use ossify_diagnostics::{Action, Severity};
        let folder = tempfile::tempdir().unwrap();
        let row = |at: usize| IssueRow {
            split: Split::Train,
            path: format!("{}", at * 7919 % 1000),
            line: None,
            column: None,
            rule: "r".into(),
            severity: Severity::Note,
            action: Action::Kept,
            message: at.to_string(),
            text: None,
        };
        for n in [0, 10, ROWS_IN_MEMORY * 3 + 5, ROWS_IN_MEMORY * (MAX_RUNS + 2) + 1] {
            let mut spool =
                SortedSpool::new(folder.path().join("issues.spool"), |a: &IssueRow, b| {
                    a.path.cmp(&b.path)
                });
            (0..n).for_each(|at| spool.push(row(at)).unwrap());
            let mut found: Vec<(String, usize)> = Vec::new();
            spool
                .drain(|row| {
                    found.push((row.path, row.message.parse().unwrap()));
                    Ok(())
                })
                .unwrap();
            assert_eq!(found.len(), n);
            assert!(found.windows(2).all(|pair| pair[0] < pair[1]), "{n}");
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        }
    }
}
