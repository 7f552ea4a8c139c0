//! How many leaks there are.

use serde::Serialize;

/// How many leaks there are, for a summary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LeakCounts {
    /// Groups of images that show the same picture and span several splits.
    pub groups: usize,
    /// Images in these groups.
    pub images: usize,
    /// Pairs, of those that hold the groups together, whose files are the same.
    pub same_bytes: usize,
    /// Pairs whose files differ and whose pixels are the same.
    pub same_pixels: usize,
    /// Pairs whose pixels differ and whose pictures are the same.
    pub near: usize,
}
