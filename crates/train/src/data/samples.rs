use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use ossify_contract::{
    ClassMap, ImageRow, ImageStatus, Inputs, IssueRow, ObjectRow, ShardShape, Split, TableReader,
    UnitBox,
};
use ossify_settings::Samples;
use xxhash_rust::xxh3::xxh3_128;

use crate::data::shard_set::ShardSet;

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

/// The samples of one split, in the order of the tables. While a run trains, memory holds
/// [`Sample`]s, 24 bytes each, and nothing else that grows with the dataset but the order of an
/// epoch: see [`crate::data::sampler::Pass`].
pub struct SplitSamples {
    /// The split.
    pub split: Split,
    /// Its images.
    pub shards: ShardSet,
    /// Its samples.
    pub samples: Vec<Sample>,
    /// Objects left out because their image could not be decoded.
    pub undecoded_objects: u64,
    /// Objects left out because the tensor shows nothing of them.
    pub outside_objects: u64,
}

/// Most samples of a split: their numbers have 32 bits.
pub const MAX_SAMPLES: usize = u32::MAX as usize;

/// A labelled image, while tables and shards are joined.
struct LabelledImage {
    /// Width and height of the source, pixels.
    size: (u32, u32),
    /// In the shards; `None` where they lack it.
    number: Option<u32>,
}

/// Labelled images by the XXH3 (128 bits) of their id: some 50 bytes an image, as long as the join
/// lasts.
type LabelledImages = HashMap<u128, LabelledImage>;

impl SplitSamples {
    /// Joins tables and shards: one sample an object with a class in a labelled image, or one an
    /// image, of the object that has the largest area left in the tensor.
    ///
    /// # Errors
    /// Fails where an artefact cannot be read, or where the shards do not belong to the tables.
    pub fn read(
        tables: &Path,
        shards_read: &Inputs,
        split: Split,
        samples: Samples,
    ) -> Result<Self> {
        let mut labelled = labelled_images(&tables.join("images.parquet"), split)?;
        let shards = ShardSet::open(shards_read, split, |number, image_id| {
            if let Some(image) = labelled.get_mut(&id_hash(image_id)) {
                image.number = Some(number);
            }
        })?;
        let mut result = SplitSamples {
            split,
            shards,
            samples: Vec::new(),
            undecoded_objects: 0,
            outside_objects: 0,
        };
        // Where one sample an image is asked for: number of the image -> (index of its sample,
        // area that the tensor shows of the object).
        let mut largest: HashMap<u32, (usize, f32)> = HashMap::new();
        let mut missing = BTreeSet::new();
        for rows in TableReader::<ObjectRow>::open(tables.join("objects.parquet"))? {
            for object in rows?.into_iter().filter(|object| object.split == split) {
                let Some(class_index) =
                    object.class_index.and_then(|index| u16::try_from(index).ok())
                else {
                    continue;
                };
                let Some(image) = labelled.get(&id_hash(&object.image_id)) else { continue };
                let Some(number) = image.number else {
                    result.undecoded_objects += 1;
                    missing.insert(object.image_id);
                    continue;
                };
                let Some((shown, area)) = result.shown(&object, number, image.size)? else {
                    result.outside_objects += 1;
                    continue;
                };
                let sample = Sample { image: number, class_index, box_unit_xyxy: shown.to_array() };
                match (samples, largest.get_mut(&number)) {
                    (Samples::Object, _) => result.samples.push(sample),
                    (Samples::Image, None) => {
                        largest.insert(number, (result.samples.len(), area));
                        result.samples.push(sample);
                    }
                    (Samples::Image, Some((index, largest_area))) => {
                        if area > *largest_area {
                            *largest_area = area;
                            result.samples[*index] = sample;
                        }
                    }
                }
            }
        }
        if result.samples.len() > MAX_SAMPLES {
            bail!(
                "{split} has {} samples, more than the {MAX_SAMPLES} that can be trained on; \
                 train.sampler.unit = \"image\" takes one an image",
                result.samples.len()
            );
        }
        check_missing(missing, split, &shards_read.folder().join(ISSUES))?;
        Ok(result)
    }

    /// What the tensor shows of an object in the image of this number, and the area of that in the
    /// source; `None` for nothing. `size` is that of the source as the tables have it.
    fn shown(
        &self,
        object: &ObjectRow,
        number: u32,
        size: (u32, u32),
    ) -> Result<Option<(UnitBox, f32)>> {
        let (size_in_shards, transform) = self.shards.source(number)?;
        if size_in_shards != size {
            bail!(
                "{}: {}x{} pixels in the shards and {}x{} in the tables; \
                 the shards are older than the tables, run ossify-resize again",
                object.image_id,
                size_in_shards.0,
                size_in_shards.1,
                size.0,
                size.1
            );
        }
        let shape = self.shards.shape().unwrap_or(ShardShape { height: 1, width: 1, channels: 3 });
        let source = object.unit_box();
        let whole = transform.to_tensor(&source, size, (shape.width, shape.height));
        let shown = whole.clamped();
        // Where nothing was cut off, the quotient is 1 to the digit.
        let area = source.area() * (shown.area() / whole.area());
        Ok((shown.area() > 0.0).then_some((shown, area)))
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

/// The labelled images of the split, not yet looked up in the shards.
fn labelled_images(path: &Path, split: Split) -> Result<LabelledImages> {
    let mut images = HashMap::new();
    for rows in TableReader::<ImageRow>::open(path)? {
        let labelled = rows?
            .into_iter()
            .filter(|image| image.split == split && image.status == ImageStatus::Labelled);
        for image in labelled {
            let [width, height] =
                [image.width, image.height].map(|side| u32::try_from(side).unwrap_or(0));
            let found = LabelledImage { size: (width, height), number: None };
            images.insert(id_hash(&image.image_id), found);
        }
    }
    Ok(images)
}

fn id_hash(image_id: &str) -> u128 {
    xxh3_128(image_id.as_bytes())
}

/// The table of `shards/` that names the images that became no tensor.
pub const ISSUES: &str = "issues.parquet";

/// Checks that the labelled images that the shards lack are those that resize could not decode,
/// which `issues` lists.
fn check_missing(mut missing: BTreeSet<String>, split: Split, issues: &Path) -> Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    for rows in TableReader::<IssueRow>::open(issues)? {
        for row in rows? {
            missing.remove(&row.path);
        }
    }
    match missing.first() {
        None => Ok(()),
        Some(first) => bail!(
            "{} labelled images of {split} are not in the shards, the first is {first}; \
             the shards are older than the tables, run ossify-resize again",
            missing.len()
        ),
    }
}

/// Checks that there is something to learn, for each class.
///
/// # Errors
/// Fails with what is missing and what to do.
pub fn check_train(train: &SplitSamples, classes: &ClassMap) -> Result<()> {
    let names = classes.kept_names();
    if names.is_empty() {
        bail!(
            "no class is kept: the tables have no object to learn from; check the dataset's \
                labels and ingest.min_objects_per_class"
        );
    }
    if train.samples.is_empty() {
        bail!(
            "the train split has no sample: no labelled image with an object of a kept class; \
                check the dataset's train folder"
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
            "no training sample of {}; raise ingest.min_objects_per_class to leave such classes \
                out, or add images",
            empty.join(", ")
        );
    }
    if let Some(sample) =
        train.samples.iter().find(|sample| usize::from(sample.class_index) >= names.len())
    {
        return Err(anyhow::anyhow!(
            "an object has class index {} and only {} classes are \
            kept",
            sample.class_index,
            names.len()
        ))
        .context(
            "objects.parquet and classes.parquet do not belong together; run \
                ossify-ingest with --force",
        );
    }
    Ok(())
}
