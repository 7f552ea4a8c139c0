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
    /// EXIF orientation, 1 to 8; 1 where there is none.
    pub exif_orientation: i8,
    /// Size of the file.
    pub bytes: u64,
    /// Whether the file reaches its end mark (JPEG, PNG) or the extent that its header announces
    /// (BMP, TIFF, WebP, DICOM). A file that is not complete was cut short and does not decode.
    pub complete: bool,
    /// Bytes after the end mark of a JPEG or PNG that does not end with it: padding or another
    /// program's data. Decoders pass over them, and so do we; the picture is whole.
    pub trailing_bytes: u64,
}

/// Width and height after orientations 5 to 8, which turn by a quarter.
pub(crate) fn upright(width: u32, height: u32, exif_orientation: i8) -> (u32, u32) {
    if exif_orientation >= 5 { (height, width) } else { (width, height) }
}
