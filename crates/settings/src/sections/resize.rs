use ossify_vocabulary::{Channels, Filter, Geometry, Limits, ShardCompression, TensorSpec};

use crate::ranges::between;
use crate::schema::table;

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
        max_pixels: u64 [Output] = Limits::default().max_pixels
            => |v| between(v, 1, 1_000_000_000_000);
        /// An image whose file or decoding takes more memory is refused, bytes.
        max_memory_bytes: u64 [Output] = Limits::default().max_memory_bytes
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
        compression: ShardCompression [Output] = ShardCompression::None;
    }
}

impl From<&ResizeSettings> for TensorSpec {
    fn from(settings: &ResizeSettings) -> Self {
        TensorSpec {
            side_px: settings.side_px,
            channels: settings.channels,
            geometry: settings.geometry,
            filter: settings.filter,
            antialias: settings.antialias,
        }
    }
}

impl From<&ResizeSettings> for Limits {
    fn from(settings: &ResizeSettings) -> Self {
        Limits { max_pixels: settings.max_pixels, max_memory_bytes: settings.max_memory_bytes }
    }
}
