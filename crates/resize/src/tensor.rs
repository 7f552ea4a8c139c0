//! One image: file to tensor and hashes.

use std::path::Path;

use ossify_contract::{ShardRow, ShardShape};
use ossify_imaging::{DecodeError, HeaderError, Limits, TensorSpec, decode, read_file, to_tensor};
use ossify_settings::ResizeSettings;
use xxhash_rust::xxh3::xxh3_64;

use crate::fingerprint::perceptual_hash;
use crate::inputs::Source;
use crate::shard_record::{Failure, Hashes};

/// What is made of every image.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recipe {
    pub(crate) spec: TensorSpec,
    pub(crate) limits: Limits,
}

impl Recipe {
    pub(crate) fn new(settings: &ResizeSettings) -> Self {
        use ossify_imaging as imaging;
        use ossify_settings as settings_words;
        let channels = match settings.channels {
            settings_words::Channels::Rgb => imaging::Channels::Rgb,
            settings_words::Channels::Gray => imaging::Channels::Gray,
        };
        let geometry = match settings.geometry {
            settings_words::Geometry::Stretch => imaging::Geometry::Stretch,
            settings_words::Geometry::Letterbox => imaging::Geometry::Letterbox,
            settings_words::Geometry::CenterCrop => imaging::Geometry::CenterCrop,
        };
        let filter = match settings.filter {
            settings_words::Filter::Nearest => imaging::Filter::Nearest,
            settings_words::Filter::Bilinear => imaging::Filter::Bilinear,
            settings_words::Filter::Hamming => imaging::Filter::Hamming,
            settings_words::Filter::CatmullRom => imaging::Filter::CatmullRom,
            settings_words::Filter::Mitchell => imaging::Filter::Mitchell,
            settings_words::Filter::Lanczos3 => imaging::Filter::Lanczos3,
        };
        let spec = TensorSpec { side_px: settings.side_px, channels, geometry, filter, antialias: settings.antialias };
        Recipe { spec, limits: Limits::of_pixels(settings.max_pixels) }
    }

    pub(crate) fn shape(&self) -> ShardShape {
        ShardShape { height: self.spec.side_px, width: self.spec.side_px, channels: self.spec.channels.count() as u32 }
    }
}

/// An image that became a tensor.
pub(crate) struct Resized {
    pub(crate) row: ShardRow,
    pub(crate) hashes: Hashes,
}

/// Reads, decodes and resizes one image.
pub(crate) fn resized(dataset: &Path, source: &Source, recipe: &Recipe) -> Result<Resized, Failure> {
    let failure = |rule: &str, reason: String| Failure { image_id: source.image_id.clone(), rule: rule.to_owned(), reason };
    let of_decoding = |e: DecodeError| {
        let rule = if matches!(e, DecodeError::Header(HeaderError::Io(_))) { Failure::NOT_READ } else { Failure::UNREADABLE };
        failure(rule, e.to_string())
    };
    let bytes = read_file(dataset.join(&source.image_id), &recipe.limits).map_err(of_decoding)?;
    let pixels = decode(&bytes, &recipe.limits).map_err(of_decoding)?;
    let (width, height) = pixels.size();
    if (width, height) != (source.width, source.height) {
        let reason = format!("the image has {width}x{height} pixels and the tables say {}x{}", source.width, source.height);
        return Err(failure(Failure::CHANGED, reason));
    }
    let bytes_xxh3 = xxh3_64(&bytes);
    drop(bytes);
    let (tensor, transform) = to_tensor(&pixels, &recipe.spec);
    let hashes = Hashes { image_id: source.image_id.clone(), bytes_xxh3, pixels_xxh3: xxh3_64(&tensor), perceptual_hash: perceptual_hash(&pixels) };
    Ok(Resized { row: ShardRow { image_id: source.image_id.clone(), pixels: tensor, width, height, transform }, hashes })
}
