use std::collections::VecDeque;
use std::fs::File;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{AsArray, Float32Array, Int32Array, RecordBatch, StringArray};
use arrow::buffer::Buffer;
use arrow::datatypes::{Float32Type, Int32Type, Schema, SchemaRef, UInt8Type};
use arrow::ipc::convert::try_fb_to_schema;
use arrow::ipc::reader::{FileDecoder, read_footer_length};
use arrow::ipc::{Block, MetadataVersion, root_as_footer, root_as_message};
use memmap2::Mmap;
use serde::Deserialize;
use xxhash_rust::xxh3::xxh3_64;

use super::{HEADS_HASH, HeadsHash, PIXELS_COLUMN, ShardShape, TENSOR_HASHES, shard_schema};
use crate::{ArtefactError, Result, Transform};

/// Unpacked batches that a reader of a compressed shard keeps.
const UNPACKED_BATCHES: usize = 4;
/// Magic and length at a file's end.
const TRAILER_BYTES: usize = 10;
/// Continuation mark and length before a block's message.
const MESSAGE_PREFIX_BYTES: usize = 8;

/// What a shard says of one image, beside its tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ShardImage<'a> {
    /// The image.
    pub image_id: &'a str,
    /// Width of the upright source.
    pub width: u32,
    /// Height of the upright source.
    pub height: u32,
    /// From source to tensor.
    pub transform: Transform,
}

/// The bytes of one tensor in rows, columns, channels; those of the mapped file itself, unless it is compressed.
#[derive(Clone, Debug)]
pub struct Tensor(Buffer);

impl Deref for Tensor {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// Reads a shard by row, in any order and from any number of threads: from a memory map without a copy, or
/// batch by batch where it is compressed. A tensor is checked when it is first asked for, all else when the
/// shard is opened.
#[derive(Debug)]
pub struct ShardReader {
    path: PathBuf,
    shape: ShardShape,
    batches: Vec<Heads>,
    rows: usize,
    tensors: Tensors,
    /// XXH3 of each tensor; empty where another tool wrote the shard.
    tensor_hashes: Vec<u64>,
    /// One bit a row: its tensor was found to be as it was written.
    checked: Vec<AtomicU64>,
    map: Arc<Mmap>,
    access: Access,
}

/// How rows are asked for; it changes what the system reads ahead, and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// One after the other: what follows is read ahead.
    InOrder,
    /// A few here and there: a tensor is read in one go, and nothing around it.
    Scattered,
}

/// The map as a buffer's owner.
struct Mapped(Arc<Mmap>);

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// A batch without its tensors.
#[derive(Debug)]
struct Heads {
    first_row: usize,
    rows: usize,
    ids: StringArray,
    sizes: [Int32Array; 2],
    transforms: [Float32Array; 4],
}

/// The tensors of each batch.
#[derive(Debug)]
enum Tensors {
    Mapped(Vec<Buffer>),
    Packed(Packed),
}

#[derive(Debug)]
struct Packed {
    decoder: FileDecoder,
    blocks: Vec<(Block, Buffer)>,
    unpacked: Mutex<VecDeque<(usize, Buffer)>>,
}

impl ShardReader {
    /// Maps the file, and checks its structure and all of its rows but their tensors.
    ///
    /// # Errors
    /// Fails where the file cannot be opened, is no shard, or is damaged.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_for(Access::InOrder, path)
    }

    /// As [`ShardReader::open`], for rows that are asked for in another order than that of the file.
    ///
    /// # Errors
    /// As [`ShardReader::open`].
    pub fn open_for(access: Access, path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let corrupt = |reason: &str| damaged(path, reason);
        let file = File::open(path).map_err(ArtefactError::io("cannot open", path))?;
        // SAFETY: shards are replaced by renaming, never changed in place, so the mapped bytes stay as they are.
        let mapped = Arc::new(unsafe { Mmap::map(&file) }.map_err(ArtefactError::io("cannot map", path))?);
        #[cfg(unix)]
        if access == Access::Scattered {
            // Advice that is not taken costs time and nothing else.
            let _ = mapped.advise(memmap2::Advice::Random);
        }
        let map = Buffer::from(bytes::Bytes::from_owner(Mapped(Arc::clone(&mapped))));
        let trailer = map.len().checked_sub(TRAILER_BYTES).ok_or_else(|| corrupt("too short to be an Arrow file"))?;
        let mut tail = [0; TRAILER_BYTES];
        tail.copy_from_slice(&map[trailer..]);
        let footer_length = read_footer_length(tail).map_err(|_| corrupt("not a whole Arrow file"))?;
        let footer_start = trailer.checked_sub(footer_length).ok_or_else(|| corrupt("not a whole Arrow file"))?;
        let footer = root_as_footer(&map[footer_start..trailer]).map_err(|_| corrupt("its footer cannot be read"))?;
        let schema = footer.schema().ok_or_else(|| corrupt("its footer has no schema"))?;
        let schema = Arc::new(try_fb_to_schema(schema).map_err(|_| corrupt("its schema cannot be read"))?);
        let shape = shape_of(&schema).ok_or_else(|| corrupt("its columns are not those of a shard"))?;
        let note = |key: &str| {
            let notes = footer.custom_metadata()?;
            notes.iter().find(|note| note.key() == Some(key))?.value()
        };
        let mut blocks = Vec::new();
        for block in footer.recordBatches().iter().flatten() {
            blocks.push((*block, bytes_of(block, &map).ok_or_else(|| corrupt("a block lies outside the file"))?));
        }
        let mut reader = ShardReader {
            path: path.to_path_buf(),
            shape,
            batches: Vec::with_capacity(blocks.len()),
            rows: 0,
            tensors: Tensors::Mapped(Vec::new()),
            tensor_hashes: hashes_of(note(TENSOR_HASHES).unwrap_or_default()).ok_or_else(|| corrupt("the hashes in its footer cannot be read"))?,
            checked: Vec::new(),
            map: mapped,
            access,
        };
        reader.read_batches(&schema, footer.version(), blocks)?;
        if !reader.tensor_hashes.is_empty() && reader.tensor_hashes.len() != reader.rows {
            return Err(corrupt("it has not as many rows as hashes"));
        }
        if note(HEADS_HASH).is_some_and(|expected| reader.heads_hash() != expected) {
            return Err(corrupt("the names and sizes of its images are not as they were written"));
        }
        reader.checked.resize_with(reader.rows.div_ceil(64), AtomicU64::default);
        Ok(reader)
    }

    fn read_batches(&mut self, schema: &SchemaRef, version: MetadataVersion, blocks: Vec<(Block, Buffer)>) -> Result<()> {
        if blocks.iter().any(|(_, bytes)| is_compressed(bytes)) {
            let heads = (0..schema.fields().len()).filter(|column| *column != PIXELS_COLUMN).collect();
            let decoder = FileDecoder::new(schema.clone(), version).with_projection(heads);
            for (block, bytes) in &blocks {
                let batch = self.decode(&decoder, block, bytes)?;
                self.add_heads(&batch, 1);
            }
            let decoder = FileDecoder::new(schema.clone(), version).with_projection(vec![PIXELS_COLUMN]);
            self.tensors = Tensors::Packed(Packed { decoder, blocks, unpacked: Mutex::default() });
        } else {
            let decoder = FileDecoder::new(schema.clone(), version);
            let mut tensors = Vec::with_capacity(blocks.len());
            for (block, bytes) in &blocks {
                let batch = self.decode(&decoder, block, bytes)?;
                self.add_heads(&batch, 2);
                tensors.push(tensors_of(&batch, PIXELS_COLUMN));
            }
            self.tensors = Tensors::Mapped(tensors);
        }
        Ok(())
    }

    fn decode(&self, decoder: &FileDecoder, block: &Block, bytes: &Buffer) -> Result<RecordBatch> {
        let batch = decoder.read_record_batch(block, bytes).map_err(ArtefactError::arrow(&self.path))?;
        batch.ok_or_else(|| damaged(&self.path, "a block is empty"))
    }

    /// Takes ids from column 0, and sizes and transforms from `second` on.
    fn add_heads(&mut self, batch: &RecordBatch, second: usize) {
        let integers = |column: usize| batch.column(second + column).as_primitive::<Int32Type>().clone();
        let floats = |column: usize| batch.column(second + column).as_primitive::<Float32Type>().clone();
        self.batches.push(Heads {
            first_row: self.rows,
            rows: batch.num_rows(),
            ids: batch.column(0).as_string::<i32>().clone(),
            sizes: [integers(0), integers(1)],
            transforms: [floats(2), floats(3), floats(4), floats(5)],
        });
        self.rows += batch.num_rows();
    }

    fn heads_hash(&self) -> String {
        let mut hash = HeadsHash::default();
        self.iter().for_each(|image| hash.add(image.image_id, image.width, image.height, &image.transform));
        hash.hex()
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

    /// Whether reading a row means to unpack its batch.
    pub fn is_compressed(&self) -> bool {
        matches!(self.tensors, Tensors::Packed(_))
    }

    /// Number of the batch that holds `row`, and the row's place in it.
    fn place(&self, row: usize) -> Option<(usize, usize)> {
        let at = self.batches.partition_point(|batch| batch.first_row + batch.rows <= row);
        self.batches.get(at).map(|batch| (at, row - batch.first_row))
    }

    /// The image at `row`; `None` past the end.
    pub fn get(&self, row: usize) -> Option<ShardImage<'_>> {
        let (batch, i) = self.place(row)?;
        let batch = &self.batches[batch];
        let [scale_x, scale_y, offset_x, offset_y] = &batch.transforms;
        Some(ShardImage {
            image_id: batch.ids.value(i),
            width: batch.sizes[0].value(i) as u32,
            height: batch.sizes[1].value(i) as u32,
            transform: Transform { scale_x: scale_x.value(i), scale_y: scale_y.value(i), offset_x: offset_x.value(i), offset_y: offset_y.value(i) },
        })
    }

    /// All images in order.
    pub fn iter(&self) -> impl Iterator<Item = ShardImage<'_>> {
        (0..self.rows).filter_map(|row| self.get(row))
    }

    /// The tensor of the image at `row`, checked against its hash the first time.
    ///
    /// # Errors
    /// [`ArtefactError::Corrupt`] past the end, and where the bytes are not as they were written.
    pub fn tensor(&self, row: usize) -> Result<Tensor> {
        let (batch, i) = self.place(row).ok_or_else(|| ArtefactError::corrupt(&self.path, format!("row {row} of {} was asked for", self.rows)))?;
        let size = self.shape.bytes();
        let tensors = match &self.tensors {
            Tensors::Mapped(tensors) => tensors[batch].clone(),
            Tensors::Packed(packed) => self.unpacked(packed, batch)?,
        };
        let tensor = tensors.slice_with_length(i * size, size);
        let (word, bit) = (row / 64, 1 << (row % 64));
        if let Some(expected) = self.tensor_hashes.get(row)
            && self.checked[word].load(Ordering::Relaxed) & bit == 0
        {
            self.read_in_one_go(&tensor);
            if xxh3_64(&tensor) != *expected {
                let image_id = self.get(row).map(|image| image.image_id).unwrap_or_default();
                return Err(damaged(&self.path, &format!("the tensor of {image_id} is not as it was written")));
            }
            self.checked[word].fetch_or(bit, Ordering::Relaxed);
        }
        Ok(Tensor(tensor))
    }

    /// Asks for all pages of a tensor that are not in memory yet, instead of one after the other.
    fn read_in_one_go(&self, tensor: &[u8]) {
        #[cfg(unix)]
        if self.access == Access::Scattered
            && let Some(offset) = (tensor.as_ptr() as usize).checked_sub(self.map.as_ptr() as usize)
            && offset + tensor.len() <= self.map.len()
        {
            let _ = self.map.advise_range(memmap2::Advice::WillNeed, offset, tensor.len());
        }
    }

    fn unpacked(&self, packed: &Packed, batch: usize) -> Result<Buffer> {
        // Held while unpacking, so that threads that want the same batch unpack it once.
        let mut unpacked = packed.unpacked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, tensors)) = unpacked.iter().find(|(number, _)| *number == batch) {
            return Ok(tensors.clone());
        }
        let (block, bytes) = &packed.blocks[batch];
        let tensors = tensors_of(&self.decode(&packed.decoder, block, bytes)?, 0);
        if unpacked.len() == UNPACKED_BATCHES {
            unpacked.pop_front();
        }
        unpacked.push_back((batch, tensors.clone()));
        Ok(tensors)
    }
}

fn damaged(path: &Path, reason: &str) -> ArtefactError {
    ArtefactError::corrupt(path, format!("{reason}; run ossify-resize again with --force"))
}

/// The part of the file that a block names.
fn bytes_of(block: &Block, map: &Buffer) -> Option<Buffer> {
    let start = usize::try_from(block.offset()).ok()?;
    let length = usize::try_from(block.metaDataLength()).ok()?.checked_add(usize::try_from(block.bodyLength()).ok()?)?;
    (start.checked_add(length)? <= map.len()).then(|| map.slice_with_length(start, length))
}

fn is_compressed(block: &[u8]) -> bool {
    let message = block.get(MESSAGE_PREFIX_BYTES..).and_then(|message| root_as_message(message).ok());
    message.and_then(|message| message.header_as_record_batch()).is_some_and(|batch| batch.compression().is_some())
}

fn tensors_of(batch: &RecordBatch, column: usize) -> Buffer {
    batch.column(column).as_fixed_size_list().values().as_primitive::<UInt8Type>().values().inner().clone()
}

/// 16 hexadecimal digits a row.
fn hashes_of(digits: &str) -> Option<Vec<u64>> {
    let (numbers, rest) = digits.as_bytes().as_chunks::<16>();
    if !rest.is_empty() {
        return None;
    }
    numbers.iter().map(|number| std::str::from_utf8(number).ok().and_then(|number| u64::from_str_radix(number, 16).ok())).collect()
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
