//! Names of the stage and its files.

pub(crate) const STAGE: &str = "resize";
/// The table that the stage reads.
pub(crate) const IMAGES: &str = "images.parquet";
pub(crate) const FINGERPRINTS: &str = "fingerprints.parquet";
pub(crate) const ISSUES: &str = "issues.parquet";
pub(crate) const LEAKS: &str = "leaks.parquet";
