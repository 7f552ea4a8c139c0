//! Random access to a file with few reads.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

/// Bytes of a file's start that are read at once; most headers fit.
const START_BYTES: usize = 4096;
/// Minimum number of bytes per read, because headers are parsed in small steps.
const BLOCK_BYTES: usize = 4096;

/// A reader with random access.
pub(crate) trait ReadAt: Read + Seek {
    /// Fills `buffer` from `position` on.
    fn read_exact_at(&mut self, position: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.seek(SeekFrom::Start(position))?;
        self.read_exact(buffer)
    }
}

impl ReadAt for io::Cursor<&[u8]> {}

impl ReadAt for ossify_storage::ObjectReader {}

impl ReadAt for File {
    fn read_exact_at(&mut self, position: u64, buffer: &mut [u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(self, buffer, position)
    }
}

/// Random access to a file, with its first block and the most recent block in memory.
pub(crate) struct Source<R> {
    reader: R,
    start: [u8; START_BYTES],
    start_bytes: usize,
    block: Vec<u8>,
    block_at: u64,
    bytes: u64,
}

impl<R: ReadAt> Source<R> {
    /// Reads the first block of a file of `bytes` bytes.
    pub(crate) fn new(mut reader: R, bytes: u64) -> io::Result<Self> {
        let mut start = [0; START_BYTES];
        let mut start_bytes = 0;
        let wanted = START_BYTES.min(usize::try_from(bytes).unwrap_or(START_BYTES));
        while start_bytes < wanted {
            match reader.read(&mut start[start_bytes..wanted]) {
                Ok(0) => break,
                Ok(length) => start_bytes += length,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(Source { reader, start, start_bytes, block: Vec::new(), block_at: 0, bytes })
    }

    /// The first bytes, up to 4096.
    pub(crate) fn start(&self) -> &[u8] {
        &self.start[..self.start_bytes]
    }

    /// Size of the file.
    pub(crate) fn len(&self) -> u64 {
        self.bytes
    }

    /// Fills `buffer` from `position` on.
    ///
    /// # Errors
    /// `UnexpectedEof` if the file ends before the buffer is full, otherwise the disk's error.
    pub(crate) fn read_at(&mut self, position: u64, buffer: &mut [u8]) -> io::Result<()> {
        if let Some(known) = slice_at(self.start(), position, buffer.len()) {
            buffer.copy_from_slice(known);
            return Ok(());
        }
        if slice_at(&self.block, position.wrapping_sub(self.block_at), buffer.len()).is_none() {
            let left = usize::try_from(self.bytes.saturating_sub(position)).unwrap_or(usize::MAX);
            if buffer.len() >= BLOCK_BYTES.min(left) {
                return self.reader.read_exact_at(position, buffer);
            }
            self.block.resize(BLOCK_BYTES.min(left), 0);
            self.block_at = position;
            if let Err(e) = self.reader.read_exact_at(position, &mut self.block) {
                self.block.clear();
                return Err(e);
            }
        }
        match slice_at(&self.block, position - self.block_at, buffer.len()) {
            Some(known) => buffer.copy_from_slice(known),
            None => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
        Ok(())
    }

    /// The bytes at `position`.
    ///
    /// # Errors
    /// As [`Source::read_at`].
    pub(crate) fn array<const N: usize>(&mut self, position: u64) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.read_at(position, &mut bytes)?;
        Ok(bytes)
    }

    /// The reader from `position` on.
    ///
    /// # Errors
    /// Fails if the disk does.
    pub(crate) fn from(&mut self, position: u64) -> io::Result<&mut R> {
        self.reader.seek(SeekFrom::Start(position))?;
        Ok(&mut self.reader)
    }

    /// The reader from the first byte on.
    ///
    /// # Errors
    /// Fails if the disk does.
    pub(crate) fn rewound(&mut self) -> io::Result<&mut R> {
        self.from(0)
    }
}

fn slice_at(bytes: &[u8], at: u64, length: usize) -> Option<&[u8]> {
    let from = usize::try_from(at).ok()?;
    bytes.get(from..from.checked_add(length)?)
}
