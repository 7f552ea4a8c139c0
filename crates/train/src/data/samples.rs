use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use ossify_contract::{
    ClassMap, ImageRow, ImageStatus, Inputs, IssueRow, ObjectRow, ShardShape, Split, TableReader,
    UnitBox,
};
use ossify_detection::boxes::Truth;
use ossify_settings::{Samples, TrainSettings};
use ossify_vocabulary::Task;
use xxhash_rust::xxh3::xxh3_128;

use crate::data::shard_set::ShardSet;

/// One training example: an image with the objects that are to be found in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Number of the image in its [`ShardSet`].
    pub image: u32,
    /// Its first object among those of the split.
    pub first_object: u32,
    /// How many: 1 for a classifier, any number for a detector.
    pub object_count: u32,
}

/// What one sample is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleUnit {
    /// An object of a labelled image.
    Object,
    /// A labelled image with its largest object.
    LargestObject,
    /// An image with all its objects, backgrounds included.
    Image,
}

impl SampleUnit {
    /// As configured.
    pub fn of(settings: &TrainSettings) -> Self {
        match (settings.task, settings.sampler.unit) {
            (Task::Detect, _) => SampleUnit::Image,
            (Task::Classify, Samples::Object) => SampleUnit::Object,
            (Task::Classify, Samples::Image) => SampleUnit::LargestObject,
        }
    }
}

/// The samples of one split, in the order of the tables, or of the shards where images are the
/// samples of a detector. While a run trains, memory holds [`Sample`]s, 12 bytes each, [`Truth`]s,
/// 20 bytes each, and nothing else that grows with the dataset but the order of an epoch: see
/// [`crate::data::sampler::Pass`].
pub struct SplitSamples {
    /// The split.
    pub split: Split,
    /// Its images.
    pub shards: ShardSet,
    /// Its samples.
    pub samples: Vec<Sample>,
    /// Their objects, sample by sample.
    pub objects: Vec<Truth>,
    /// Objects left out because their image could not be decoded.
    pub undecoded_objects: u64,
    /// Objects left out because the tensor shows nothing of them.
    pub outside_objects: u64,
    /// Images left out of a detector's samples because all their objects are of classes that are
    /// not kept: they show something, and nothing that is to be learnt.
    pub unkept_images: u64,
}

/// Most samples of a split: their numbers have 32 bits.
pub const MAX_SAMPLES: usize = u32::MAX as usize;

/// An image that samples may use, while tables and shards are joined.
struct JoinedImage {
    /// Width and height of the source, pixels.
    size: (u32, u32),
    /// In the shards; `None` where they lack it.
    number: Option<u32>,
}

/// Images by the XXH3 (128 bits) of their id: some 50 bytes an image, as long as the join lasts.
type JoinedImages = HashMap<u128, JoinedImage>;

impl SplitSamples {
    /// Joins tables and shards: one sample an object with a class in a labelled image; or one a
    /// labelled image, of the object that has the largest area left in the tensor; or one an image
    /// that is labelled or a background, of all its objects.
    ///
    /// # Errors
    /// Fails where an artefact cannot be read, or where the shards do not belong to the tables.
    pub fn read(
        tables: &Path,
        shards_read: &Inputs,
        split: Split,
        unit: SampleUnit,
    ) -> Result<Self> {
        let mut joined = joined_images(&tables.join("images.parquet"), split, unit)?;
        let shards = ShardSet::open(shards_read, split, |number, image_id| {
            if let Some(image) = joined.get_mut(&id_hash(image_id)) {
                image.number = Some(number);
            }
        })?;
        let mut result = SplitSamples {
            split,
            shards,
            samples: Vec::new(),
            objects: Vec::new(),
            unkept_images: 0,
            undecoded_objects: 0,
            outside_objects: 0,
        };
        // Where one sample an image is asked for: number of the image -> (index of its sample,
        // area that the tensor shows of the object).
        let mut largest: HashMap<u32, (usize, f32)> = HashMap::new();
        // Where images with all their objects are asked for: number of the image, and an object.
        let mut of_images: Vec<(u32, Truth)> = Vec::new();
        let mut unkept = HashSet::new();
        let mut missing = BTreeSet::new();
        for rows in TableReader::<ObjectRow>::open(tables.join("objects.parquet"))? {
            for object in rows?.into_iter().filter(|object| object.split == split) {
                let Some(class_index) =
                    object.class_index.and_then(|index| u16::try_from(index).ok())
                else {
                    if unit == SampleUnit::Image
                        && let Some(number) =
                            joined.get(&id_hash(&object.image_id)).and_then(|image| image.number)
                    {
                        unkept.insert(number);
                    }
                    continue;
                };
                let Some(image) = joined.get(&id_hash(&object.image_id)) else { continue };
                let Some(number) = image.number else {
                    result.undecoded_objects += 1;
                    missing.insert(object.image_id);
                    continue;
                };
                let Some((shown, area)) = result.shown(&object, number, image.size)? else {
                    result.outside_objects += 1;
                    continue;
                };
                let object = Truth { class: class_index, unit_box: shown };
                match (unit, largest.get_mut(&number)) {
                    (SampleUnit::Object, _) => result.push(number, &[object])?,
                    (SampleUnit::LargestObject, None) => {
                        largest.insert(number, (result.samples.len(), area));
                        result.push(number, &[object])?;
                    }
                    (SampleUnit::LargestObject, Some((index, largest_area))) => {
                        if area > *largest_area {
                            *largest_area = area;
                            result.objects[*index] = object;
                        }
                    }
                    (SampleUnit::Image, _) => of_images.push((number, object)),
                }
            }
        }
        if unit == SampleUnit::Image {
            let mut numbers: Vec<u32> = joined.values().filter_map(|image| image.number).collect();
            drop(joined);
            numbers.sort_unstable();
            // Stable: an image's objects stay in the order of the table.
            of_images.sort_by_key(|(number, _)| *number);
            let mut rest = of_images.as_slice();
            for number in numbers {
                let count = rest.partition_point(|(of, _)| *of <= number);
                let (own, others) = rest.split_at(count);
                rest = others;
                if own.is_empty() && unkept.contains(&number) {
                    result.unkept_images += 1;
                    continue;
                }
                let objects: Vec<Truth> = own.iter().map(|(_, object)| *object).collect();
                result.push(number, &objects)?;
            }
        }
        check_missing(missing, split, &shards_read.folder().join(ISSUES))?;
        Ok(result)
    }

    fn push(&mut self, image: u32, objects: &[Truth]) -> Result<()> {
        let first_object = u32::try_from(self.objects.len());
        let (Ok(first_object), Ok(object_count)) = (first_object, u32::try_from(objects.len()))
        else {
            bail!(
                "{} has more than the {MAX_SAMPLES} objects that can be trained on; \
                 train.sampler.unit = \"image\" takes one an image",
                self.split
            );
        };
        self.objects.extend(objects);
        self.samples.push(Sample { image, first_object, object_count });
        Ok(())
    }

    /// The objects of a sample.
    pub fn objects_of(&self, sample: &Sample) -> &[Truth] {
        let first = sample.first_object as usize;
        self.objects.get(first..first + sample.object_count as usize).unwrap_or(&[])
    }

    /// The class that decides how often a balanced epoch draws a sample: that of its first object;
    /// `None` of a background.
    pub fn class_of(&self, sample: &Sample) -> Option<u16> {
        self.objects_of(sample).first().map(|object| object.class)
    }

    /// Samples without an object.
    pub fn backgrounds(&self) -> usize {
        self.samples.iter().filter(|sample| sample.object_count == 0).count()
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

    /// Objects of each class.
    pub fn class_counts(&self, classes: usize) -> Vec<u64> {
        let mut counts = vec![0; classes];
        for object in &self.objects {
            if let Some(count) = counts.get_mut(usize::from(object.class)) {
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

/// The images of the split that samples may use, not yet looked up in the shards.
fn joined_images(path: &Path, split: Split, unit: SampleUnit) -> Result<JoinedImages> {
    let is_usable = |status: ImageStatus| match status {
        ImageStatus::Labelled => true,
        ImageStatus::Background => unit == SampleUnit::Image,
        _ => false,
    };
    let mut images = HashMap::new();
    for rows in TableReader::<ImageRow>::open(path)? {
        let usable =
            rows?.into_iter().filter(|image| image.split == split && is_usable(image.status));
        for image in usable {
            let [width, height] =
                [image.width, image.height].map(|side| u32::try_from(side).unwrap_or(0));
            let found = JoinedImage { size: (width, height), number: None };
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
    if train.objects.is_empty() {
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
    if let Some(object) =
        train.objects.iter().find(|object| usize::from(object.class) >= names.len())
    {
        return Err(anyhow::anyhow!(
            "an object has class index {} and only {} classes are \
            kept",
            object.class,
            names.len()
        ))
        .context(
            "objects.parquet and classes.parquet do not belong together; run \
                ossify-ingest with --force",
        );
    }
    Ok(())
}
