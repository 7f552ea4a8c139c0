//! A record of a part on its way to the merge.

use std::cmp::Ordering;
use std::io::{self, Read, Write};

use ossify_sorting::{Ordered, Stored};

use crate::msgpack;
use crate::read::record::Record;

/// A record with the number of its part, from 0.
pub(super) struct FromPart {
    pub part: u32,
    pub record: Record,
}

impl Stored for FromPart {
    fn memory_bytes(&self) -> usize {
        size_of::<Self>()
    }

    fn write(&self, target: &mut impl Write) -> io::Result<()> {
        msgpack::write(target, &(self.part, &self.record))
    }

    fn read(source: &mut impl Read) -> io::Result<Self> {
        msgpack::read(source).map(|(part, record)| FromPart { part, record })
    }
}

impl Ordered for FromPart {
    const IS_TOTAL: bool = false;

    fn order(&self, other: &Self) -> Ordering {
        self.record.position().cmp(&other.record.position()).then(self.part.cmp(&other.part))
    }
}
