//! Plans which images go into which shard, with a fingerprint of everything that determines a
//! shard's bytes.

use std::io;
use std::path::{Component, Path};

use ossify_contract::{
    ArtefactError, Fingerprint, ImageRow, ImageStatus, Partition, PinnedFile, Split, TableReader,
    shard_file_name, share_of_pieces,
};
use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_64;

/// An image that ingest could read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// Path from the dataset root.
    pub(crate) image_id: String,
    /// Width and height of the upright image, according to the tables.
    pub(crate) size: (u32, u32),
}

impl From<ImageRow> for Source {
    fn from(row: ImageRow) -> Self {
        Source { image_id: row.image_id, size: (row.width.max(0) as u32, row.height.max(0) as u32) }
    }
}

/// A planned shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ShardPlan {
    /// File name.
    pub(crate) file: String,
    pub(crate) split: Split,
    /// Number of images from the tables.
    pub(crate) images: usize,
    /// Hash of the recipe and of what the tables say about these images.
    pub(crate) content: String,
    /// Hash of everything that determines the shard's bytes, including the files' sizes and
    /// modification times. Empty until these have been looked up.
    pub(crate) inputs: String,
}

/// Everything that the stage is going to do. It holds shards, not images.
#[derive(Clone)]
pub(crate) struct Plan {
    /// The table of images.
    table: PinnedFile,
    /// The shards of each split, in the order of the tables.
    pub(crate) shards: Vec<ShardPlan>,
    /// Number of images that ingest found unreadable, which are left out.
    pub(crate) unreadable: u64,
    configuration: Fingerprint,
}

/// Number of images whose files are looked up together, on all threads.
const STAMPED_TOGETHER: usize = 8192;

impl Plan {
    /// Divides the image table into shards, without looking at the dataset's files. `recipe` is the
    /// hash of how tensors are made, `configuration` that of everything else that determines the
    /// output.
    pub(crate) fn read(
        table: PinnedFile,
        images_per_shard: usize,
        recipe: &Fingerprint,
        configuration: Fingerprint,
    ) -> Result<Self, ArtefactError> {
        let mut cutters =
            Split::ALL.map(|split| Cutter::new(split, images_per_shard, recipe.clone()));
        let mut unreadable = 0;
        for batch in TableReader::<ImageRow>::of_pinned(&table)? {
            for row in batch? {
                if row.status == ImageStatus::Unreadable {
                    unreadable += 1;
                    continue;
                }
                if !is_below_root(&row.image_id) {
                    let reason = format!(
                        "image_id `{}` is not a path below the dataset's folder; run ossify-ingest \
                        again with --force",
                        row.image_id
                    );
                    return Err(ArtefactError::corrupt(table.path(), reason));
                }
                cutters[row.split as usize].push(Source::from(row));
            }
        }
        let shards = cutters.into_iter().flat_map(Cutter::finish).collect();
        Ok(Plan { table, shards, unreadable, configuration })
    }

    /// Looks up the size and modification time of the images in the wanted shards, without opening
    /// them.
    pub(crate) fn look_up(
        &mut self,
        dataset: &Path,
        is_wanted: impl Fn(usize) -> bool,
    ) -> Result<(), ArtefactError> {
        let mut inputs: Vec<Option<Fingerprint>> = vec![None; self.shards.len()];
        let mut sources = self.sources_as_they_stand(Split::ALL.to_vec(), self.wanted(is_wanted));
        loop {
            let together =
                sources.by_ref().take(STAMPED_TOGETHER).collect::<Result<Vec<_>, _>>()?;
            if together.is_empty() {
                break;
            }
            let look_up = |(_, source): &(usize, Source)| {
                let path = dataset.join(&source.image_id);
                stamp(&path).map_err(ArtefactError::io("cannot look up", path))
            };
            let stamps = together.par_iter().map(look_up).collect::<Result<Vec<_>, _>>()?;
            for ((shard, _), stamp) in together.into_iter().zip(stamps) {
                inputs[shard].get_or_insert_with(|| Fingerprint::new("files")).add(stamp);
            }
        }
        drop(sources);
        for (shard, inputs) in self.shards.iter_mut().zip(inputs) {
            if let Some(mut inputs) = inputs {
                shard.inputs = inputs.add(&shard.content).finish();
            }
        }
        Ok(())
    }

    /// Hash of everything that determines the output, once all files have been looked up.
    pub(crate) fn fingerprint(&self) -> String {
        let mut fingerprint = self.configuration.clone();
        fingerprint.add(self.unreadable.to_string());
        for shard in &self.shards {
            fingerprint.add(&shard.file).add(&shard.inputs);
        }
        fingerprint.finish()
    }

    /// Which shards are in this share. A share consists of whole shards, so no tensor is copied
    /// when the parts are merged.
    pub(crate) fn share(&self, partition: Partition) -> Vec<bool> {
        share_of_pieces(partition, self.shards.iter().map(|shard| shard.images as u64))
    }

    /// Number of images in the planned shards.
    pub(crate) fn images(&self) -> usize {
        self.shards.iter().map(|shard| shard.images).sum()
    }

    /// The images of the wanted shards, in order, each with the number of its shard. The table is
    /// read lazily, once for each split.
    pub(crate) fn sources(
        &self,
        is_wanted: impl Fn(usize) -> bool,
    ) -> impl Iterator<Item = Result<(usize, Source), ArtefactError>> {
        let wanted = self.wanted(is_wanted);
        let is_any_wanted = |split: &Split| {
            self.shards
                .iter()
                .zip(&wanted)
                .any(|(shard, is_wanted)| *is_wanted && shard.split == *split)
        };
        let splits: Vec<Split> = Split::ALL.into_iter().filter(is_any_wanted).collect();
        splits
            .into_iter()
            .flat_map(move |split| self.sources_as_they_stand(vec![split], wanted.clone()))
    }

    fn wanted(&self, is_wanted: impl Fn(usize) -> bool) -> Vec<bool> {
        (0..self.shards.len()).map(is_wanted).collect()
    }

    /// The images of the wanted shards of these splits, in the order of the table, which is read
    /// once.
    fn sources_as_they_stand(
        &self,
        splits: Vec<Split>,
        wanted: Vec<bool>,
    ) -> impl Iterator<Item = Result<(usize, Source), ArtefactError>> {
        // The shards of each split that are not yet full, the next one last.
        let mut open = Split::ALL.map(|split| {
            let shards = self.shards.iter().enumerate().filter(|(_, shard)| shard.split == split);
            shards.map(|(number, shard)| (number, shard.images)).rev().collect::<Vec<_>>()
        });
        rows_of(&self.table, splits).filter_map(move |row| {
            let row = match row {
                Ok(row) => row,
                Err(e) => return Some(Err(e)),
            };
            let shards = &mut open[row.split as usize];
            while shards.last().is_some_and(|(_, left)| *left == 0) {
                shards.pop();
            }
            let (number, left) = shards.last_mut()?;
            *left -= 1;
            wanted[*number].then(|| Ok((*number, Source::from(row))))
        })
    }
}

/// The readable images of these splits.
fn rows_of(
    table: &PinnedFile,
    splits: Vec<Split>,
) -> Box<dyn Iterator<Item = Result<ImageRow, ArtefactError>> + Send> {
    match TableReader::<ImageRow>::of_pinned(table) {
        Err(e) => Box::new(std::iter::once(Err(e))),
        Ok(reader) => Box::new(reader.flat_map(move |batch| {
            match batch {
                Err(e) => vec![Err(e)],
                Ok(rows) => rows
                    .into_iter()
                    .filter(|row| {
                        splits.contains(&row.split) && row.status != ImageStatus::Unreadable
                    })
                    .map(Ok)
                    .collect(),
            }
        })),
    }
}

/// Divides the images of a split into shards, with boundaries that depend on the images' names.
///
/// A shard has at most `max_images` images and at least half of that, except for the last one.
/// Within that range it ends after the image whose id has the smallest hash. The end of a shard
/// therefore depends only on the images around it: adding or removing images changes the shards
/// that they fall into, and after a shard or two the boundaries are the same as before.
struct Cutter {
    split: Split,
    max_images: usize,
    recipe: Fingerprint,
    /// The pending images, each with the hash of its id.
    waiting: Vec<(u64, Source)>,
    shards: Vec<ShardPlan>,
}

impl Cutter {
    fn new(split: Split, max_images: usize, recipe: Fingerprint) -> Self {
        Cutter { split, max_images, recipe, waiting: Vec::new(), shards: Vec::new() }
    }

    fn push(&mut self, source: Source) {
        self.waiting.push((xxh3_64(source.image_id.as_bytes()), source));
        if self.waiting.len() > self.max_images {
            let min_images = self.max_images.div_ceil(2);
            let candidates =
                self.waiting.iter().enumerate().take(self.max_images).skip(min_images - 1);
            let end = candidates
                .min_by_key(|(at, (hash, _))| (*hash, *at))
                .map_or(self.max_images, |(at, _)| at + 1);
            self.cut(end);
        }
    }

    fn cut(&mut self, images: usize) {
        let mut content = self.recipe.clone();
        for (_, source) in self.waiting.drain(..images) {
            content.add(&source.image_id).add(format!("{}x{}", source.size.0, source.size.1));
        }
        let file = shard_file_name(self.split, self.shards.len());
        self.shards.push(ShardPlan {
            file,
            split: self.split,
            images,
            content: content.finish(),
            inputs: String::new(),
        });
    }

    fn finish(mut self) -> Vec<ShardPlan> {
        if !self.waiting.is_empty() {
            self.cut(self.waiting.len());
        }
        self.shards
    }
}

/// Whether the id is a path inside the dataset's folder.
fn is_below_root(image_id: &str) -> bool {
    !image_id.is_empty()
        && Path::new(image_id).components().all(|part| matches!(part, Component::Normal(_)))
}

/// A text that changes with the file, or says that it is missing.
fn stamp(path: &Path) -> io::Result<String> {
    Ok(ossify_storage::find(path)?
        .map_or_else(|| "missing".to_owned(), |stat| stat.size_and_time()))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn cut(ids: impl Iterator<Item = usize>, max_images: usize) -> Vec<ShardPlan> {
        let mut cutter = Cutter::new(Split::Train, max_images, Fingerprint::new("test"));
        for id in ids {
            cutter.push(Source { image_id: format!("train/images/{id:07}.jpg"), size: (10, 10) });
        }
        cutter.finish()
    }

    #[test]
    fn ids_that_leave_the_dataset_are_refused() {
        assert!(is_below_root("train/images/a.jpg"));
        assert!(is_below_root("a..b/c"));
        for hostile in ["", "/etc/passwd", "../a.jpg", "train/../../a.jpg"] {
            assert!(!is_below_root(hostile), "{hostile}");
        }
    }

    #[test]
    fn every_image_is_in_a_shard_of_the_configured_size() {
        for (images, max_images) in
            [(0, 16), (1, 16), (16, 16), (17, 16), (1000, 16), (1000, 1), (1000, 7), (5000, 1024)]
        {
            let shards = cut(0..images, max_images);
            assert_eq!(shards.iter().map(|shard| shard.images).sum::<usize>(), images);
            let (last, others) =
                shards.split_last().map_or((0, &[][..]), |(last, others)| (last.images, others));
            assert!(
                last <= max_images
                    && others
                        .iter()
                        .all(|shard| (max_images.div_ceil(2)..=max_images).contains(&shard.images)),
                "{images} by {max_images}"
            );
        }
    }

    #[test]
    fn images_that_are_added_or_removed_change_few_shards() {
        let before = cut((0..100_000).map(|id| id * 2), 100);
        let known: HashSet<&str> = before.iter().map(|shard| shard.content.as_str()).collect();
        let new = |shards: &[ShardPlan]| {
            shards.iter().filter(|shard| !known.contains(shard.content.as_str())).count()
        };
        // Ten new images, far from each other, between the existing ones.
        let mut ids: Vec<usize> =
            (0..100_000).map(|id| id * 2).chain((0..10).map(|id| id * 19_998 + 1)).collect();
        ids.sort_unstable();
        let added = cut(ids.iter().copied(), 100);
        assert!(
            (10..=40).contains(&new(&added)),
            "{} of {} shards are new",
            new(&added),
            added.len()
        );
        let removed = cut((1..100_000).map(|id| id * 2), 100);
        assert!(
            (1..=4).contains(&new(&removed)),
            "{} of {} shards are new",
            new(&removed),
            removed.len()
        );
    }
}
