use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// What is written at once.
const BUFFER_BYTES: usize = 1 << 20;
/// Alignment that every file system asks for at most: that of a page.
const ALIGNMENT: usize = 4096;

/// Writes a file past the page cache where the file system can do that. Shards are larger than the
/// memory that they would push everything else out of, and a copy into the cache takes as long as a
/// resize.
pub(super) struct DirectFile {
    file: File,
    is_direct: bool,
    /// The aligned part of it is filled, then written.
    buffer: Vec<u8>,
    start: usize,
    filled: usize,
}

impl DirectFile {
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let file = File::create(path)?;
        let is_direct = set_direct(&file, true);
        let buffer = vec![0; BUFFER_BYTES + ALIGNMENT];
        let start = buffer.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        Ok(DirectFile { file, is_direct, buffer, start, filled: 0 })
    }

    fn write_out(&mut self, bytes: usize) -> io::Result<()> {
        let data = &self.buffer[self.start..self.start + bytes];
        match self.file.write_all(data) {
            // It took the flag and does not take the writes.
            Err(e) if self.is_direct && e.kind() == io::ErrorKind::InvalidInput => {
                set_direct(&self.file, false);
                self.is_direct = false;
                self.file.write_all(data)
            }
            written => written,
        }
    }

    /// Writes what is left, of any length.
    pub(super) fn finish(mut self) -> io::Result<()> {
        if self.is_direct {
            set_direct(&self.file, false);
            self.is_direct = false;
        }
        self.write_out(self.filled)
    }
}

impl Write for DirectFile {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let length = data.len().min(BUFFER_BYTES - self.filled);
        let at = self.start + self.filled;
        self.buffer[at..at + length].copy_from_slice(&data[..length]);
        self.filled += length;
        if self.filled == BUFFER_BYTES {
            self.write_out(BUFFER_BYTES)?;
            self.filled = 0;
        }
        Ok(length)
    }

    /// Whole buffers alone are written before the end.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether the file takes the flag.
#[cfg(target_os = "linux")]
fn set_direct(file: &File, is_direct: bool) -> bool {
    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
    let changed = fcntl_getfl(file).and_then(|flags| {
        let flags = if is_direct { flags | OFlags::DIRECT } else { flags - OFlags::DIRECT };
        fcntl_setfl(file, flags)
    });
    changed.is_ok()
}

#[cfg(not(target_os = "linux"))]
fn set_direct(_: &File, _: bool) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_any_length_are_written_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        for length in [0, 1, 4095, 4096, BUFFER_BYTES - 1, BUFFER_BYTES, 2 * BUFFER_BYTES + 4097] {
            let content: Vec<u8> = (0..length).map(|i| (i * 31 % 251) as u8).collect();
            let mut file = DirectFile::create(&path).unwrap();
            content.chunks(700_001).for_each(|part| file.write_all(part).unwrap());
            file.finish().unwrap();
            assert!(std::fs::read(&path).unwrap() == content, "{length} bytes");
        }
    }
}
