use std::collections::HashMap;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, FixedSizeListArray, Float32Array, Int32Array, RecordBatch, StringArray, UInt8Array};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Field, Float32Type, Int32Type, Schema, SchemaRef, UInt8Type};
use arrow::ipc::convert::try_fb_to_schema;
use arrow::ipc::reader::{FileDecoder, read_footer_length};
use arrow::ipc::writer::{FileWriter, IpcWriteOptions};
use arrow::ipc::{MetadataVersion, root_as_footer};
use serde::{Deserialize, Serialize};

use crate::table::table;
use crate::{ArtefactError, FileEntry, HashingWriter, Manifest, Result, SCHEMA_VERSION, Split, Transform};

table! {
    /// One row an image: hashes that find copies of it.
    "fingerprints" => FingerprintRow {
        /// The image.
        image_id: String,
        /// The part of the dataset.
        split: Split,
        /// XXH3 of the file's bytes.
        bytes_xxh3: u64,
        /// XXH3 of the tensor's pixels.
        pixels_xxh3: u64,
        /// 64 bits that stay nearly equal when the picture does.
        perceptual_hash: u64,
        /// Images of one group show the same picture and span several splits; null for all others.
        leak_group: Option<i32>,
    }
}

/// Height, width and channels of a shard's tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardShape {
    /// Pixels down.
    pub height: u32,
    /// Pixels across.
    pub width: u32,
    /// 3 for RGB, 1 for gray.
    pub channels: u32,
}

impl ShardShape {
    /// Bytes of one tensor.
    pub fn bytes(&self) -> usize {
        self.height as usize * self.width as usize * self.channels as usize
    }
}

/// One image of a shard, to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct ShardRow {
    /// The image.
    pub image_id: String,
    /// Tensor in rows, columns, channels.
    pub pixels: Vec<u8>,
    /// Width of the upright source.
    pub width: u32,
    /// Height of the upright source.
    pub height: u32,
    /// From source to tensor.
    pub transform: Transform,
}

/// One image of a shard, as it lies in the mapped file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ShardImage<'a> {
    /// The image.
    pub image_id: &'a str,
    /// Tensor in rows, columns, channels.
    pub pixels: &'a [u8],
    /// Width of the upright source.
    pub width: u32,
    /// Height of the upright source.
    pub height: u32,
    /// From source to tensor.
    pub transform: Transform,
}

/// `train-00003.arrow`.
pub fn shard_file_name(split: Split, number: usize) -> String {
    format!("{split}-{number:05}.arrow")
}

/// The shards of a split that the manifest of a shards folder lists, in order.
pub fn shards_of(manifest: &Manifest, split: Split) -> impl Iterator<Item = &FileEntry> {
    let prefix = format!("{split}-");
    manifest.files.iter().filter(move |file| file.path.starts_with(&prefix) && file.path.ends_with(".arrow"))
}

fn shard_schema(shape: ShardShape) -> SchemaRef {
    let item = Arc::new(Field::new_list_field(DataType::UInt8, false));
    let extension = format!("{{\"shape\":[{},{},{}],\"dim_names\":[\"H\",\"W\",\"C\"]}}", shape.height, shape.width, shape.channels);
    let pixels = Field::new("pixels", DataType::FixedSizeList(item, shape.bytes() as i32), false).with_metadata(HashMap::from([
        ("ARROW:extension:name".to_owned(), "arrow.fixed_shape_tensor".to_owned()),
        ("ARROW:extension:metadata".to_owned(), extension),
    ]));
    let fields = vec![
        Field::new("image_id", DataType::Utf8, false),
        pixels,
        Field::new("width", DataType::Int32, false),
        Field::new("height", DataType::Int32, false),
        Field::new("scale_x", DataType::Float32, false),
        Field::new("scale_y", DataType::Float32, false),
        Field::new("offset_x", DataType::Float32, false),
        Field::new("offset_y", DataType::Float32, false),
    ];
    Arc::new(Schema::new_with_metadata(fields, HashMap::from([("ossify.schema_version".to_owned(), SCHEMA_VERSION.to_string())])))
}

/// Images of one record batch; bounds what a writer holds.
const BATCH_IMAGES: usize = 64;

/// Writes a shard: an Arrow IPC file, uncompressed, buffers aligned to 64 bytes.
pub struct ShardWriter {
    writer: FileWriter<HashingWriter<BufWriter<File>>>,
    path: PathBuf,
    shape: ShardShape,
    schema: SchemaRef,
    pending: Vec<ShardRow>,
    rows: u64,
}

impl ShardWriter {
    /// Creates the file.
    ///
    /// # Errors
    /// Fails where the file cannot be created.
    pub fn create(path: impl AsRef<Path>, shape: ShardShape) -> Result<Self> {
        let path = path.as_ref().to_path_buf();
        let file = File::create(&path).map_err(ArtefactError::io("cannot create", &path))?;
        let schema = shard_schema(shape);
        let options = IpcWriteOptions::try_new(64, false, MetadataVersion::V5).map_err(ArtefactError::arrow(&path))?;
        let writer = FileWriter::try_new_with_options(HashingWriter::new(BufWriter::with_capacity(1 << 20, file)), &schema, options)
            .map_err(ArtefactError::arrow(&path))?;
        Ok(ShardWriter { writer, path, shape, schema, pending: Vec::new(), rows: 0 })
    }

    /// Adds an image.
    ///
    /// # Errors
    /// Fails where the tensor has another size than the shard's, or where the disk fails.
    pub fn push(&mut self, row: ShardRow) -> Result<()> {
        if row.pixels.len() != self.shape.bytes() {
            let reason = format!("{}: a tensor of {} bytes in a shard of tensors of {}", row.image_id, row.pixels.len(), self.shape.bytes());
            return Err(ArtefactError::corrupt(&self.path, reason));
        }
        self.pending.push(row);
        self.rows += 1;
        if self.pending.len() >= BATCH_IMAGES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let rows = std::mem::take(&mut self.pending);
        let mut pixels = Vec::with_capacity(rows.len() * self.shape.bytes());
        for row in &rows {
            pixels.extend_from_slice(&row.pixels);
        }
        let item = Arc::new(Field::new_list_field(DataType::UInt8, false));
        let floats = |value: fn(&Transform) -> f32| -> ArrayRef { Arc::new(Float32Array::from_iter_values(rows.iter().map(|row| value(&row.transform)))) };
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.image_id))),
            Arc::new(
                FixedSizeListArray::try_new(item, self.shape.bytes() as i32, Arc::new(UInt8Array::from(pixels)), None)
                    .map_err(ArtefactError::arrow(&self.path))?,
            ),
            Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.width as i32))),
            Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.height as i32))),
            floats(|t| t.scale_x),
            floats(|t| t.scale_y),
            floats(|t| t.offset_x),
            floats(|t| t.offset_y),
        ];
        let batch = RecordBatch::try_new(self.schema.clone(), columns).map_err(ArtefactError::arrow(&self.path))?;
        self.writer.write(&batch).map_err(ArtefactError::arrow(&self.path))
    }

    /// Writes the footer and describes the file under the name `path`, without reading it again.
    ///
    /// # Errors
    /// Fails where the disk does.
    pub fn finish(mut self, path: &str) -> Result<FileEntry> {
        self.flush()?;
        self.writer.finish().map_err(ArtefactError::arrow(&self.path))?;
        let hashing = self.writer.into_inner().map_err(ArtefactError::arrow(&self.path))?;
        let (mut buffered, bytes, hash) = hashing.finish();
        std::io::Write::flush(&mut buffered).map_err(ArtefactError::io("cannot write", &self.path))?;
        Ok(FileEntry { path: path.to_owned(), rows: Some(self.rows), bytes, xxh3: format!("{hash:016x}") })
    }
}

/// Reads a shard by row from a memory map, without copying.
#[derive(Debug)]
pub struct ShardReader {
    batches: Vec<Batch>,
    shape: ShardShape,
    rows: usize,
}

#[derive(Debug)]
struct Batch {
    first_row: usize,
    rows: usize,
    ids: StringArray,
    pixels: UInt8Array,
    sizes: [Int32Array; 2],
    transforms: [Float32Array; 4],
}

impl ShardReader {
    /// Maps the file and checks its structure. Its bytes are the caller's to verify, see [`FileEntry::verify`].
    ///
    /// # Errors
    /// Fails where the file cannot be opened or is no shard.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let corrupt = |reason: &str| ArtefactError::corrupt(path, format!("{reason}; run ossify-resize again with --force"));
        let file = File::open(path).map_err(ArtefactError::io("cannot open", path))?;
        // SAFETY: shards are replaced by renaming, never changed in place, so the mapped bytes stay as they are.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(ArtefactError::io("cannot map", path))?;
        let buffer = Buffer::from(bytes::Bytes::from_owner(map));
        if buffer.len() < 10 {
            return Err(corrupt("too short to be an Arrow file"));
        }
        let trailer = buffer.len() - 10;
        let mut tail = [0; 10];
        tail.copy_from_slice(&buffer[trailer..]);
        let footer_length = read_footer_length(tail).map_err(|_| corrupt("not a whole Arrow file"))?;
        let footer_start = trailer.checked_sub(footer_length).ok_or_else(|| corrupt("not a whole Arrow file"))?;
        let footer = root_as_footer(&buffer[footer_start..trailer]).map_err(|_| corrupt("its footer cannot be read"))?;
        let schema = footer.schema().ok_or_else(|| corrupt("its footer has no schema"))?;
        let schema = Arc::new(try_fb_to_schema(schema).map_err(|_| corrupt("its schema cannot be read"))?);
        let shape = shape_of(&schema).ok_or_else(|| corrupt("its columns are not those of a shard"))?;
        let decoder = FileDecoder::new(schema, footer.version());
        let mut reader = ShardReader { batches: Vec::new(), shape, rows: 0 };
        for block in footer.recordBatches().iter().flatten() {
            let start = usize::try_from(block.offset()).map_err(|_| corrupt("a block lies outside the file"))?;
            let length = usize::try_from(block.metaDataLength()).ok().zip(usize::try_from(block.bodyLength()).ok());
            let end = length.and_then(|(metadata, body)| start.checked_add(metadata)?.checked_add(body)).filter(|end| *end <= buffer.len());
            let end = end.ok_or_else(|| corrupt("a block lies outside the file"))?;
            let data = buffer.slice_with_length(start, end - start);
            let batch = decoder.read_record_batch(block, &data).map_err(ArtefactError::arrow(path))?.ok_or_else(|| corrupt("a block is empty"))?;
            reader.add(&batch);
        }
        Ok(reader)
    }

    fn add(&mut self, batch: &RecordBatch) {
        let floats = |column: usize| batch.column(column).as_primitive::<Float32Type>().clone();
        let integers = |column: usize| batch.column(column).as_primitive::<Int32Type>().clone();
        self.batches.push(Batch {
            first_row: self.rows,
            rows: batch.num_rows(),
            ids: batch.column(0).as_string::<i32>().clone(),
            pixels: batch.column(1).as_fixed_size_list().values().as_primitive::<UInt8Type>().clone(),
            sizes: [integers(2), integers(3)],
            transforms: [floats(4), floats(5), floats(6), floats(7)],
        });
        self.rows += batch.num_rows();
    }

    /// How many images.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Shape of every tensor.
    pub fn shape(&self) -> ShardShape {
        self.shape
    }

    /// The image at `row`; `None` past the end.
    pub fn get(&self, row: usize) -> Option<ShardImage<'_>> {
        let batch = &self.batches[self.batches.partition_point(|batch| batch.first_row + batch.rows <= row)..].first()?;
        let i = row - batch.first_row;
        let size = self.shape.bytes();
        let [scale_x, scale_y, offset_x, offset_y] = &batch.transforms;
        Some(ShardImage {
            image_id: batch.ids.value(i),
            pixels: &batch.pixels.values()[i * size..(i + 1) * size],
            width: batch.sizes[0].value(i) as u32,
            height: batch.sizes[1].value(i) as u32,
            transform: Transform { scale_x: scale_x.value(i), scale_y: scale_y.value(i), offset_x: offset_x.value(i), offset_y: offset_y.value(i) },
        })
    }

    /// All images in order.
    pub fn iter(&self) -> impl Iterator<Item = ShardImage<'_>> {
        (0..self.rows).filter_map(|row| self.get(row))
    }
}

/// The tensors' shape, if the schema is that of a shard.
fn shape_of(schema: &Schema) -> Option<ShardShape> {
    #[derive(Deserialize)]
    struct Extension {
        shape: [u32; 3],
    }
    let metadata = schema.field_with_name("pixels").ok()?.metadata().get("ARROW:extension:metadata")?;
    let [height, width, channels] = serde_json::from_str::<Extension>(metadata).ok()?.shape;
    let shape = ShardShape { height, width, channels };
    (schema.fields() == shard_schema(shape).fields()).then_some(shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_as_they_were_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("train-00000.arrow");
        let shape = ShardShape { height: 5, width: 7, channels: 3 };
        let rows: Vec<ShardRow> = (0..150)
            .map(|i| ShardRow {
                image_id: format!("train/images/{i}.jpg"),
                pixels: (0..shape.bytes()).map(|p| (p * 7 + i) as u8).collect(),
                width: 100 + i as u32,
                height: 200,
                transform: Transform { scale_x: 0.5, scale_y: 0.25, offset_x: i as f32, offset_y: -1.0 },
            })
            .collect();
        let mut writer = ShardWriter::create(&path, shape).unwrap();
        for row in &rows {
            writer.push(row.clone()).unwrap();
        }
        let entry = writer.finish("train-00000.arrow").unwrap();
        assert_eq!(entry, FileEntry::of(folder.path(), "train-00000.arrow", Some(150)).unwrap());

        let reader = ShardReader::open(&path).unwrap();
        assert_eq!((reader.len(), reader.shape()), (150, shape));
        for (row, read) in rows.iter().zip(reader.iter()) {
            assert_eq!((read.image_id, read.pixels, read.width, read.height), (row.image_id.as_str(), row.pixels.as_slice(), row.width, row.height));
            assert_eq!(read.transform, row.transform);
        }
        assert!(reader.get(150).is_none());
    }

    #[test]
    fn a_shard_that_was_cut_short_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.arrow");
        let shape = ShardShape { height: 2, width: 2, channels: 1 };
        let transform = Transform::stretch((2, 2), (2, 2));
        let mut writer = ShardWriter::create(&path, shape).unwrap();
        writer.push(ShardRow { image_id: "a".into(), pixels: vec![0; 4], width: 2, height: 2, transform }).unwrap();
        writer.finish("a.arrow").unwrap();
        let whole = std::fs::read(&path).unwrap();
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert!(ShardReader::open(&path).is_err(), "{length} of {} bytes", whole.len());
        }
    }
}
