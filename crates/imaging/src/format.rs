//! The formats of image files.

use std::ops::Range;

/// Position of `DICM`, after a preamble with arbitrary content.
const DICOM_MAGIC_AT: Range<usize> = 128..132;
const DICOM_MAGIC: &[u8] = b"DICM";

/// A format that [`crate::decode`] reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ImageFormat {
    /// JPEG, baseline or progressive.
    Jpeg,
    /// PNG.
    Png,
    /// Windows bitmap.
    Bmp,
    /// TIFF; its first picture.
    Tiff,
    /// WebP; its first frame.
    Webp,
    /// DICOM with one frame.
    Dicom,
}

impl ImageFormat {
    /// The endings of names of files in these formats, in lower case.
    pub const EXTENSIONS: [&str; 9] =
        ["jpg", "jpeg", "png", "bmp", "tif", "tiff", "webp", "dcm", "dicom"];

    /// The name used in tables: `jpeg`, `png`, `bmp`, `tiff`, `webp`, `dicom`.
    pub fn as_str(self) -> &'static str {
        match self {
            ImageFormat::Jpeg => "jpeg",
            ImageFormat::Png => "png",
            ImageFormat::Bmp => "bmp",
            ImageFormat::Tiff => "tiff",
            ImageFormat::Webp => "webp",
            ImageFormat::Dicom => "dicom",
        }
    }

    /// The format with this signature; 132 bytes are enough. DICOM is checked first, because the
    /// bytes before its signature are arbitrary, and some writers put a TIFF header there.
    pub fn from_signature(start: &[u8]) -> Option<Self> {
        match start {
            _ if start.get(DICOM_MAGIC_AT) == Some(DICOM_MAGIC) => Some(ImageFormat::Dicom),
            [0xff, 0xd8, 0xff, ..] => Some(ImageFormat::Jpeg),
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some(ImageFormat::Png),
            [b'B', b'M', ..] => Some(ImageFormat::Bmp),
            [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => Some(ImageFormat::Tiff),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => {
                Some(ImageFormat::Webp)
            }
            _ => None,
        }
    }
}

impl std::fmt::Display for ImageFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}
