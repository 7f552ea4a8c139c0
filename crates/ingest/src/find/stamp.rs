//! Stamps: hashes of paths, sizes and modification times.

use std::io;

use ossify_contract::{Fingerprint, Split};
use ossify_storage::Stat;

/// Number of images whose stamps are combined before they are added to the split's.
pub(crate) const STAMPED_TOGETHER: usize = 1024;

/// The stamp of a split's files.
#[derive(Clone)]
pub(crate) struct SplitStamp {
    hash: Fingerprint,
}

impl SplitStamp {
    /// The stamp of a split without files.
    pub fn of(split: Split) -> Self {
        SplitStamp { hash: Fingerprint::new(split.as_str()) }
    }

    /// Adds an image with its label file.
    pub fn add(&mut self, stamp: &str) {
        self.hash.add(stamp);
    }

    /// Adds the stamp of the next [`STAMPED_TOGETHER`] images.
    pub fn add_part(&mut self, part: &SplitStamp) {
        self.hash.add(part.hash.finish());
    }

    /// Adds a label file without an image; these follow all images.
    pub fn add_orphan(&mut self, stamp: &str) {
        self.hash.add(stamp);
    }

    /// 32 hexadecimal digits.
    pub fn finish(&self) -> String {
        self.hash.finish()
    }
}

/// The combined stamp of a file and its companion.
pub(crate) fn stamp_of(
    file: (&str, io::Result<Stat>),
    other: Option<(&str, io::Result<Stat>)>,
) -> String {
    let mut stamp = Fingerprint::new("file");
    for (path, stat) in std::iter::once(file).chain(other) {
        stamp.add(path);
        match stat {
            Ok(stat) => stat.stamp(|part| {
                stamp.add(part);
            }),
            Err(error) => {
                stamp.add(error.kind().to_string());
            }
        }
    }
    stamp.finish()
}
