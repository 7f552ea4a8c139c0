use std::fmt::Write;

use ossify_contract::ArtefactError;
use ossify_diagnostics::printable;
use polars::prelude::{
    AnyValue, Column, CsvWriter, DataFrame, DataType, JsonFormat, JsonWriter, ParquetWriter,
    PolarsError, SerWriter,
};

use crate::error::{QueryError, polars_reason};

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Columns in line, for people.
    Table,
    /// Comma-separated, with a header.
    Csv,
    /// An array with one object a row.
    Json,
    /// Parquet.
    Parquet,
}

/// Rows that the table for people has at most; the other formats have all.
const TABLE_ROWS: usize = 1000;
/// Characters that a cell of the table for people has at most.
const CELL_CHARS: usize = 80;

/// The answer in this format.
///
/// # Errors
/// [`QueryError::Format`] if the format cannot represent the type of a column.
pub fn encode(answer: &mut DataFrame, format: Format) -> Result<Vec<u8>, QueryError> {
    let mut bytes = Vec::new();
    let written = match format {
        Format::Table => return Ok(table(answer).into_bytes()),
        Format::Csv => {
            let nested = answer.columns().iter().find(|column| column.dtype().is_nested());
            if let Some(column) = nested {
                return Err(QueryError::Format {
                    column: column.name().to_string(),
                    what: "lists",
                    format: "CSV",
                    instead: "json or parquet",
                });
            }
            CsvWriter::new(&mut bytes).finish(answer)
        }
        Format::Json => JsonWriter::new(&mut bytes)
            .with_json_format(JsonFormat::Json)
            .finish(answer)
            .map(|()| bytes.push(b'\n')),
        Format::Parquet => ParquetWriter::new(&mut bytes).finish(answer).map(|_| ()),
    };
    written.map_err(|error: PolarsError| {
        ArtefactError::corrupt("the answer", polars_reason(&error))
    })?;
    Ok(bytes)
}

/// Columns in line, numbers to the right; nothing in a cell can steer the terminal.
fn table(answer: &DataFrame) -> String {
    let rows = answer.height().min(TABLE_ROWS);
    let columns: Vec<_> =
        answer.columns().iter().map(|column| TextColumn::of(column, rows)).collect();
    let mut text = String::new();
    let mut line = |cell: &dyn Fn(&TextColumn) -> String| {
        let cells: Vec<_> = columns.iter().map(cell).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    };
    line(&|column| column.pad(&column.name));
    line(&|column| "-".repeat(column.width));
    for row in 0..rows {
        line(&|column| column.pad(&column.cells[row]));
    }
    let total = answer.height();
    // Writing to a string cannot fail.
    let _ = match total - rows {
        0 => writeln!(text, "({total} row{})", if total == 1 { "" } else { "s" }),
        hidden => writeln!(
            text,
            "({total} rows, of which {hidden} are not shown; --format csv has them all)"
        ),
    };
    text
}

struct TextColumn {
    name: String,
    cells: Vec<String>,
    width: usize,
    is_number: bool,
}

impl TextColumn {
    fn of(column: &Column, rows: usize) -> Self {
        let name = shortened(column.name());
        let cells: Vec<_> = (0..rows)
            .map(|row| column.get(row).map_or_else(|_| String::new(), |value| cell(&value)))
            .collect();
        let width = cells
            .iter()
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
            .max(name.chars().count());
        TextColumn { name, cells, width, is_number: column.dtype().is_primitive_numeric() }
    }

    fn pad(&self, text: &str) -> String {
        let width = self.width;
        if self.is_number { format!("{text:>width$}") } else { format!("{text:<width$}") }
    }
}

fn cell(value: &AnyValue) -> String {
    match value {
        AnyValue::Null => "null".into(),
        AnyValue::String(text) => shortened(text),
        AnyValue::StringOwned(text) => shortened(text),
        AnyValue::Float32(number) => float(f64::from(*number)),
        AnyValue::Float64(number) => float(*number),
        AnyValue::List(list) if matches!(list.dtype(), DataType::Float32 | DataType::Float64) => {
            let numbers: Vec<_> = list.iter().map(|value| cell(&value)).collect();
            shortened(&format!("[{}]", numbers.join(", ")))
        }
        other => shortened(&other.to_string()),
    }
}

/// Four digits after the point, which is what a person compares.
fn float(number: f64) -> String {
    format!("{number:.4}")
}

fn shortened(text: &str) -> String {
    let text = printable(text);
    if text.chars().count() <= CELL_CHARS {
        return text.into_owned();
    }
    let mut start: String = text.chars().take(CELL_CHARS - 1).collect();
    start.push('…');
    start
}
