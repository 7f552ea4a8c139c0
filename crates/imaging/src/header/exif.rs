/// EXIF orientation (tag 0x0112 of the first directory), 1 to 8, from a TIFF-structured EXIF block;
/// 1 if it is missing or invalid.
pub(crate) fn orientation(block: &[u8]) -> i8 {
    read(block).filter(|value| (1..=8).contains(value)).map_or(1, |value| value as i8)
}

fn read(block: &[u8]) -> Option<u16> {
    let little_endian = match block.get(..4)? {
        [b'I', b'I', 42, 0] => true,
        [b'M', b'M', 0, 42] => false,
        _ => return None,
    };
    let u16_at = |at: usize| {
        let bytes = [*block.get(at)?, *block.get(at + 1)?];
        Some(if little_endian { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
    };
    let offset = [*block.get(4)?, *block.get(5)?, *block.get(6)?, *block.get(7)?];
    let directory =
        if little_endian { u32::from_le_bytes(offset) } else { u32::from_be_bytes(offset) }
            as usize;
    if directory > block.len() {
        return None;
    }
    const ORIENTATION: u16 = 0x0112;
    const SHORT: u16 = 3;
    for entry in 0..usize::from(u16_at(directory)?) {
        let at = directory + 2 + entry * 12;
        if u16_at(at)? == ORIENTATION && u16_at(at + 2)? == SHORT {
            return u16_at(at + 8);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An EXIF block with one entry, the orientation.
    fn block(little_endian: bool, value: u16) -> Vec<u8> {
        let u16_bytes = |v: u16| if little_endian { v.to_le_bytes() } else { v.to_be_bytes() };
        let u32_bytes = |v: u32| if little_endian { v.to_le_bytes() } else { v.to_be_bytes() };
        let mut out = if little_endian { b"II".to_vec() } else { b"MM".to_vec() };
        out.extend(u16_bytes(42));
        out.extend(u32_bytes(8));
        out.extend(u16_bytes(1));
        out.extend(u16_bytes(0x0112));
        out.extend(u16_bytes(3));
        out.extend(u32_bytes(1));
        out.extend(u16_bytes(value));
        out.extend([0; 6]);
        out
    }

    #[test]
    fn both_byte_orders_are_read() {
        for value in 1..=8 {
            assert_eq!(orientation(&block(true, value)), value as i8);
            assert_eq!(orientation(&block(false, value)), value as i8);
        }
    }

    #[test]
    fn nonsense_is_upright() {
        assert_eq!(orientation(&block(true, 0)), 1);
        assert_eq!(orientation(&block(false, 9)), 1);
        assert_eq!(orientation(b""), 1);
        let whole = block(true, 6);
        for length in 0..whole.len() {
            assert!([1, 6].contains(&orientation(&whole[..length])));
        }
        assert_eq!(orientation(b"II\x2a\x00\xff\xff\xff\xff"), 1);
    }
}
