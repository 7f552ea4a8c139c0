use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use burn::tensor::Device;
use ossify_contract::{FileEntry, Fingerprint, Manifest, Publication, Split, write_atomic};
use ossify_model::{Backbone, Normalization, pixels};
use ossify_settings::Reporter;
use serde_json::json;

use crate::data::samples::SplitSamples;
use crate::interrupt::Interrupt;

/// Images of one file of the cache: what a killed run has to compute again at most.
const CHUNK_IMAGES: usize = 128;
/// Images that go through the backbone together. Fixed, because float results can depend on it.
const BATCH_IMAGES: usize = 16;

/// The pooled backbone features of one split's images, on disk.
pub struct FeatureSet {
    chunks: Vec<File>,
    width: usize,
    /// Numbers of the images in the shards, ascending; the place is the row.
    images: Vec<u32>,
}

impl FeatureSet {
    /// Numbers of a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Reads the features of an image into `row`, which has [`FeatureSet::width`] places.
    ///
    /// # Errors
    /// Fails where the image has none, or where the file cannot be read.
    pub fn read(&self, image: u32, row: &mut [f32]) -> Result<()> {
        let at = self
            .images
            .binary_search(&image)
            .map_err(|_| anyhow!("no features of image {image}"))?;
        let file =
            self.chunks.get(at / CHUNK_IMAGES).context("a file of the features is missing")?;
        let mut bytes = vec![0; size_of_val(row)];
        let offset = (at % CHUNK_IMAGES) * bytes.len();
        file.read_exact_at(&mut bytes, offset as u64).context("cannot read features")?;
        for (value, bytes) in row.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *value = f32::from_le_bytes(*bytes);
        }
        Ok(())
    }
}

/// What decides a backbone's features, besides the images.
pub struct FeatureRecipe<'a> {
    /// The frozen backbone, on a device without gradients.
    pub backbone: &'a Backbone,
    /// Hash of its weights.
    pub weights_hash: &'a str,
    /// How bytes become input.
    pub normalization: Normalization,
    /// Side of the network input.
    pub input_px: usize,
    /// Content hash of the shards.
    pub shards_hash: &'a str,
    /// The kind of device, for kinds differ in the last digits.
    pub device_kind: &'a str,
    /// The device.
    pub device: &'a Device,
}

impl FeatureRecipe<'_> {
    fn fingerprint(&self, splits: &[&SplitSamples]) -> String {
        let mut fingerprint = Fingerprint::new("features");
        fingerprint
            .add(env!("CARGO_PKG_VERSION"))
            .add(self.weights_hash)
            .add(self.normalization.name())
            .add(self.input_px.to_string());
        fingerprint.add(self.shards_hash).add(self.device_kind);
        for split in splits {
            fingerprint.add(split.split.as_str());
            for image in split.used_images() {
                fingerprint.add(image.to_le_bytes());
            }
        }
        fingerprint.finish()
    }

    /// The features of the images that the splits' samples use: those on disk where they were
    /// computed before, by whatever run, else computed now. A killed computation is taken up where
    /// it was.
    ///
    /// # Errors
    /// Fails where the disk or the device does.
    pub fn features(
        &self,
        folder: &Path,
        splits: &[&SplitSamples],
        reporter: &Reporter,
        interrupt: &Interrupt,
    ) -> Result<Vec<FeatureSet>> {
        let fingerprint = self.fingerprint(splits);
        let folder = folder.join(&fingerprint[..16]);
        let width = self.backbone.feature_channels();
        let is_whole = Manifest::is_current(&folder, &fingerprint)
            .is_some_and(|manifest| manifest.files.iter().all(|file| file.verify(&folder).is_ok()));
        if is_whole {
            reporter.say(format_args!(
                "features of the frozen backbone: taken from {}",
                folder.display()
            ));
        } else {
            self.compute(&folder, &fingerprint, splits, reporter, interrupt)?;
        }
        splits.iter().map(|split| open(&folder, split, width)).collect()
    }

    fn compute(
        &self,
        folder: &Path,
        fingerprint: &str,
        splits: &[&SplitSamples],
        reporter: &Reporter,
        interrupt: &Interrupt,
    ) -> Result<()> {
        let publication = Publication::resume(folder)?;
        let images: usize = splits.iter().map(|split| split.used_images().len()).sum();
        let width = self.backbone.feature_channels();
        reporter.say(format_args!(
            "features of the frozen backbone: computed once for {images} images, kept in {}",
            folder.display()
        ));
        let progress = reporter.progress("features", "images", Some(images as u64));
        let mut files: Vec<FileEntry> = Vec::new();
        for split in splits {
            for (number, chunk) in split.used_images().chunks(CHUNK_IMAGES).enumerate() {
                let name = chunk_file(split.split, number);
                let staged = publication.stage(&name)?;
                // Whole or absent: chunks are moved into place when they are on disk.
                let is_there = std::fs::metadata(&staged).is_ok_and(|metadata| {
                    metadata.len() == (chunk.len() * width * size_of::<f32>()) as u64
                });
                if !is_there {
                    let mut bytes = Vec::with_capacity(chunk.len() * width * size_of::<f32>());
                    for batch in chunk.chunks(BATCH_IMAGES) {
                        interrupt.check("the features computed so far are kept")?;
                        bytes.extend(
                            self.forward(split, batch)?.into_iter().flat_map(f32::to_le_bytes),
                        );
                        progress.inc(batch.len() as u64);
                    }
                    write_atomic(&staged, &bytes)?;
                } else {
                    progress.inc(chunk.len() as u64);
                }
                files.push(publication.describe(&name, Some(chunk.len() as u64))?);
            }
        }
        publication.commit(
            "features",
            fingerprint,
            files,
            json!({ "width": width, "images": images }),
        )?;
        Ok(())
    }

    /// Features of a few images, row by row.
    fn forward(&self, split: &SplitSamples, images: &[u32]) -> Result<Vec<f32>> {
        let shape = split.shards.shape().context("a split without shards")?;
        let mut bytes = Vec::with_capacity(images.len() * shape.bytes());
        for image in images {
            split.shards.append_tensor(*image as usize, &mut bytes)?;
        }
        let dimensions =
            [images.len(), shape.height as usize, shape.width as usize, shape.channels as usize];
        let input =
            pixels::to_input(bytes, dimensions, self.device, self.normalization, self.input_px)?;
        let data = self.backbone.forward(input).try_into_data().map_err(|e| anyhow!("{e}"))?;
        data.try_into_vec::<f32>().map_err(|e| anyhow!("{e:?}"))
    }
}

fn open(folder: &Path, split: &SplitSamples, width: usize) -> Result<FeatureSet> {
    let images = split.used_images();
    let file = |number| -> Result<File> {
        let path: PathBuf = folder.join(chunk_file(split.split, number));
        File::open(&path).with_context(|| format!("cannot open {}", path.display()))
    };
    let chunks = (0..images.len().div_ceil(CHUNK_IMAGES)).map(file).collect::<Result<_>>()?;
    Ok(FeatureSet { chunks, width, images })
}

/// Little-endian float32, one row an image.
fn chunk_file(split: Split, number: usize) -> String {
    format!("{split}-{number:05}.f32")
}
