/// An upright 8-bit picture: rows from the top, pixels from the left, interleaved channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pixels {
    width: u32,
    height: u32,
    channels: u8,
    data: Vec<u8>,
}

impl Pixels {
    /// A picture of `width * height * channels` bytes, with 1 (gray) or 3 (RGB) channels; `None` if
    /// the sizes do not match or a side is 0.
    pub fn new(width: u32, height: u32, channels: u8, data: Vec<u8>) -> Option<Self> {
        let bytes = (width as usize).checked_mul(height as usize)?.checked_mul(channels.into())?;
        (matches!(channels, 1 | 3) && bytes > 0 && data.len() == bytes).then_some(Pixels {
            width,
            height,
            channels,
            data,
        })
    }

    /// Pixels across.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Pixels down.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Width and height.
    pub fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// 1 for gray, 3 for RGB.
    pub fn channels(&self) -> u8 {
        self.channels
    }

    /// The bytes, 0 black to 255 white.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// The bytes.
    pub fn into_data(self) -> Vec<u8> {
        self.data
    }

    /// The picture with three channels.
    pub fn to_rgb(&self) -> Pixels {
        if self.channels == 3 {
            return self.clone();
        }
        let mut data = vec![0; self.data.len() * 3];
        spread_gray(&self.data, &mut data);
        Pixels { channels: 3, data, ..*self }
    }

    /// Undoes an EXIF orientation (1 to 8, see the EXIF standard's tag 0x0112): the result is
    /// upright.
    pub(crate) fn turned_upright(self, exif_orientation: i8) -> Pixels {
        let (width, height) =
            if exif_orientation >= 5 { (self.height, self.width) } else { self.size() };
        let size = (self.width as usize, self.height as usize);
        Pixels {
            width,
            height,
            channels: self.channels,
            data: turned_upright(self.data, size, self.channels.into(), exif_orientation),
        }
    }
}

/// The bytes of a picture of `width`, `height` and `channels` after undoing an EXIF orientation.
pub(crate) fn turned_upright(
    data: Vec<u8>,
    (width, height): (usize, usize),
    channels: usize,
    exif_orientation: i8,
) -> Vec<u8> {
    if !(2..=8).contains(&exif_orientation) {
        return data;
    }
    let (new_width, new_height) =
        if exif_orientation >= 5 { (height, width) } else { (width, height) };
    let mut turned = Vec::with_capacity(data.len());
    for y in 0..new_height {
        for x in 0..new_width {
            let (from_x, from_y) = match exif_orientation {
                2 => (width - 1 - x, y),
                3 => (width - 1 - x, height - 1 - y),
                4 => (x, height - 1 - y),
                5 => (y, x),
                6 => (y, height - 1 - x),
                7 => (width - 1 - y, height - 1 - x),
                _ => (width - 1 - y, x),
            };
            let from = (from_y * width + from_x) * channels;
            turned.extend_from_slice(&data[from..from + channels]);
        }
    }
    turned
}

/// Luma of ITU-R BT.601, 0.299 red, 0.587 green and 0.114 blue, rounded.
pub fn luma(r: u8, g: u8, b: u8) -> u8 {
    ((299 * u32::from(r) + 587 * u32::from(g) + 114 * u32::from(b) + 500) / 1000) as u8
}

/// Writes each gray value three times; `rgb` must have three times the bytes of `gray`.
pub(crate) fn spread_gray(gray: &[u8], rgb: &mut [u8]) {
    let (gray_words, gray_rest) = gray.as_chunks::<8>();
    let (rgb_words, rgb_rest) = rgb.as_chunks_mut::<24>();
    // Three words of eight bytes at a time, because byte by byte would take longer than the resize.
    for (gray, rgb) in gray_words.iter().zip(rgb_words) {
        let g = gray.map(u64::from);
        let words = [
            (g[0] * 0x01_01_01) | ((g[1] * 0x01_01_01) << 24) | ((g[2] * 0x01_01) << 48),
            g[2] | ((g[3] * 0x01_01_01) << 8) | ((g[4] * 0x01_01_01) << 32) | (g[5] << 56),
            (g[5] * 0x01_01) | ((g[6] * 0x01_01_01) << 16) | ((g[7] * 0x01_01_01) << 40),
        ];
        for (word, out) in words.into_iter().zip(rgb.as_chunks_mut::<8>().0) {
            *out = word.to_le_bytes();
        }
    }
    for (gray, rgb) in gray_rest.iter().zip(rgb_rest.as_chunks_mut::<3>().0) {
        *rgb = [*gray; 3];
    }
}

#[cfg(test)]
mod tests {
    use image::metadata::Orientation;

    use super::*;

    #[test]
    fn orientations_are_those_of_the_image_crate() {
        let source = image::RgbImage::from_fn(5, 3, |x, y| image::Rgb([x as u8, y as u8, 7]));
        for orientation in 1..=8 {
            let mut expected = image::DynamicImage::ImageRgb8(source.clone());
            expected.apply_orientation(Orientation::from_exif(orientation).unwrap());
            let turned = Pixels::new(5, 3, 3, source.as_raw().clone())
                .unwrap()
                .turned_upright(orientation as i8);
            assert_eq!(
                turned.size(),
                (expected.width(), expected.height()),
                "orientation {orientation}"
            );
            assert_eq!(turned.data(), expected.as_bytes(), "orientation {orientation}");
        }
    }

    #[test]
    fn gray_becomes_three_equal_channels() {
        for length in [1, 7, 8, 9, 64, 61] {
            let gray: Vec<u8> = (0..length).map(|i| (i * 37 + 5) as u8).collect();
            let rgb = Pixels::new(length, 1, 1, gray.clone()).unwrap().to_rgb();
            assert_eq!(rgb.data(), gray.iter().flat_map(|value| [*value; 3]).collect::<Vec<_>>());
        }
    }

    #[test]
    fn sizes_that_do_not_fit_are_refused() {
        assert!(Pixels::new(2, 2, 3, vec![0; 12]).is_some());
        assert!(Pixels::new(2, 2, 3, vec![0; 11]).is_none());
        assert!(Pixels::new(2, 2, 4, vec![0; 16]).is_none());
        assert!(Pixels::new(0, 2, 1, vec![]).is_none());
    }
}
