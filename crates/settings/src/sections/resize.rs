use crate::choice::choice;
use crate::ranges::between;
use crate::schema::table;

choice! {
    /// Channels of a tensor.
    Channels {
        /// Three, red, green, blue.
        Rgb = "rgb",
        /// One.
        Gray = "gray",
    }
}

choice! {
    /// How a picture of any proportions fills a square tensor.
    Geometry {
        /// Stretched to fill it.
        Stretch = "stretch",
        /// Whole, between black bars.
        Letterbox = "letterbox",
        /// Its centre square.
        CenterCrop = "center-crop",
    }
}

choice! {
    /// How pixels are interpolated.
    Filter {
        /// The nearest pixel.
        Nearest = "nearest",
        /// Triangle.
        Bilinear = "bilinear",
        /// Hamming window.
        Hamming = "hamming",
        /// Catmull-Rom cubic.
        CatmullRom = "catmull-rom",
        /// Mitchell-Netravali cubic.
        Mitchell = "mitchell",
        /// Lanczos with three lobes.
        Lanczos3 = "lanczos3",
    }
}

choice! {
    /// How shards lie on the disk.
    Compression {
        /// As they are.
        None = "none",
        /// Packed, batch by batch.
        Zstd = "zstd",
    }
}

table! {
    /// Images to tensor shards.
    ResizeSettings {
        /// Side of the square tensor, pixels.
        side_px: u32 [Output] = 224 => |v| between(v, 8, 4096);
        /// "rgb" or "gray".
        channels: Channels [Output] = Channels::Rgb;
        /// "stretch", "letterbox" or "center-crop".
        geometry: Geometry [Output] = Geometry::Stretch;
        /// "nearest", "bilinear", "hamming", "catmull-rom", "mitchell" or "lanczos3".
        filter: Filter [Output] = Filter::Bilinear;
        /// Whether each tensor pixel averages all source pixels that it covers.
        antialias: bool [Output] = true;
        /// Most images of a shard; it has half as many at least, and ends where few others change
        /// when images are added.
        images_per_shard: usize [Output] = 1024 => |v| between(v, 1, 1_000_000);
        /// An image with more pixels is refused, not decoded.
        max_pixels: u64 [Output] = 100_000_000 => |v| between(v, 1, 1_000_000_000_000);
        /// An image whose file or decoding takes more memory is refused, bytes.
        max_memory_bytes: u64 [Output] = 1_200_000_000
            => |v| between(v, 1, 1_000_000_000_000_000);
        /// How many pictures with similar hashes each image of another split is compared with,
        /// about, in search of near copies: more finds more, and takes longer. 0 looks for the
        /// same bytes and pixels alone.
        leak_candidates_per_image: f64 [Output] = 1.0 => |v| between(v, 0.0, 1e6);
        /// Gate: the largest share of the readable images that may fail to become tensors; exit
        /// code 3 above it.
        max_failed_share: f64 [Nothing] = 1.0 => |v| between(v, 0.0, 1.0);
        /// Gate: the most pictures that may be in more than one split; exit code 3 above it.
        max_leaks: u64 [Nothing] = 1_000_000_000_000 => |v| between(v, 0, 1_000_000_000_000);
        /// "none" (memory-mapped as it lies) or "zstd" (about a third of the space; for cold
        /// storage).
        compression: Compression [Output] = Compression::None;
    }
}
