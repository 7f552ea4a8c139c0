//! BMP headers, and checks whether TIFF and WebP files are complete.

use std::io;

use crate::error::HeaderError;
use crate::format::ImageFormat;
use crate::image_header::ImageHeader;
use crate::source::{ReadAt, Source};

/// Reads the file header and the DIB header.
pub(super) fn bmp<R: ReadAt>(source: &mut Source<R>) -> Result<ImageHeader, HeaderError> {
    let broken = HeaderError::reading(ImageFormat::Bmp);
    let pixels_at = u32::from_le_bytes(source.array(10).map_err(&broken)?);
    let dib_bytes = u32::from_le_bytes(source.array(14).map_err(&broken)?);
    let (width, height, bits, packed_bytes) = if dib_bytes == 12 {
        let [w0, w1, h0, h1, _, _, b0, b1] = source.array(18).map_err(&broken)?;
        (
            u32::from(u16::from_le_bytes([w0, w1])),
            u32::from(u16::from_le_bytes([h0, h1])),
            u16::from_le_bytes([b0, b1]),
            None,
        )
    } else if dib_bytes >= 40 {
        let width = i32::from_le_bytes(source.array(18).map_err(&broken)?);
        let height = i32::from_le_bytes(source.array(22).map_err(&broken)?);
        let bits = u16::from_le_bytes(source.array(28).map_err(&broken)?);
        let compression = u32::from_le_bytes(source.array(30).map_err(&broken)?);
        let stored_bytes = u32::from_le_bytes(source.array(34).map_err(&broken)?);
        if width < 0 {
            return Err(HeaderError::malformed(
                ImageFormat::Bmp,
                format!("it says a width of {width} pixels"),
            ));
        }
        // 0 is uncompressed, 3 and 6 are uncompressed with bit masks; the others are compressed and
        // give their size.
        (
            width as u32,
            height.unsigned_abs(),
            bits,
            (!matches!(compression, 0 | 3 | 6)).then_some(u64::from(stored_bytes)),
        )
    } else {
        return Err(HeaderError::malformed(
            ImageFormat::Bmp,
            format!("a second header of {dib_bytes} bytes does not exist"),
        ));
    };
    let channels = match bits {
        1 | 2 | 4 | 8 | 16 | 24 => 3,
        32 => 4,
        _ => {
            return Err(HeaderError::malformed(
                ImageFormat::Bmp,
                format!("{bits} bits per pixel do not exist"),
            ));
        }
    };
    let plain_bytes = (u64::from(width) * u64::from(bits)).div_ceil(32) * 4 * u64::from(height);
    let complete = u64::from(pixels_at) + packed_bytes.unwrap_or(plain_bytes) <= source.len();
    Ok(ImageHeader {
        format: ImageFormat::Bmp,
        width,
        height,
        channels,
        exif_orientation: 1,
        bytes: source.len(),
        complete,
        trailing_bytes: 0,
    })
}

/// Whether all strips or tiles of a TIFF's first picture are inside the file. A 64-bit TIFF is
/// assumed to be complete here; its decoder finds a missing end.
pub(super) fn tiff_is_complete<R: ReadAt>(source: &mut Source<R>) -> io::Result<bool> {
    match strips_end(source) {
        Ok(Some(end)) => Ok(end <= source.len()),
        Ok(None) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(e) => Err(e),
    }
}

/// The end of the last strip or tile; `None` if the file is not a 32-bit TIFF with both lists.
fn strips_end<R: ReadAt>(source: &mut Source<R>) -> io::Result<Option<u64>> {
    const SHORT: u16 = 3;
    const MAX_STRIPS: u32 = 1 << 20;
    let order: [u8; 4] = source.array(0)?;
    let little_endian = order[0] == b'I';
    let u16_of = |bytes: [u8; 2]| {
        if little_endian { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) }
    };
    let u32_of = |bytes: [u8; 4]| {
        if little_endian { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) }
    };
    if u16_of([order[2], order[3]]) != 42 {
        return Ok(None);
    }
    let directory = u64::from(u32_of(source.array(4)?));
    let mut lists = [None, None];
    for entry in 0..u16_of(source.array(directory)?) {
        let at = directory + 2 + u64::from(entry) * 12;
        let [t0, t1, k0, k1, c0, c1, c2, c3, ..] = source.array::<12>(at)?;
        let (wide, count) = (u16_of([k0, k1]) != SHORT, u32_of([c0, c1, c2, c3]));
        let list = match u16_of([t0, t1]) {
            273 | 324 => &mut lists[0],
            279 | 325 => &mut lists[1],
            _ => continue,
        };
        // A list may be long, so only the first of each kind is read.
        if list.is_some() {
            continue;
        }
        let bytes = u64::from(count) * if wide { 4 } else { 2 };
        let values_at = if bytes <= 4 { at + 8 } else { u64::from(u32_of(source.array(at + 8)?)) };
        if count > MAX_STRIPS || values_at + bytes > source.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut raw = vec![0; bytes as usize];
        source.read_at(values_at, &mut raw)?;
        *list = Some(if wide {
            raw.chunks_exact(4)
                .map(|b| u64::from(u32_of([b[0], b[1], b[2], b[3]])))
                .collect::<Vec<_>>()
        } else {
            raw.chunks_exact(2).map(|b| u64::from(u16_of([b[0], b[1]]))).collect()
        });
    }
    let [Some(offsets), Some(counts)] = lists else { return Ok(None) };
    Ok(offsets.iter().zip(&counts).map(|(offset, count)| offset + count).max())
}

/// Whether the file is as long as its RIFF header says.
pub(super) fn webp_is_complete<R: ReadAt>(source: &Source<R>) -> bool {
    match source.start().get(4..8) {
        Some(&[b0, b1, b2, b3]) => {
            u64::from(u32::from_le_bytes([b0, b1, b2, b3])) + 8 <= source.len()
        }
        _ => false,
    }
}

/// Refuses a WebP with more chunks than any picture needs, because the decoder looks at each one.
pub(super) fn check_webp_chunks<R: ReadAt>(source: &mut Source<R>) -> Result<(), HeaderError> {
    const MAX_CHUNKS: usize = 1 << 16;
    let mut position = 12;
    for _ in 0..MAX_CHUNKS {
        if position + 8 > source.len() {
            return Ok(());
        }
        let length: [u8; 4] =
            source.array(position + 4).map_err(HeaderError::reading(ImageFormat::Webp))?;
        position += 8 + u64::from(u32::from_le_bytes(length)).next_multiple_of(2);
    }
    let reason = format!("it has more than {MAX_CHUNKS} chunks");
    Err(HeaderError::malformed(ImageFormat::Webp, reason))
}

/// The header of a truncated WebP, from its first chunk (RFC 9649, section 2).
pub(super) fn truncated_webp(start: &[u8], bytes: u64) -> Result<ImageHeader, HeaderError> {
    let at = |i: usize| start.get(i).copied().map(u32::from);
    let size = || {
        Some(match start.get(12..16)? {
            b"VP8X" => (
                1 + (at(24)? | at(25)? << 8 | at(26)? << 16),
                1 + (at(27)? | at(28)? << 8 | at(29)? << 16),
            ),
            b"VP8L" => {
                let bits = at(21)? | at(22)? << 8 | at(23)? << 16 | at(24)? << 24;
                (1 + (bits & 0x3fff), 1 + (bits >> 14 & 0x3fff))
            }
            b"VP8 " => ((at(26)? | at(27)? << 8) & 0x3fff, (at(28)? | at(29)? << 8) & 0x3fff),
            _ => return None,
        })
    };
    let (width, height) = size().ok_or_else(|| {
        HeaderError::malformed(ImageFormat::Webp, "the file ends inside its header")
    })?;
    Ok(ImageHeader {
        format: ImageFormat::Webp,
        width,
        height,
        channels: 3,
        exif_orientation: 1,
        bytes,
        complete: false,
        trailing_bytes: 0,
    })
}
