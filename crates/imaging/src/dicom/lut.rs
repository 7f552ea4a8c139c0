//! Look-up tables (PS3.3 sections C.11.1.1, C.11.2.1.1 and C.7.6.3.1.5).

use dicom_core::Tag;

use super::values::Values;

const TWELVE_BITS: u16 = 4095;

/// A table from stored or modality values to others.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Lut {
    /// The value that the first entry is for. Smaller values take the first entry, larger values
    /// the last.
    first: i64,
    entries: Vec<u16>,
    /// The largest value that entries can have with the announced number of bits.
    full: u16,
}

impl Lut {
    /// Reads a table, if there is one. `is_signed` says how to read the first value if the file
    /// does not specify it.
    pub(super) fn read(
        values: &Values,
        descriptor: Tag,
        data: Tag,
        name: &str,
        is_signed: bool,
    ) -> Result<Option<Self>, String> {
        let Some(described) = values.integers(descriptor, name)? else { return Ok(None) };
        let [count, first, bits] = described[..] else {
            return Err(format!(
                "the descriptor of its {name} has {} values instead of 3",
                described.len()
            ));
        };
        // All three are written as signed numbers if the first value of the table is negative
        // (PS3.3 C.11.1.1.1).
        let count = match count & 0xffff {
            0 => 1 << 16,
            count => count as usize,
        };
        let first = if is_signed { i64::from(first as u16 as i16) } else { first };
        if !(1..=16).contains(&bits) {
            return Err(format!("its {name} has entries of {bits} bits; 8 to 16 are possible"));
        }
        let full = ((1u32 << bits) - 1) as u16;
        let words: Vec<u16> = values
            .integers(data, name)?
            .unwrap_or_default()
            .into_iter()
            .map(|word| word as u16)
            .collect();
        let entries: Vec<u16> = if words.len() >= count {
            words.into_iter().take(count).collect()
        } else if bits <= 8 {
            // Two entries per word, the first in its low byte.
            words.into_iter().flat_map(u16::to_le_bytes).map(u16::from).take(count).collect()
        } else {
            words
        };
        if entries.len() < count {
            return Err(format!("its {name} has {} entries and announces {count}", entries.len()));
        }
        Ok(Some(Lut { first, entries, full }))
    }

    /// The entry for a value.
    pub(super) fn get(&self, value: i64) -> u16 {
        let index = value.saturating_sub(self.first).clamp(0, self.entries.len() as i64 - 1);
        self.entries.get(index as usize).copied().unwrap_or_default()
    }

    /// The largest value that entries can have: that of the announced number of bits, or 4095 if a
    /// 16-bit table never exceeds that. Some detectors write 12-bit tables as 16-bit tables, and
    /// such a picture would be almost black.
    pub(super) fn full(&self) -> u16 {
        let is_12_bit =
            self.full == u16::MAX && self.entries.iter().all(|entry| *entry <= TWELVE_BITS);
        if is_12_bit { TWELVE_BITS } else { self.full }
    }

    /// The largest value that entries can have with the announced number of bits, without that
    /// exception.
    pub(super) fn announced_full(&self) -> u16 {
        self.full
    }
}
