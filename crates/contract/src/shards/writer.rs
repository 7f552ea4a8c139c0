use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, FixedSizeListArray, Float32Array, Int32Array, PrimitiveArray, RecordBatch,
    StringArray,
};
use arrow::buffer::Buffer;
use arrow::datatypes::{SchemaRef, UInt8Type};
use arrow::error::ArrowError;
use arrow::ipc::writer::{FileWriter, IpcWriteOptions};
use arrow::ipc::{CompressionType, MetadataVersion};
use ossify_vocabulary::ShardCompression;

use super::direct::DirectFile;
use super::{
    HEADS_HASH, HeadsHash, ShardRow, ShardShape, TENSOR_HASHES, pixel_field, shard_schema,
};
use crate::error::{ArtefactError, Result};
use crate::manifest::{FileEntry, HashingWriter};
use crate::transform::Transform;

/// Images of one record batch: what is made at a time by one thread, and what is unpacked to read
/// one row of a packed shard. With more of them, few large images would keep few threads busy.
pub const BATCH_IMAGES: usize = 16;

/// Writes a shard: an Arrow IPC file, buffers aligned to 64 bytes.
pub struct ShardWriter {
    writer: FileWriter<HashingWriter<DirectFile>>,
    path: PathBuf,
    shape: ShardShape,
    schema: SchemaRef,
    heads: HeadsHash,
    tensor_hashes: String,
    rows: u64,
}

impl ShardWriter {
    /// Creates the file.
    ///
    /// # Errors
    /// Fails where the file cannot be created.
    pub fn create(
        path: impl AsRef<Path>,
        shape: ShardShape,
        compression: ShardCompression,
    ) -> Result<Self> {
        let path = path.as_ref().to_path_buf();
        let schema = shard_schema(shape).ok_or_else(|| {
            let ShardShape { height, width, channels } = shape;
            ArtefactError::corrupt(
                &path,
                format!(
                    "tensors of {height}x{width}x{channels} bytes; an Arrow list holds 1 to {}",
                    i32::MAX
                ),
            )
        })?;
        let file = DirectFile::create(&path).map_err(ArtefactError::io("cannot create", &path))?;
        let codec = (compression == ShardCompression::Zstd).then_some(CompressionType::ZSTD);
        let options = IpcWriteOptions::try_new(64, false, MetadataVersion::V5)
            .and_then(|options| options.try_with_compression(codec));
        let writer = options.and_then(|options| {
            FileWriter::try_new_with_options(HashingWriter::new(file), &schema, options)
        });
        let writer = writer.map_err(ArtefactError::unwritten(&path))?;
        Ok(ShardWriter {
            writer,
            path,
            shape,
            schema,
            heads: HeadsHash::default(),
            tensor_hashes: String::new(),
            rows: 0,
        })
    }

    /// Writes one record batch: `pixels` holds the rows' tensors one after the other. It is given
    /// back, to be filled again.
    ///
    /// # Errors
    /// Fails where rows and pixels do not fit together, or where the disk fails.
    pub fn write(&mut self, rows: &[ShardRow], pixels: Vec<u8>) -> Result<Vec<u8>> {
        if pixels.len() != rows.len() * self.shape.bytes() {
            let reason = format!(
                "{} bytes of pixels for {} tensors of {} bytes",
                pixels.len(),
                rows.len(),
                self.shape.bytes()
            );
            return Err(ArtefactError::corrupt(&self.path, reason));
        }
        if rows.is_empty() {
            return Ok(pixels);
        }
        for row in rows {
            self.heads.add(&row.image_id, row.width, row.height, &row.transform);
            let _ = write!(self.tensor_hashes, "{:016x}", row.tensor_xxh3);
        }
        self.rows += rows.len() as u64;
        let pixels = Buffer::from_vec(pixels);
        let batch =
            self.batch(rows, pixels.clone()).map_err(ArtefactError::unwritten(&self.path))?;
        self.writer.write(&batch).map_err(ArtefactError::unwritten(&self.path))?;
        drop(batch);
        Ok(pixels.into_vec().unwrap_or_default())
    }

    fn batch(&self, rows: &[ShardRow], pixels: Buffer) -> Result<RecordBatch, ArrowError> {
        let too_large =
            || ArrowError::InvalidArgumentError("a side has 2^31 pixels or more".into());
        let sides = |side: fn(&ShardRow) -> u32| -> Result<ArrayRef, ArrowError> {
            let sides = rows.iter().map(|row| i32::try_from(side(row)).map_err(|_| too_large()));
            Ok(Arc::new(Int32Array::from(sides.collect::<Result<Vec<_>, _>>()?)))
        };
        let length = self.shape.list_length().ok_or_else(too_large)?;
        let pixels = Arc::new(PrimitiveArray::<UInt8Type>::new(pixels.into(), None));
        let floats = |value: fn(&Transform) -> f32| -> ArrayRef {
            Arc::new(Float32Array::from_iter_values(rows.iter().map(|row| value(&row.transform))))
        };
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.image_id))),
            Arc::new(FixedSizeListArray::try_new(pixel_field(), length, pixels, None)?),
            sides(|row| row.width)?,
            sides(|row| row.height)?,
            floats(|t| t.scale_x),
            floats(|t| t.scale_y),
            floats(|t| t.offset_x),
            floats(|t| t.offset_y),
        ];
        RecordBatch::try_new(self.schema.clone(), columns)
    }

    /// Writes the footer and describes the file under the name `path`, without reading it again.
    ///
    /// # Errors
    /// Fails where the disk does.
    pub fn finish(mut self, path: &str) -> Result<FileEntry> {
        self.writer.write_metadata(HEADS_HASH, self.heads.hex());
        self.writer.write_metadata(TENSOR_HASHES, self.tensor_hashes);
        self.writer.finish().map_err(ArtefactError::unwritten(&self.path))?;
        let hashing = self.writer.into_inner().map_err(ArtefactError::unwritten(&self.path))?;
        let (file, bytes, hash) = hashing.finish();
        file.finish().map_err(ArtefactError::io("cannot write", &self.path))?;
        Ok(FileEntry {
            path: path.to_owned(),
            rows: Some(self.rows),
            bytes,
            xxh3: format!("{hash:016x}"),
            inputs: None,
        })
    }
}
