//! The hashes of an image.

use ossify_contract::{FingerprintRow, Split};

/// A row of `fingerprints` without its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageHashes {
    /// The split.
    pub split: Split,
    /// XXH3 of the file's bytes.
    pub bytes_xxh3: u64,
    /// XXH3 of the decoded pixels.
    pub pixels_xxh3: u64,
    /// See [`crate::perceptual_hash`].
    pub perceptual_hash: u64,
}

impl From<&FingerprintRow> for ImageHashes {
    fn from(row: &FingerprintRow) -> Self {
        let FingerprintRow { split, bytes_xxh3, pixels_xxh3, perceptual_hash, .. } = *row;
        ImageHashes { split, bytes_xxh3, pixels_xxh3, perceptual_hash }
    }
}
