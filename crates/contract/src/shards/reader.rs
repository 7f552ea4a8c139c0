use std::collections::VecDeque;
use std::fs::File;
use std::ops::Deref;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{AsArray, RecordBatch};
use arrow::buffer::Buffer;
use arrow::datatypes::{Float32Type, Int32Type, Schema, SchemaRef, UInt8Type};
use arrow::ipc::convert::try_fb_to_schema;
use arrow::ipc::reader::{FileDecoder, read_footer_length};
use arrow::ipc::{Block, MetadataVersion, root_as_footer, root_as_message};
use memmap2::Mmap;
use serde::Deserialize;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::{HEADS_HASH, HeadsHash, PIXELS_COLUMN, ShardShape, TENSOR_HASHES, shard_schema};
use crate::error::{ArtefactError, Result};
use crate::manifest::open;
use crate::transform::Transform;

/// Unpacked batches that a reader of a compressed shard keeps.
const UNPACKED_BATCHES: usize = 4;
/// Magic and length at a file's end.
const TRAILER_BYTES: usize = 10;
/// Continuation mark and length before a block's message.
const MESSAGE_PREFIX_BYTES: usize = 8;
/// The buffer in which 32-bit numbers say where each image id ends: after the validity of the first
/// column.
const ID_ENDS_BUFFER: usize = 1;
/// Bytes of which each buffer begins at a multiple.
const ALIGNMENT: i64 = 8;

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

/// The bytes of one tensor in rows, columns, channels; those of the mapped file itself, unless it
/// is compressed.
#[derive(Clone, Debug)]
pub struct Tensor(Buffer);

impl Deref for Tensor {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// Reads a shard by row, in any order and from any number of threads: from a memory map without a
/// copy, or batch by batch where it is compressed. A tensor is checked when it is first asked for,
/// all else when the shard is opened.
#[derive(Debug)]
pub struct ShardReader {
    path: PathBuf,
    shape: ShardShape,
    images: Images,
    /// Row behind the last one of each batch.
    batch_ends: Vec<usize>,
    tensors: Tensors,
    /// XXH3 of each tensor; empty where another tool wrote the shard.
    tensor_hashes: Vec<u64>,
    /// One bit a row: its tensor was found to be as it was written.
    checked: Vec<AtomicU64>,
    map: Arc<Mmap>,
    file: File,
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

/// All rows without their tensors: copied, for as views of the map they would keep its pages around
/// them in memory.
#[derive(Debug, Default)]
struct Images {
    ids: String,
    id_ends: Vec<usize>,
    sizes: Vec<(u32, u32)>,
    transforms: Vec<Transform>,
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

    /// As [`ShardReader::open`], for rows that are asked for in another order than that of the
    /// file.
    ///
    /// # Errors
    /// As [`ShardReader::open`].
    pub fn open_for(access: Access, path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let corrupt = |reason: &str| damaged(path, reason);
        let file = open(path)?;
        // SAFETY: shards are replaced by renaming, never changed in place, so the mapped bytes stay
        // as they are.
        let mapped =
            Arc::new(unsafe { Mmap::map(&file) }.map_err(ArtefactError::io("cannot map", path))?);
        if access == Access::Scattered {
            // Advice that is not taken costs time and nothing else.
            let _ = mapped.advise(memmap2::Advice::Random);
        }
        let map = Buffer::from(bytes::Bytes::from_owner(Mapped(Arc::clone(&mapped))));
        let trailer = map
            .len()
            .checked_sub(TRAILER_BYTES)
            .ok_or_else(|| corrupt("too short to be an Arrow file"))?;
        let mut tail = [0; TRAILER_BYTES];
        tail.copy_from_slice(&map[trailer..]);
        let footer_length =
            read_footer_length(tail).map_err(|_| corrupt("not a whole Arrow file"))?;
        let footer_start =
            trailer.checked_sub(footer_length).ok_or_else(|| corrupt("not a whole Arrow file"))?;
        let footer = root_as_footer(&map[footer_start..trailer])
            .map_err(|_| corrupt("its footer cannot be read"))?;
        let schema = footer.schema().ok_or_else(|| corrupt("its footer has no schema"))?;
        let schema =
            Arc::new(try_fb_to_schema(schema).map_err(|_| corrupt("its schema cannot be read"))?);
        let shape =
            shape_of(&schema).ok_or_else(|| corrupt("its columns are not those of a shard"))?;
        let note = |key: &str| {
            let notes = footer.custom_metadata()?;
            notes.iter().find(|note| note.key() == Some(key))?.value()
        };
        let mut blocks = Vec::new();
        for block in footer.recordBatches().iter().flatten() {
            blocks.push((
                *block,
                bytes_of(block, &map).ok_or_else(|| corrupt("a block lies outside the file"))?,
            ));
        }
        let mut reader = ShardReader {
            path: path.to_path_buf(),
            shape,
            images: Images::default(),
            batch_ends: Vec::with_capacity(blocks.len()),
            tensors: Tensors::Mapped(Vec::new()),
            tensor_hashes: hashes_of(note(TENSOR_HASHES).unwrap_or_default())
                .ok_or_else(|| corrupt("the hashes in its footer cannot be read"))?,
            checked: Vec::new(),
            map: mapped,
            file,
            access,
        };
        reader.read_batches(&schema, footer.version(), blocks)?;
        if !reader.tensor_hashes.is_empty() && reader.tensor_hashes.len() != reader.len() {
            return Err(corrupt("it has not as many rows as hashes"));
        }
        if note(HEADS_HASH).is_some_and(|expected| reader.heads_hash() != expected) {
            return Err(corrupt("the names and sizes of its images are not as they were written"));
        }
        reader.checked.resize_with(reader.len().div_ceil(64), AtomicU64::default);
        reader.let_go(&map);
        Ok(reader)
    }

    fn read_batches(
        &mut self,
        schema: &SchemaRef,
        version: MetadataVersion,
        blocks: Vec<(Block, Buffer)>,
    ) -> Result<()> {
        if blocks.iter().any(|(_, bytes)| is_compressed(bytes)) {
            let heads =
                (0..schema.fields().len()).filter(|column| *column != PIXELS_COLUMN).collect();
            let decoder = FileDecoder::new(schema.clone(), version).with_projection(heads);
            for (block, bytes) in &blocks {
                let batch = self.decode(&decoder, block, bytes)?;
                self.add_heads(&batch, 1)?;
            }
            let decoder =
                FileDecoder::new(schema.clone(), version).with_projection(vec![PIXELS_COLUMN]);
            self.tensors = Tensors::Packed(Packed { decoder, blocks, unpacked: Mutex::default() });
        } else {
            let decoder = FileDecoder::new(schema.clone(), version);
            let mut tensors = Vec::with_capacity(blocks.len());
            for (block, bytes) in &blocks {
                let batch = self.decode(&decoder, block, bytes)?;
                self.add_heads(&batch, 2)?;
                tensors.push(tensors_of(&batch, PIXELS_COLUMN));
            }
            self.tensors = Tensors::Mapped(tensors);
        }
        Ok(())
    }

    fn decode(&self, decoder: &FileDecoder, block: &Block, bytes: &Buffer) -> Result<RecordBatch> {
        let batch = if is_sound(block, bytes) {
            decoder.read_record_batch(block, bytes).ok().flatten()
        } else {
            None
        };
        let row = self.len();
        batch.ok_or_else(|| {
            damaged(&self.path, &format!("its rows from {row} on, from 0, cannot be read"))
        })
    }

    /// Takes ids from column 0, and sizes and transforms from `second` on.
    fn add_heads(&mut self, batch: &RecordBatch, second: usize) -> Result<()> {
        let integers = |column: usize| batch.column(second + column).as_primitive::<Int32Type>();
        let floats = |column: usize| batch.column(second + column).as_primitive::<Float32Type>();
        let (ids, widths, heights) = (batch.column(0).as_string::<i32>(), integers(0), integers(1));
        let [scale_x, scale_y, offset_x, offset_y] = [2, 3, 4, 5].map(floats);
        for i in 0..batch.num_rows() {
            let id = ids.value(i);
            let (scale_x, scale_y, offset_x, offset_y) =
                (scale_x.value(i), scale_y.value(i), offset_x.value(i), offset_y.value(i));
            let wrong = |what: &str| {
                damaged(&self.path, &format!("row {}, `{id}`: {what}", self.images.sizes.len()))
            };
            let side = |side: i32| u32::try_from(side).ok().filter(|side| *side > 0);
            let size = side(widths.value(i)).zip(side(heights.value(i)));
            let size = size.ok_or_else(|| wrong("a source without pixels"))?;
            let numbers = [scale_x, scale_y, offset_x, offset_y];
            if !numbers.iter().all(|n| n.is_finite()) || scale_x <= 0.0 || scale_y <= 0.0 {
                return Err(wrong("a scale or an offset that maps no picture"));
            }
            self.images.ids.push_str(id);
            self.images.id_ends.push(self.images.ids.len());
            self.images.sizes.push(size);
            self.images.transforms.push(Transform { scale_x, scale_y, offset_x, offset_y });
        }
        self.batch_ends.push(self.len());
        Ok(())
    }

    /// Hash of all that the rows say and of the hashes of their tensors: whether a shard that is
    /// opened again is the same. That of another tool's shard leaves the tensors out.
    pub fn digest(&self) -> u64 {
        let mut hash = Xxh3::new();
        hash.update(self.heads_hash().as_bytes());
        self.tensor_hashes.iter().for_each(|tensor| hash.update(&tensor.to_le_bytes()));
        hash.digest()
    }

    fn heads_hash(&self) -> String {
        let mut hash = HeadsHash::default();
        self.iter().for_each(|image| {
            hash.add(image.image_id, image.width, image.height, &image.transform)
        });
        hash.hex()
    }

    /// How many images.
    pub fn len(&self) -> usize {
        self.images.sizes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Shape of every tensor.
    pub fn shape(&self) -> ShardShape {
        self.shape
    }

    /// Whether reading a row means to unpack its batch.
    pub fn is_compressed(&self) -> bool {
        matches!(self.tensors, Tensors::Packed(_))
    }

    /// Number of the batch that holds `row`, and the row's index in it.
    fn locate(&self, row: usize) -> Option<(usize, usize)> {
        let batch = self.batch_ends.partition_point(|end| *end <= row);
        let first_row = batch.checked_sub(1).map_or(0, |before| self.batch_ends[before]);
        (batch < self.batch_ends.len()).then_some((batch, row - first_row))
    }

    /// The image at `row`; `None` past the end.
    pub fn get(&self, row: usize) -> Option<ShardImage<'_>> {
        let (width, height) = *self.images.sizes.get(row)?;
        let id_start = row.checked_sub(1).map_or(0, |before| self.images.id_ends[before]);
        let image_id = &self.images.ids[id_start..self.images.id_ends[row]];
        Some(ShardImage { image_id, width, height, transform: self.images.transforms[row] })
    }

    /// All images in order.
    pub fn iter(&self) -> impl Iterator<Item = ShardImage<'_>> {
        (0..self.len()).filter_map(|row| self.get(row))
    }

    /// The tensor of the image at `row`, checked against its hash the first time.
    ///
    /// # Errors
    /// [`ArtefactError::Corrupt`] past the end, and where the bytes are not as they were written.
    pub fn tensor(&self, row: usize) -> Result<Tensor> {
        let tensor = self.unchecked_tensor(row)?;
        if !self.is_checked(row) {
            self.read_in_one_go(&tensor);
            self.check(row, &tensor)?;
        }
        Ok(tensor)
    }

    /// Appends the tensor of the image at `row` to `out`, read from the file: for those that copy
    /// tensors anyway. A map's pages count as memory of the process for as long as it is open, so
    /// that whoever goes through a large dataset by [`ShardReader::tensor`] seems to hold all of
    /// it.
    ///
    /// # Errors
    /// As [`ShardReader::tensor`], and where the file cannot be read.
    pub fn append_tensor(&self, row: usize, out: &mut Vec<u8>) -> Result<()> {
        let tensor = self.unchecked_tensor(row)?;
        let start = out.len();
        match (&self.tensors, self.offset_of(&tensor)) {
            (Tensors::Mapped(_), Some(offset)) => {
                out.resize(start + tensor.len(), 0);
                let read = self.file.read_exact_at(&mut out[start..], offset as u64);
                read.map_err(ArtefactError::io("cannot read", &self.path))?;
            }
            _ => out.extend_from_slice(&tensor),
        }
        if self.is_checked(row) { Ok(()) } else { self.check(row, &out[start..]) }
    }

    fn unchecked_tensor(&self, row: usize) -> Result<Tensor> {
        let (batch, i) = self.locate(row).ok_or_else(|| {
            ArtefactError::corrupt(&self.path, format!("row {row} of {} was asked for", self.len()))
        })?;
        let size = self.shape.bytes();
        let tensors = match &self.tensors {
            Tensors::Mapped(tensors) => tensors[batch].clone(),
            Tensors::Packed(packed) => self.unpacked(packed, batch)?,
        };
        Ok(Tensor(tensors.slice_with_length(i * size, size)))
    }

    /// Whether the tensor at `row` was found to be as it was written.
    fn is_checked(&self, row: usize) -> bool {
        self.checked[row / 64].load(Ordering::Relaxed) & (1 << (row % 64)) != 0
    }

    fn check(&self, row: usize, tensor: &[u8]) -> Result<()> {
        if self.tensor_hashes.get(row).is_some_and(|expected| xxh3_64(tensor) != *expected) {
            let image_id = self.get(row).map(|image| image.image_id).unwrap_or_default();
            return Err(damaged(
                &self.path,
                &format!("the tensor of {image_id} is not as it was written"),
            ));
        }
        self.checked[row / 64].fetch_or(1 << (row % 64), Ordering::Relaxed);
        Ok(())
    }

    /// Where a mapped tensor lies in the file.
    fn offset_of(&self, tensor: &[u8]) -> Option<usize> {
        let offset = (tensor.as_ptr() as usize).checked_sub(self.map.as_ptr() as usize)?;
        (offset + tensor.len() <= self.map.len()).then_some(offset)
    }

    /// Asks for all pages of a tensor that are not in memory yet, instead of one after the other.
    fn read_in_one_go(&self, tensor: &[u8]) {
        if self.access == Access::Scattered
            && let Some(offset) = self.offset_of(tensor)
        {
            let _ = self.map.advise_range(memmap2::Advice::WillNeed, offset, tensor.len());
        }
    }

    /// Gives pages back that were read and are not needed soon; they stay in the system's cache.
    fn let_go(&self, bytes: &[u8]) {
        if let Some(offset) = self.offset_of(bytes) {
            // SAFETY: the map is of a file, private to nobody and never written to: pages that are
            // given back are read again from the file.
            let _ = unsafe {
                self.map.unchecked_advise_range(
                    memmap2::UncheckedAdvice::DontNeed,
                    offset,
                    bytes.len(),
                )
            };
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
        self.let_go(bytes);
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
    let length = usize::try_from(block.metaDataLength())
        .ok()?
        .checked_add(usize::try_from(block.bodyLength()).ok()?)?;
    (start.checked_add(length)? <= map.len()).then(|| map.slice_with_length(start, length))
}

/// Whether the buffers that a block describes lie inside it, aligned as Arrow has them, and its
/// columns have lengths that a batch can have: the decoder takes that for granted.
fn is_sound(block: &Block, bytes: &[u8]) -> bool {
    let Ok(body_start) = usize::try_from(block.metaDataLength()) else { return false };
    let body_bytes = bytes.len().saturating_sub(body_start) as u64;
    let message = bytes.get(MESSAGE_PREFIX_BYTES..body_start);
    let message = message.and_then(|message| root_as_message(message).ok());
    let Some(batch) = message.and_then(|message| message.header_as_record_batch()) else {
        return false;
    };
    let ends_inside = |offset: i64, length: i64| {
        let span = u64::try_from(offset).ok().zip(u64::try_from(length).ok());
        let end = span.and_then(|(offset, length)| offset.checked_add(length));
        offset % ALIGNMENT == 0 && end.is_some_and(|end| end <= body_bytes)
    };
    let is_aligned = (block.offset() + i64::from(block.metaDataLength())) % ALIGNMENT == 0;
    let is_length = |length: i64| u32::try_from(length).is_ok();
    is_aligned
        && is_length(batch.length())
        && batch.nodes().is_some_and(|nodes| nodes.iter().all(|node| is_length(node.length())))
        && batch.buffers().is_some_and(|buffers| {
            buffers.iter().all(|buffer| ends_inside(buffer.offset(), buffer.length()))
                && buffers.len() > ID_ENDS_BUFFER
                && unpacked_bytes(
                    bytes.get(body_start..).unwrap_or_default(),
                    buffers.get(ID_ENDS_BUFFER),
                    batch.compression().is_some(),
                )
                .is_some_and(|bytes| bytes % 4 == 0)
        })
}

/// Bytes of a buffer once it is unpacked. A compressed one begins with that number; -1 says that it
/// is not compressed after all.
fn unpacked_bytes(body: &[u8], buffer: &arrow::ipc::Buffer, is_compressed: bool) -> Option<i64> {
    if !is_compressed || buffer.length() == 0 {
        return Some(buffer.length());
    }
    let number = body.get(usize::try_from(buffer.offset()).ok()?..)?.first_chunk::<8>()?;
    match i64::from_le_bytes(*number) {
        -1 => Some(buffer.length() - 8),
        bytes => Some(bytes),
    }
}

fn is_compressed(block: &[u8]) -> bool {
    let message =
        block.get(MESSAGE_PREFIX_BYTES..).and_then(|message| root_as_message(message).ok());
    message
        .and_then(|message| message.header_as_record_batch())
        .is_some_and(|batch| batch.compression().is_some())
}

fn tensors_of(batch: &RecordBatch, column: usize) -> Buffer {
    batch
        .column(column)
        .as_fixed_size_list()
        .values()
        .as_primitive::<UInt8Type>()
        .values()
        .inner()
        .clone()
}

/// 16 hexadecimal digits a row.
fn hashes_of(digits: &str) -> Option<Vec<u64>> {
    let (numbers, rest) = digits.as_bytes().as_chunks::<16>();
    if !rest.is_empty() {
        return None;
    }
    numbers
        .iter()
        .map(|number| {
            std::str::from_utf8(number).ok().and_then(|number| u64::from_str_radix(number, 16).ok())
        })
        .collect()
}

/// The tensors' shape, if the schema is that of a shard.
fn shape_of(schema: &Schema) -> Option<ShardShape> {
    #[derive(Deserialize)]
    struct Extension {
        shape: [u32; 3],
    }
    let metadata =
        schema.field_with_name("pixels").ok()?.metadata().get("ARROW:extension:metadata")?;
    let [height, width, channels] = serde_json::from_str::<Extension>(metadata).ok()?.shape;
    let shape = ShardShape { height, width, channels };
    (schema.fields() == shard_schema(shape)?.fields()).then_some(shape)
}
