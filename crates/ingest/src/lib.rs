//! The first stage: a YOLO-labelled dataset to label tables.
//!
//! Every line of every label file ends as exactly one of box, polygon, or quarantined; what was
//! found wrong is in `issues.parquet` with file, line, column, rule and what was done. The
//! source files are never touched.
//!
//! The modules follow the data: `find` the files, `read` them to records, `write` the records to
//! tables; `shares` keeps records of a part of the dataset until all are there. [`rules`] documents
//! what is looked for, [`parse_labels`] reads one label file, and [`run`] is the stage.

mod find;
mod gates;
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
pub use write::findings::FindingFormat;
