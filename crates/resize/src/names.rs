//! Names of the stage and of its files.

pub(crate) const STAGE: &str = "resize";
/// The table of `tables/` that is read.
pub(crate) const IMAGES: &str = "images.parquet";
pub(crate) const FINGERPRINTS: &str = "fingerprints.parquet";
pub(crate) const ISSUES: &str = "issues.parquet";
pub(crate) const LEAKS: &str = "leaks.parquet";
