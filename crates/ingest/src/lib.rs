//! The first stage: a YOLO-labelled dataset to label tables.
//!
//! Every line of every label file becomes exactly one of box, polygon, or quarantined.
//! `issues.parquet` lists each fault with file, line, column, rule and action. The source files are
//! never changed.
//!
//! The modules follow the data: `find` locates the files, `read` turns them into records, and
//! `write` turns the records into tables; `shares` stores the records of a part of the dataset
//! until all parts exist. [`rules`] documents the faults that are detected, [`parse_labels`] reads
//! one label file, and [`run`] is the stage.

mod find;
mod gates;
mod msgpack;
mod read;
pub mod rules;
mod shares;
mod stage;
mod wording;
mod write;

pub use find::class_names::ClassNames;
pub use read::label::{LabelFile, parse_labels};
pub use read::label_rules::LabelRules;
pub use read::object::LabelObject;
pub use stage::run;
