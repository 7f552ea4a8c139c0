/// An upright 8-bit picture, rows from the top, pixels from the left, channels side by side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pixels {
    width: u32,
    height: u32,
    channels: u8,
    data: Vec<u8>,
}

impl Pixels {
    /// A picture of `width * height * channels` bytes, `channels` being 1 (gray) or 3 (RGB); `None` where
    /// the sizes do not fit together or a side is 0.
    pub fn new(width: u32, height: u32, channels: u8, data: Vec<u8>) -> Option<Self> {
        let bytes = (width as usize).checked_mul(height as usize)?.checked_mul(channels.into())?;
        (matches!(channels, 1 | 3) && bytes > 0 && data.len() == bytes).then_some(Pixels { width, height, channels, data })
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

    /// The picture as three channels.
    pub fn to_rgb(&self) -> Pixels {
        let data = if self.channels == 3 { self.data.clone() } else { gray_to_rgb(&self.data) };
        Pixels { channels: 3, data, ..*self }
    }

    /// Undoes an EXIF orientation (1 to 8, see the EXIF standard's tag 0x0112): the result is upright.
    pub(crate) fn turned_upright(self, exif_orientation: i8) -> Pixels {
        if !(2..=8).contains(&exif_orientation) {
            return self;
        }
        let (width, height, channels) = (self.width as usize, self.height as usize, usize::from(self.channels));
        let (new_width, new_height) = if exif_orientation >= 5 { (height, width) } else { (width, height) };
        let mut data = Vec::with_capacity(self.data.len());
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
                data.extend_from_slice(&self.data[from..from + channels]);
            }
        }
        Pixels { width: new_width as u32, height: new_height as u32, channels: self.channels, data }
    }
}

/// Each gray value three times.
pub(crate) fn gray_to_rgb(gray: &[u8]) -> Vec<u8> {
    gray.iter().flat_map(|value| [*value; 3]).collect()
}

/// Luma of ITU-R BT.601, rounded.
pub(crate) fn rgb_to_gray(rgb: &[u8]) -> Vec<u8> {
    rgb.chunks_exact(3).map(|p| ((299 * u32::from(p[0]) + 587 * u32::from(p[1]) + 114 * u32::from(p[2]) + 500) / 1000) as u8).collect()
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
            let turned = Pixels::new(5, 3, 3, source.as_raw().clone()).unwrap().turned_upright(orientation as i8);
            assert_eq!(turned.size(), (expected.width(), expected.height()), "orientation {orientation}");
            assert_eq!(turned.data(), expected.as_bytes(), "orientation {orientation}");
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
