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
    let line = first.split_whitespace().collect::<Vec<_>>().join(" ");
    let known = WORDS.iter().find(|(theirs, _)| line.starts_with(theirs));
    known.map_or(line, |(_, ours)| (*ours).to_owned())
}

/// What polars says that only its programmers understand.
const WORDS: [(&str, &str); 3] = [
    ("one (and only one) statement", "it should be one statement, and is none or several"),
    ("statement type is not supported", "only statements that read tables can be run"),
    ("regex error", "a regular expression in it cannot be understood; is a bracket not closed?"),
];

/// Whether polars failed because a Parquet file is damaged.
pub(crate) fn is_of_a_file(error: &PolarsError) -> bool {
    polars_reason(error).starts_with("parquet: ")
}

/// What polars said when it panicked, without the words of its code where they are known.
pub(crate) fn panic_reason(said: &str) -> &str {
    let inner = said.split_once("ErrString(\"").and_then(|(_, rest)| rest.rsplit_once("\")"));
    inner.map_or(said, |(reason, _)| reason)
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
    #[error("the SQL engine cannot run this query; its words: {}", panic_reason(.0))]
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
