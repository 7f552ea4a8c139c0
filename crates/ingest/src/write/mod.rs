//! Writes the records as tables, findings, a summary, and a page.

pub(crate) mod classes;
mod drawings;
pub(crate) mod findings;
mod page;
mod spool;
pub(crate) mod summary;
pub(crate) mod tables;
pub(crate) mod tally;
