//! Reads the elements that a picture needs, and locates its pixels.

use std::io::{self, Read as _};
use std::ops::Range;

use dicom_core::Tag;
use dicom_dictionary_std::tags;

use super::inflate::Inflated;
use super::syntax::{Coding, Syntax};
use super::walk::{Element, Encoding, ITEM, ITEM_END, SEQUENCE_END, Walk, WalkError};
use crate::error::HeaderError;
use crate::format::ImageFormat;
use crate::source::{ReadAt, Source};

/// Bytes of all values that are read, including look-up tables; a table has at most 128 KiB.
const MAX_ELEMENT_BYTES: u64 = 2 << 20;
/// Fragments of encoded pixels; a single frame usually has one.
const MAX_FRAGMENTS: usize = 1 << 16;
/// Inflated bytes before the pixels of a deflated data set.
const MAX_INFLATED_HEADER_BYTES: usize = 16 << 20;
/// Inflated bytes after the pixels that are searched for the end mark.
const MAX_BYTES_BEHIND_PIXELS: u64 = 16 << 20;
const FIRST_INFLATED_BYTES: usize = 64 << 10;

/// Elements of the data set that describe the picture.
const PICTURE_TAGS: [Tag; 24] = [
    tags::SAMPLES_PER_PIXEL,
    tags::PHOTOMETRIC_INTERPRETATION,
    tags::PLANAR_CONFIGURATION,
    tags::NUMBER_OF_FRAMES,
    tags::ROWS,
    tags::COLUMNS,
    tags::BITS_ALLOCATED,
    tags::BITS_STORED,
    tags::HIGH_BIT,
    tags::PIXEL_REPRESENTATION,
    tags::PIXEL_PADDING_VALUE,
    tags::PIXEL_PADDING_RANGE_LIMIT,
    tags::WINDOW_CENTER,
    tags::WINDOW_WIDTH,
    tags::VOILUT_FUNCTION,
    tags::RESCALE_INTERCEPT,
    tags::RESCALE_SLOPE,
    tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
    tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
    tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
    tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DATA,
    tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DATA,
    tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DATA,
    tags::SEGMENTED_RED_PALETTE_COLOR_LOOKUP_TABLE_DATA,
];
const TABLE: [Tag; 2] = [tags::LUT_DESCRIPTOR, tags::LUT_DATA];

/// The raw elements, heads and values, concatenated.
#[derive(Debug)]
pub(super) struct RawElements {
    pub raw: Vec<u8>,
    pub encoding: Encoding,
}

impl RawElements {
    fn new(encoding: Encoding) -> Self {
        RawElements { raw: Vec::new(), encoding }
    }

    fn push<R: ReadAt>(
        &mut self,
        walk: &mut Walk<'_, R>,
        element: &Element,
    ) -> Result<(), WalkError> {
        let value =
            walk.raw(element, MAX_ELEMENT_BYTES - (self.raw.len() as u64).min(MAX_ELEMENT_BYTES))?;
        self.raw.extend(value);
        Ok(())
    }
}

/// The location of the pixels, in the file or in the inflated data set.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PixelData {
    /// One value with all samples.
    Native {
        at: u64,
        bytes: u64,
        /// Whether the value consists of 16-bit words.
        is_words: bool,
    },
    /// Encoded pixels, in fragments.
    Encapsulated(Vec<Range<u64>>),
}

/// The elements of a file that describe its picture.
#[derive(Debug)]
pub(super) struct DataSet {
    pub syntax: Syntax,
    /// Offset of the data set in the file.
    pub at: u64,
    pub elements: RawElements,
    pub modality_table: Option<RawElements>,
    pub voi_table: Option<RawElements>,
    pub pixel_data: PixelData,
    /// Whether the file contains the pixels to their end.
    pub is_complete: bool,
}

impl DataSet {
    /// Reads a file up to its pixels, and finds where those end.
    pub(super) fn read<R: ReadAt>(source: &mut Source<R>) -> Result<Self, HeaderError> {
        let (syntax, at) = Syntax::read(&mut Walk::new(source))?;
        match syntax.coding {
            Coding::Deflated => inflated(source, syntax, at),
            _ => Ok(data_set(source, syntax, at)?),
        }
    }
}

fn data_set<R: ReadAt>(
    source: &mut Source<R>,
    syntax: Syntax,
    start: u64,
) -> Result<DataSet, WalkError> {
    let bytes = source.len();
    let mut walk = Walk::new(source);
    let encoding = walk.encoding(start, syntax.encoding)?;
    let (mut elements, mut modality_table, mut voi_table) =
        (RawElements::new(encoding), None, None);
    let mut at = start;
    let pixels = loop {
        if at == bytes {
            return Err(WalkError::Malformed("it ends without a picture".into()));
        }
        let element = walk.element(at, encoding)?;
        match element.tag {
            tags::PIXEL_DATA | tags::FLOAT_PIXEL_DATA | tags::DOUBLE_FLOAT_PIXEL_DATA => {
                break element;
            }
            tags::MODALITY_LUT_SEQUENCE => {
                modality_table = first_item(&mut walk, &element, encoding)?
            }
            tags::VOILUT_SEQUENCE => voi_table = first_item(&mut walk, &element, encoding)?,
            tag if PICTURE_TAGS.contains(&tag) => elements.push(&mut walk, &element)?,
            _ => {}
        }
        at = walk.end(&element, encoding)?;
    };
    if pixels.tag != tags::PIXEL_DATA {
        return Err(WalkError::Unsupported(
            "floating-point pixels; export it to 16-bit PNG".into(),
        ));
    }
    let (pixel_data, is_complete) = match (pixels.length, syntax.is_encapsulated()) {
        (Some(length), false) => {
            let (at, length) = (pixels.value_at, u64::from(length));
            let is_words = pixels.representation == Some(*b"OW");
            (PixelData::Native { at, bytes: length, is_words }, at + length <= walk.source().len())
        }
        (None, true) => fragments(&mut walk, pixels.value_at, encoding)?,
        (None, false) => {
            return Err(WalkError::Malformed(
                "its pixels have no length although they are not encoded".into(),
            ));
        }
        (Some(_), true) => {
            return Err(WalkError::Malformed(
                "its pixels are not in fragments although they are encoded".into(),
            ));
        }
    };
    Ok(DataSet { syntax, at: start, elements, modality_table, voi_table, pixel_data, is_complete })
}

/// The look-up table in the first item of a sequence, if it has one.
fn first_item<R: ReadAt>(
    walk: &mut Walk<'_, R>,
    sequence: &Element,
    encoding: Encoding,
) -> Result<Option<RawElements>, WalkError> {
    let encoding = sequence.inner_encoding(encoding);
    if sequence.length == Some(0) {
        return Ok(None);
    }
    let item = walk.element(sequence.value_at, encoding)?;
    if item.tag != ITEM {
        return Ok(None);
    }
    let mut elements = RawElements::new(encoding);
    let (mut at, end) =
        (item.value_at, item.length.map(|length| item.value_at + u64::from(length)));
    while end.is_none_or(|end| at < end) {
        let element = walk.element(at, encoding)?;
        if element.tag == ITEM_END {
            break;
        }
        if TABLE.contains(&element.tag) {
            elements.push(walk, &element)?;
        }
        at = walk.end(&element, encoding)?;
    }
    Ok(Some(elements))
}

/// The fragments of encoded pixels (PS3.5 section A.4) without the offset table before them, and
/// whether the delimiter after them is present.
fn fragments<R: ReadAt>(
    walk: &mut Walk<'_, R>,
    mut at: u64,
    encoding: Encoding,
) -> Result<(PixelData, bool), WalkError> {
    let mut fragments = Vec::new();
    let mut is_offset_table = true;
    let is_complete = loop {
        let item = match walk.element(at, encoding) {
            Err(e) if e.is_end() => break false,
            item => item?,
        };
        match (item.tag, item.length) {
            (SEQUENCE_END, _) => break true,
            (ITEM, Some(length)) => {
                let end = item.value_at + u64::from(length);
                if end > walk.source().len() {
                    break false;
                }
                if !std::mem::take(&mut is_offset_table) {
                    fragments.push(item.value_at..end);
                }
                at = end;
            }
            (tag, _) => {
                return Err(WalkError::Malformed(format!(
                    "its encoded pixels have {tag} at byte {at}, which is not a fragment"
                )));
            }
        }
        if fragments.len() > MAX_FRAGMENTS {
            return Err(WalkError::Malformed(format!(
                "its encoded pixels are in more than {MAX_FRAGMENTS} pieces"
            )));
        }
    };
    Ok((PixelData::Encapsulated(fragments), is_complete))
}

/// The deflated data set at `at`: only the part before its pixels is kept in memory; the rest is
/// counted.
fn inflated<R: ReadAt>(
    source: &mut Source<R>,
    syntax: Syntax,
    at: u64,
) -> Result<DataSet, HeaderError> {
    let damaged = |e: io::Error| match e.kind() {
        io::ErrorKind::InvalidData => HeaderError::malformed(
            ImageFormat::Dicom,
            format!("its deflated content is damaged: {e}"),
        ),
        _ => HeaderError::Io(e),
    };
    let mut reader = Inflated::new(source.from(at).map_err(HeaderError::Io)?);
    let (mut start, mut wanted) = (Vec::new(), FIRST_INFLATED_BYTES);
    let mut found = loop {
        (&mut reader)
            .take((wanted - start.len()) as u64)
            .read_to_end(&mut start)
            .map_err(damaged)?;
        let mut inner = Source::new(io::Cursor::new(&start[..]), start.len() as u64)
            .map_err(HeaderError::Io)?;
        match data_set(&mut inner, syntax, 0) {
            Err(e) if e.is_end() && start.len() == wanted && wanted < MAX_INFLATED_HEADER_BYTES => {
                wanted *= 4
            }
            found => break found?,
        }
    };
    if let PixelData::Native { at, bytes, .. } = found.pixel_data {
        let end = at + bytes;
        let seen = start.len() as u64;
        let mut count =
            |bytes: u64| io::copy(&mut (&mut reader).take(bytes), &mut io::sink()).map_err(damaged);
        // The last pixel may be present although the end mark after it is missing.
        found.is_complete = seen + count(end.saturating_sub(seen))? >= end;
        let behind = count(MAX_BYTES_BEHIND_PIXELS)?;
        found.is_complete &= reader.has_ended() || behind == MAX_BYTES_BEHIND_PIXELS;
    }
    found.at = at;
    Ok(found)
}
