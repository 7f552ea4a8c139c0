//! RLE Lossless (PS3.5 annex G): each byte position of each sample has a segment of its own, packed
//! with PackBits.

/// The number of segments, followed by fifteen offsets.
const HEADER_BYTES: usize = 64;

/// Unpacks a frame into interleaved little-endian samples.
///
/// # Errors
/// A sentence if segments are missing or end early.
pub(super) fn unpacked(
    frame: &[u8],
    pixels: usize,
    samples_per_pixel: usize,
    bytes_per_sample: usize,
) -> Result<Vec<u8>, String> {
    let (header, _) =
        frame.get(..HEADER_BYTES).ok_or("its RLE header is cut short")?.as_chunks::<4>();
    let [count, offsets @ ..] = header else { return Err("its RLE header is cut short".into()) };
    let (count, wanted) = (u32::from_le_bytes(*count), samples_per_pixel * bytes_per_sample);
    if count as usize != wanted || wanted > offsets.len() {
        return Err(format!("it has {count} RLE segments where its samples make {wanted}"));
    }
    let offsets: Vec<usize> = offsets[..wanted]
        .iter()
        .map(|offset| u32::from_le_bytes(*offset) as usize)
        .chain([frame.len()])
        .collect();
    let mut data = vec![0; pixels * wanted];
    for (i, range) in offsets.windows(2).enumerate() {
        let segment = frame
            .get(range[0].max(HEADER_BYTES)..range[1])
            .ok_or_else(|| format!("its RLE segment {} lies outside the frame", i + 1))?;
        // The highest byte of each sample comes first.
        let (sample, byte) = (i / bytes_per_sample, bytes_per_sample - 1 - i % bytes_per_sample);
        let bytes = data.iter_mut().skip(sample * bytes_per_sample + byte).step_by(wanted);
        let filled = unpack(segment, bytes);
        if filled < pixels {
            return Err(format!(
                "its RLE segment {} ends after {filled} of {pixels} pixels",
                i + 1
            ));
        }
    }
    Ok(data)
}

/// Fills `bytes` as far as the segment goes. Returns how many were filled.
fn unpack<'a>(segment: &[u8], mut bytes: impl Iterator<Item = &'a mut u8>) -> usize {
    let (mut at, mut filled) = (0, 0);
    let mut put = |value: u8| {
        let byte = bytes.next();
        filled += usize::from(byte.is_some());
        byte.map(|byte| *byte = value).is_some()
    };
    while let Some(&control) = segment.get(at) {
        let continues = match control as i8 {
            // A no-op.
            i8::MIN => {
                at += 1;
                true
            }
            run @ ..0 => {
                let Some(&value) = segment.get(at + 1) else { break };
                at += 2;
                (0..1 - i32::from(run)).all(|_| put(value))
            }
            literals => {
                let values = &segment
                    [(at + 1).min(segment.len())..(at + 2 + literals as usize).min(segment.len())];
                at += 1 + values.len();
                values.iter().all(|value| put(*value))
            }
        };
        if !continues {
            break;
        }
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of Apple's Technical Note 1023, which defines PackBits.
    #[test]
    fn packbits_unpack_as_in_the_definition() {
        let packed = [
            0xfe, 0xaa, 0x02, 0x80, 0x00, 0x2a, 0xfd, 0xaa, 0x03, 0x80, 0x00, 0x2a, 0x22, 0xf7,
            0xaa,
        ];
        let mut out = [0; 24];
        assert_eq!(unpack(&packed, out.iter_mut()), 24);
        let expected = [
            0xaa, 0xaa, 0xaa, 0x80, 0x00, 0x2a, 0xaa, 0xaa, 0xaa, 0xaa, 0x80, 0x00, 0x2a, 0x22,
            0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa,
        ];
        assert_eq!(out, expected);
        assert_eq!(unpack(&packed, [0; 3].iter_mut()), 3);
        for length in 0..packed.len() {
            assert!(unpack(&packed[..length], out.iter_mut()) < 24);
        }
    }
}
