use std::io;

use super::exif;
use crate::error::HeaderError;
use crate::format::ImageFormat;
use crate::image_header::{ImageHeader, upright};
use crate::source::{ReadAt, Source};

const SIGNATURE_BYTES: u64 = 8;
/// Length, name and checksum around a chunk's content.
const CHUNK_FRAME_BYTES: u64 = 12;
/// An empty IEND chunk with its checksum.
const END: [u8; 12] = [0, 0, 0, 0, b'I', b'E', b'N', b'D', 0xae, 0x42, 0x60, 0x82];
/// The best possible compression ratio (RFC 1951: 258 bytes from 2 bits).
const MAX_DEFLATE_RATIO: u64 = 1032;
/// An EXIF block larger than this is not read for its orientation.
const MAX_EXIF_BYTES: u32 = 1 << 20;
/// A file with more chunks before the picture is hostile.
const MAX_CHUNKS: usize = 4096;
/// Chunks that are searched for the end if the file does not end with it.
const MAX_CHUNKS_TO_END: usize = 1 << 20;

/// Reads IHDR, an eXIf chunk before the picture, and the end.
pub(super) fn header<R: ReadAt>(source: &mut Source<R>) -> Result<ImageHeader, HeaderError> {
    let broken = HeaderError::reading(ImageFormat::Png);
    let malformed = |reason: String| HeaderError::malformed(ImageFormat::Png, reason);
    let first: [u8; 8] = source.array(SIGNATURE_BYTES).map_err(&broken)?;
    if first != [0, 0, 0, 13, b'I', b'H', b'D', b'R'] {
        return Err(malformed("it does not begin with an IHDR chunk, which holds the size".into()));
    }
    let [w3, w2, w1, w0, h3, h2, h1, h0, depth, color, ..] =
        source.array::<13>(SIGNATURE_BYTES + 8).map_err(&broken)?;
    let (width, height) =
        (u32::from_be_bytes([w3, w2, w1, w0]), u32::from_be_bytes([h3, h2, h1, h0]));
    if width > i32::MAX as u32 || height > i32::MAX as u32 {
        return Err(malformed(format!(
            "it says {width}x{height} pixels; a side has at most {}",
            i32::MAX
        )));
    }
    let (stored, channels) = match (color, depth) {
        (0, 1 | 2 | 4 | 8 | 16) => (1, 1),
        (2, 8 | 16) => (3, 3),
        (3, 1 | 2 | 4 | 8) => (1, 3),
        (4, 8 | 16) => (2, 2),
        (6, 8 | 16) => (4, 4),
        _ => {
            return Err(malformed(format!(
                "colour type {color} with {depth} bits per sample does not exist"
            )));
        }
    };
    let exif_orientation = orientation(source).map_err(HeaderError::Io)?;
    let (complete, trailing_bytes) = end(source).map_err(HeaderError::Io)?;
    let raw_bytes = u64::from(height) * (u64::from(width) * stored * u64::from(depth)).div_ceil(8);
    if complete && raw_bytes / MAX_DEFLATE_RATIO > source.len() {
        return Err(malformed(format!(
            "it says {width}x{height} pixels, which {} bytes cannot hold",
            source.len()
        )));
    }
    let (width, height) = upright(width, height, exif_orientation);
    Ok(ImageHeader {
        format: ImageFormat::Png,
        width,
        height,
        channels,
        exif_orientation,
        bytes: source.len(),
        complete,
        trailing_bytes,
    })
}

struct Chunk {
    name: [u8; 4],
    length: u32,
    data: u64,
    end: u64,
}

/// The chunk at `position`; `None` if there is none, or if the file ends within its content.
fn chunk<R: ReadAt>(source: &mut Source<R>, position: u64) -> io::Result<Option<Chunk>> {
    if position + CHUNK_FRAME_BYTES > source.len() {
        return Ok(None);
    }
    let [l3, l2, l1, l0, n0, n1, n2, n3] = source.array(position)?;
    if ![n0, n1, n2, n3].iter().all(u8::is_ascii_alphabetic) {
        return Ok(None);
    }
    let length = u32::from_be_bytes([l3, l2, l1, l0]);
    let end = position + CHUNK_FRAME_BYTES + u64::from(length);
    Ok((end <= source.len()).then_some(Chunk {
        name: [n0, n1, n2, n3],
        length,
        data: position + 8,
        end,
    }))
}

fn orientation<R: ReadAt>(source: &mut Source<R>) -> io::Result<i8> {
    let mut position = SIGNATURE_BYTES;
    for _ in 0..MAX_CHUNKS {
        match chunk(source, position)? {
            Some(found) if found.name == *b"eXIf" && found.length <= MAX_EXIF_BYTES => {
                let mut block = vec![0; found.length as usize];
                source.read_at(found.data, &mut block)?;
                return Ok(exif::orientation(&block));
            }
            Some(found) if found.name != *b"IDAT" => position = found.end,
            _ => break,
        }
    }
    Ok(1)
}

/// Whether the end chunk is present, and how many bytes follow it.
fn end<R: ReadAt>(source: &mut Source<R>) -> io::Result<(bool, u64)> {
    let bytes = source.len();
    if bytes < SIGNATURE_BYTES + END.len() as u64 {
        return Ok((false, 0));
    }
    if source.array::<12>(bytes - END.len() as u64)? == END {
        return Ok((true, 0));
    }
    let mut position = SIGNATURE_BYTES;
    for _ in 0..MAX_CHUNKS_TO_END {
        match chunk(source, position)? {
            Some(found) if found.name == *b"IEND" => return Ok((true, bytes - found.end)),
            Some(found) => position = found.end,
            None => break,
        }
    }
    Ok((false, 0))
}
