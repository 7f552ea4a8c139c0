//! Why an image cannot be read.

use std::io;

use crate::format::ImageFormat;

/// Why a file's header cannot be read. The message is a sentence without the file's path, which the
/// caller adds.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// The file system failed.
    #[error("the file cannot be opened or read: {0}")]
    Io(#[source] io::Error),
    /// The name belongs to a folder.
    #[error("this is a folder, not an image file")]
    Folder,
    /// The name belongs to a pipe, a socket or a device.
    #[error("this is a pipe, a socket or a device, not an image file")]
    NotAFile,
    /// The file has no bytes.
    #[error("the file is empty (0 bytes)")]
    Empty,
    /// The first bytes do not match any known format.
    #[error("{0}")]
    UnknownFormat(String),
    /// The header is truncated, or contradicts itself or the file.
    #[error("this {format} file's header cannot be right: {reason}")]
    Malformed {
        /// The format by its signature.
        format: ImageFormat,
        /// What is wrong.
        reason: String,
    },
    /// The file may be valid, but this kind is not supported.
    #[error("this kind of {format} is not supported: {reason}")]
    Unsupported {
        /// The format by its signature.
        format: ImageFormat,
        /// Which kind, and what to do.
        reason: String,
    },
}

impl HeaderError {
    pub(crate) fn malformed(format: ImageFormat, reason: impl Into<String>) -> Self {
        HeaderError::Malformed { format, reason: reason.into() }
    }

    pub(crate) fn unsupported(format: ImageFormat, reason: impl Into<String>) -> Self {
        HeaderError::Unsupported { format, reason: reason.into() }
    }

    /// A read past the end means that the header is truncated; all other errors are the disk's.
    pub(crate) fn reading(format: ImageFormat) -> impl Fn(io::Error) -> Self {
        move |e| match e.kind() {
            io::ErrorKind::UnexpectedEof => {
                HeaderError::malformed(format, "the file ends inside its header")
            }
            _ => HeaderError::Io(e),
        }
    }
}

/// Why an image cannot be decoded. The message is a sentence without the file's path, which the
/// caller adds.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The header cannot be read.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The end is missing.
    #[error(
        "the {format} file was cut short: its end is missing after {bytes} bytes; copy or \
        download it again"
    )]
    CutShort {
        /// The format.
        format: ImageFormat,
        /// How long the file is.
        bytes: u64,
    },
    /// More pixels than the limit.
    #[error("{width}x{height} pixels are more than the limit of {max_pixels} (resize.max_pixels)")]
    TooManyPixels {
        /// Pixels across.
        width: u32,
        /// Pixels down.
        height: u32,
        /// The limit.
        max_pixels: u64,
    },
    /// More memory than the limit.
    #[error(
        "it takes {needed_bytes} bytes of memory, more than the limit of {max_memory_bytes} \
        (resize.max_memory_bytes)"
    )]
    TooMuchMemory {
        /// The bytes that it needs.
        needed_bytes: u64,
        /// The limit.
        max_memory_bytes: u64,
    },
    /// The data after the header is damaged.
    #[error("the {format} file is damaged: {reason}")]
    Damaged {
        /// The format.
        format: ImageFormat,
        /// The decoder's message.
        reason: String,
    },
    /// The file may be valid, but this kind is not supported.
    #[error("this kind of {format} is not supported: {reason}; convert it to PNG")]
    Unsupported {
        /// The format.
        format: ImageFormat,
        /// Which kind.
        reason: String,
    },
    /// The picture was decoded, but a tensor could not be made of it.
    #[error("the picture cannot be resized: {reason}")]
    NotResized {
        /// The resizer's message.
        reason: String,
    },
}
