use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use burn::tensor::Device;
use ossify_contract::{ArtefactError, FileEntry, Fingerprint, Publication, Split, write_atomic};
use ossify_model::{Backbone, pixels};
use ossify_settings::Reporter;
use ossify_vocabulary::Normalization;
use serde_json::json;

use crate::data::recent::Recent;
use crate::data::samples::SplitSamples;
use crate::interrupt::Interrupt;

/// Images of one file of the cache: the most that a killed run has to compute again.
const CHUNK_IMAGES: usize = 128;
/// Images that go through the backbone together. Fixed, because float results can depend on it.
const BATCH_IMAGES: usize = 16;

/// Files of the cache that are open at a time, a split.
const MAX_OPEN_CHUNKS: usize = 16;

/// The pooled backbone features of one split's images, on disk.
pub struct FeatureSet {
    folder: PathBuf,
    split: Split,
    width: usize,
    /// Numbers of the images in the shards, ascending: 4 bytes an image; the index is the row.
    images: Vec<u32>,
    open: Recent<File>,
}

impl FeatureSet {
    /// The features of these images, ascending, in a folder that has them.
    fn new(folder: &Path, split: Split, width: usize, images: Vec<u32>) -> Self {
        let open = Recent::new(MAX_OPEN_CHUNKS);
        FeatureSet { folder: folder.to_path_buf(), split, width, images, open }
    }

    /// Numbers of a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Reads the features of an image into `row`, [`FeatureSet::width`] numbers.
    ///
    /// # Errors
    /// Fails where the image has none, or where the file cannot be read.
    pub fn read(&self, image: u32, row: &mut [f32]) -> Result<()> {
        let index = self
            .images
            .binary_search(&image)
            .map_err(|_| anyhow!("no features of image {image}"))?;
        let path = self.folder.join(chunk_file(self.split, index / CHUNK_IMAGES));
        let file = self.open.get(index / CHUNK_IMAGES, || {
            File::open(&path).with_context(|| format!("cannot open {}", path.display()))
        })?;
        let mut bytes = vec![0; size_of_val(row)];
        let offset = (index % CHUNK_IMAGES) * bytes.len();
        file.read_exact_at(&mut bytes, u64::try_from(offset)?)
            .with_context(|| format!("cannot read {}", path.display()))?;
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
            .add(self.normalization.as_str())
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
        if let Some(publication) =
            self.lock_unless_whole(&folder, &fingerprint, reporter, interrupt)?
        {
            self.compute(publication, &fingerprint, splits, reporter, interrupt)?;
        } else {
            reporter.say(format_args!(
                "features of the frozen backbone: taken from {}",
                folder.display()
            ));
        }
        let open = |split: &&SplitSamples| {
            FeatureSet::new(&folder, split.split, width, split.used_images())
        };
        Ok(splits.iter().map(open).collect())
    }

    /// The right to fill the folder, or `None` where it is whole. Where another process is filling
    /// it, waits until that has ended, whichever way.
    fn lock_unless_whole(
        &self,
        folder: &Path,
        fingerprint: &str,
        reporter: &Reporter,
        interrupt: &Interrupt,
    ) -> Result<Option<Publication>> {
        let is_whole = || {
            Publication::current(folder, fingerprint).is_some_and(|manifest| {
                manifest.files.iter().all(|file| file.verify(folder).is_ok())
            })
        };
        let mut is_waiting = false;
        loop {
            if is_whole() {
                return Ok(None);
            }
            match Publication::resume(folder) {
                // What was whole when the lock came free needs no second look.
                Ok(_) if is_waiting && is_whole() => return Ok(None),
                Ok(publication) => return Ok(Some(publication)),
                Err(ArtefactError::Busy { .. }) if !is_waiting => {
                    is_waiting = true;
                    reporter.say(format_args!(
                        "features of the frozen backbone: another process computes them in {}; \
                         waiting for it",
                        folder.display()
                    ));
                }
                Err(ArtefactError::Busy { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            interrupt.wait("the other process goes on")?;
        }
    }

    fn compute(
        &self,
        publication: Publication,
        fingerprint: &str,
        splits: &[&SplitSamples],
        reporter: &Reporter,
        interrupt: &Interrupt,
    ) -> Result<()> {
        let images: usize = splits.iter().map(|split| split.used_images().len()).sum();
        let width = self.backbone.feature_channels();
        reporter.say(format_args!(
            "features of the frozen backbone: computed once for {images} images, kept in {}",
            publication.folder().display()
        ));
        let progress = reporter.progress("features", "images", Some(images as u64));
        let mut files: Vec<FileEntry> = Vec::new();
        for split in splits {
            for (number, chunk) in split.used_images().chunks(CHUNK_IMAGES).enumerate() {
                let name = chunk_file(split.split, number);
                let staged = publication.stage(&name)?;
                // Whole or absent: a chunk gets its name when it is on disk.
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
            split.shards.append_tensor(*image, &mut bytes)?;
        }
        let dimensions =
            [images.len(), shape.height as usize, shape.width as usize, shape.channels as usize];
        let input =
            pixels::to_input(bytes, dimensions, self.device, self.normalization, self.input_px)?;
        let data = self.backbone.forward(input).try_into_data().map_err(|e| anyhow!("{e}"))?;
        data.try_into_vec::<f32>().map_err(|e| anyhow!("{e:?}"))
    }
}

/// Little-endian float32, one row an image.
fn chunk_file(split: Split, number: usize) -> String {
    format!("{split}-{number:05}.f32")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_rows_there_are_few_files_are_open() {
        const ROWS: u32 = 200_000;
        let folder = tempfile::tempdir().unwrap();
        let images: Vec<u32> = (0..ROWS).map(|row| row * 2).collect();
        for (number, chunk) in images.chunks(CHUNK_IMAGES).enumerate() {
            let bytes: Vec<u8> =
                chunk.iter().flat_map(|image| (*image as f32).to_le_bytes()).collect();
            std::fs::write(folder.path().join(chunk_file(Split::Train, number)), bytes).unwrap();
        }
        let open_here = || {
            let links = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
            links
                .filter(|link| {
                    std::fs::read_link(link.path())
                        .is_ok_and(|file| file.starts_with(folder.path()))
                })
                .count()
        };
        let set = FeatureSet::new(folder.path(), Split::Train, 1, images);
        let mut row = [0.0];
        for draw in 0..5_000 {
            let image = (draw * 7919 % ROWS) * 2;
            set.read(image, &mut row).unwrap();
            assert_eq!(row, [image as f32]);
        }
        assert_eq!(open_here(), MAX_OPEN_CHUNKS);
        assert!(set.read(1, &mut row).is_err());
    }
}
