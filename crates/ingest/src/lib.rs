//! The first stage: a YOLO-labelled dataset to label tables.
//!
//! Every line of every label file ends as exactly one of box, polygon, or quarantined; what was
//! found wrong stands in `issues.parquet` with file, line, column, rule and what was done. The
//! source files are never touched. [`rules`] documents what is looked for, [`label::parse_labels`]
//! reads one label file, [`layout::find`] finds the parts of a dataset, and [`run`] is the stage.

pub mod classes;
pub mod data_yaml;
mod drawings;
mod examine;
mod findings;
mod geometry;
mod ingest;
pub mod label;
pub mod layout;
mod line;
pub mod listing;
mod merge;
mod page;
mod part;
pub mod paths;
mod reading;
mod record;
pub mod rules;
mod spool;
mod summary;
mod tables;
mod tally;

pub use findings::FindingFormat;
pub use ingest::run;
