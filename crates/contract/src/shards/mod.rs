//! Shards: Arrow IPC files of tensors, and the tables beside them.
//!
//! A shard carries its own checks in the footer's metadata: `ossify.tensor_xxh3`, the XXH3 (64
//! bits, 16 hexadecimal digits) of each row's tensor in a row, and `ossify.heads_xxh3`, that of all
//! else of the rows. So a reader that wants one image of a million checks that image and reads no
//! other.

mod direct;
mod reader;
mod writer;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, SchemaRef};
use ossify_vocabulary::TensorSpec;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

pub use reader::{Access, ShardImage, ShardReader, Tensor};
pub use writer::{BATCH_IMAGES, ShardWriter};

use crate::manifest::{FileEntry, Manifest};
use crate::table::{schema_of, table};
use crate::transform::Transform;
use crate::version::schema_version_of;
use crate::words::{LeakTier, Split};

table! {
    /// One row an image: hashes that find copies of it, and how light it is.
    "fingerprints" => FingerprintRow {
        /// The image.
        image_id: String,
        /// The part of the dataset.
        split: Split,
        /// XXH3 of the file's bytes.
        bytes_xxh3: u64,
        /// XXH3 of the upright picture's decoded pixels, of which the tensor is made. A JPEG that
        /// was decoded at a fraction of its size is hashed at that fraction.
        pixels_xxh3: u64,
        /// 64 bits that stay nearly equal when the picture is brightened, turned, scaled or encoded
        /// again.
        perceptual_hash: u64,
        /// Mean luma of the tensor where it shows the picture, bars of a letterbox left out: 0
        /// black to 1 white. Luma is that of ITU-R BT.601, rounded to 8 bits, over 255.
        brightness: f32,
        /// Standard deviation of that luma: 0 for an even picture to 0.5 for one that is half black
        /// and half white.
        contrast: f32,
        /// Images of one group show the same picture and span several splits; null for all others.
        leak_group: Option<i32>,
    }
}

table! {
    /// One row a pair of images of different splits that show the same picture. A group of `n`
    /// images has `n - 1` pairs or more, that hold it together; not each image stands beside each
    /// other one.
    "leaks" => LeakRow {
        /// The group, as in `fingerprints`.
        leak_group: i32,
        /// How alike the two are.
        tier: LeakTier,
        /// The image that comes first in `fingerprints`.
        image_id: String,
        /// Its part of the dataset.
        split: Split,
        /// The other image.
        other_image_id: String,
        /// Its part of the dataset.
        other_split: Split,
        /// Bits in which the perceptual hashes differ, as they stand or with one picture mirrored.
        hash_distance: i32,
        /// Normalised correlation of the two pictures after turning one onto the other, -1..=1;
        /// null where bytes or pixels are the same.
        correlation: Option<f32>,
        /// Degrees by which the other image is turned against the first, counter-clockwise; null as
        /// above.
        rotation_degrees: Option<f32>,
        /// Whether the other image is mirrored against the first.
        mirrored: bool,
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
    /// Bytes of one tensor; more than an Arrow list can have where [`ShardShape::list_length`] is
    /// `None`.
    pub fn bytes(&self) -> usize {
        [self.height, self.width, self.channels]
            .iter()
            .fold(1, |bytes: usize, side| bytes.saturating_mul(*side as usize))
    }

    /// Bytes of one tensor as the length of an Arrow list: 1 to 2^31 - 1.
    fn list_length(&self) -> Option<i32> {
        i32::try_from(self.bytes()).ok().filter(|length| *length > 0)
    }
}

impl From<&TensorSpec> for ShardShape {
    fn from(spec: &TensorSpec) -> Self {
        ShardShape {
            height: spec.side_px,
            width: spec.side_px,
            channels: spec.channels.count() as u32,
        }
    }
}

/// What a shard says of one image, beside its tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct ShardRow {
    /// The image.
    pub image_id: String,
    /// Width of the upright source.
    pub width: u32,
    /// Height of the upright source.
    pub height: u32,
    /// From source to tensor.
    pub transform: Transform,
    /// XXH3 of the tensor.
    pub tensor_xxh3: u64,
}

impl ShardRow {
    /// The row of this tensor, made of a source of `source` = (width, height) pixels.
    pub fn new(
        image_id: impl Into<String>,
        (width, height): (u32, u32),
        transform: Transform,
        tensor: &[u8],
    ) -> Self {
        ShardRow {
            image_id: image_id.into(),
            width,
            height,
            transform,
            tensor_xxh3: xxh3_64(tensor),
        }
    }
}

/// `train-00003.arrow`.
pub fn shard_file_name(split: Split, number: usize) -> String {
    format!("{split}-{number:05}.arrow")
}

/// The shards of a split that the manifest of a shards folder lists, in order.
pub fn shards_of(manifest: &Manifest, split: Split) -> impl Iterator<Item = &FileEntry> {
    let prefix = format!("{split}-");
    manifest
        .files
        .iter()
        .filter(move |file| file.path.starts_with(&prefix) && file.path.ends_with(".arrow"))
}

/// Key of the footer's metadata: 16 hexadecimal digits a row.
const TENSOR_HASHES: &str = "ossify.tensor_xxh3";
/// Key of the footer's metadata: 16 hexadecimal digits.
const HEADS_HASH: &str = "ossify.heads_xxh3";
const PIXELS_COLUMN: usize = 1;

/// `None` where tensors have no byte, or too many for an Arrow list.
fn shard_schema(shape: ShardShape) -> Option<SchemaRef> {
    let extension = format!(
        "{{\"shape\":[{},{},{}],\"dim_names\":[\"H\",\"W\",\"C\"]}}",
        shape.height, shape.width, shape.channels
    );
    let pixels =
        Field::new("pixels", DataType::FixedSizeList(pixel_field(), shape.list_length()?), false)
            .with_metadata(HashMap::from([
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
    Some(schema_of(fields, schema_version_of("resize")))
}

fn pixel_field() -> Arc<Field> {
    Arc::new(Field::new_list_field(DataType::UInt8, false))
}

/// Hash over all that the rows say beside their tensors.
#[derive(Default)]
struct HeadsHash(Xxh3);

impl HeadsHash {
    fn add(&mut self, image_id: &str, width: u32, height: u32, transform: &Transform) {
        self.0.update(&(image_id.len() as u64).to_le_bytes());
        self.0.update(image_id.as_bytes());
        let Transform { scale_x, scale_y, offset_x, offset_y } = *transform;
        let numbers = [
            width,
            height,
            scale_x.to_bits(),
            scale_y.to_bits(),
            offset_x.to_bits(),
            offset_y.to_bits(),
        ];
        numbers.iter().for_each(|number| self.0.update(&number.to_le_bytes()));
    }

    fn hex(&self) -> String {
        format!("{:016x}", self.0.digest())
    }
}

#[cfg(test)]
mod tests {
    use ossify_vocabulary::ShardCompression;

    use super::*;

    const SHAPE: ShardShape = ShardShape { height: 5, width: 7, channels: 3 };

    fn tensor(i: usize) -> Vec<u8> {
        (0..SHAPE.bytes()).map(|p| (p * 7 + i) as u8).collect()
    }

    fn row(i: usize) -> ShardRow {
        let transform =
            Transform { scale_x: 0.5, scale_y: 0.25, offset_x: i as f32, offset_y: -1.0 };
        ShardRow::new(format!("train/images/{i}.jpg"), (100 + i as u32, 200), transform, &tensor(i))
    }

    fn write(path: &std::path::Path, images: usize, compression: ShardCompression) -> FileEntry {
        let mut writer = ShardWriter::create(path, SHAPE, compression).unwrap();
        let mut pixels = Vec::new();
        for first in (0..images).step_by(60) {
            let rows = first..images.min(first + 60);
            pixels.clear();
            rows.clone().for_each(|i| pixels.extend(tensor(i)));
            pixels = writer.write(&rows.map(row).collect::<Vec<_>>(), pixels).unwrap();
        }
        writer.finish("a.arrow").unwrap()
    }

    #[test]
    fn rows_come_back_as_they_were_written_in_any_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.arrow");
        for compression in [ShardCompression::None, ShardCompression::Zstd] {
            let entry = write(&path, 150, compression);
            assert_eq!(entry, FileEntry::of(folder.path(), "a.arrow", Some(150)).unwrap());
            let reader = ShardReader::open(&path).unwrap();
            assert_eq!((reader.len(), reader.shape()), (150, SHAPE));
            for i in (0..150).map(|i| i * 77 % 150).chain(0..150) {
                let (image, row) = (reader.get(i).unwrap(), row(i));
                assert_eq!(
                    (image.image_id, image.width, image.height, image.transform),
                    (row.image_id.as_str(), row.width, row.height, row.transform)
                );
                assert_eq!(&*reader.tensor(i).unwrap(), tensor(i).as_slice());
            }
            let mut copied = vec![7];
            reader.append_tensor(149, &mut copied).unwrap();
            reader.append_tensor(3, &mut copied).unwrap();
            assert_eq!(copied, [&[7], tensor(149).as_slice(), &tensor(3)].concat());
            assert!(reader.get(150).is_none());
            assert!(reader.tensor(150).is_err());
            assert!(reader.append_tensor(150, &mut copied).is_err());
        }
    }

    #[test]
    fn compression_packs_and_plain_rows_lie_aligned_in_the_map() {
        let folder = tempfile::tempdir().unwrap();
        let plain = write(&folder.path().join("plain.arrow"), 120, ShardCompression::None);
        let packed = write(&folder.path().join("packed.arrow"), 120, ShardCompression::Zstd);
        assert!(packed.bytes * 2 < plain.bytes, "{} of {}", packed.bytes, plain.bytes);
        let reader = ShardReader::open(folder.path().join("plain.arrow")).unwrap();
        // Rows of one batch follow each other without a gap: they were not copied.
        let address = |row: usize| reader.tensor(row).unwrap().as_ptr() as usize;
        assert_eq!(address(0) % 64, 0);
        assert_eq!(address(60) % 64, 0);
        assert_eq!(address(1) - address(0), SHAPE.bytes());
        assert_eq!(address(1), address(1));
    }

    #[test]
    fn a_shard_that_was_cut_short_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.arrow");
        write(&path, 1, ShardCompression::None);
        let whole = std::fs::read(&path).unwrap();
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert!(ShardReader::open(&path).is_err(), "{length} of {} bytes", whole.len());
        }
    }

    #[test]
    fn a_flipped_bit_in_any_byte_is_an_error_in_words() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.arrow");
        for compression in [ShardCompression::None, ShardCompression::Zstd] {
            write(&path, 3, compression);
            let whole = std::fs::read(&path).unwrap();
            let mut unwanted = std::collections::BTreeSet::new();
            // One bit of each byte: all of them take a minute.
            for byte in 0..whole.len() {
                let mut damaged = whole.clone();
                damaged[byte] ^= 1 << (byte % 8);
                std::fs::write(&path, &damaged).unwrap();
                let read = std::panic::catch_unwind(|| {
                    let shard = ShardReader::open(&path)?;
                    (0..shard.len()).try_for_each(|i| shard.tensor(i).map(drop))
                });
                let words = match read {
                    Ok(Ok(())) => continue,
                    Ok(Err(error)) => error.to_string(),
                    Err(_) => format!("byte {byte}: a panic"),
                };
                let is_of_a_library = ["Invalid", "buffer", "Offset", "{", "root"]
                    .iter()
                    .any(|library| words.contains(library));
                if is_of_a_library || !words.ends_with("; run ossify-resize again with --force") {
                    unwanted.insert(words);
                }
            }
            assert!(unwanted.is_empty(), "{unwanted:#?}");
        }
    }

    #[test]
    fn a_damaged_row_is_found_when_it_is_touched_and_the_others_are_good() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.arrow");
        write(&path, 70, ShardCompression::None);
        let whole = std::fs::read(&path).unwrap();
        let wanted = tensor(42);
        let at = whole.windows(wanted.len()).position(|window| window == wanted).unwrap();
        let mut damaged = whole.clone();
        damaged[at + 50] ^= 1;
        std::fs::write(&path, &damaged).unwrap();
        let reader = ShardReader::open(&path).unwrap();
        for i in (0..70).filter(|i| *i != 42) {
            assert_eq!(&*reader.tensor(i).unwrap(), tensor(i).as_slice());
        }
        for error in [
            reader.tensor(42).unwrap_err().to_string(),
            reader.append_tensor(42, &mut Vec::new()).unwrap_err().to_string(),
        ] {
            assert!(
                error.contains("the tensor of train/images/42.jpg is not as it was written"),
                "{error}"
            );
        }
        drop(reader);

        let id = whole.windows(20).position(|window| window == b"train/images/42.jpgt").unwrap();
        let mut renamed = whole;
        renamed[id + 14] = b'3';
        std::fs::write(&path, &renamed).unwrap();
        let error = ShardReader::open(&path).unwrap_err().to_string();
        assert!(error.contains("not as they were written"), "{error}");
    }

    #[test]
    fn tensors_too_large_for_an_arrow_list_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        for sides in [[65_536, 65_536, 1], [u32::MAX; 3], [46_341, 46_341, 1], [0, 5, 3]] {
            let [height, width, channels] = sides;
            let shape = ShardShape { height, width, channels };
            let path = folder.path().join("a.arrow");
            let error = ShardWriter::create(&path, shape, ShardCompression::None);
            let error = error.err().unwrap().to_string();
            assert!(error.contains("an Arrow list holds"), "{error}");
        }
        // A shard of another tool, whose shape comes to 0 in 32 bits as the list's length does.
        let path = folder.path().join("other.arrow");
        write(&path, 1, ShardCompression::None);
        let mut bytes = std::fs::read(&path).unwrap();
        let old = format!("[{},{},{}]", SHAPE.height, SHAPE.width, SHAPE.channels);
        let new = "[65536,65536,0]";
        let at = |bytes: &[u8]| bytes.windows(old.len()).rposition(|part| part == old.as_bytes());
        while let Some(at) = at(&bytes) {
            bytes[at..at + old.len()].copy_from_slice(&new.as_bytes()[..old.len()]);
        }
        std::fs::write(&path, bytes).unwrap();
        assert!(ShardReader::open(&path).is_err());
    }

    #[test]
    fn a_row_that_no_image_can_have_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.arrow");
        for (size, scale_x) in [((0, 9), 1.0), ((9, 9), f32::NAN), ((9, 9), 0.0)] {
            let transform = Transform { scale_x, scale_y: 1.0, offset_x: 0.0, offset_y: 0.0 };
            let row = ShardRow::new("a.jpg", size, transform, &tensor(0));
            let mut writer = ShardWriter::create(&path, SHAPE, ShardCompression::None).unwrap();
            writer.write(&[row], tensor(0)).unwrap();
            writer.finish("a.arrow").unwrap();
            let error = ShardReader::open(&path).unwrap_err().to_string();
            assert!(error.contains("row 0, `a.jpg`: "), "{error}");
        }
        let mut writer = ShardWriter::create(&path, SHAPE, ShardCompression::None).unwrap();
        let row = ShardRow::new("a.jpg", (1 << 31, 9), row(0).transform, &tensor(0));
        assert!(writer.write(&[row], tensor(0)).is_err());
    }

    #[test]
    fn tensors_of_another_size_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer =
            ShardWriter::create(folder.path().join("a.arrow"), SHAPE, ShardCompression::None)
                .unwrap();
        assert!(writer.write(&[row(0), row(1)], tensor(0)).is_err());
    }
}
