//! What can be kept and sorted.

use std::cmp::Ordering;
use std::io::{self, Read, Write};

/// A record that can go to a file and come back.
pub trait Stored: Sized {
    /// Bytes of memory that it takes.
    fn memory_bytes(&self) -> usize;

    /// Writes it so that [`Stored::read`] knows where it ends.
    ///
    /// # Errors
    /// Fails where the target does.
    fn write(&self, target: &mut impl Write) -> io::Result<()>;

    /// Reads one that was written.
    ///
    /// # Errors
    /// Fails where the source does.
    fn read(source: &mut impl Read) -> io::Result<Self>;
}

/// A record that has a place among others.
pub trait Ordered: Stored + Send {
    /// Whether records that compare equal are the same. If not, they stay in the order they came,
    /// for which sorting takes half as much memory again.
    const IS_TOTAL: bool;

    /// The order.
    fn order(&self, other: &Self) -> Ordering;
}

/// Little-endian, in order of the words.
impl<const WORDS: usize> Stored for [u64; WORDS] {
    fn memory_bytes(&self) -> usize {
        size_of::<Self>()
    }

    fn write(&self, target: &mut impl Write) -> io::Result<()> {
        target.write_all(self.map(u64::to_le_bytes).as_flattened())
    }

    fn read(source: &mut impl Read) -> io::Result<Self> {
        let mut bytes = [[0; 8]; WORDS];
        source.read_exact(bytes.as_flattened_mut())?;
        Ok(bytes.map(u64::from_le_bytes))
    }
}

impl<const WORDS: usize> Ordered for [u64; WORDS] {
    const IS_TOTAL: bool = true;

    fn order(&self, other: &Self) -> Ordering {
        self.cmp(other)
    }
}
