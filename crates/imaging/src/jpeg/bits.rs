//! Bits of entropy-coded data.

/// Zeros after the data, so that a whole word can be loaded at any position.
const PADDING: usize = 16;

/// Entropy-coded data without byte stuffing, cut at its restart markers.
#[derive(Debug, Default)]
pub(super) struct Coded {
    data: Vec<u8>,
    /// The end of each piece; [`PADDING`] zeros follow it.
    ends: Vec<usize>,
}

impl Coded {
    /// Reads the coded data at the start of `bytes`, up to the end mark; `None` if another marker
    /// ends it, or if restart markers are out of order.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        const EOI: u8 = 0xd9;
        let mut coded = Coded { data: Vec::with_capacity(bytes.len() + PADDING), ends: Vec::new() };
        let mut rest = bytes;
        loop {
            let at = rest.iter().position(|byte| *byte == 0xff)?;
            coded.data.extend_from_slice(&rest[..at]);
            match *rest.get(at + 1)? {
                0x00 => coded.data.push(0xff),
                // Fill bytes before a marker.
                0xff => {
                    rest = &rest[at + 1..];
                    continue;
                }
                marker @ 0xd0..=0xd7 => {
                    if usize::from(marker - 0xd0) != coded.ends.len() % 8 {
                        return None;
                    }
                    coded.end_piece();
                }
                EOI => {
                    coded.end_piece();
                    return Some(coded);
                }
                _ => return None,
            }
            rest = &rest[at + 2..];
        }
    }

    fn end_piece(&mut self) {
        self.ends.push(self.data.len());
        self.data.resize(self.data.len() + PADDING, 0);
    }

    /// Number of pieces.
    pub(super) fn pieces(&self) -> usize {
        self.ends.len()
    }

    /// A reader of one piece.
    pub(super) fn piece(&self, number: usize) -> Option<Bits<'_>> {
        let end = *self.ends.get(number)?;
        let start = number
            .checked_sub(1)
            .and_then(|before| self.ends.get(before))
            .map_or(0, |end| end + PADDING);
        Some(Bits { data: &self.data[start..end + PADDING], position: 0, window: 0, valid: 0 })
    }
}

/// Reads bits, starting with the highest bit of each byte.
pub(super) struct Bits<'a> {
    /// The piece with its padding.
    data: &'a [u8],
    position: usize,
    /// The next bits, the first one in the highest position.
    window: u64,
    /// Number of valid bits in the window.
    valid: u32,
}

impl Bits<'_> {
    /// Loads at least 56 bits; past the end they are zeros.
    #[inline(always)]
    pub(super) fn refill(&mut self) {
        let word = match self.data.get(self.position..self.position + 8) {
            Some(bytes) => u64::from_be_bytes([
                bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7],
            ]),
            // Endless zeros; `left` becomes negative when they are read.
            None => 0,
        };
        self.window |= word >> self.valid;
        self.position += ((63 - self.valid) >> 3) as usize;
        self.valid |= 56;
    }

    /// Number of valid bits.
    #[inline(always)]
    pub(super) fn valid(&self) -> u32 {
        self.valid
    }

    /// The next `count` bits, 1 to 16, without consuming them.
    #[inline(always)]
    pub(super) fn peek(&self, count: u32) -> usize {
        (self.window >> (64 - count)) as usize
    }

    /// Consumes valid bits.
    #[inline(always)]
    pub(super) fn skip(&mut self, count: u32) {
        self.window <<= count;
        self.valid -= count;
    }

    /// The number that the next `size` bits encode, 0 to 15 (ITU-T T.81, F.2.2.1, EXTEND).
    #[inline(always)]
    pub(super) fn receive(&mut self, size: u32) -> i32 {
        if size == 0 {
            return 0;
        }
        let value = self.peek(size) as i32;
        self.skip(size);
        if value < 1 << (size - 1) { value - (1 << size) + 1 } else { value }
    }

    /// Number of bits left, including those that pad the last byte; negative if more were read than
    /// there are.
    pub(super) fn left(&self) -> i64 {
        let read_bits = self.position as i64 * 8 - i64::from(self.valid);
        (self.data.len() - PADDING) as i64 * 8 - read_bits
    }
}
