//! SQL over every artefact of a work folder, through polars.
//!
//! ```no_run
//! use ossify_contract::WorkFolder;
//! use ossify_query::{Catalogue, Format, encode};
//!
//! let catalogue = Catalogue::open(&WorkFolder::new("data/work/demo"))?;
//! let mut answer = catalogue.query("SELECT class_name, COUNT(*) AS objects FROM objects GROUP BY
//! class_name")?;
//! print!("{}", String::from_utf8_lossy(&encode(&mut answer, Format::Table)?));
//! # Ok::<(), ossify_query::QueryError>(())
//! ```

mod catalogue;
mod encode;
mod error;
mod guarded;

pub use catalogue::{Catalogue, Table};
pub use encode::{Format, encode};
pub use error::QueryError;
