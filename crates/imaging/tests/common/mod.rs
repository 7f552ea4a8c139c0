//! Builds DICOM files element by element, so that they can also be invalid.

#![allow(dead_code)]

use dicom_core::Tag;
use dicom_dictionary_std::{tags, uids};

pub const BIG_ENDIAN: &str = "1.2.840.10008.1.2.2";

/// A value whose byte order is decided when it is written.
#[derive(Clone)]
pub enum Value {
    Text(String),
    Words(Vec<u16>),
    Bytes(Vec<u8>),
    /// Each item's elements.
    Sequence(Vec<Vec<Element>>),
    Fragments(Vec<Vec<u8>>),
}

pub type Element = (Tag, &'static [u8; 2], Value);

#[derive(Clone)]
pub struct Dicom {
    pub syntax: &'static str,
    pub elements: Vec<Element>,
}

impl Dicom {
    /// A gray picture of one row in which the lowest value is black; samples of up to 8 bits are
    /// bytes.
    pub fn row(bits_stored: u16, values: &[i32]) -> Self {
        let allocated = if bits_stored <= 8 { 8 } else { 16 };
        let pixels = match allocated {
            8 => (
                tags::PIXEL_DATA,
                b"OB",
                Value::Bytes(values.iter().map(|value| *value as u8).collect()),
            ),
            _ => (
                tags::PIXEL_DATA,
                b"OW",
                Value::Words(values.iter().map(|value| *value as u16).collect()),
            ),
        };
        Self::picture(values.len() as u16, 1, "MONOCHROME2", 1, (allocated, bits_stored))
            .with(pixels)
    }

    /// All elements except the pixels.
    pub fn picture(
        width: u16,
        height: u16,
        photometric: &str,
        samples: u16,
        (allocated, stored): (u16, u16),
    ) -> Self {
        let text = |text: &str| Value::Text(text.to_owned());
        Dicom { syntax: uids::EXPLICIT_VR_LITTLE_ENDIAN, elements: Vec::new() }
            .with((tags::MODALITY, b"CS", text("DX")))
            .with((tags::PATIENT_NAME, b"PN", text("Nobody^Test")))
            .number(tags::SAMPLES_PER_PIXEL, samples)
            .with((tags::PHOTOMETRIC_INTERPRETATION, b"CS", text(photometric)))
            .number(tags::ROWS, height)
            .number(tags::COLUMNS, width)
            .number(tags::BITS_ALLOCATED, allocated)
            .number(tags::BITS_STORED, stored)
            .number(tags::HIGH_BIT, stored - 1)
            .number(tags::PIXEL_REPRESENTATION, 0)
    }

    pub fn with(mut self, element: Element) -> Self {
        self.elements.retain(|(tag, ..)| *tag != element.0);
        self.elements.push(element);
        self.elements.sort_by_key(|(tag, ..)| *tag);
        self
    }

    pub fn without(mut self, tag: Tag) -> Self {
        self.elements.retain(|element| element.0 != tag);
        self
    }

    pub fn number(self, tag: Tag, value: u16) -> Self {
        self.with((tag, b"US", Value::Words(vec![value])))
    }

    pub fn signed(self) -> Self {
        self.number(tags::PIXEL_REPRESENTATION, 1)
    }

    pub fn text(self, tag: Tag, representation: &'static [u8; 2], text: &str) -> Self {
        self.with((tag, representation, Value::Text(text.to_owned())))
    }

    pub fn window(self, center: &str, width: &str) -> Self {
        self.text(tags::WINDOW_CENTER, b"DS", center).text(tags::WINDOW_WIDTH, b"DS", width)
    }

    pub fn rescaled(self, slope: &str, intercept: &str) -> Self {
        self.text(tags::RESCALE_SLOPE, b"DS", slope).text(tags::RESCALE_INTERCEPT, b"DS", intercept)
    }

    /// A look-up table in a sequence.
    pub fn table(self, sequence: Tag, descriptor: [u16; 3], entries: &[u16]) -> Self {
        let item = vec![
            (tags::LUT_DESCRIPTOR, b"US", Value::Words(descriptor.to_vec())),
            (tags::LUT_DATA, b"OW", Value::Words(entries.to_vec())),
        ];
        self.with((sequence, b"SQ", Value::Sequence(vec![item])))
    }

    pub fn encoded(mut self, syntax: &'static str, frame: &[u8]) -> Self {
        self.syntax = syntax;
        self.with((tags::PIXEL_DATA, b"OB", Value::Fragments(vec![Vec::new(), frame.to_vec()])))
    }

    pub fn in_syntax(mut self, syntax: &'static str) -> Self {
        self.syntax = syntax;
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        [file_start(self.syntax), self.data_set()].concat()
    }

    /// The data set, without the elements that describe the file.
    pub fn data_set(&self) -> Vec<u8> {
        let writer = Writer {
            is_explicit: self.syntax != uids::IMPLICIT_VR_LITTLE_ENDIAN,
            is_big_endian: self.syntax == BIG_ENDIAN,
        };
        self.elements.iter().flat_map(|element| writer.element(element)).collect()
    }
}

/// The preamble and the transfer syntax.
pub fn file_start(syntax: &str) -> Vec<u8> {
    let mut uid = syntax.as_bytes().to_vec();
    uid.resize(uid.len().next_multiple_of(2), 0);
    [&[0; 128][..], b"DICM", &[2, 0, 0x10, 0], b"UI", &(uid.len() as u16).to_le_bytes(), &uid]
        .concat()
}

struct Writer {
    is_explicit: bool,
    is_big_endian: bool,
}

impl Writer {
    fn u16(&self, value: u16) -> [u8; 2] {
        if self.is_big_endian { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    fn u32(&self, value: u32) -> [u8; 4] {
        if self.is_big_endian { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    fn tag(&self, tag: Tag) -> Vec<u8> {
        [self.u16(tag.0), self.u16(tag.1)].concat()
    }

    fn item(&self, content: &[u8]) -> Vec<u8> {
        [self.tag(Tag(0xfffe, 0xe000)), self.u32(content.len() as u32).to_vec(), content.to_vec()]
            .concat()
    }

    fn element(&self, (tag, representation, value): &Element) -> Vec<u8> {
        let mut content = match value {
            Value::Text(text) => format!("{text}{}", " ".repeat(text.len() % 2)).into_bytes(),
            Value::Words(words) => words.iter().flat_map(|word| self.u16(*word)).collect(),
            Value::Bytes(bytes) => bytes.clone(),
            Value::Sequence(items) => items
                .iter()
                .flat_map(|item| {
                    self.item(
                        &item.iter().flat_map(|element| self.element(element)).collect::<Vec<_>>(),
                    )
                })
                .collect(),
            Value::Fragments(fragments) => {
                let even =
                    |fragment: &Vec<u8>| [fragment.clone(), vec![0; fragment.len() % 2]].concat();
                let items = fragments.iter().flat_map(|fragment| self.item(&even(fragment)));
                items.chain(self.tag(Tag(0xfffe, 0xe0dd))).chain([0; 4]).collect()
            }
        };
        content.resize(content.len().next_multiple_of(2), 0);
        let length =
            if matches!(value, Value::Fragments(_)) { u32::MAX } else { content.len() as u32 };
        let is_long = matches!(*representation, b"OB" | b"OW" | b"SQ" | b"UN" | b"UT" | b"OF");
        let head = match (self.is_explicit, is_long) {
            (false, _) => self.u32(length).to_vec(),
            (true, true) => [&representation[..], &[0, 0], &self.u32(length)].concat(),
            (true, false) => [&representation[..], &self.u16(length as u16)].concat(),
        };
        [self.tag(*tag), head, content].concat()
    }
}

/// A lossless gray JPEG (ITU-T T.81 annex H) that predicts each sample from its left neighbour.
pub fn lossless_jpeg(width: u16, values: &[u16], precision: u8) -> Vec<u8> {
    let height = (values.len() / usize::from(width)) as u16;
    let [height, width] = [height, width].map(u16::to_be_bytes);
    let mut file = vec![
        0xff, 0xd8, 0xff, 0xc3, 0, 11, precision, height[0], height[1], width[0], width[1], 1, 1,
        0x11, 0,
    ];
    // A five-bit code for each of the 17 categories of differences.
    file.extend([0xff, 0xc4, 0, 2 + 17 + 17, 0, 0, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    file.extend(0..17u8);
    file.extend([0xff, 0xda, 0, 8, 1, 1, 0, 1, 0, 0]);
    let mut bits = Vec::new();
    let mut put =
        |value: u32, count: u32| bits.extend((0..count).rev().map(|bit| (value >> bit) as u8 & 1));
    let width = usize::from(u16::from_be_bytes(width));
    for (i, value) in values.iter().enumerate() {
        let predicted = match (i % width, i / width) {
            (0, 0) => 1 << (precision - 1),
            (0, _) => values[i - width],
            _ => values[i - 1],
        };
        let difference = i32::from(value.wrapping_sub(predicted) as i16);
        let category = 32 - difference.unsigned_abs().leading_zeros();
        put(category, 5);
        if category < 16 {
            put(
                (if difference < 0 { difference - 1 } else { difference }) as u32
                    & ((1 << category) - 1),
                category,
            );
        }
    }
    bits.resize(bits.len().next_multiple_of(8), 1);
    for byte in bits.chunks(8).map(|bits| bits.iter().fold(0, |byte, bit| byte << 1 | bit)) {
        file.push(byte);
        if byte == 0xff {
            file.push(0);
        }
    }
    file.extend([0xff, 0xd9]);
    file
}

/// An RLE frame with these segments, each as literals.
pub fn rle(segments: &[&[u8]]) -> Vec<u8> {
    let packed: Vec<Vec<u8>> = segments
        .iter()
        .map(|segment| {
            segment.chunks(128).flat_map(|run| [&[run.len() as u8 - 1], run].concat()).collect()
        })
        .collect();
    let mut header = vec![segments.len() as u32];
    let mut at = 64;
    for segment in &packed {
        header.push(at);
        at += segment.len() as u32;
    }
    header.resize(16, 0);
    header.iter().flat_map(|value| value.to_le_bytes()).chain(packed.concat()).collect()
}
