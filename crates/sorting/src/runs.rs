//! Runs of records, one behind the other in one file.

use std::io::{self, BufReader, BufWriter, Read, Write};
use std::marker::PhantomData;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use ossify_contract::{ArtefactError, Result};

use crate::record::Stored;
use crate::scratch_file::ScratchFile;

/// Bytes of a run that are read or written at a time, at most.
pub const MAX_WINDOW_BYTES: usize = 64 << 10;

/// Runs of records in a file without a name.
#[derive(Debug)]
pub struct Runs<R> {
    file: Arc<ScratchFile>,
    runs: Vec<Run>,
    record: PhantomData<R>,
}

/// Where a run lies in the file, and how many records it has.
#[derive(Clone, Debug)]
struct Run {
    bytes: Range<u64>,
    records: u64,
}

impl<R: Stored> Runs<R> {
    /// No run yet; the file will be on the file system of `folder`.
    ///
    /// # Errors
    /// Fails where the disk does.
    pub fn create(folder: &Path) -> Result<Self> {
        let file = Arc::new(ScratchFile::create(folder)?);
        Ok(Runs { file, runs: Vec::new(), record: PhantomData })
    }

    /// Writes records as one more run and empties their list; the file is created for the first.
    ///
    /// # Errors
    /// Fails where the disk does.
    pub(crate) fn spill(
        runs: &mut Option<Self>,
        folder: &Path,
        records: &mut Vec<R>,
    ) -> Result<()> {
        let runs = match runs {
            Some(runs) => runs,
            None => runs.insert(Self::create(folder)?),
        };
        let mut run = runs.begin();
        records.iter().try_for_each(|record| run.push(record))?;
        run.end()?;
        records.clear();
        Ok(())
    }

    /// How many runs there are.
    pub fn count(&self) -> usize {
        self.runs.len()
    }

    /// How many records there are in all runs.
    pub fn records(&self) -> u64 {
        self.runs.iter().map(|run| run.records).sum()
    }

    /// Begins the next run. It counts once it has ended.
    pub fn begin(&mut self) -> RunWriter<'_, R> {
        let start = self.runs.last().map_or(0, |run| run.bytes.end);
        let target = Appender { file: &self.file, offset: start };
        RunWriter {
            target: BufWriter::with_capacity(MAX_WINDOW_BYTES, target),
            runs: &mut self.runs,
            start,
            records: 0,
            record: PhantomData,
        }
    }

    /// A reader of each of these runs, each of which reads `window_bytes` at a time. The file stays
    /// until the last reader is gone.
    pub fn readers(&self, runs: Range<usize>, window_bytes: usize) -> Vec<RunReader<R>> {
        let reader = |run: &Run| RunReader {
            source: BufReader::with_capacity(
                window_bytes,
                Section { file: Arc::clone(&self.file), left: run.bytes.clone() },
            ),
            left: run.records,
            record: PhantomData,
        };
        self.runs[runs].iter().map(reader).collect()
    }
}

/// Writes a run.
pub struct RunWriter<'a, R> {
    target: BufWriter<Appender<'a>>,
    runs: &'a mut Vec<Run>,
    start: u64,
    records: u64,
    record: PhantomData<R>,
}

impl<R: Stored> RunWriter<'_, R> {
    /// Adds a record at the end.
    ///
    /// # Errors
    /// Fails where the disk does.
    pub fn push(&mut self, record: &R) -> Result<()> {
        self.records += 1;
        let written = record.write(&mut self.target);
        written.map_err(write_error(self.target.get_ref().file))
    }

    /// Ends the run.
    ///
    /// # Errors
    /// Fails where the disk does.
    pub fn end(mut self) -> Result<()> {
        self.target.flush().map_err(write_error(self.target.get_ref().file))?;
        let bytes = self.start..self.target.get_ref().offset;
        self.runs.push(Run { bytes, records: self.records });
        Ok(())
    }
}

fn write_error(file: &ScratchFile) -> impl FnOnce(io::Error) -> ArtefactError {
    ArtefactError::io("cannot write to a temporary file in", file.folder())
}

struct Appender<'a> {
    file: &'a ScratchFile,
    offset: u64,
}

impl Write for Appender<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.file().write_at(bytes, self.offset)?;
        self.offset += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads a run.
pub struct RunReader<R> {
    source: BufReader<Section>,
    left: u64,
    record: PhantomData<R>,
}

impl<R: Stored> Iterator for RunReader<R> {
    type Item = Result<R>;

    fn next(&mut self) -> Option<Result<R>> {
        self.left = self.left.checked_sub(1)?;
        let read = R::read(&mut self.source);
        Some(read.map_err(|e| {
            self.left = 0;
            let folder = self.source.get_ref().file.folder();
            ArtefactError::io("cannot read a temporary file in", folder)(e)
        }))
    }
}

/// A part of the file.
struct Section {
    file: Arc<ScratchFile>,
    left: Range<u64>,
}

impl Read for Section {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.left.end - self.left.start;
        let length = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let read = self.file.file().read_at(&mut buffer[..length], self.left.start)?;
        self.left.start += read as u64;
        Ok(read)
    }
}
