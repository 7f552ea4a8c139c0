use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

/// Bytes of a file's start that are read in one go; most headers lie within.
const START_BYTES: usize = 4096;

/// What can be read at any place.
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
    #[cfg(unix)]
    fn read_exact_at(&mut self, position: u64, buffer: &mut [u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(self, buffer, position)
    }
}

/// Random access to a file whose first block is already in memory.
pub(crate) struct Source<R> {
    reader: R,
    start: [u8; START_BYTES],
    start_bytes: usize,
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
        Ok(Source { reader, start, start_bytes, bytes })
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
    /// `UnexpectedEof` where the file ends before the buffer is full, else the disk's error.
    pub(crate) fn read_at(&mut self, position: u64, buffer: &mut [u8]) -> io::Result<()> {
        let known = usize::try_from(position)
            .ok()
            .and_then(|from| self.start().get(from..from.checked_add(buffer.len())?));
        if let Some(known) = known {
            buffer.copy_from_slice(known);
            return Ok(());
        }
        self.reader.read_exact_at(position, buffer)
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
    /// Fails where the disk does.
    pub(crate) fn from(&mut self, position: u64) -> io::Result<&mut R> {
        self.reader.seek(SeekFrom::Start(position))?;
        Ok(&mut self.reader)
    }

    /// The reader from the first byte on.
    ///
    /// # Errors
    /// Fails where the disk does.
    pub(crate) fn rewound(&mut self) -> io::Result<&mut R> {
        self.from(0)
    }
}
