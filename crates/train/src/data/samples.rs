use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use ossify_contract::{
    Access, ClassMap, ImageRow, ImageStatus, Manifest, ObjectRow, ShardImage, ShardReader,
    ShardShape, Split, TableReader, shards_of,
};
use ossify_settings::Samples;

/// The shards of one split, mapped into memory; images are numbered through all of them.
pub struct ShardSet {
    shards: Vec<ShardReader>,
    /// Number of the first image of each shard.
    first_images: Vec<usize>,
    images: usize,
}

impl ShardSet {
    /// Opens the shards of `split` that the manifest lists.
    ///
    /// # Errors
    /// Fails where a shard cannot be read, or where shards differ in their tensors' shape.
    pub fn open(folder: &Path, manifest: &Manifest, split: Split) -> Result<Self> {
        let mut set = ShardSet { shards: Vec::new(), first_images: Vec::new(), images: 0 };
        for file in shards_of(manifest, split) {
            let shard = ShardReader::open_for(Access::Scattered, folder.join(&file.path))?;
            if set.shape().is_some_and(|shape| shape != shard.shape()) {
                bail!(
                    "{}: tensors of another shape than in the shards before it; run ossify-resize with --force",
                    folder.join(&file.path).display()
                );
            }
            set.first_images.push(set.images);
            set.images += shard.len();
            set.shards.push(shard);
        }
        Ok(set)
    }

    /// How many images.
    pub fn len(&self) -> usize {
        self.images
    }

    /// Shape of the tensors; `None` without shards.
    pub fn shape(&self) -> Option<ShardShape> {
        self.shards.first().map(ShardReader::shape)
    }

    /// The image of this number.
    pub fn get(&self, image: usize) -> Option<ShardImage<'_>> {
        let (shard, row) = self.place(image)?;
        shard.get(row)
    }

    /// Appends the tensor of the image of this number to `out`.
    ///
    /// # Errors
    /// Fails where there is no such image, and where its bytes are not as they were written.
    pub fn append_tensor(&self, image: usize, out: &mut Vec<u8>) -> Result<()> {
        let (shard, row) = self.place(image).context("an image past the end of the shards")?;
        Ok(shard.append_tensor(row, out)?)
    }

    fn place(&self, image: usize) -> Option<(&ShardReader, usize)> {
        let shard = self.first_images.partition_point(|first| *first <= image).checked_sub(1)?;
        Some((&self.shards[shard], image - self.first_images[shard]))
    }
}

/// One training example: an image, a class, and a box.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Number of the image in its [`ShardSet`].
    pub image: u32,
    /// The class as trained.
    pub class_index: u16,
    /// `xmin, ymin, xmax, ymax` in shares of the tensor, cut at its borders.
    pub box_unit_xyxy: [f32; 4],
}

/// The samples of one split, in the order of the tables.
pub struct SplitSamples {
    /// The split.
    pub split: Split,
    /// Its images.
    pub shards: ShardSet,
    /// Its samples.
    pub samples: Vec<Sample>,
    /// Objects left out because their image could not be decoded.
    pub undecoded_objects: u64,
}

impl SplitSamples {
    /// Joins tables and shards: one sample an object with a class in a labelled image, or one an
    /// image, of its largest object.
    ///
    /// # Errors
    /// Fails where an artefact cannot be read, or where the shards do not belong to the tables.
    pub fn read(
        tables: &Path,
        shards_folder: &Path,
        shards_manifest: &Manifest,
        split: Split,
        samples: Samples,
    ) -> Result<Self> {
        let shards = ShardSet::open(shards_folder, shards_manifest, split)?;
        let shape = shards.shape().unwrap_or(ShardShape { height: 1, width: 1, channels: 3 });
        let mut numbers: HashMap<String, u32> = HashMap::with_capacity(shards.len());
        for image in 0..shards.len() {
            if let Some(found) = shards.get(image) {
                numbers.insert(found.image_id.to_owned(), image as u32);
            }
        }
        let labelled = labelled_images(&tables.join("images.parquet"), split)?;
        let mut result = SplitSamples { split, shards, samples: Vec::new(), undecoded_objects: 0 };
        // Where one sample an image is asked for: number of the image -> (its sample, area of the
        // object).
        let mut largest: HashMap<u32, (usize, f32)> = HashMap::new();
        let mut missing: Vec<String> = Vec::new();
        for rows in TableReader::<ObjectRow>::open(tables.join("objects.parquet"))? {
            for object in rows?.into_iter().filter(|object| object.split == split) {
                let Some(class_index) =
                    object.class_index.and_then(|index| u16::try_from(index).ok())
                else {
                    continue;
                };
                let Some(size) = labelled.get(&object.image_id) else { continue };
                let Some(number) = numbers.get(&object.image_id).copied() else {
                    result.undecoded_objects += 1;
                    missing.push(object.image_id);
                    continue;
                };
                let Some(image) = result.shards.get(number as usize) else { continue };
                if (image.width, image.height) != *size {
                    bail!(
                        "{}: {}x{} pixels in the shards and {}x{} in the tables; the shards are older than the tables, run ossify-resize again",
                        object.image_id,
                        image.width,
                        image.height,
                        size.0,
                        size.1
                    );
                }
                let unit = image
                    .transform
                    .to_tensor(&object.unit_box(), *size, (shape.width, shape.height))
                    .clamped();
                let sample = Sample { image: number, class_index, box_unit_xyxy: unit.to_array() };
                let area = object.unit_box().area();
                match (samples, largest.get_mut(&number)) {
                    (Samples::Object, _) => result.samples.push(sample),
                    (Samples::Image, None) => {
                        largest.insert(number, (result.samples.len(), area));
                        result.samples.push(sample);
                    }
                    (Samples::Image, Some((at, largest_area))) => {
                        if area > *largest_area {
                            *largest_area = area;
                            result.samples[*at] = sample;
                        }
                    }
                }
            }
        }
        missing.dedup();
        check_missing(&missing, split, shards_manifest)?;
        Ok(result)
    }

    /// Samples of each class.
    pub fn class_counts(&self, classes: usize) -> Vec<u64> {
        let mut counts = vec![0; classes];
        for sample in &self.samples {
            if let Some(count) = counts.get_mut(usize::from(sample.class_index)) {
                *count += 1;
            }
        }
        counts
    }

    /// Numbers of the images that samples use, ascending, each once.
    pub fn used_images(&self) -> Vec<u32> {
        let mut used: Vec<u32> = self.samples.iter().map(|sample| sample.image).collect();
        used.sort_unstable();
        used.dedup();
        used
    }
}

/// Size of each labelled image of the split.
fn labelled_images(path: &Path, split: Split) -> Result<HashMap<String, (u32, u32)>> {
    let mut sizes = HashMap::new();
    for rows in TableReader::<ImageRow>::open(path)? {
        for image in rows?
            .into_iter()
            .filter(|image| image.split == split && image.status == ImageStatus::Labelled)
        {
            sizes.insert(image.image_id, (image.width.max(0) as u32, image.height.max(0) as u32));
        }
    }
    Ok(sizes)
}

/// Images that the resize stage tells of as undecodable may be missing from the shards; others may
/// not.
fn check_missing(missing: &[String], split: Split, manifest: &Manifest) -> Result<()> {
    let told = manifest.summary.get("failed").and_then(|list| list.as_array());
    let is_told = |image_id: &String| {
        told.is_some_and(|list| list.iter().any(|entry| names_image(entry, image_id)))
    };
    match missing.iter().find(|image_id| !is_told(image_id)) {
        None => Ok(()),
        Some(first) => bail!(
            "{} labelled images of {split} are not in the shards, the first is {first}; the shards are older than the tables, run ossify-resize again",
            missing.len()
        ),
    }
}

fn names_image(entry: &serde_json::Value, image_id: &str) -> bool {
    entry.as_str() == Some(image_id)
        || entry.get("image_id").and_then(|id| id.as_str()) == Some(image_id)
}

/// Checks that there is something to learn, for each class.
///
/// # Errors
/// Fails with what is missing and what to do.
pub fn check_train(train: &SplitSamples, classes: &ClassMap) -> Result<()> {
    let names = classes.kept_names();
    if names.is_empty() {
        bail!(
            "no class is kept: the tables have no object to learn from; check the dataset's labels and ingest.min_objects_per_class"
        );
    }
    if train.samples.is_empty() {
        bail!(
            "the train split has no sample: no labelled image with an object of a kept class; check the dataset's train folder"
        );
    }
    let empty: Vec<_> = names
        .iter()
        .zip(train.class_counts(names.len()))
        .filter(|(_, count)| *count == 0)
        .map(|(name, _)| format!("`{name}`"))
        .collect();
    if !empty.is_empty() {
        bail!(
            "no training sample of {}; raise ingest.min_objects_per_class to leave such classes out, or add images",
            empty.join(", ")
        );
    }
    if let Some(sample) =
        train.samples.iter().find(|sample| usize::from(sample.class_index) >= names.len())
    {
        return Err(anyhow::anyhow!("an object has class index {} and only {} classes are kept", sample.class_index, names.len()))
            .context("objects.parquet and classes.parquet do not belong together; run ossify-ingest with --force");
    }
    Ok(())
}
