//! Reads image headers, from as few bytes as possible.

mod bitmap;
mod exif;
mod jpeg;
mod png;

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use image::ImageDecoder;
use ossify_storage::{ObjectReader, Stat, is_url};

use crate::dicom;
use crate::error::HeaderError;
use crate::format::ImageFormat;
use crate::image_header::{ImageHeader, upright};
use crate::source::{ReadAt, Source};

/// Reads the header of a file: one block from its start, a few bytes from its end, and more only if
/// the file is unusual. Nothing is decoded.
///
/// # Errors
/// [`HeaderError`] says in a sentence why the file is not a usable image. A file that is truncated
/// after its header is not an error here: see [`ImageHeader::complete`].
pub fn probe(path: impl AsRef<Path>) -> Result<ImageHeader, HeaderError> {
    probe_with_stat(path).1
}

/// Like [`probe`], with the file's metadata if it could be opened.
pub fn probe_with_stat(path: impl AsRef<Path>) -> (Option<Stat>, Result<ImageHeader, HeaderError>) {
    let path = path.as_ref();
    if is_url(path) {
        return match ObjectReader::open(path) {
            Err(e) => (None, Err(HeaderError::Io(e))),
            Ok(object) => probe_opened(object.stat(), object),
        };
    }
    match open(path).and_then(|file| file.metadata().map(|metadata| (file, Stat::Local(metadata))))
    {
        Err(e) => (
            None,
            Err(kind_error(ossify_storage::stat(path).ok().as_ref()).unwrap_or(HeaderError::Io(e))),
        ),
        Ok((file, stat)) => probe_opened(stat, file),
    }
}

fn probe_opened<R: ReadAt>(
    stat: Stat,
    reader: R,
) -> (Option<Stat>, Result<ImageHeader, HeaderError>) {
    let header = match kind_error(Some(&stat)) {
        Some(error) => Err(error),
        None => Source::new(reader, stat.bytes())
            .map_err(HeaderError::Io)
            .and_then(|mut source| header_of(&mut source)),
    };
    (Some(stat), header)
}

/// Opens a file, without blocking if it is a pipe without a writer.
fn open(path: &Path) -> io::Result<File> {
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    File::options().read(true).custom_flags(nonblocking).open(path)
}

/// The error for anything that is not a regular file with content.
fn kind_error(stat: Option<&Stat>) -> Option<HeaderError> {
    match stat? {
        stat if stat.is_dir() => Some(HeaderError::Folder),
        stat if !stat.is_file() => Some(HeaderError::NotAFile),
        stat if stat.bytes() == 0 => Some(HeaderError::Empty),
        _ => None,
    }
}

/// Like [`probe`], for a file in memory.
///
/// # Errors
/// As [`probe`].
pub fn read_header(bytes: &[u8]) -> Result<ImageHeader, HeaderError> {
    if bytes.is_empty() {
        return Err(HeaderError::Empty);
    }
    header_of(
        &mut Source::new(io::Cursor::new(bytes), bytes.len() as u64).map_err(HeaderError::Io)?,
    )
}

fn header_of<R: ReadAt>(source: &mut Source<R>) -> Result<ImageHeader, HeaderError> {
    let format = ImageFormat::from_signature(source.start())
        .ok_or_else(|| unknown_format(source.start()))?;
    let header = match format {
        ImageFormat::Jpeg => jpeg::header(source)?,
        ImageFormat::Png => png::header(source)?,
        ImageFormat::Bmp => bitmap::bmp(source)?,
        ImageFormat::Tiff => tiff_or_webp(source, format, image::codecs::tiff::TiffDecoder::new)?,
        ImageFormat::Webp => tiff_or_webp(source, format, image::codecs::webp::WebPDecoder::new)?,
        ImageFormat::Dicom => dicom::header(source)?,
    };
    if header.width == 0 || header.height == 0 {
        return Err(HeaderError::malformed(
            format,
            format!("it says {}x{} pixels", header.width, header.height),
        ));
    }
    Ok(header)
}

fn unknown_format(start: &[u8]) -> HeaderError {
    let reason = match start {
        [b'G', b'I', b'F', b'8', ..] => "GIF is not supported; convert it to PNG".to_owned(),
        _ if start.get(4..8) == Some(b"ftyp") => {
            "HEIF and AVIF are not supported; convert it to PNG or JPEG".to_owned()
        }
        _ if start.iter().all(|byte| *byte == 0) => {
            "not an image: it begins with zeros only, as after a failed download or copy".to_owned()
        }
        _ => "not a JPEG, PNG, BMP, TIFF, WebP or DICOM by its first bytes, whatever its name says"
            .to_owned(),
    };
    HeaderError::UnknownFormat(reason)
}

/// TIFF and WebP, whose decoders can read the header without decoding.
fn tiff_or_webp<'a, R, D>(
    source: &'a mut Source<R>,
    format: ImageFormat,
    open: impl Fn(io::BufReader<&'a mut R>) -> image::ImageResult<D>,
) -> Result<ImageHeader, HeaderError>
where
    R: ReadAt,
    D: ImageDecoder,
{
    let bytes = source.len();
    let (complete, start) = match format {
        ImageFormat::Tiff => (bitmap::tiff_is_complete(source).map_err(HeaderError::Io)?, None),
        _ => {
            bitmap::check_webp_chunks(source)?;
            (bitmap::webp_is_complete(source), Some(source.start().to_vec()))
        }
    };
    let reader = source.rewound().map_err(HeaderError::Io)?;
    let mut decoder = match open(io::BufReader::new(reader)) {
        Ok(decoder) => decoder,
        // The decoder does not accept the chunk list of a truncated WebP, but its size may be at
        // its start.
        Err(_) if !complete && start.is_some() => {
            return bitmap::truncated_webp(&start.unwrap_or_default(), bytes);
        }
        Err(e) => return Err(open_error(format, e)),
    };
    let (width, height) = decoder.dimensions();
    let exif_orientation =
        decoder.orientation().map_or(1, |orientation| orientation.to_exif() as i8);
    let channels = decoder.color_type().channel_count() as i8;
    let (width, height) = upright(width, height, exif_orientation);
    Ok(ImageHeader {
        format,
        width,
        height,
        channels,
        exif_orientation,
        bytes,
        complete,
        trailing_bytes: 0,
    })
}

fn open_error(format: ImageFormat, error: image::ImageError) -> HeaderError {
    match error {
        image::ImageError::IoError(e) => HeaderError::reading(format)(e),
        image::ImageError::Unsupported(e) => {
            HeaderError::unsupported(format, format!("{e}; convert it to PNG"))
        }
        e => HeaderError::malformed(format, e.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek, SeekFrom};

    use super::*;

    /// A file in which only the first bytes are not zero; it counts how often it is read.
    struct Sparse {
        start: Vec<u8>,
        bytes: u64,
        position: u64,
        reads: u64,
    }

    impl Sparse {
        fn fill(&mut self, position: u64, buffer: &mut [u8]) -> usize {
            self.reads += 1;
            let length = buffer.len().min((self.bytes - position) as usize);
            for (at, byte) in (position..).zip(&mut buffer[..length]) {
                *byte = self.start.get(at as usize).copied().unwrap_or(0);
            }
            length
        }
    }

    impl Read for Sparse {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = self.fill(self.position, buffer);
            self.position += length as u64;
            Ok(length)
        }
    }

    impl Seek for Sparse {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.position = match to {
                SeekFrom::Start(position) => position,
                SeekFrom::Current(by) => self.position.saturating_add_signed(by),
                SeekFrom::End(by) => self.bytes.saturating_add_signed(by),
            }
            .min(self.bytes);
            Ok(self.position)
        }
    }

    impl ReadAt for Sparse {
        fn read_exact_at(&mut self, position: u64, buffer: &mut [u8]) -> io::Result<()> {
            if position + buffer.len() as u64 > self.bytes {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.fill(position, buffer);
            Ok(())
        }
    }

    fn reads(start: &[u8], bytes: u64) -> (u64, Result<ImageHeader, HeaderError>) {
        let file = Sparse { start: start.to_vec(), bytes, position: 0, reads: 0 };
        let mut source = Source::new(file, bytes).unwrap();
        let header = header_of(&mut source);
        (source.rewound().unwrap().reads, header)
    }

    #[test]
    fn a_hostile_file_is_read_in_few_blocks() {
        let dib: Vec<u8> = [&b"BM"[..], &[0; 8], &[54, 0, 0, 0, 40, 0, 0, 0]].concat();
        let ihdr = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x04\0\0\0\x04\x08\0\0\0\0\0\0\0\0";
        let text: Vec<u8> = [&ihdr[..], &b"\0\0\0\0tEXt\0\0\0\0".repeat(300_000)].concat();
        let directory: Vec<u8> = std::iter::repeat_n(
            [17, 1, 4, 0, 0, 0, 16, 0, 0, 0, 0, 0], // 2^20 strips, a list at the file's start
            65_535,
        )
        .flatten()
        .collect();
        let tiff: Vec<u8> = [&b"II*\0\x08\0\0\0\xff\xff"[..], &directory[..], &[0; 4]].concat();
        let webp = b"RIFF\xf0\xff\xff\xffWEBPVP8X\x0a\0\0\0\0\0\0\0\x03\0\0\x03\0\0";
        let dicom: Vec<u8> = [&[0; 128][..], b"DICM"].concat();
        for (name, start, bytes) in [
            ("strays of a JPEG", &b"\xff\xd8\xff"[..], 1 << 40),
            ("fill bytes of a JPEG", &[&b"\xff\xd8"[..], &[0xff; 80_000]].concat(), 1 << 40),
            ("a JPEG of nothing but padding", &b"\xff\xd8\xff\xe0\0\x02"[..], 1 << 40),
            ("nameless chunks of a PNG", &ihdr[..], 1 << 40),
            ("empty chunks of a PNG", &text[..], 1 << 40),
            ("a BMP without a header", &dib[..], 1 << 40),
            ("one list of strips after the other", &tiff[..], 1 << 24),
            ("elements of zeros", &dicom[..], 1 << 40),
            ("empty chunks of a WebP", &webp[..], u64::from(u32::MAX)),
        ] {
            let (reads, header) = reads(start, bytes);
            assert!(reads <= 2000, "{name}: {reads} reads, {header:?}");
        }
    }

    #[test]
    fn stray_bytes_of_a_jpeg_are_bounded_and_a_few_are_passed_over() {
        let jpeg = include_bytes!("../../tests/fixtures/baseline.jpg");
        let with_strays = |count: usize| {
            // After the first segment.
            let at = 4 + usize::from(u16::from_be_bytes([jpeg[4], jpeg[5]]));
            let bytes = [&jpeg[..at], &vec![0; count], &jpeg[at..]].concat();
            read_header(&bytes)
        };
        assert_eq!(with_strays(3000).unwrap().width, read_header(jpeg).unwrap().width);
        let error = with_strays(70_000).unwrap_err().to_string();
        assert!(error.contains("belong to no segment"), "{error}");
    }
}
