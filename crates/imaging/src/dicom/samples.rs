use std::borrow::Cow;

/// The bits of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bits {
    /// 8, 16 or 32.
    pub allocated: u16,
    /// 1 to `allocated`.
    pub stored: u16,
    /// Number of unused bits below the stored bits.
    pub below: u16,
    pub is_signed: bool,
}

/// The decoded samples of a picture, before any transform.
pub(super) struct Samples<'a> {
    pub data: Cow<'a, [u8]>,
    /// 1, 2 or 4.
    pub bytes_per_sample: u16,
    pub is_big_endian: bool,
    pub bits: Bits,
}

impl Samples<'_> {
    /// Calls `take` with the stored bits of each sample, as unsigned numbers.
    pub(super) fn for_each(&self, mut take: impl FnMut(u32)) {
        let below = self.bits.below;
        let mask = u32::MAX >> (32 - u32::from(self.bits.stored));
        let mut stored = |word: u32| take((word >> below) & mask);
        match (self.bytes_per_sample, self.is_big_endian) {
            (1, _) => self.data.iter().for_each(|byte| stored(u32::from(*byte))),
            (2, false) => self
                .data
                .as_chunks()
                .0
                .iter()
                .for_each(|bytes| stored(u32::from(u16::from_le_bytes(*bytes)))),
            (2, true) => self
                .data
                .as_chunks()
                .0
                .iter()
                .for_each(|bytes| stored(u32::from(u16::from_be_bytes(*bytes)))),
            (_, false) => {
                self.data.as_chunks().0.iter().for_each(|bytes| stored(u32::from_le_bytes(*bytes)))
            }
            (_, true) => {
                self.data.as_chunks().0.iter().for_each(|bytes| stored(u32::from_be_bytes(*bytes)))
            }
        }
    }

    /// The value of stored bits.
    pub(super) fn value(&self, stored: u32) -> i64 {
        let sign = 1i64 << (self.bits.stored - 1);
        let value = i64::from(stored);
        if self.bits.is_signed && value >= sign { value - 2 * sign } else { value }
    }
}
