use std::io::{self, Read, Seek, SeekFrom};

/// Bytes of a file's start that are read in one go; most headers lie within.
const START_BYTES: usize = 4096;

/// Random access to a file whose first block is already in memory.
pub(crate) struct Source<R> {
    reader: R,
    start: Vec<u8>,
    bytes: u64,
}

impl<R: Read + Seek> Source<R> {
    /// Reads the first block of a file of `bytes` bytes.
    pub(crate) fn new(mut reader: R, bytes: u64) -> io::Result<Self> {
        let mut start = Vec::with_capacity(START_BYTES.min(bytes as usize));
        reader.by_ref().take(START_BYTES as u64).read_to_end(&mut start)?;
        Ok(Source { reader, start, bytes })
    }

    /// The first bytes, up to 4096.
    pub(crate) fn start(&self) -> &[u8] {
        &self.start
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
        let known = usize::try_from(position).ok().and_then(|from| self.start.get(from..from.checked_add(buffer.len())?));
        if let Some(known) = known {
            buffer.copy_from_slice(known);
            return Ok(());
        }
        self.reader.seek(SeekFrom::Start(position))?;
        self.reader.read_exact(buffer)
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
