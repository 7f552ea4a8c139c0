//! `ossify-query`: SQL over every artefact of a work folder.

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::anyhow;
use clap::Parser;
use ossify_contract::{read_user_text, write_user_file};
use ossify_query::{Catalogue, Format, QueryError, encode};
use ossify_settings::{Context, Exit, StageArgs, StageError, print};

#[derive(Parser)]
#[command(
    name = "ossify-query",
    version,
    about = "Runs an SQL query over the tables images, objects, issues, classes, fingerprints, \
        leaks, predictions and matches"
)]
struct Cli {
    /// The query, such as "SELECT COUNT(*) FROM images"
    #[arg(
        conflicts_with_all = ["file", "tables"],
        required_unless_present_any = ["file", "tables"]
    )]
    sql: Option<String>,
    /// Read the query from a file, such as pipelines/sql/class_balance.sql
    #[arg(long, value_name = "FILE", conflicts_with = "tables")]
    file: Option<PathBuf>,
    /// List the tables with their rows and columns
    #[arg(long)]
    tables: bool,
    /// Format of the answer [default: by the ending of --output's name, or else table]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Write the answer to a file
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Conf file, whose name decides the work folder
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Work folder, or its URL in an object store [default: data/work/<name of the conf file>, or
    /// data/work/default without a conf file]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

#[global_allocator]
static ALLOCATOR: ossify_process::Allocator = ossify_process::Allocator;

fn main() -> ExitCode {
    ossify_process::prepare();
    let (error, exit) = match run(&ossify_settings::parse::<Cli>()) {
        Ok(()) => return Exit::Clean.into(),
        Err(StageError::Failed(error)) => (error, Exit::Failed),
        Err(StageError::Usage(error)) => (error, Exit::Usage),
    };
    ossify_settings::say_error(&error);
    exit.into()
}

/// Queries that cannot be run are wrong usage; all else has failed.
fn judge(error: QueryError) -> StageError {
    match error {
        QueryError::Sql(_)
        | QueryError::Engine(_)
        | QueryError::ReadsFile(_)
        | QueryError::UnknownTable { .. }
        | QueryError::Format { .. } => StageError::Usage(error.into()),
        _ => StageError::Failed(error.into()),
    }
}

fn run(cli: &Cli) -> Result<(), StageError> {
    let args = StageArgs { config: cli.config.clone(), out: cli.out.clone(), ..Default::default() };
    let context = Context::resolve(&args).map_err(|error| StageError::Usage(error.into()))?;
    context.pull(&["tables", "shards", "predictions", "reports"].map(str::to_owned))?;
    let catalogue = Catalogue::open(&context.out).map_err(judge)?;
    if cli.tables {
        return Ok(print(list(&catalogue).map_err(judge)?.as_bytes(), "the list of tables")?);
    }
    let sql = match (&cli.sql, &cli.file) {
        (Some(sql), _) => sql.clone(),
        (None, Some(file)) => {
            read_user_text(file, "query").map_err(|error| StageError::Usage(error.into()))?
        }
        (None, None) => return Err(StageError::Usage(anyhow!("no query given"))),
    };
    let format =
        cli.format.unwrap_or_else(|| cli.output.as_deref().map_or(Format::Table, format_of));
    if format == Format::Parquet && cli.output.is_none() && io::stdout().is_terminal() {
        return Err(StageError::Usage(anyhow!(
            "Parquet is binary and not for a terminal; name a file with --output"
        )));
    }
    let mut answer = catalogue.query(&sql).map_err(judge)?;
    let bytes = encode(&mut answer, format).map_err(judge)?;
    match &cli.output {
        Some(path) => Ok(write_user_file(path, &bytes)?),
        None => Ok(print(&bytes, "the answer")?),
    }
}

fn format_of(path: &Path) -> Format {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("csv") => Format::Csv,
        Some("json") => Format::Json,
        Some("parquet") => Format::Parquet,
        _ => Format::Table,
    }
}

fn list(catalogue: &Catalogue) -> Result<String, QueryError> {
    let mut text = format!("tables of {}\n", catalogue.root().display());
    for table in catalogue.tables() {
        let rows = table.rows().map_or_else(String::new, |rows| format!(", {rows} rows"));
        text.push_str(&format!("\n{}{rows}\n", table.name));
        for (name, kind) in table.columns()? {
            text.push_str(&format!("  {name:<22} {kind}\n"));
        }
    }
    for (name, made_by) in catalogue.missing() {
        text.push_str(&format!("\n{name}: not there yet ({made_by})\n"));
    }
    Ok(text)
}
