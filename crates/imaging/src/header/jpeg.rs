use std::io;

use super::exif;
use crate::error::HeaderError;
use crate::format::ImageFormat;
use crate::image_header::{ImageHeader, upright};
use crate::source::{ReadAt, Source};

/// A file with more segments before the first scan is hostile.
const MAX_SEGMENTS: usize = 4096;
/// Bytes before the first scan that belong to no segment. Decoders skip a few; a file with more is
/// not a JPEG.
const MAX_STRAY_BYTES: u64 = 64 << 10;
/// Bytes that are searched for the end mark if the file does not end with it.
const MAX_SEARCHED_BYTES: u64 = 1 << 30;

const SOS: u8 = 0xda;
const EOI: u8 = 0xd9;
const APP1: u8 = 0xe1;

struct Frame {
    width: u16,
    height: u16,
    components: u8,
}

/// Walks the segments up to the first scan (ITU-T T.81, annex B), then looks for the end mark.
pub(super) fn header<R: ReadAt>(source: &mut Source<R>) -> Result<ImageHeader, HeaderError> {
    let broken = HeaderError::reading(ImageFormat::Jpeg);
    let (mut frame, mut exif_orientation, mut scan_start) = (None, 1, None);
    let (mut position, mut stray_bytes) = (2, 0);
    for _ in 0..MAX_SEGMENTS {
        let segment = match next_segment(source, position, &mut stray_bytes) {
            Ok(segment) => segment,
            // Truncated between the frame header and the scan, so the size is still known.
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof && frame.is_some() => break,
            Err(e) if e.get_ref().is_some_and(|e| e.is::<TooManyStrays>()) => {
                return Err(HeaderError::malformed(ImageFormat::Jpeg, e.to_string()));
            }
            Err(e) => return Err(broken(e)),
        };
        match segment.marker {
            SOS => {
                scan_start = Some(segment.end);
                break;
            }
            EOI => {
                return Err(HeaderError::malformed(ImageFormat::Jpeg, "it ends without a picture"));
            }
            marker @ (0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf) => {
                frame = Some(frame_of(source, marker, segment.data).map_err(&broken)??)
            }
            APP1 if exif_orientation == 1 => {
                exif_orientation = exif_of(source, &segment).map_err(&broken)?
            }
            _ => {}
        }
        position = segment.end;
    }
    let frame = frame.ok_or_else(|| {
        HeaderError::malformed(ImageFormat::Jpeg, "it has no frame header, which holds the size")
    })?;
    let (complete, trailing_bytes) = match scan_start {
        Some(scan_start) => end_mark(source, scan_start).map_err(HeaderError::Io)?,
        None => (false, 0),
    };
    // Every block of 8 by 8 pixels takes at least one bit.
    if complete && u64::from(frame.width) * u64::from(frame.height) / 512 > source.len() {
        let reason = format!(
            "it says {}x{} pixels, which {} bytes cannot hold",
            frame.width,
            frame.height,
            source.len()
        );
        return Err(HeaderError::malformed(ImageFormat::Jpeg, reason));
    }
    let (width, height) = upright(frame.width.into(), frame.height.into(), exif_orientation);
    Ok(ImageHeader {
        format: ImageFormat::Jpeg,
        width,
        height,
        channels: frame.components as i8,
        exif_orientation,
        bytes: source.len(),
        complete,
        trailing_bytes,
    })
}

#[derive(Debug, thiserror::Error)]
#[error("more than {MAX_STRAY_BYTES} bytes before its picture belong to no segment")]
struct TooManyStrays;

struct Segment {
    marker: u8,
    /// Offset of its content.
    data: u64,
    /// Offset of the next segment.
    end: u64,
}

/// The next segment from `position` on. Fill bytes and stray bytes before it are skipped, as
/// decoders do, and counted.
fn next_segment<R: ReadAt>(
    source: &mut Source<R>,
    mut position: u64,
    stray_bytes: &mut u64,
) -> io::Result<Segment> {
    let marker = loop {
        let stray = match source.array(position)? {
            [0xff, marker @ (0x02..=0xcf | 0xd9..=0xfe)] => break marker,
            [0xff, 0x01 | 0xd0..=0xd8] => 2,
            _ => 1,
        };
        position += stray;
        *stray_bytes += stray;
        if *stray_bytes > MAX_STRAY_BYTES {
            return Err(io::Error::other(TooManyStrays));
        }
    };
    if marker == EOI {
        return Ok(Segment { marker, data: position + 2, end: position + 2 });
    }
    let length = u64::from(u16::from_be_bytes(source.array(position + 2)?));
    Ok(Segment { marker, data: position + 4, end: position + 2 + length.max(2) })
}

fn frame_of<R: ReadAt>(
    source: &mut Source<R>,
    marker: u8,
    data: u64,
) -> io::Result<Result<Frame, HeaderError>> {
    let [precision, h1, h0, w1, w0, components] = source.array(data)?;
    let frame = Frame {
        width: u16::from_be_bytes([w1, w0]),
        height: u16::from_be_bytes([h1, h0]),
        components,
    };
    let unsupported = |reason: &str| {
        Ok(Err(HeaderError::unsupported(ImageFormat::Jpeg, format!("{reason}; convert it to PNG"))))
    };
    match marker {
        0xc0..=0xc2 => {}
        0xc3 | 0xc7 | 0xcb | 0xcf => return unsupported("lossless coding"),
        0xc5 | 0xc6 => return unsupported("hierarchical coding"),
        _ => return unsupported("arithmetic coding"),
    }
    if precision != 8 {
        return unsupported(&format!("{precision} bits per sample"));
    }
    if frame.height == 0 && frame.width > 0 {
        return unsupported("a height that follows the picture (DNL)");
    }
    if !matches!(components, 1 | 3 | 4) {
        return Ok(Err(HeaderError::malformed(
            ImageFormat::Jpeg,
            format!("it says {components} components; there are 1, 3 or 4"),
        )));
    }
    Ok(Ok(frame))
}

fn exif_of<R: ReadAt>(source: &mut Source<R>, segment: &Segment) -> io::Result<i8> {
    const EXIF: &[u8] = b"Exif\0\0";
    let length = segment.end.saturating_sub(segment.data) as usize;
    if length <= EXIF.len() || source.array::<6>(segment.data)? != *EXIF {
        return Ok(1);
    }
    let mut block = vec![0; length - EXIF.len()];
    source.read_at(segment.data + EXIF.len() as u64, &mut block)?;
    Ok(exif::orientation(&block))
}

/// Whether the end mark is present, and how many bytes follow it.
fn end_mark<R: ReadAt>(source: &mut Source<R>, scan_start: u64) -> io::Result<(bool, u64)> {
    let bytes = source.len();
    if bytes < scan_start + 2 {
        return Ok((false, 0));
    }
    if source.array::<2>(bytes - 2)? == [0xff, EOI] {
        return Ok((true, 0));
    }
    // Either something follows the end mark, or it is missing: search the scans.
    let mut search = EndSearch::Data;
    let mut position = scan_start;
    let reader = source.from(scan_start)?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let length = match reader.read(&mut buffer) {
            Ok(0) => return Ok((false, 0)),
            Ok(length) => length,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        for (at, byte) in buffer[..length].iter().enumerate() {
            search = search.next(*byte);
            if matches!(search, EndSearch::Found) {
                return Ok((true, bytes.saturating_sub(position + at as u64 + 1)));
            }
        }
        position += length as u64;
        if position - scan_start > MAX_SEARCHED_BYTES {
            return Ok((false, 0));
        }
    }
}

/// The state of a search through entropy-coded data and the tables between scans. In coded data,
/// 0xff is followed by a stuffed zero, so an end mark is unambiguous; tables may contain any bytes
/// and are skipped.
enum EndSearch {
    Data,
    Marker,
    LengthHigh,
    LengthLow(u8),
    Skip(u16),
    Found,
}

impl EndSearch {
    fn next(self, byte: u8) -> Self {
        match self {
            EndSearch::Data if byte == 0xff => EndSearch::Marker,
            EndSearch::Data => EndSearch::Data,
            EndSearch::Marker => match byte {
                EOI => EndSearch::Found,
                0xff => EndSearch::Marker,
                0x00 | 0x01 | 0xd0..=0xd8 => EndSearch::Data,
                _ => EndSearch::LengthHigh,
            },
            EndSearch::LengthHigh => EndSearch::LengthLow(byte),
            EndSearch::LengthLow(high) => match u16::from_be_bytes([high, byte]) {
                0..=2 => EndSearch::Data,
                length => EndSearch::Skip(length - 2),
            },
            EndSearch::Skip(1) => EndSearch::Data,
            EndSearch::Skip(left) => EndSearch::Skip(left - 1),
            EndSearch::Found => EndSearch::Found,
        }
    }
}
