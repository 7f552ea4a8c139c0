//! Which images go into which shard, and the fingerprint of all that decides a shard's bytes.

use std::path::{Component, Path};
use std::time::UNIX_EPOCH;

use ossify_contract::{ArtefactError, Fingerprint, ImageRow, ImageStatus, Split, TableReader, shard_file_name};
use rayon::prelude::*;

/// An image that ingest could read.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// Path from the dataset root.
    pub(crate) image_id: String,
    /// Width of the upright image, by the tables.
    pub(crate) width: u32,
    /// Height of the upright image, by the tables.
    pub(crate) height: u32,
}

/// A shard to be.
#[derive(Clone, Debug)]
pub(crate) struct ShardPlan {
    /// File name.
    pub(crate) file: String,
    pub(crate) split: Split,
    /// The images in order.
    pub(crate) images: Vec<Source>,
    /// Hash of all that decides the shard's bytes.
    pub(crate) inputs: String,
}

/// All that the stage is going to do.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// By split, in the order of the tables.
    pub(crate) shards: Vec<ShardPlan>,
    /// Images that ingest found unreadable, left out.
    pub(crate) unreadable: u64,
    /// Hash of all that decides the output.
    pub(crate) fingerprint: String,
}

impl Plan {
    /// Reads the image table and looks at each file's size and time of change; no image is opened.
    pub(crate) fn read(images: &Path, dataset: &Path, images_per_shard: usize, configuration: &Fingerprint) -> Result<Self, ArtefactError> {
        let mut splits: [Vec<Source>; Split::ALL.len()] = Default::default();
        let mut unreadable = 0;
        for batch in TableReader::<ImageRow>::open(images)? {
            for row in batch? {
                if row.status == ImageStatus::Unreadable {
                    unreadable += 1;
                    continue;
                }
                if !is_below_root(&row.image_id) {
                    let reason = format!("image_id `{}` is no path below the dataset's folder; run ossify-ingest again with --force", row.image_id);
                    return Err(ArtefactError::corrupt(images, reason));
                }
                splits[row.split as usize].push(Source { image_id: row.image_id, width: row.width.max(0) as u32, height: row.height.max(0) as u32 });
            }
        }
        let mut shards = Vec::new();
        for (split, sources) in Split::ALL.into_iter().zip(splits) {
            let mut sources = sources.into_iter().peekable();
            for number in 0.. {
                let images: Vec<Source> = sources.by_ref().take(images_per_shard).collect();
                if images.is_empty() {
                    break;
                }
                let inputs = inputs_of(&images, dataset, configuration);
                shards.push(ShardPlan { file: shard_file_name(split, number), split, images, inputs });
            }
        }
        let mut fingerprint = configuration.clone();
        fingerprint.add(unreadable.to_string());
        for shard in &shards {
            fingerprint.add(&shard.file).add(&shard.inputs);
        }
        Ok(Plan { shards, unreadable, fingerprint: fingerprint.finish() })
    }

    /// How many images the shards are to hold.
    pub(crate) fn images(&self) -> usize {
        self.shards.iter().map(|shard| shard.images.len()).sum()
    }
}

/// Whether joining the id to the dataset's folder stays inside it.
fn is_below_root(image_id: &str) -> bool {
    !image_id.is_empty() && Path::new(image_id).components().all(|part| matches!(part, Component::Normal(_)))
}

fn inputs_of(images: &[Source], dataset: &Path, configuration: &Fingerprint) -> String {
    let stamps: Vec<String> = images.par_iter().map(|source| stamp(&dataset.join(&source.image_id))).collect();
    let mut inputs = configuration.clone();
    for (source, stamp) in images.iter().zip(stamps) {
        inputs.add(&source.image_id).add(format!("{}x{}", source.width, source.height)).add(stamp);
    }
    inputs.finish()
}

/// Size and time of change of a file, or that there is none.
fn stamp(path: &Path) -> String {
    match std::fs::metadata(path) {
        Ok(metadata) => {
            let changed = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            format!("{} {}", metadata.len(), changed.map_or(0, |time| time.as_nanos()))
        }
        Err(_) => "missing".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_leave_the_dataset_are_refused() {
        assert!(is_below_root("train/images/a.jpg"));
        assert!(is_below_root("a..b/c"));
        for hostile in ["", "/etc/passwd", "../a.jpg", "train/../../a.jpg"] {
            assert!(!is_below_root(hostile), "{hostile}");
        }
    }
}
