//! Transfer syntaxes: how a data set and its pixels are written (PS3.5 section 10 and annex A).

use dicom_dictionary_std::{tags, uids};
use dicom_encoding::TransferSyntaxIndex as _;
use dicom_transfer_syntax_registry::TransferSyntaxRegistry;

use super::walk::{Encoding, Walk, WalkError};
use crate::source::ReadAt;

/// Bytes before the first element: the preamble and `DICM` (PS3.10 section 7.1).
const PREAMBLE_BYTES: u64 = 132;
/// The group of the elements that describe the file; they are always in explicit little-endian
/// encoding.
const META_GROUP: [u8; 2] = [2, 0];
/// A unique identifier has at most 64 characters (PS3.5 section 9.1).
const MAX_UID_BYTES: u64 = 64 + 8;

/// The encoding of the pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    /// Not at all.
    Native,
    /// Not at all, in a deflated data set.
    Deflated,
    /// Not at all, in fragments.
    Fragments,
    Rle,
    /// Baseline and extended.
    LossyJpeg,
    LosslessJpeg,
}

/// The encoding of a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Syntax {
    pub encoding: Encoding,
    pub coding: Coding,
}

impl Syntax {
    /// Reads the elements that describe the file. Also returns the offset of the data set.
    pub(super) fn read<R: ReadAt>(walk: &mut Walk<'_, R>) -> Result<(Self, u64), WalkError> {
        let (mut at, mut uid) = (PREAMBLE_BYTES, None);
        while at + 2 <= walk.source().len() && walk.source().array(at)? == META_GROUP {
            let element = walk.element(at, Encoding::EXPLICIT_LITTLE_ENDIAN)?;
            if element.tag == tags::TRANSFER_SYNTAX_UID {
                let raw = walk.raw(&element, MAX_UID_BYTES)?;
                uid = raw.get((element.value_at - element.at) as usize..).map(|value| {
                    String::from_utf8_lossy(value).trim_end_matches(['\0', ' ']).to_owned()
                });
            }
            at = walk.end(&element, Encoding::EXPLICIT_LITTLE_ENDIAN)?;
        }
        match uid {
            Some(uid) => Ok((Syntax::of_uid(&uid)?, at)),
            None if at == walk.source().len() => {
                Err(WalkError::Malformed("it ends without a picture".into()))
            }
            None => Err(WalkError::Malformed("it does not say its transfer syntax".into())),
        }
    }

    fn of_uid(uid: &str) -> Result<Self, WalkError> {
        let (is_explicit, coding) = match uid {
            uids::IMPLICIT_VR_LITTLE_ENDIAN => (false, Coding::Native),
            uids::EXPLICIT_VR_LITTLE_ENDIAN | EXPLICIT_VR_BIG_ENDIAN => (true, Coding::Native),
            uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN => (true, Coding::Deflated),
            uids::ENCAPSULATED_UNCOMPRESSED_EXPLICIT_VR_LITTLE_ENDIAN => (true, Coding::Fragments),
            uids::RLE_LOSSLESS => (true, Coding::Rle),
            uids::JPEG_BASELINE8_BIT | uids::JPEG_EXTENDED12_BIT => (true, Coding::LossyJpeg),
            uids::JPEG_LOSSLESS | uids::JPEG_LOSSLESS_SV1 => (true, Coding::LosslessJpeg),
            _ => {
                let name = TransferSyntaxRegistry.get(uid).map_or_else(
                    || "an unknown transfer syntax".to_owned(),
                    |syntax| syntax.name().to_owned(),
                );
                return Err(WalkError::Unsupported(format!(
                    "its pixels are encoded as {name} ({uid}); {DECOMPRESS}"
                )));
            }
        };
        Ok(Syntax {
            encoding: Encoding { is_explicit, is_big_endian: uid == EXPLICIT_VR_BIG_ENDIAN },
            coding,
        })
    }

    /// Whether the pixels are in fragments.
    pub(super) fn is_encapsulated(self) -> bool {
        matches!(
            self.coding,
            Coding::Fragments | Coding::Rle | Coding::LossyJpeg | Coding::LosslessJpeg
        )
    }
}

/// Retired, so the dictionary's constant for it is deprecated.
const EXPLICIT_VR_BIG_ENDIAN: &str = "1.2.840.10008.1.2.2";

/// Advice for pixels that cannot be decoded here.
pub(super) const DECOMPRESS: &str = "decompress it (gdcmconv --raw) or export it to 16-bit PNG";
