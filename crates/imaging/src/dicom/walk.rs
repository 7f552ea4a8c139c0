//! Passes over the elements of a DICOM data set (PS3.5 section 7) one by one, reading only their
//! heads. Every length is checked against the file, nested sequences are walked without recursion,
//! and the number of elements is limited: a hostile file costs little time and no memory.

use std::io;

use dicom_core::Tag;

use crate::error::HeaderError;
use crate::format::ImageFormat;
use crate::source::{ReadAt, Source};

/// Starts an item of a sequence, or a fragment of encoded pixels.
pub(super) const ITEM: Tag = Tag(0xfffe, 0xe000);
/// Ends an item of undefined length.
pub(super) const ITEM_END: Tag = Tag(0xfffe, 0xe00d);
/// Ends a sequence of undefined length, or encoded pixels.
pub(super) const SEQUENCE_END: Tag = Tag(0xfffe, 0xe0dd);
/// A file with more elements before the picture is hostile.
const MAX_ELEMENTS: u32 = 200_000;
/// Maximum nesting of sequences and items.
const MAX_DEPTH: usize = 64;
/// The length that means "until the delimiter".
const UNDEFINED: u32 = u32::MAX;
/// Value representations whose length has 32 bits in explicit encodings (PS3.5 section 7.1.2).
const LONG_VALUES: [&[u8; 2]; 13] =
    [b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"];

/// The encoding of element heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Encoding {
    /// Whether the value representation is written.
    pub is_explicit: bool,
    /// Whether numbers are big-endian.
    pub is_big_endian: bool,
}

impl Encoding {
    pub(super) const EXPLICIT_LITTLE_ENDIAN: Encoding =
        Encoding { is_explicit: true, is_big_endian: false };
    pub(super) const IMPLICIT_LITTLE_ENDIAN: Encoding =
        Encoding { is_explicit: false, is_big_endian: false };

    fn u16(self, bytes: [u8; 2]) -> u16 {
        if self.is_big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
    }

    fn u32(self, bytes: [u8; 4]) -> u32 {
        if self.is_big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }
}

/// Why a walk failed.
#[derive(Debug)]
pub(super) enum WalkError {
    /// The disk's error, or `UnexpectedEof` if the file ends within an element.
    Read(io::Error),
    /// The file is invalid.
    Malformed(String),
    /// The file may be valid but is not supported.
    Unsupported(String),
}

impl WalkError {
    pub(super) fn is_end(&self) -> bool {
        matches!(self, WalkError::Read(e) if e.kind() == io::ErrorKind::UnexpectedEof)
    }
}

impl From<io::Error> for WalkError {
    fn from(e: io::Error) -> Self {
        WalkError::Read(e)
    }
}

impl From<WalkError> for HeaderError {
    fn from(e: WalkError) -> Self {
        match e {
            WalkError::Read(e) => HeaderError::reading(ImageFormat::Dicom)(e),
            WalkError::Malformed(reason) => HeaderError::malformed(ImageFormat::Dicom, reason),
            WalkError::Unsupported(reason) => HeaderError::unsupported(ImageFormat::Dicom, reason),
        }
    }
}

/// The head of an element.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element {
    pub tag: Tag,
    /// Offset of the head.
    pub at: u64,
    /// Offset of the value.
    pub value_at: u64,
    /// Length of the value in bytes; `None` if a delimiter ends it.
    pub length: Option<u32>,
    /// The value representation, if it is written.
    pub representation: Option<[u8; 2]>,
}

impl Element {
    /// The encoding of the items of this element; those of unknown elements are implicit (PS3.5
    /// section 6.2.2).
    pub(super) fn inner_encoding(&self, encoding: Encoding) -> Encoding {
        if self.representation == Some(*b"UN") {
            Encoding::IMPLICIT_LITTLE_ENDIAN
        } else {
            encoding
        }
    }
}

/// A walk over a file.
pub(super) struct Walk<'a, R> {
    source: &'a mut Source<R>,
    elements_left: u32,
}

impl<'a, R: ReadAt> Walk<'a, R> {
    pub(super) fn new(source: &'a mut Source<R>) -> Self {
        Walk { source, elements_left: MAX_ELEMENTS }
    }

    pub(super) fn source(&mut self) -> &mut Source<R> {
        self.source
    }

    /// The encoding of the data set at `at`. Some writers announce value representations and do not
    /// write them, or vice versa. The first element shows which it is, because the length of a
    /// first element never looks like two letters.
    pub(super) fn encoding(&mut self, at: u64, announced: Encoding) -> Result<Encoding, WalkError> {
        if announced.is_big_endian || at + 8 > self.source.len() {
            return Ok(announced);
        }
        let [first, second] = self.source.array(at + 4)?;
        Ok(Encoding {
            is_explicit: first.is_ascii_uppercase() && second.is_ascii_uppercase(),
            ..announced
        })
    }

    /// The head at `at`. Does not check whether the value is within the file.
    pub(super) fn element(&mut self, at: u64, encoding: Encoding) -> Result<Element, WalkError> {
        self.elements_left = self.elements_left.checked_sub(1).ok_or_else(|| {
            WalkError::Malformed(format!("it has more than {MAX_ELEMENTS} elements"))
        })?;
        let [g0, g1, e0, e1, l0, l1, l2, l3] = self.source.array(at)?;
        let tag = Tag(encoding.u16([g0, g1]), encoding.u16([e0, e1]));
        let (representation, length, value_at) =
            if !encoding.is_explicit || tag.group() == ITEM.group() {
                (None, encoding.u32([l0, l1, l2, l3]), at + 8)
            } else if !l0.is_ascii_uppercase() || !l1.is_ascii_uppercase() {
                return Err(WalkError::Malformed(format!(
                    "no element begins at byte {at}, where one should"
                )));
            } else if LONG_VALUES.contains(&&[l0, l1]) {
                (Some([l0, l1]), encoding.u32(self.source.array(at + 8)?), at + 12)
            } else {
                (Some([l0, l1]), u32::from(encoding.u16([l2, l3])), at + 8)
            };
        Ok(Element {
            tag,
            at,
            value_at,
            length: (length != UNDEFINED).then_some(length),
            representation,
        })
    }

    /// The end of the element, after checking that its value is within the file.
    pub(super) fn end(&mut self, element: &Element, encoding: Encoding) -> Result<u64, WalkError> {
        match element.length {
            Some(length) => self.within(element.value_at + u64::from(length)),
            None => self.end_of_sequence(element.value_at, element.inner_encoding(encoding)),
        }
    }

    /// The head and value of an element, if the value has at most `max_bytes`.
    pub(super) fn raw(&mut self, element: &Element, max_bytes: u64) -> Result<Vec<u8>, WalkError> {
        let length = element.length.ok_or_else(|| {
            WalkError::Malformed(format!("element {} has no length", element.tag))
        })?;
        let end = self.within(element.value_at + u64::from(length))?;
        if end - element.at > max_bytes {
            return Err(WalkError::Malformed(format!(
                "element {} has {length} bytes",
                element.tag
            )));
        }
        let mut raw = vec![0; (end - element.at) as usize];
        self.source.read_at(element.at, &mut raw)?;
        Ok(raw)
    }

    fn within(&self, end: u64) -> Result<u64, WalkError> {
        if end > self.source.len() {
            Err(io::Error::from(io::ErrorKind::UnexpectedEof).into())
        } else {
            Ok(end)
        }
    }

    /// The end of a delimited sequence whose first item is at `at`.
    fn end_of_sequence(&mut self, mut at: u64, encoding: Encoding) -> Result<u64, WalkError> {
        // The open sequences and items, alternately, that wait for their delimiters.
        let mut open = vec![encoding];
        while let Some(&encoding) = open.last() {
            if open.len() > MAX_DEPTH {
                return Err(WalkError::Malformed(format!(
                    "its sequences are nested more than {MAX_DEPTH} deep"
                )));
            }
            let element = self.element(at, encoding)?;
            let is_sequence = open.len() % 2 == 1;
            at = match (is_sequence, element.tag, element.length) {
                (true, SEQUENCE_END, _) | (false, ITEM_END, _) => {
                    open.pop();
                    element.value_at
                }
                (true, tag, _) if tag != ITEM => {
                    return Err(WalkError::Malformed(format!(
                        "a sequence has {tag} at byte {at}, which is not an item"
                    )));
                }
                (_, _, Some(length)) => self.within(element.value_at + u64::from(length))?,
                (_, _, None) => {
                    open.push(element.inner_encoding(encoding));
                    element.value_at
                }
            };
        }
        Ok(at)
    }
}
