use crate::words;

words! {
    /// Channels of a tensor.
    Channels {
        /// Red, green, blue; gray images give three equal channels.
        Rgb = "rgb",
        /// Luma of ITU-R BT.601.
        Gray = "gray",
    }
}

impl Channels {
    /// 3 or 1.
    pub fn count(self) -> usize {
        match self {
            Channels::Rgb => 3,
            Channels::Gray => 1,
        }
    }
}

words! {
    /// How a picture of any proportions fills a square tensor.
    Geometry {
        /// The whole picture fills the tensor; proportions change.
        Stretch = "stretch",
        /// The whole picture in the tensor's middle, proportions kept, black beside it.
        Letterbox = "letterbox",
        /// The largest square from the picture's middle; what lies outside is lost.
        CenterCrop = "center-crop",
    }
}

words! {
    /// The kernel that weighs source pixels.
    Filter {
        /// The nearest pixel; never antialiased.
        Nearest = "nearest",
        /// Triangle.
        Bilinear = "bilinear",
        /// Hamming-windowed sinc, as sharp as bicubic at bilinear cost.
        Hamming = "hamming",
        /// Catmull-Rom bicubic.
        CatmullRom = "catmull-rom",
        /// Mitchell-Netravali bicubic.
        Mitchell = "mitchell",
        /// Sinc windowed by sinc, three lobes.
        Lanczos3 = "lanczos3",
    }
}

/// The tensor that is wanted of each picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TensorSpec {
    /// Width and height; at least 1.
    pub side_px: u32,
    /// Channels.
    pub channels: Channels,
    /// How the picture fills the square.
    pub geometry: Geometry,
    /// The kernel.
    pub filter: Filter,
    /// Whether the kernel widens with the reduction, so that every source pixel counts.
    pub antialias: bool,
}

impl TensorSpec {
    /// Bytes of one tensor.
    pub fn bytes(&self) -> usize {
        self.side_px as usize * self.side_px as usize * self.channels.count()
    }
}

/// What the decoding of one image may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Width times height.
    pub max_pixels: u64,
    /// Memory for the file, and memory for its decoding.
    pub max_memory_bytes: u64,
}

impl Limits {
    /// Bytes that a decoder may need a pixel at worst: 16-bit colour with alpha, or the
    /// coefficients of a progressive CMYK JPEG, beside the 8-bit result.
    pub const WORST_BYTES_PER_PIXEL: u64 = 12;

    /// Pictures of up to this many pixels, with the memory that they take at worst.
    pub fn of_pixels(max_pixels: u64) -> Self {
        let max_memory_bytes = max_pixels.saturating_mul(Self::WORST_BYTES_PER_PIXEL);
        Limits { max_pixels, max_memory_bytes }
    }
}

impl Default for Limits {
    /// 100 million pixels, 1.2 GB.
    fn default() -> Self {
        Limits::of_pixels(100_000_000)
    }
}
