use std::path::PathBuf;

use ossify_contract::ArtefactError;
use polars::prelude::PolarsError;

/// What polars says, in one line: without the kind of error that it puts before, and without its
/// plan of the query.
pub(crate) fn polars_reason(error: &PolarsError) -> String {
    let text = match error {
        PolarsError::AssertionError(text)
        | PolarsError::ColumnNotFound(text)
        | PolarsError::ComputeError(text)
        | PolarsError::Duplicate(text)
        | PolarsError::InvalidOperation(text)
        | PolarsError::NoData(text)
        | PolarsError::OutOfBounds(text)
        | PolarsError::SchemaFieldNotFound(text)
        | PolarsError::SchemaMismatch(text)
        | PolarsError::ShapeMismatch(text)
        | PolarsError::SQLInterface(text)
        | PolarsError::SQLSyntax(text)
        | PolarsError::StringCacheMismatch(text)
        | PolarsError::StructFieldNotFound(text) => text.to_string(),
        PolarsError::IO { error, .. } => error.to_string(),
        PolarsError::Context { error, .. } | PolarsError::ExprContext { error, .. } => {
            return polars_reason(error);
        }
    };
    let first = text.split("\n\n").next().unwrap_or_default();
    let first = first.trim_start_matches("sql parser error: ");
    first.split_whitespace().collect::<Vec<_>>().join(" ")
}

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
    #[error("cannot answer this query: {0}; ossify-query --tables lists tables and columns")]
    Sql(String),
    /// polars panics over the query.
    #[error("the SQL engine cannot run this query; its words: {0}")]
    Engine(String),
    /// The query reads a file of its own choice.
    #[error(
        "`{0}` reads a file, and a query reads the tables of the work folder alone; \
            ossify-query --tables lists them"
    )]
    ReadsFile(String),
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
