use std::collections::HashMap;
use std::fs::File;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{Field, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::{KeyValue, ParquetMetaData, RowGroupMetaData};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::reader::ChunkReader;

use crate::cast::{cast_column, first_null};
use crate::error::{ArtefactError, Result};
use crate::manifest::open;
use crate::pinned::PinnedFile;

/// A row type of a table.
pub trait Row: Sized {
    /// The table's name, which is also its file's stem.
    const TABLE: &'static str;
    /// The schema version that last changed the table, which its metadata has.
    const SCHEMA_VERSION: u32 = 2;
    /// The table's Arrow schema.
    fn schema() -> SchemaRef;
    /// One batch of these rows.
    ///
    /// # Errors
    /// Fails where Arrow refuses the columns.
    fn to_batch(rows: &[Self]) -> Result<RecordBatch, arrow::error::ArrowError>;
    /// The rows of a batch whose columns are those of the schema, in its order; its first is
    /// `first_row` of the table, from 0.
    ///
    /// # Errors
    /// Fails with a sentence about the value that does not fit.
    fn from_columns(columns: &[ArrayRef], first_row: u64, rows: usize)
    -> Result<Vec<Self>, String>;
    /// Bytes of memory that the row takes.
    fn bytes(&self) -> usize;
    /// Whether the row is one that can be worked with, whoever wrote the table.
    ///
    /// # Errors
    /// Fails with a sentence about the value that is impossible.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

/// Declares a row type together with its schema and its conversions; `checked by` names a function
/// that says what is wrong with a row, and `since` the schema version that last changed the table.
macro_rules! table {
    (
        $(#[$meta:meta])*
        $table:literal => $name:ident $(checked by $check:path)? $(, since $version:literal)? {
            $($(#[$field_meta:meta])* $field:ident: $cell:ty,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        pub struct $name { $($(#[$field_meta])* pub $field: $cell,)* }

        impl $crate::table::Row for $name {
            const TABLE: &'static str = $table;
            $(const SCHEMA_VERSION: u32 = $version;)?
            fn schema() -> arrow::datatypes::SchemaRef {
                use std::sync::LazyLock;
                static SCHEMA: LazyLock<arrow::datatypes::SchemaRef> = LazyLock::new(|| {
                    let fields = vec![$(arrow::datatypes::Field::new(
                        stringify!($field),
                        <$cell as $crate::cell::Cell>::data_type(),
                        <$cell as $crate::cell::Cell>::NULLABLE,
                    ),)*];
                    let version = <$name as $crate::table::Row>::SCHEMA_VERSION;
                    $crate::table::schema_of(fields, version)
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
                first_row: u64,
                rows: usize,
            ) -> Result<Vec<Self>, String> {
                let names: &[&str] = &[$(stringify!($field)),*];
                (0..rows).map(|row| {
                    let mut at = 0;
                    Ok($name { $($field: {
                        let column = &columns[at];
                        at += 1;
                        <$cell as $crate::cell::Cell>::read(column, row).map_err(|reason| {
                            let row = first_row + row as u64;
                            format!("column `{}`, row {row}, from 0: {reason}", names[at - 1])
                        })?
                    },)* })
                }).collect()
            }
            fn bytes(&self) -> usize {
                size_of::<Self>() $(+ <$cell as $crate::cell::Cell>::heap_bytes(&self.$field))*
            }
            $(fn check(&self) -> Result<(), String> {
                $check(self)
            })?
        }
    };
}
pub(crate) use table;

/// The schema of a table with these columns, which this version last changed.
pub(crate) fn schema_of(fields: Vec<Field>, version: u32) -> SchemaRef {
    let version = ("ossify.schema_version".to_owned(), version.to_string());
    Arc::new(Schema::new_with_metadata(fields, HashMap::from([version])))
}

/// Rows held back before they become a batch.
const BATCH_ROWS: usize = 8192;
/// Bytes of these rows: fewer are held back where they are wide, such as by a probability for each
/// of thousands of classes.
const BATCH_BYTES: usize = 16 << 20;
/// Rows of a row group.
const ROW_GROUP_ROWS: usize = 65_536;
/// Bytes of a row group as it is written, all of which a writer holds in memory.
const ROW_GROUP_BYTES: usize = 64 << 20;

/// Writes a Parquet table row by row with bounded memory, some 100 MB at most however wide the rows
/// are: zstd, page statistics and page index.
/// The same rows in the same order give the same bytes.
pub struct TableWriter<R: Row> {
    writer: ArrowWriter<File>,
    path: PathBuf,
    pending: Vec<R>,
    pending_bytes: usize,
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
        let level = ZstdLevel::try_new(3).map_err(ArtefactError::unwritten(&path))?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(level))
            .set_statistics_enabled(EnabledStatistics::Page)
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
            .set_max_row_group_bytes(Some(ROW_GROUP_BYTES))
            .set_created_by("ossify".to_owned())
            .set_key_value_metadata(Some(vec![KeyValue::new(
                "ossify.schema_version".to_owned(),
                R::SCHEMA_VERSION.to_string(),
            )]))
            .build();
        let writer = ArrowWriter::try_new(file, R::schema(), Some(properties))
            .map_err(ArtefactError::unwritten(&path))?;
        Ok(TableWriter { writer, path, pending: Vec::new(), pending_bytes: 0, rows: 0 })
    }

    /// Adds a row.
    ///
    /// # Errors
    /// Fails where the disk does.
    pub fn push(&mut self, row: R) -> Result<()> {
        self.pending_bytes += row.bytes();
        self.pending.push(row);
        self.rows += 1;
        let is_full = self.pending.len() >= BATCH_ROWS || self.pending_bytes >= BATCH_BYTES;
        if is_full { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        if !self.pending.is_empty() {
            let batch = R::to_batch(&self.pending).map_err(ArtefactError::unwritten(&self.path))?;
            self.writer.write(&batch).map_err(ArtefactError::unwritten(&self.path))?;
            self.pending.clear();
            self.pending_bytes = 0;
        }
        Ok(())
    }

    /// Writes the footer and returns how many rows the table has. Durability is the publisher's.
    ///
    /// # Errors
    /// Fails where the disk does.
    pub fn finish(mut self) -> Result<u64> {
        self.flush()?;
        self.writer.close().map_err(ArtefactError::unwritten(&self.path))?;
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
        let path = path.as_ref();
        Self::of(open(path)?, path)
    }

    /// As [`TableReader::open`], of a file that is held open.
    ///
    /// # Errors
    /// As [`TableReader::open`].
    pub fn of_pinned(file: &PinnedFile) -> Result<Self> {
        Self::of(file.clone(), file.path())
    }

    fn of(file: impl ChunkReader + 'static, path: &Path) -> Result<Self> {
        let path = path.to_path_buf();
        let damage = footer_damage(&file);
        let builder = ParquetRecordBatchReaderBuilder::try_new(file)
            .map_err(ArtefactError::unread(&path, || damage))?;
        if let Some(packed) = unreadable_compression(builder.metadata()) {
            let reason = format!(
                "compressed with {packed}, which ossify does not read; write it with zstd or snappy"
            );
            return Err(ArtefactError::corrupt(&path, reason));
        }
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
        let batch_rows = batch_rows(builder.metadata());
        for field in R::schema().fields() {
            let same =
                builder.schema().fields().iter().filter(|found| found.name() == field.name());
            if same.count() > 1 {
                let reason = format!("more than one column is named `{}`; keep one", field.name());
                return Err(ArtefactError::corrupt(&path, reason));
            }
        }
        let reader = builder
            .with_batch_size(batch_rows)
            .build()
            .map_err(ArtefactError::unread(&path, || {
                format!("its columns cannot be read: it is damaged; {MAKE_AGAIN}")
            }))?;
        Ok(TableReader { reader, path, rows: 0, row_type: PhantomData })
    }

    fn rows_of(&self, batch: &RecordBatch) -> Result<Vec<R>> {
        let corrupt = |reason: String| ArtefactError::corrupt(&self.path, reason);
        let mut columns = Vec::new();
        for field in R::schema().fields() {
            let column = batch
                .column_by_name(field.name())
                .ok_or_else(|| corrupt(format!("no column `{}`", field.name())))?;
            let column =
                cast_column(column, field.data_type(), field.name(), self.rows).map_err(corrupt)?;
            if !field.is_nullable()
                && let Some(row) = first_null(&column)
            {
                return Err(corrupt(format!(
                    "column `{}`, row {}, from 0: there is no value, and each row of a table of \
                     {} needs one",
                    field.name(),
                    self.rows + row as u64,
                    R::TABLE
                )));
            }
            columns.push(column);
        }
        let rows = R::from_columns(&columns, self.rows, batch.num_rows()).map_err(corrupt)?;
        for (row, number) in rows.iter().zip(self.rows..) {
            row.check().map_err(|reason| corrupt(format!("row {number}, from 0: {reason}")))?;
        }
        Ok(rows)
    }
}

/// What to do about a damaged table, which may be another tool's.
const MAKE_AGAIN: &str = "make it or copy it again";

/// Bytes of a Parquet file's end: the length of its footer, and its mark.
const TRAILER_BYTES: usize = 8;

/// What is wrong with a file whose footer cannot be read, and what to do.
fn footer_damage(file: &impl ChunkReader) -> String {
    let bytes = file.len();
    let mark = |start: u64| {
        let length = 4.min(bytes.saturating_sub(start)) as usize;
        file.get_bytes(start, length).map(|mark| mark.to_vec()).unwrap_or_default()
    };
    let (first, last) = (mark(0), mark(bytes.saturating_sub(4)));
    let what = match (first.as_slice(), last.as_slice()) {
        _ if bytes == 0 => "an empty file, not a Parquet table",
        (b"PARE", _) | (_, b"PARE") => {
            return "encrypted, and ossify reads no encrypted Parquet; write it without encryption"
                .to_owned();
        }
        (b"PAR1", b"PAR1") if bytes >= 4 + TRAILER_BYTES as u64 => {
            "a damaged Parquet table: the list of its columns cannot be read"
        }
        (b"PAR1", _) => "not a whole Parquet table: its end is missing",
        _ => "not a Parquet table",
    };
    format!("{what}; {MAKE_AGAIN}")
}

/// The name of the first compression of a column that our build cannot unpack.
fn unreadable_compression(table: &ParquetMetaData) -> Option<&'static str> {
    let columns = table.row_groups().iter().flat_map(RowGroupMetaData::columns);
    columns.map(|column| column.compression()).find_map(|compression| match compression {
        Compression::BROTLI(_) => Some("brotli"),
        Compression::LZO => Some("LZO"),
        _ => None,
    })
}

/// Rows that are read at a time: as many as take [`BATCH_BYTES`] where they are as wide as in the
/// row group of the widest.
fn batch_rows(table: &ParquetMetaData) -> usize {
    let row_bytes = |group: &RowGroupMetaData| {
        group.total_byte_size().max(0) as u64 / group.num_rows().max(1) as u64
    };
    let widest = table.row_groups().iter().map(row_bytes).max().unwrap_or(0);
    (BATCH_BYTES as u64 / widest.max(1)).clamp(1, BATCH_ROWS as u64) as usize
}

impl<R: Row> Iterator for TableReader<R> {
    type Item = Result<Vec<R>>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.reader.next()?.map_err(ArtefactError::unread(&self.path, || {
            format!(
                "its rows from {} on, from 0, cannot be read: it is damaged; {MAKE_AGAIN}",
                self.rows
            )
        }));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::predictions::PredictionRow;
    use crate::words::Split;

    fn wide(row: usize, classes: usize) -> PredictionRow {
        PredictionRow {
            image_id: format!("{row}.jpg"),
            split: Split::Test,
            rank: 1,
            class_index: 0,
            class_name: "a".into(),
            score: 0.5,
            // No two alike, so that nothing is gained by a dictionary.
            probabilities: (0..classes).map(|class| (row * classes + class) as f32).collect(),
            xmin: 0.0,
            ymin: 0.0,
            xmax: 1.0,
            ymax: 1.0,
        }
    }

    #[test]
    fn wide_rows_are_held_back_by_their_bytes_in_writing_and_reading() {
        const CLASSES: usize = 300_000;
        const ROWS: usize = 100;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("predictions.parquet");
        let mut writer = TableWriter::create(&path).unwrap();
        let mut most_held = 0;
        for row in 0..ROWS {
            writer.push(wide(row, CLASSES)).unwrap();
            most_held = most_held.max(writer.pending_bytes);
            assert_eq!(writer.pending_bytes, writer.pending.iter().map(Row::bytes).sum::<usize>());
            assert!(writer.writer.in_progress_size() < ROW_GROUP_BYTES + BATCH_BYTES);
        }
        assert!((BATCH_BYTES / 2..BATCH_BYTES).contains(&most_held), "{most_held} bytes");
        writer.finish().unwrap();
        let (mut found, mut batches) = (0, 0);
        for rows in TableReader::<PredictionRow>::open(&path).unwrap() {
            let rows = rows.unwrap();
            assert!(rows.len() * CLASSES * 4 <= BATCH_BYTES, "{} rows", rows.len());
            for row in rows {
                assert_eq!(row, wide(found, CLASSES));
                found += 1;
            }
            batches += 1;
        }
        assert!(found == ROWS && batches >= 7, "{found} rows in {batches} batches");
    }

    #[test]
    fn narrow_rows_are_read_in_batches_of_thousands() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("predictions.parquet");
        let mut writer = TableWriter::create(&path).unwrap();
        (0..10_000).for_each(|row| writer.push(wide(row, 7)).unwrap());
        writer.finish().unwrap();
        let rows =
            TableReader::<PredictionRow>::open(&path).unwrap().map(|rows| rows.unwrap().len());
        assert_eq!(rows.collect::<Vec<_>>(), [BATCH_ROWS, 10_000 - BATCH_ROWS]);
    }

    #[test]
    fn a_file_that_is_no_whole_table_is_refused_in_words() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("predictions.parquet");
        let mut writer = TableWriter::create(&path).unwrap();
        (0..100).for_each(|row| writer.push(wide(row, 7)).unwrap());
        writer.finish().unwrap();
        let whole = std::fs::read(&path).unwrap();
        let refused = |content: &[u8]| {
            std::fs::write(&path, content).unwrap();
            let error = read_table::<PredictionRow>(&path).unwrap_err();
            assert!(std::error::Error::source(&error).is_none(), "a cause of a library");
            error.to_string().replace(&format!("{}: ", path.display()), "")
        };
        let again = |what: &str| format!("{what}; make it or copy it again");
        assert_eq!(refused(b""), again("an empty file, not a Parquet table"));
        assert_eq!(refused(b"image_id,split\n"), again("not a Parquet table"));
        let cut = &whole[..whole.len() / 2];
        assert_eq!(refused(cut), again("not a whole Parquet table: its end is missing"));
        let mut footer = whole.clone();
        let length = footer.len();
        footer[length - 8..length - 4].fill(0xff);
        let words = "a damaged Parquet table: the list of its columns cannot be read";
        assert_eq!(refused(&footer), again(words));
        let mut encrypted = whole.clone();
        encrypted[length - 4..].copy_from_slice(b"PARE");
        assert_eq!(
            refused(&encrypted),
            "encrypted, and ossify reads no encrypted Parquet; write it without encryption"
        );
        let mut page = whole.clone();
        page[4..40].fill(0xff);
        let words = "its rows from 0 on, from 0, cannot be read: it is damaged";
        assert_eq!(refused(&page), again(words));
    }

    #[test]
    fn a_compression_that_is_not_read_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("predictions.parquet");
        let mut writer = TableWriter::create(&path).unwrap();
        writer.push(wide(0, 7)).unwrap();
        writer.finish().unwrap();
        let file = File::open(&path).unwrap();
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        let group = builder.metadata().row_group(0);
        assert_eq!(unreadable_compression(builder.metadata()), None);
        let column = group.column(0).clone().into_builder();
        let brotli = Compression::BROTLI(parquet::basic::BrotliLevel::default());
        let column = column.set_compression(brotli).build().unwrap();
        let mut columns = group.columns().to_vec();
        columns[0] = column;
        let group = group.clone().into_builder().set_column_metadata(columns).build().unwrap();
        let file = builder.metadata().file_metadata().clone();
        let packed = ParquetMetaData::new(file, vec![group]);
        assert_eq!(unreadable_compression(&packed), Some("brotli"));
    }

    #[test]
    fn a_value_that_is_no_word_is_named_with_its_row_in_the_table() {
        let columns: Vec<ArrayRef> = PredictionRow::to_batch(&[wide(0, 7)])
            .unwrap()
            .columns()
            .iter()
            .enumerate()
            .map(|(at, column)| match at {
                1 => Arc::new(arrow::array::StringArray::from(vec!["odd"])) as ArrayRef,
                _ => column.clone(),
            })
            .collect();
        assert_eq!(
            PredictionRow::from_columns(&columns, 8192, 1).unwrap_err(),
            "column `split`, row 8192, from 0: `odd` is none of train, valid, test"
        );
    }
}
