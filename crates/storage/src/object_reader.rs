use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::bucket::Bucket;
use crate::files::{Stat, open};
use crate::object::Object;

/// Read of an object at a time, where not all of it is wanted; most images' headers lie in one.
const BLOCK_BYTES: u64 = 64 << 10;

/// Reads an object here and there: blocks of it come as they are asked for.
pub struct ObjectReader {
    bucket: Arc<Bucket>,
    object: Object,
    /// The first block and the one that was asked for last, each with its position.
    blocks: [(u64, Bytes); 2],
    position: u64,
}

impl ObjectReader {
    /// Opens the object at a URL and reads its first block.
    ///
    /// # Errors
    /// As [`stat`].
    pub fn open(url: &Path) -> io::Result<Self> {
        let (bucket, key) = open(url)?;
        let (object, first) = bucket.read_range(&key, 0..BLOCK_BYTES, None)?;
        Ok(ObjectReader { bucket, object, blocks: [(0, first), (0, Bytes::new())], position: 0 })
    }

    /// What is known of it.
    pub fn stat(&self) -> Stat {
        self.object.clone().into()
    }
}

impl Read for ObjectReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() || self.position >= self.object.bytes {
            return Ok(0);
        }
        let is_in = |(start, block): &(u64, Bytes), at: u64| {
            (*start..*start + block.len() as u64).contains(&at)
        };
        let known = self.blocks.iter().position(|block| is_in(block, self.position));
        let known = match known {
            Some(known) => known,
            None => {
                let start = self.position - self.position % BLOCK_BYTES;
                let range = start..start + BLOCK_BYTES;
                // Blocks of two versions make no file.
                let (_, block) =
                    self.bucket.read_range(&self.object.key, range, Some(&self.object))?;
                self.blocks[1] = (start, block);
                1
            }
        };
        let (start, block) = &self.blocks[known];
        let rest = block.get((self.position - start) as usize..).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        self.position += length as u64;
        Ok(length)
    }
}

impl Seek for ObjectReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.object.bytes.checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        self.position = target.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bucket::open_in_memory;

    #[test]
    fn a_block_of_another_version_is_an_error_and_not_mixed_in() {
        let bucket = open_in_memory("test://versions");
        bucket.put_over("a", Bytes::from(vec![1; 3 * BLOCK_BYTES as usize])).unwrap();
        let mut reader = ObjectReader::open(Path::new("test://versions/a")).unwrap();
        let mut byte = [0];
        reader.read_exact(&mut byte).unwrap();
        bucket.put_over("a", Bytes::from(vec![2; 3 * BLOCK_BYTES as usize])).unwrap();
        reader.seek(SeekFrom::End(-1)).unwrap();
        let error = reader.read_exact(&mut byte).unwrap_err();
        assert!(error.to_string().contains("was replaced while it was read"), "{error}");
    }
}
