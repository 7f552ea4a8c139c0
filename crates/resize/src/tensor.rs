//! Turns an image file into a tensor, hashes and brightness.

use ossify_contract::{FailedImage, Fingerprint, FingerprintRow, Row, ShardRow, ShardShape};
use ossify_imaging::{DecodeError, HeaderError, decode_picture, to_tensor_into};
use ossify_settings::ResizeSettings;
use ossify_vocabulary::{Limits, ShardCompression, TensorSpec};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::fingerprint::{TensorView, perceptual_hash};
use crate::light::Light;
use crate::plan::Source;
use crate::shard_record::RowRecord;

/// How tensors are made from images.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recipe {
    pub(crate) spec: TensorSpec,
    pub(crate) limits: Limits,
    pub(crate) compression: ShardCompression,
}

impl Recipe {
    pub(crate) fn new(settings: &ResizeSettings) -> Self {
        Recipe { spec: settings.into(), limits: settings.into(), compression: settings.compression }
    }

    pub(crate) fn shape(&self) -> ShardShape {
        ShardShape::from(&self.spec)
    }

    /// Hash of everything, except the images, that determines the bytes of a shard and the records
    /// of its rows.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        let mut fingerprint = Fingerprint::new("shard");
        fingerprint
            .add(env!("CARGO_PKG_VERSION"))
            .add(ossify_contract::schema_version_of("resize").to_string())
            .add(format!("{self:?}"));
        // A shard that lacks a newer column is made again.
        for column in FingerprintRow::schema().fields() {
            fingerprint.add(column.name());
        }
        fingerprint
    }

    /// Decodes and resizes one image from these bytes; its tensor is written to `out`.
    pub(crate) fn tensor(
        &self,
        source: &Source,
        bytes: Result<Vec<u8>, DecodeError>,
        out: &mut [u8],
    ) -> Result<(ShardRow, RowRecord), FailedImage> {
        let failure = |rule: &str, reason: String| FailedImage {
            image_id: source.image_id.clone(),
            rule: rule.to_owned(),
            reason,
        };
        let of_decoding = |e: DecodeError| {
            let rule = if matches!(e, DecodeError::Header(HeaderError::Io(_))) {
                FailedImage::NOT_READ
            } else {
                FailedImage::UNREADABLE
            };
            failure(rule, e.to_string())
        };
        let bytes = bytes.map_err(of_decoding)?;
        let picture = decode_picture(&bytes, &self.limits, &self.spec).map_err(of_decoding)?;
        let size = picture.size();
        if size != source.size {
            let reason = format!(
                "the image has {}x{} pixels and the tables say {}x{}",
                size.0, size.1, source.size.0, source.size.1
            );
            return Err(failure(FailedImage::CHANGED, reason));
        }
        let transform = to_tensor_into(&picture, &self.spec, out).map_err(of_decoding)?;
        let view = TensorView { pixels: out, shape: self.shape(), source: size, transform };
        let mut pixels_hash = Xxh3::new();
        pixels_hash.update(&size.0.to_le_bytes());
        pixels_hash.update(&size.1.to_le_bytes());
        picture.samples().for_each(|samples| pixels_hash.update(samples));
        let Light { brightness, contrast } = Light::of(&view);
        let record = RowRecord {
            image_id: source.image_id.clone(),
            bytes_xxh3: xxh3_64(&bytes),
            pixels_xxh3: pixels_hash.digest(),
            perceptual_hash: perceptual_hash(&view),
            brightness,
            contrast,
        };
        Ok((ShardRow::new(&source.image_id, size, transform, out), record))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_recipe_stays_so_that_shards_of_earlier_versions_are_kept() {
        let recipe = Recipe::new(&ResizeSettings::default());
        assert_eq!(
            format!("{recipe:?}"),
            "Recipe { spec: TensorSpec { side_px: 224, channels: Rgb, geometry: Stretch, \
             filter: Bilinear, antialias: true }, limits: Limits { max_pixels: 100000000, \
             max_memory_bytes: 1200000000 }, compression: None }"
        );
    }
}
