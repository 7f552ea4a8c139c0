//! What an image file says of itself.

use crate::format::ImageFormat;

/// What an image file says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageHeader {
    /// The format, by content and not by file name.
    pub format: ImageFormat,
    /// Pixels across, after EXIF orientation; at least 1.
    pub width: u32,
    /// Pixels down, after EXIF orientation; at least 1.
    pub height: u32,
    /// Channels as stored: 1 gray, 2 gray and alpha, 3 colour or palette, 4 colour and alpha or
    /// CMYK.
    pub channels: i8,
    /// EXIF orientation, 1 to 8; 1 if there is none.
    pub exif_orientation: i8,
    /// Size of the file.
    pub bytes: u64,
    /// Whether the file has its end mark (JPEG, PNG) or the length that its header announces (BMP,
    /// TIFF, WebP, DICOM). An incomplete file is truncated and cannot be decoded.
    pub complete: bool,
    /// Bytes after the end mark of a JPEG or PNG: padding or another program's data. They are
    /// ignored, as decoders do; the picture is complete.
    pub trailing_bytes: u64,
}

/// Width and height after applying the orientation; 5 to 8 include a quarter turn.
pub(crate) fn upright(width: u32, height: u32, exif_orientation: i8) -> (u32, u32) {
    if exif_orientation >= 5 { (height, width) } else { (width, height) }
}
