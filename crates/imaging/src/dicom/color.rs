//! From samples to RGB (PS3.3 sections C.7.6.3.1.2 and C.7.6.3.1.5).

use super::lut::Lut;
use super::samples::Samples;

/// Looks up the colours of the palette; values beyond its ends take the first or last colour.
pub(super) fn from_palette(samples: &Samples<'_>, palette: &[Lut; 3]) -> Vec<u8> {
    let mut rgb =
        Vec::with_capacity(samples.data.len() / usize::from(samples.bytes_per_sample) * 3);
    samples.for_each(|stored| {
        let value = samples.value(stored);
        rgb.extend(
            palette
                .iter()
                .map(|color| scaled(color.get(value).into(), color.announced_full().into())),
        );
    });
    rgb
}

/// Samples scaled to 8 bits, in their order.
pub(super) fn to_8_bit(samples: &Samples<'_>) -> Vec<u8> {
    let full = u32::MAX >> (32 - u32::from(samples.bits.stored));
    let mut out = Vec::with_capacity(samples.data.len() / usize::from(samples.bytes_per_sample));
    samples.for_each(|stored| out.push(scaled(stored, full)));
    out
}

/// `value * 255 / full`, rounded.
fn scaled(value: u32, full: u32) -> u8 {
    ((u64::from(value.min(full)) * 255 + u64::from(full) / 2) / u64::from(full)) as u8
}

/// Interleaves the colour planes into pixels.
pub(super) fn interleaved(planes: &[u8]) -> Vec<u8> {
    let pixels = planes.len() / 3;
    (0..pixels).flat_map(|i| [planes[i], planes[pixels + i], planes[2 * pixels + i]]).collect()
}

/// YCbCr of each pixel, from pairs of pixels that share their chroma.
pub(super) fn with_color_for_each_pixel(pairs: &[u8]) -> Vec<u8> {
    pairs
        .as_chunks::<4>()
        .0
        .iter()
        .flat_map(|[first, second, blue, red]| [*first, *blue, *red, *second, *blue, *red])
        .collect()
}

/// RGB from YCbCr with the full range (ITU-R BT.601).
pub(super) fn from_ycbcr(pixels: &mut [u8]) {
    const RED: f32 = 1.402;
    const BLUE: f32 = 1.772;
    const GREEN_OF_BLUE: f32 = 0.114 * BLUE / 0.587;
    const GREEN_OF_RED: f32 = 0.299 * RED / 0.587;
    for pixel in pixels.as_chunks_mut::<3>().0 {
        let [luminance, blue, red] = pixel.map(f32::from);
        let (blue, red) = (blue - 128.0, red - 128.0);
        // The cast stops at 0 and 255.
        *pixel = [
            luminance + RED * red,
            luminance - GREEN_OF_BLUE * blue - GREEN_OF_RED * red,
            luminance + BLUE * blue,
        ]
        .map(|value| value.round() as u8);
    }
}
