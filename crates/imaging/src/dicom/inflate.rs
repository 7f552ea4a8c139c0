use std::io::{self, Read};

use flate2::{Decompress, FlushDecompress, Status};

const BUFFER_BYTES: usize = 32 << 10;

/// A deflated data set (PS3.5 section A.5: RFC 1951 without a frame), inflated while it is read.
pub(super) struct Inflated<R> {
    reader: R,
    state: Decompress,
    buffer: Vec<u8>,
    unread: std::ops::Range<usize>,
    has_ended: bool,
}

impl<R: Read> Inflated<R> {
    pub(super) fn new(reader: R) -> Self {
        Inflated {
            reader,
            state: Decompress::new(false),
            buffer: vec![0; BUFFER_BYTES],
            unread: 0..0,
            has_ended: false,
        }
    }

    /// Whether the end mark was reached; otherwise the file is truncated.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }
}

impl<R: Read> Read for Inflated<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while !self.has_ended && !out.is_empty() {
            if self.unread.is_empty() {
                self.unread = 0..self.reader.read(&mut self.buffer)?;
            }
            let is_end = self.unread.is_empty();
            let (in_before, out_before) = (self.state.total_in(), self.state.total_out());
            let status = self
                .state
                .decompress(&self.buffer[self.unread.clone()], out, FlushDecompress::None)
                .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
            self.unread.start += (self.state.total_in() - in_before) as usize;
            let written = (self.state.total_out() - out_before) as usize;
            self.has_ended = status == Status::StreamEnd;
            if written > 0 || is_end {
                return Ok(written);
            }
        }
        Ok(0)
    }
}
