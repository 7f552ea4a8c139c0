use std::collections::HashMap;
use std::fs::File;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use crate::SCHEMA_VERSION;
use crate::error::{ArtefactError, Result, arrow_reason};
use crate::manifest::open;

/// A row type of a table.
pub trait Row: Sized {
    /// The table's name, which is also its file's stem.
    const TABLE: &'static str;
    /// The table's Arrow schema.
    fn schema() -> SchemaRef;
    /// One batch of these rows.
    ///
    /// # Errors
    /// Fails where Arrow refuses the columns.
    fn to_batch(rows: &[Self]) -> Result<RecordBatch, arrow::error::ArrowError>;
    /// The rows of a batch whose columns are those of the schema, in its order.
    ///
    /// # Errors
    /// Fails with a sentence about the value that does not fit.
    fn from_columns(columns: &[ArrayRef], rows: usize) -> Result<Vec<Self>, String>;
    /// Whether the row is one that can be worked with, whoever wrote the table.
    ///
    /// # Errors
    /// Fails with a sentence about the value that is impossible.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

/// Declares a row type together with its schema and its conversions; `checked by` names a function
/// that says what is wrong with a row.
macro_rules! table {
    (
        $(#[$meta:meta])*
        $table:literal => $name:ident $(checked by $check:path)? {
            $($(#[$field_meta:meta])* $field:ident: $cell:ty,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        pub struct $name { $($(#[$field_meta])* pub $field: $cell,)* }

        impl $crate::table::Row for $name {
            const TABLE: &'static str = $table;
            fn schema() -> arrow::datatypes::SchemaRef {
                use std::sync::LazyLock;
                static SCHEMA: LazyLock<arrow::datatypes::SchemaRef> = LazyLock::new(|| {
                    $crate::table::schema_of(vec![$(arrow::datatypes::Field::new(
                        stringify!($field),
                        <$cell as $crate::cell::Cell>::data_type(),
                        <$cell as $crate::cell::Cell>::NULLABLE,
                    ),)*])
                });
                SCHEMA.clone()
            }
            fn to_batch(
                rows: &[Self],
            ) -> Result<arrow::array::RecordBatch, arrow::error::ArrowError> {
                let columns = vec![
                    $(<$cell as $crate::cell::Cell>::build(rows.iter().map(|row| &row.$field)),)*
                ];
                arrow::array::RecordBatch::try_new(<Self as $crate::table::Row>::schema(), columns)
            }
            fn from_columns(
                columns: &[arrow::array::ArrayRef],
                rows: usize,
            ) -> Result<Vec<Self>, String> {
                let names: &[&str] = &[$(stringify!($field)),*];
                (0..rows).map(|row| {
                    let mut at = 0;
                    Ok($name { $($field: {
                        let column = &columns[at];
                        at += 1;
                        <$cell as $crate::cell::Cell>::read(column, row).map_err(|reason| {
                            format!("column `{}`, row {row}: {reason}", names[at - 1])
                        })?
                    },)* })
                }).collect()
            }
            $(fn check(&self) -> Result<(), String> {
                $check(self)
            })?
        }
    };
}
pub(crate) use table;

/// The schema of a table with these columns.
pub(crate) fn schema_of(fields: Vec<Field>) -> SchemaRef {
    let version = ("ossify.schema_version".to_owned(), SCHEMA_VERSION.to_string());
    Arc::new(Schema::new_with_metadata(fields, HashMap::from([version])))
}

/// Rows held back before they become a batch.
const BATCH_ROWS: usize = 8192;
/// Rows of a row group; bounds what a writer holds in memory.
const ROW_GROUP_ROWS: usize = 65_536;

/// Writes a Parquet table row by row with bounded memory: zstd, page statistics and page index.
/// The same rows in the same order give the same bytes.
pub struct TableWriter<R: Row> {
    writer: ArrowWriter<File>,
    path: PathBuf,
    pending: Vec<R>,
    rows: u64,
}

impl<R: Row> TableWriter<R> {
    /// Creates the file.
    ///
    /// # Errors
    /// Fails where the file cannot be created.
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_path_buf();
        let file = File::create(&path).map_err(ArtefactError::io("cannot create", &path))?;
        let level = ZstdLevel::try_new(3).map_err(ArtefactError::arrow(&path))?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(level))
            .set_statistics_enabled(EnabledStatistics::Page)
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
            .set_created_by("ossify".to_owned())
            .set_key_value_metadata(Some(vec![KeyValue::new(
                "ossify.schema_version".to_owned(),
                SCHEMA_VERSION.to_string(),
            )]))
            .build();
        let writer = ArrowWriter::try_new(file, R::schema(), Some(properties))
            .map_err(ArtefactError::arrow(&path))?;
        Ok(TableWriter { writer, path, pending: Vec::new(), rows: 0 })
    }

    /// Adds a row.
    ///
    /// # Errors
    /// Fails where the disk does.
    pub fn push(&mut self, row: R) -> Result<()> {
        self.pending.push(row);
        self.rows += 1;
        if self.pending.len() >= BATCH_ROWS { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        if !self.pending.is_empty() {
            let batch = R::to_batch(&self.pending).map_err(ArtefactError::arrow(&self.path))?;
            self.writer.write(&batch).map_err(ArtefactError::arrow(&self.path))?;
            self.pending.clear();
        }
        Ok(())
    }

    /// Writes the footer and returns how many rows the table has. Durability is the publisher's.
    ///
    /// # Errors
    /// Fails where the disk does.
    pub fn finish(mut self) -> Result<u64> {
        self.flush()?;
        self.writer.close().map_err(ArtefactError::arrow(&self.path))?;
        Ok(self.rows)
    }
}

/// Reads a table batch by batch. Columns are found by name, in any order; further columns are
/// ignored; a type that can be cast without loss of meaning (large strings, wider numbers) is. Each
/// row is checked, see [`Row::check`]: the table may be another tool's.
pub struct TableReader<R: Row> {
    reader: ParquetRecordBatchReader,
    path: PathBuf,
    /// Rows that were read.
    rows: u64,
    row_type: PhantomData<R>,
}

impl<R: Row> TableReader<R> {
    /// Opens the file and checks its columns.
    ///
    /// # Errors
    /// Fails where the file cannot be read, is not Parquet, or lacks a column.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_path_buf();
        let file = open(&path)?;
        let not_parquet = |e: parquet::errors::ParquetError| match ArtefactError::arrow(&path)(e) {
            ArtefactError::Arrow { source, .. } => ArtefactError::corrupt(
                &path,
                format!(
                    "not a whole Parquet file: {}; was it cut short? make it or copy it again",
                    arrow_reason(&source)
                ),
            ),
            other => other,
        };
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(not_parquet)?;
        for field in R::schema().fields() {
            if builder.schema().index_of(field.name()).is_err() {
                let found: Vec<_> =
                    builder.schema().fields().iter().map(|found| found.name().as_str()).collect();
                let reason = format!(
                    "no column `{}` in this {} table; it has {}",
                    field.name(),
                    R::TABLE,
                    found.join(", ")
                );
                return Err(ArtefactError::corrupt(&path, reason));
            }
        }
        let reader =
            builder.with_batch_size(BATCH_ROWS).build().map_err(ArtefactError::arrow(&path))?;
        Ok(TableReader { reader, path, rows: 0, row_type: PhantomData })
    }

    fn rows_of(&self, batch: &RecordBatch) -> Result<Vec<R>> {
        let corrupt = |reason: String| ArtefactError::corrupt(&self.path, reason);
        let mut columns = Vec::new();
        for field in R::schema().fields() {
            let column = batch
                .column_by_name(field.name())
                .ok_or_else(|| corrupt(format!("no column `{}`", field.name())))?;
            let column = cast(column, field.data_type()).map_err(|error| {
                let (name, found) = (field.name(), column.data_type());
                corrupt(format!(
                    "column `{name}` is {found} and should be {}: {}",
                    field.data_type(),
                    arrow_reason(&error)
                ))
            })?;
            if !field.is_nullable() && column.null_count() > 0 {
                return Err(corrupt(format!(
                    "column `{}` has {} nulls; every row of a {} table needs a value there",
                    field.name(),
                    column.null_count(),
                    R::TABLE
                )));
            }
            columns.push(column);
        }
        let rows = R::from_columns(&columns, batch.num_rows()).map_err(corrupt)?;
        for (row, number) in rows.iter().zip(self.rows..) {
            row.check().map_err(|reason| corrupt(format!("row {number}, from 0: {reason}")))?;
        }
        Ok(rows)
    }
}

/// The column as another type; an error where a value would not be the same.
fn cast(column: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    if column.data_type() == to {
        return Ok(column.clone());
    }
    let options = CastOptions { safe: false, ..Default::default() };
    let cast = cast_with_options(column, to, &options)?;
    if column.data_type().is_floating() && to.is_integer() {
        // Numbers with nulls are floating point to some tools; 0.9 is cut to 0.
        let back = cast_with_options(&cast, column.data_type(), &options)?;
        if back.to_data() != column.to_data() {
            return Err(ArrowError::CastError("a number is not a whole one".into()));
        }
    }
    Ok(cast)
}

impl<R: Row> Iterator for TableReader<R> {
    type Item = Result<Vec<R>>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.reader.next()?.map_err(ArtefactError::arrow(&self.path));
        let rows = batch.and_then(|batch| self.rows_of(&batch));
        if let Ok(rows) = &rows {
            self.rows += rows.len() as u64;
        }
        Some(rows)
    }
}

/// Reads a whole table. For tables that can be large, iterate over a [`TableReader`].
///
/// # Errors
/// As [`TableReader`].
pub fn read_table<R: Row>(path: impl AsRef<Path>) -> Result<Vec<R>> {
    let mut rows = Vec::new();
    for batch in TableReader::open(path)? {
        rows.extend(batch?);
    }
    Ok(rows)
}
