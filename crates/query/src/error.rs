use std::path::PathBuf;

use ossify_contract::ArtefactError;

/// Why a query has no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The work folder has no table at all.
    #[error("{} has no tables yet; run `make ingest` first, or name another work folder with \
        --out", .0.display())]
    NoTables(PathBuf),
    /// The query names a table that is not there.
    #[error("there is no table `{name}`; {known}")]
    UnknownTable {
        /// As in the query.
        name: String,
        /// What is there, and what would make the table.
        known: String,
    },
    /// polars cannot parse or run the query.
    #[error("{0}")]
    Sql(String),
    /// The answer cannot be written in this format.
    #[error(
        "column `{column}` holds {what}, which {format} cannot; leave it out of the SELECT, or \
            take --format {instead}"
    )]
    Format {
        /// The first such column.
        column: String,
        /// What it holds.
        what: &'static str,
        /// The format asked for.
        format: &'static str,
        /// Formats that can.
        instead: &'static str,
    },
    /// An artefact is not what its manifest says, or cannot be read.
    #[error(transparent)]
    Artefact(#[from] ArtefactError),
}
