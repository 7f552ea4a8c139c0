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
        let (file, is_direct) = (&self.file, &mut self.is_direct);
        write_all(
            data,
            |rest| (&*file).write(rest),
            || {
                // It took the flag and does not take the writes.
                let was_direct = std::mem::take(is_direct);
                if was_direct {
                    set_direct(file, false);
                }
                was_direct
            },
        )
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

/// Writes all of `data`, from where it stopped where a write is refused as invalid and
/// `make_lenient` says that the next may not be.
fn write_all(
    mut data: &[u8],
    mut write: impl FnMut(&[u8]) -> io::Result<usize>,
    mut make_lenient: impl FnMut() -> bool,
) -> io::Result<()> {
    while !data.is_empty() {
        match write(data) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => data = data.get(written..).unwrap_or_default(),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if e.kind() == io::ErrorKind::InvalidInput && make_lenient() => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Whether the file takes the flag.
fn set_direct(file: &File, is_direct: bool) -> bool {
    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
    let changed = fcntl_getfl(file).and_then(|flags| {
        let flags = if is_direct { flags | OFlags::DIRECT } else { flags - OFlags::DIRECT };
        fcntl_setfl(file, flags)
    });
    changed.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_that_is_refused_behind_a_part_goes_on_from_there() {
        let (mut written, is_lenient) = (Vec::new(), std::cell::Cell::new(false));
        let write = |data: &[u8]| {
            if !written.is_empty() && !is_lenient.get() {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            let part = data.len().min(3);
            written.extend_from_slice(&data[..part]);
            Ok(part)
        };
        write_all(b"0123456789", write, || !is_lenient.replace(true)).unwrap();
        assert_eq!(written, b"0123456789");
        let refuse = |_: &[u8]| Err(io::ErrorKind::InvalidInput.into());
        let mut refused = || false;
        assert!(write_all(b"0", refuse, &mut refused).is_err());
    }

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
