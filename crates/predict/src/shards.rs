//! The shards that are predicted.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc::SyncSender;

use anyhow::{Context as _, Result, bail};
use ossify_contract::{
    FileEntry, Inputs, Manifest, PredictionsSummary, Publication, ShardReader, ShardShape, Split,
    Summary as _, refuse_changed, shards_of, write_latest,
};
use ossify_settings::{Context, Outcome};

use crate::network::{Batch, Network};
use crate::rows::Origin;
use crate::run::{MEMORY_KEY, Run, STAGE};
use crate::tables::{Counts, Description, TablePair, describe};

/// Shards that are fetched while one is predicted, where they lie in an object store.
const SHARDS_AHEAD: usize = 2;

/// The shards that are predicted, and with what.
pub(crate) struct ShardWork<'a> {
    pub(crate) context: &'a Context,
    pub(crate) run: &'a Run,
    shards: PathBuf,
    pub(crate) splits: Vec<Split>,
    /// Of the shards of the requested splits, in order.
    pub(crate) files: Vec<(Split, FileEntry)>,
    /// Hash of the shards of each of these splits.
    shards_of_split: BTreeMap<Split, String>,
    /// The run's model, and the shards of these splits.
    inputs: Vec<Inputs>,
    /// Hash of all that decides the predictions.
    pub(crate) fingerprint: String,
}

impl<'a> ShardWork<'a> {
    /// Those of these splits, which are in the order of the tables.
    ///
    /// # Errors
    /// Fails where there are no shards of them.
    pub(crate) fn find(context: &'a Context, run: &'a Run, splits: Vec<Split>) -> Result<Self> {
        let shards = context.out.shards();
        let manifest = Manifest::require(&shards, "there are no shards; run ossify-resize first")?;
        let mut fingerprint = context.fingerprint(STAGE, &[STAGE]);
        fingerprint.add(&run.id).add(&run.model_hash);
        let files: Vec<_> = splits
            .iter()
            .copied()
            .flat_map(|split| shards_of(&manifest, split).map(move |file| (split, file.clone())))
            .collect();
        if files.is_empty() {
            bail!(
                "{} has no image of {}; see predict.splits",
                shards.display(),
                splits.iter().map(|split| split.as_str()).collect::<Vec<_>>().join(", ")
            );
        }
        let (mut inputs, mut shards_of_split) = (vec![run.model.clone()], BTreeMap::new());
        for split in &splits {
            let names = shards_of(&manifest, *split).map(|file| &file.path);
            let of_split = Inputs::declare(&shards, &manifest, names)?;
            fingerprint.add(split.as_str()).add(of_split.hash());
            shards_of_split.insert(*split, of_split.hash());
            inputs.push(of_split);
        }
        Ok(ShardWork {
            context,
            run,
            shards,
            splits,
            files,
            shards_of_split,
            inputs,
            fingerprint: fingerprint.finish(),
        })
    }

    /// What is there already.
    ///
    /// # Errors
    /// Fails where the disk does.
    pub(crate) fn current(&self) -> Result<Option<Outcome>> {
        match Publication::current(&self.folder(), &self.fingerprint)
            .filter(|_| !self.context.force)
        {
            Some(manifest) => {
                write_latest(&self.context.out.predictions(), &self.run.id)?;
                Ok(Some(Outcome::current(manifest.summary)))
            }
            None => Ok(None),
        }
    }

    /// Refuses to publish where model or shards were published again since the fingerprint was
    /// taken: what was read may be of both.
    ///
    /// # Errors
    /// Says which folder was, and what to do.
    pub(crate) fn refuse_changed(&self) -> Result<()> {
        Ok(refuse_changed(&self.inputs)?)
    }

    /// The splits that have images, and the shards of each, in order.
    pub(crate) fn by_split(&self) -> BTreeMap<Split, Vec<&FileEntry>> {
        by_split(self.files.iter().map(|(split, file)| (*split, file)))
    }

    /// The folder of the predictions.
    pub(crate) fn folder(&self) -> PathBuf {
        self.context.out.predictions().join(&self.run.id)
    }

    /// Makes the staged tables the predictions of the run.
    ///
    /// # Errors
    /// Fails where model or shards were published again meanwhile, or the disk does.
    pub(crate) fn publish(
        &self,
        publication: Publication,
        tables: &BTreeMap<Split, Counts>,
        description: &Description,
    ) -> Result<Outcome> {
        let (mut files, mut counts_of) = (Vec::new(), BTreeMap::new());
        for (split, counts) in tables {
            files.extend(describe(&publication, split.as_str(), *counts)?);
            counts_of.insert(split.to_string(), *counts);
        }
        let summary = PredictionsSummary {
            shards_of_split: self.shards_of_split.clone(),
            ..self.run.summary(description, &counts_of)
        };
        let summary = summary.to_json(publication.folder())?;
        self.refuse_changed()?;
        let manifest = publication.commit(STAGE, &self.fingerprint, files, summary)?;
        write_latest(&self.context.out.predictions(), &self.run.id)?;
        Ok(Outcome::done(manifest.summary))
    }

    /// Predicts shards of one split into these tables; at most one shard is mapped at a time.
    ///
    /// # Errors
    /// Fails where a shard is damaged, or the device or the disk fails.
    pub(crate) fn predict_split(
        &self,
        network: &Network,
        mut tables: TablePair,
        split: Split,
        files: &[&FileEntry],
    ) -> Result<Counts> {
        let total = files.iter().filter_map(|file| file.rows).sum();
        let progress =
            self.context.reporter.progress(&format!("predict {split}"), "images", Some(total));
        for (number, file) in files.iter().enumerate() {
            let next = files.iter().skip(number + 1).take(SHARDS_AHEAD);
            ossify_storage::fetch_ahead(next.map(|file| self.shards.join(&file.path)).collect());
            // Each tensor is checked as it is read.
            let shard = ShardReader::open(self.shards.join(&file.path))?;
            let batch_size = self.context.settings.predict.batch_size.min(shard.len().max(1));
            check_size(shard.shape(), batch_size)
                .with_context(|| format!("cannot predict {}", file.path))?;
            let before = tables.images();
            network.predict(shard.shape(), split, &mut tables, &progress, |sender| {
                send_shard(&shard, batch_size, sender)
            })?;
            let predicted = tables.images() - before;
            if predicted != shard.len() as u64 {
                bail!(
                    "{}: {predicted} of {} images were predicted; this is a defect of \
                        ossify-predict",
                    file.path,
                    shard.len()
                );
            }
        }
        tables.finish()
    }
}

/// The shards of each split, in their order.
pub(crate) fn by_split<'a>(
    files: impl Iterator<Item = (Split, &'a FileEntry)>,
) -> BTreeMap<Split, Vec<&'a FileEntry>> {
    let mut splits: BTreeMap<Split, Vec<&FileEntry>> = BTreeMap::new();
    files.for_each(|(split, file)| splits.entry(split).or_default().push(file));
    splits
}

/// Refuses batches whose size libtorch cannot count: it has numbers of 32 bits.
///
/// # Errors
/// What to lower, in words.
fn check_size(shape: ShardShape, images: usize) -> Result<()> {
    let ShardShape { height, width, channels } = shape;
    let of_image = u128::from(height) * u128::from(width) * u128::from(channels);
    const MAX_VALUES: u128 = i32::MAX as u128;
    if of_image > MAX_VALUES {
        bail!(
            "its images are of {width} x {height} pixels and {channels} channels, more than the \
             {MAX_VALUES} values that a network takes; make smaller tensors (resize.side_px)"
        );
    }
    if of_image * images as u128 > MAX_VALUES {
        bail!(
            "{images} images of {width} x {height} pixels are more than the {MAX_VALUES} values \
             that a network takes at once; lower {MEMORY_KEY}"
        );
    }
    Ok(())
}

fn send_shard(shard: &ShardReader, batch_size: usize, sender: &SyncSender<Result<Batch>>) {
    let shape = shard.shape();
    for first in (0..shard.len()).step_by(batch_size) {
        let rows = first..(first + batch_size).min(shard.len());
        let batch = batch_of(shard, rows, shape);
        let failed = batch.is_err();
        if sender.send(batch).is_err() || failed {
            return;
        }
    }
}

fn batch_of(shard: &ShardReader, rows: std::ops::Range<usize>, shape: ShardShape) -> Result<Batch> {
    let mut batch = Batch {
        pixels: Vec::with_capacity(rows.len() * shape.bytes()),
        origins: Vec::with_capacity(rows.len()),
    };
    for row in rows {
        shard.append_tensor(row, &mut batch.pixels)?;
        let image = shard.get(row).context("a row past the end of the shard")?;
        batch.origins.push(Origin {
            image_id: image.image_id.to_owned(),
            source: (image.width, image.height),
            tensor: (shape.width, shape.height),
            transform: image.transform,
        });
    }
    Ok(batch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_that_libtorch_cannot_count_are_refused_in_words() {
        let shape = |side, channels| ShardShape { height: side, width: side, channels };
        check_size(shape(224, 3), 1024).unwrap();
        for (shape, images, words) in [
            (shape(65_536, 1), 1, "resize.side_px"),
            (shape(u32::MAX, u32::MAX), 1, "resize.side_px"),
            (shape(1024, 3), 100_000, "lower predict.batch_size"),
        ] {
            let error = check_size(shape, images).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
