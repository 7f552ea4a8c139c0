//! Sorted runs of records, one after the other in an unnamed file.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::read::record::Record;

/// Buffer size for reading and writing a run.
const WINDOW_BYTES: usize = 64 << 10;

/// Sorted records, each with the number of its part.
pub(super) trait Records {
    fn next(&mut self) -> Result<Option<(u32, Record)>>;
}

/// A file of runs. It disappears when it is closed, however the process ends.
pub(super) struct Runs {
    file: File,
    folder: PathBuf,
    runs: Vec<Run>,
}

/// The position of a run, and its number of records.
struct Run {
    bytes: Range<u64>,
    records: u64,
}

impl Runs {
    pub fn create(folder: &Path) -> Result<Self> {
        let file = tempfile::tempfile_in(folder)
            .with_context(|| format!("cannot create a temporary file in {}", folder.display()))?;
        Ok(Runs { file, folder: folder.to_path_buf(), runs: Vec::new() })
    }

    /// Starts the next run.
    pub fn begin(&mut self) -> RunWriter<'_> {
        let start = self.runs.last().map_or(0, |run| run.bytes.end);
        let target = Appender { file: &self.file, at: start };
        RunWriter {
            target: BufWriter::with_capacity(WINDOW_BYTES, target),
            folder: &self.folder,
            runs: &mut self.runs,
            start,
            records: 0,
        }
    }

    /// A reader of each run.
    pub fn readers(&self) -> Vec<RunReader<'_>> {
        let reader = |run: &Run| RunReader {
            source: BufReader::with_capacity(
                WINDOW_BYTES,
                Slice { file: &self.file, left: run.bytes.clone() },
            ),
            folder: &self.folder,
            left: run.records,
        };
        self.runs.iter().map(reader).collect()
    }
}

/// Writes a run.
pub(super) struct RunWriter<'a> {
    target: BufWriter<Appender<'a>>,
    folder: &'a Path,
    runs: &'a mut Vec<Run>,
    start: u64,
    records: u64,
}

impl RunWriter<'_> {
    pub fn push(&mut self, part: u32, record: &Record) -> Result<()> {
        self.records += 1;
        rmp_serde::encode::write(&mut self.target, &(part, record)).with_context(|| {
            format!("cannot write to a temporary file in {}", self.folder.display())
        })
    }

    pub fn end(mut self) -> Result<()> {
        self.target.flush().with_context(|| {
            format!("cannot write to a temporary file in {}", self.folder.display())
        })?;
        let bytes = self.start..self.target.get_ref().at;
        self.runs.push(Run { bytes, records: self.records });
        Ok(())
    }
}

struct Appender<'a> {
    file: &'a File,
    at: u64,
}

impl Write for Appender<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write_at(bytes, self.at)?;
        self.at += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads a run.
pub(super) struct RunReader<'a> {
    source: BufReader<Slice<'a>>,
    folder: &'a Path,
    left: u64,
}

impl Records for RunReader<'_> {
    fn next(&mut self) -> Result<Option<(u32, Record)>> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        rmp_serde::decode::from_read(&mut self.source)
            .map(Some)
            .with_context(|| format!("cannot read a temporary file in {}", self.folder.display()))
    }
}

struct Slice<'a> {
    file: &'a File,
    left: Range<u64>,
}

impl Read for Slice<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = buffer.len().min((self.left.end - self.left.start) as usize);
        let read = self.file.read_at(&mut buffer[..length], self.left.start)?;
        self.left.start += read as u64;
        Ok(read)
    }
}
