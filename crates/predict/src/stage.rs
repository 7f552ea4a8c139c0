use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::SyncSender;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow, bail};
use ossify_contract::{
    FileEntry, Gate, Inputs, Manifest, PredictionRow, PredictionsSummary, Publication, RunSummary,
    ShardReader, ShardShape, Split, Summary as _, TableWriter, UnreadableImage, is_plain_id,
    read_latest, refuse_changed, shards_of, write_latest,
};
use ossify_model::device;
use ossify_model::on_device;
use ossify_settings::{Context, Outcome, Share, StageError};
use ossify_vocabulary::{Channels, Filter, Geometry, Limits, Precision, TensorSpec};
use serde::Deserialize;

use crate::image_folder::ImageFolder;
use crate::network::{Batch, Network};
use crate::rows::Origin;

const MODEL: &str = "model.safetensors";
const CONFIG: &str = "config.toml";
pub(crate) const STAGE: &str = "predict";
/// Shards that are fetched while one is predicted, where they lie in an object store.
const SHARDS_AHEAD: usize = 2;
/// The key that a run which has too little memory should lower.
pub(crate) const MEMORY_KEY: &str = "predict.batch_size";

/// The run that predicts.
pub(crate) struct Run {
    pub(crate) id: String,
    folder: PathBuf,
    /// Hash of its model: what predictions depend on, whatever the run's metrics say.
    pub(crate) model_hash: String,
    /// Digest of the class map that it was trained with, where the run says.
    class_map: Option<String>,
    model: Inputs,
    manifest: Manifest,
}

/// The stage: predicts the shards of the configured splits or a share of them, merges the parts of
/// all shares, or predicts the images of a folder.
///
/// # Errors
/// A folder of images that is not there is [`StageError::Usage`]; everything else that goes wrong
/// is [`StageError::Failed`].
pub fn run(context: &Context, share: Share, images: Option<&Path>) -> Result<Outcome, StageError> {
    let configured = &context.settings.predict.images;
    let images = images
        .map(Path::to_path_buf)
        .or_else(|| (!configured.is_empty()).then(|| PathBuf::from(configured)));
    match images {
        Some(folder)
            if !ossify_storage::is_dir(&folder)
                .with_context(|| format!("cannot look up {}", folder.display()))? =>
        {
            Err(StageError::Usage(anyhow!(
                "{} is not a folder; name a folder of images",
                folder.display()
            )))
        }
        Some(_) if share != Share::Whole => Err(StageError::Usage(anyhow!(
            "--partition and --merge are for shards; give each worker a folder of its own with \
                --images"
        ))),
        Some(folder) => Ok(predict_images(context, &find_run(context)?, &folder)?),
        None => {
            // In the order of the tables.
            let mut splits = context.settings.predict.splits.clone();
            splits.sort();
            let run = find_run(context)?;
            let work = ShardWork::find(context, &run, splits)?;
            Ok(match share {
                Share::Whole => work.whole(),
                Share::Part(partition) => work.part(partition),
                Share::Merge(count) => work.merge(count),
            }?)
        }
    }
}

fn find_run(context: &Context) -> Result<Run, StageError> {
    let runs = context.out.runs();
    let id = match context.settings.predict.run.as_str() {
        "latest" => read_latest(&runs)?
            .with_context(|| format!("{} has no run; run ossify-train first", runs.display()))?,
        id => id.to_owned(),
    };
    if !is_plain_id(&id) {
        return Err(StageError::Usage(anyhow!(
            "predict.run: \"{id}\" is not the id of a run; it is \"latest\", or the name of a \
             folder in {}",
            runs.display()
        )));
    }
    let folder = runs.join(&id);
    if !folder.is_dir() {
        return Err(StageError::Usage(anyhow!(
            "predict.run: there is no run `{id}` in {}; run ossify-train first, or name another",
            runs.display()
        )));
    }
    let manifest =
        Manifest::require(&folder, "the run was cut short; run ossify-train to go on with it")?;
    let model = Inputs::declare(&folder, &manifest, [MODEL])?;
    model.verify()?;
    Ok(Run {
        model_hash: model.files().iter().map(|file| file.xxh3.as_str()).collect(),
        class_map: manifest.summary_of::<RunSummary>(&folder)?.class_map,
        model,
        manifest,
        id,
        folder,
    })
}

pub(crate) fn open_network(context: &Context, run: &Run) -> Result<Network> {
    let device = device::choose(context.settings.predict.device)?;
    device.prepare(context.threads(), Precision::Float32, false)?;
    context.reporter.say(format_args!(
        "predicts with run {} on {}, {} threads",
        run.id,
        device.name(),
        device.threads()
    ));
    on_device(MEMORY_KEY, || {
        Network::read(&run.folder.join(MODEL), device.inference(), context.settings.predict.flip)
    })
}

/// The shards that are predicted, and with what.
pub(crate) struct ShardWork<'a> {
    pub(crate) context: &'a Context,
    pub(crate) run: &'a Run,
    shards: PathBuf,
    splits: Vec<Split>,
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
    fn find(context: &'a Context, run: &'a Run, splits: Vec<Split>) -> Result<Self> {
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

    fn whole(&self) -> Result<Outcome> {
        let folder = self.context.out.predictions().join(&self.run.id);
        if let Some(outcome) = self.current(&folder)? {
            return Ok(outcome);
        }
        let network = open_network(self.context, self.run)?;
        let publication = Publication::begin(&folder)?;
        let (started, mut files, mut images) = (Instant::now(), Vec::new(), 0);
        for split in self.splits.iter().copied() {
            let of_split: Vec<&FileEntry> =
                self.files.iter().filter(|(of, _)| *of == split).map(|(_, file)| file).collect();
            if of_split.is_empty() {
                self.context.reporter.say(format_args!("{split}: no images"));
                continue;
            }
            let table = table_name(split.as_str());
            let rows = on_device(MEMORY_KEY, || {
                self.predict_split(&network, &publication.stage(&table)?, split, &of_split)
            })?;
            images += rows;
            files.push(publication.describe(&table, Some(rows))?);
        }
        let outcome = self.publish(publication, files, network.class_names())?;
        report_speed(self.context, images, started, &folder);
        Ok(outcome)
    }

    /// What is there already.
    pub(crate) fn current(&self, folder: &Path) -> Result<Option<Outcome>> {
        match Publication::current(folder, &self.fingerprint).filter(|_| !self.context.force) {
            Some(manifest) => {
                let predictions = self.context.out.predictions();
                // The folder may be read-only where nothing is to be written.
                if read_latest(&predictions)?.as_deref() != Some(self.run.id.as_str()) {
                    write_latest(&predictions, &self.run.id)?;
                }
                Ok(Some(Outcome::current(manifest.summary)))
            }
            None => Ok(None),
        }
    }

    /// Refuses to publish where model or shards were published again since the fingerprint was
    /// taken: what was read may be of both.
    pub(crate) fn refuse_changed(&self) -> Result<()> {
        Ok(refuse_changed(&self.inputs)?)
    }

    /// Makes the staged tables the predictions of the run.
    pub(crate) fn publish(
        &self,
        publication: Publication,
        files: Vec<FileEntry>,
        class_names: &[String],
    ) -> Result<Outcome> {
        let split_of = |file: &FileEntry| file.path.trim_end_matches(".parquet").to_owned();
        let summary = PredictionsSummary {
            run: self.run.id.clone(),
            images: files.iter().map(|file| (split_of(file), file.rows.unwrap_or(0))).collect(),
            class_names: class_names.to_vec(),
            model_xxh3: Some(self.run.model_hash.clone()),
            class_map: self.run.class_map.clone(),
            shards_of_split: self.shards_of_split.clone(),
            ..PredictionsSummary::default()
        };
        let summary = summary.to_json(publication.folder())?;
        self.refuse_changed()?;
        let manifest = publication.commit(STAGE, &self.fingerprint, files, summary)?;
        write_latest(&self.context.out.predictions(), &self.run.id)?;
        Ok(Outcome::done(manifest.summary))
    }

    /// Predicts shards of one split into the table at `path`; at most one shard is mapped at a
    /// time.
    pub(crate) fn predict_split(
        &self,
        network: &Network,
        path: &Path,
        split: Split,
        files: &[&FileEntry],
    ) -> Result<u64> {
        let total = files.iter().filter_map(|file| file.rows).sum();
        let progress =
            self.context.reporter.progress(&format!("predict {split}"), "images", Some(total));
        let mut writer = TableWriter::<PredictionRow>::create(path)?;
        for (number, file) in files.iter().enumerate() {
            let next = files.iter().skip(number + 1).take(SHARDS_AHEAD);
            ossify_storage::fetch_ahead(next.map(|file| self.shards.join(&file.path)).collect());
            // Each tensor is checked as it is read.
            let shard = ShardReader::open(self.shards.join(&file.path))?;
            let batch_size = self.context.settings.predict.batch_size.min(shard.len().max(1));
            check_size(shard.shape(), batch_size)
                .with_context(|| format!("cannot predict {}", file.path))?;
            let predicted =
                network.predict(shard.shape(), split, &mut writer, &progress, |sender| {
                    send_shard(&shard, batch_size, sender)
                })?;
            if predicted != shard.len() as u64 {
                bail!(
                    "{}: {predicted} of {} images were predicted; this is a defect of \
                        ossify-predict",
                    file.path,
                    shard.len()
                );
            }
        }
        Ok(writer.finish()?)
    }
}

pub(crate) fn table_name(stem: &str) -> String {
    format!("{stem}.parquet")
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

/// What of a run's configuration decides its tensors, whatever else it says in this version or in
/// another.
#[derive(Deserialize)]
struct Trained {
    resize: TrainedTensors,
}

#[derive(Deserialize)]
struct TrainedTensors {
    side_px: u32,
    channels: Channels,
    geometry: Geometry,
    filter: Filter,
    antialias: bool,
    // Which images are refused is no matter of the tensors: an earlier version may not say.
    max_pixels: Option<u64>,
    max_memory_bytes: Option<u64>,
}

impl TrainedTensors {
    /// Those of a run.
    fn of(run: &Run) -> Result<Self> {
        Inputs::declare(&run.folder, &run.manifest, [CONFIG])?.verify()?;
        let config = run.folder.join(CONFIG);
        let text = std::fs::read_to_string(&config)
            .with_context(|| format!("cannot read {}", config.display()))?;
        let trained: Trained = toml::from_str(&text).with_context(|| {
            format!(
                "{} does not say how this version of ossify makes the tensors that the run was \
                 trained on; train again with ossify-train, or name another run with predict.run",
                config.display()
            )
        })?;
        Ok(trained.resize)
    }

    fn spec(&self) -> TensorSpec {
        TensorSpec {
            side_px: self.side_px,
            channels: self.channels,
            geometry: self.geometry,
            filter: self.filter,
            antialias: self.antialias,
        }
    }

    fn limits(&self) -> Limits {
        let default = Limits::default();
        Limits {
            max_pixels: self.max_pixels.unwrap_or(default.max_pixels),
            max_memory_bytes: self.max_memory_bytes.unwrap_or(default.max_memory_bytes),
        }
    }
}

fn predict_images(context: &Context, run: &Run, root: &Path) -> Result<Outcome> {
    // Tensors are made as those that the run was trained on, whatever the configuration says now.
    let tensors = TrainedTensors::of(run)?;
    let images = ImageFolder::list(root, tensors.spec(), tensors.limits())?;
    for link in images.loops() {
        context
            .reporter
            .warn(format_args!("{link} is a link to a folder around it; it was not entered"));
    }
    let mut fingerprint = context.fingerprint(STAGE, &[STAGE]);
    fingerprint.add(&run.id).add(&run.model_hash);
    images.add_to(&mut fingerprint)?;
    let fingerprint = fingerprint.finish();
    let id = format!("{}-images", run.id);
    let folder = context.out.predictions().join(&id);
    if !context.force
        && let Some((manifest, summary)) =
            Publication::current_summary::<PredictionsSummary>(&folder, &fingerprint)
    {
        let gate = strict_gate(context, &summary);
        return Ok(Outcome::current(manifest.summary).with_gates(gate));
    }

    let network = open_network(context, run)?;
    let publication = Publication::begin(&folder)?;
    let started = Instant::now();
    let progress = context.reporter.progress("predict", "images", Some(images.len() as u64));
    let mut writer =
        TableWriter::<PredictionRow>::create(publication.stage(&table_name("images"))?)?;
    let batch_size = context.settings.predict.batch_size;
    // The table has a split in each row; images of a folder are in none, and count as test.
    on_device(MEMORY_KEY, || {
        network.predict(images.shape(), Split::Test, &mut writer, &progress, |sender| {
            images.send(batch_size, sender)
        })
    })?;
    drop(progress);
    let rows = writer.finish()?;
    let unreadable = images.unreadable();
    warn_of_unreadable(context, &unreadable);
    if rows == 0 {
        bail!("none of the {} images of {} could be read", unreadable.len(), root.display());
    }
    let files = vec![publication.describe(&table_name("images"), Some(rows))?];
    let summary = PredictionsSummary {
        run: run.id.clone(),
        images: BTreeMap::from([("images".to_owned(), rows)]),
        class_names: network.class_names().to_vec(),
        model_xxh3: Some(run.model_hash.clone()),
        class_map: run.class_map.clone(),
        unreadable: Some(unreadable),
        ..PredictionsSummary::default()
    };
    let json = summary.to_json(&folder)?;
    let manifest = publication.commit(STAGE, &fingerprint, files, json)?;
    report_speed(context, rows, started, &folder);
    Ok(Outcome::done(manifest.summary).with_gates(strict_gate(context, &summary)))
}

fn warn_of_unreadable(context: &Context, unreadable: &[UnreadableImage]) {
    const MAX_SHOWN: usize = 20;
    for image in unreadable.iter().take(MAX_SHOWN) {
        context.reporter.warn(format_args!("{}: {}", image.image_id, image.reason));
    }
    if unreadable.len() > MAX_SHOWN {
        context.reporter.warn(format_args!(
            "and {} more images; manifest.json lists all under `unreadable`",
            unreadable.len() - MAX_SHOWN
        ));
    }
}

/// `--strict` belongs to a call and not to what it makes: its gate is judged each time, and never
/// kept.
fn strict_gate(context: &Context, summary: &PredictionsSummary) -> Option<Gate> {
    let unreadable = summary.unreadable.as_ref().map_or(0, Vec::len);
    (context.strict && unreadable > 0).then(|| Gate {
        name: "--strict".to_owned(),
        figure: unreadable as f64,
        limit: 0.0,
        message: format!("{unreadable} images could not be read"),
    })
}

fn report_speed(context: &Context, images: u64, started: Instant, folder: &Path) {
    let secs = started.elapsed().as_secs_f64();
    context.reporter.say(format_args!(
        "{images} images in {secs:.1} s, {:.0} images/s; written to {}",
        images as f64 / secs.max(1e-9),
        folder.display()
    ));
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
