//! Huffman tables that decode a code, its run of zeros and its number in one look-up.

use super::bits::Bits;

/// Bits per look-up; longer codes need a second one.
const LOOK_BITS: u32 = 10;
const MAX_CODE_BITS: u32 = 16;

/// Codes of a table (ITU-T T.81, annex C).
#[derive(Clone, Debug)]
pub(super) struct Huffman {
    /// Packed [`Entry`] values, indexed by the next [`LOOK_BITS`] bits.
    look: Vec<u32>,
    /// For each length, the first code that is longer, aligned to 16 bits.
    limits: [u32; 18],
    /// For each length, the index of its first symbol minus its first code.
    offsets: [i32; 18],
    symbols: Vec<u8>,
}

/// The result of a look-up: bits to consume (0 if the code is longer), the run of zeros, whether
/// the number is included, its size, and the number.
#[derive(Clone, Copy)]
pub(super) struct Entry(u32);

impl Entry {
    fn pack(bits: u32, symbol: u8, number: Option<i32>) -> u32 {
        bits | u32::from(symbol) << 8
            | (number.unwrap_or(0) as u16 as u32) << 16
            | u32::from(number.is_some()) << 5
    }

    #[inline(always)]
    fn bits(self) -> u32 {
        self.0 & 31
    }

    #[inline(always)]
    fn has_number(self) -> bool {
        self.0 & 32 != 0
    }

    #[inline(always)]
    fn symbol(self) -> u8 {
        (self.0 >> 8) as u8
    }

    #[inline(always)]
    fn number(self) -> i32 {
        self.0 as i32 >> 16
    }
}

impl Huffman {
    /// Builds the table from the `counts` of codes of 1 to 16 bits and their symbols; `None` if the
    /// codes do not fit.
    pub(super) fn new(counts: &[u8; 16], symbols: &[u8]) -> Option<Self> {
        let mut table = Huffman {
            look: vec![0; 1 << LOOK_BITS],
            limits: [0; 18],
            offsets: [0; 18],
            symbols: symbols.to_vec(),
        };
        let (mut code, mut at) = (0u32, 0usize);
        for length in 1..=MAX_CODE_BITS {
            let count = usize::from(counts[length as usize - 1]);
            table.offsets[length as usize] = at as i32 - code as i32;
            for symbol in symbols.get(at..at + count)? {
                if code >= 1 << length {
                    return None;
                }
                table.enter(code, length, *symbol);
                code += 1;
            }
            at += count;
            table.limits[length as usize] = code << (MAX_CODE_BITS - length);
            code <<= 1;
        }
        (at == symbols.len()).then_some(table)
    }

    fn enter(&mut self, code: u32, length: u32, symbol: u8) {
        let Some(free) = LOOK_BITS.checked_sub(length) else { return };
        let size = u32::from(symbol & 15);
        for rest in 0..1u32 << free {
            let number = (size <= free).then(|| {
                let value = (rest >> (free - size)) as i32;
                if size > 0 && value < 1 << (size - 1) { value - (1 << size) + 1 } else { value }
            });
            let bits = if number.is_some() { length + size } else { length };
            self.look[(code << free | rest) as usize] = Entry::pack(bits, symbol, number);
        }
    }

    /// The next symbol and the number after it. At least 31 bits must be valid.
    #[inline(always)]
    pub(super) fn next(&self, bits: &mut Bits) -> Option<(u8, i32)> {
        let entry = Entry(self.look[bits.peek(LOOK_BITS)]);
        if entry.has_number() {
            bits.skip(entry.bits());
            return Some((entry.symbol(), entry.number()));
        }
        let symbol = if entry.bits() > 0 {
            bits.skip(entry.bits());
            entry.symbol()
        } else {
            self.long_code(bits)?
        };
        let number = bits.receive(u32::from(symbol & 15));
        Some((symbol, number))
    }

    #[cold]
    fn long_code(&self, bits: &mut Bits) -> Option<u8> {
        let next = bits.peek(MAX_CODE_BITS) as u32;
        let length =
            (LOOK_BITS + 1..=MAX_CODE_BITS).find(|length| next < self.limits[*length as usize])?;
        let code = next >> (MAX_CODE_BITS - length);
        bits.skip(length);
        self.symbols
            .get(usize::try_from(code as i32 + self.offsets[length as usize]).ok()?)
            .copied()
    }
}
