//! Counts everything that a walk finds, so that a merge can tell whether all workers saw the same
//! files.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128_with_seed;

/// Counts all images and label files that a walk finds, whatever their share. Two walks that find
/// the same files in any order have the same census.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Census {
    /// Number of images and label files; a file that is listed twice counts twice.
    pub files: u64,
    /// Sum of the paths' hashes (XXH3, 64 of its bits), modulo 2^64.
    pub digest: u64,
}

impl Census {
    pub fn add(&mut self, path: &str, is_label: bool) {
        self.files += 1;
        let hash = xxh3_128_with_seed(path.as_bytes(), u64::from(is_label)) as u64;
        self.digest = self.digest.wrapping_add(hash);
    }

    pub fn absorb(&mut self, other: Census) {
        self.files += other.files;
        self.digest = self.digest.wrapping_add(other.digest);
    }
}
