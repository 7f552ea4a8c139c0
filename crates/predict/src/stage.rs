use std::path::{Path, PathBuf};
use std::sync::mpsc::SyncSender;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow, bail};
use ossify_contract::{
    FileEntry, Manifest, PredictionRow, Publication, ShardReader, ShardShape, Split, TableWriter, is_plain_id, read_latest, shards_of, write_latest,
};
use ossify_model::device::{self, Precision};
use ossify_model::on_device;
use ossify_settings::{Context, Gate, Outcome, Settings, StageError};
use serde_json::json;

use crate::image_folder::{ImageFolder, Unreadable};
use crate::network::{Batch, Network};
use crate::rows::Origin;

const MODEL: &str = "model.safetensors";
const LOWER: &str = "predict.batch_size";

/// The run that predicts.
struct Run {
    id: String,
    folder: PathBuf,
    /// Hash of its model: what predictions depend on, whatever the run's metrics say.
    model_hash: String,
    /// Digest of the class map that it was trained with; null where the run does not say.
    class_map: serde_json::Value,
}

/// The stage: predicts the shards of the configured splits, or the images of a folder.
///
/// # Errors
/// A folder of images that is not there is [`StageError::Usage`]; everything else that goes wrong is [`StageError::Failed`].
pub fn run(context: &Context, images: Option<&Path>) -> Result<Outcome, StageError> {
    let configured = &context.settings.predict.images;
    let images = images.map(Path::to_path_buf).or_else(|| (!configured.is_empty()).then(|| PathBuf::from(configured)));
    match images {
        Some(folder) if !folder.is_dir() => Err(StageError::Usage(anyhow!("{} is no folder; name a folder of images", folder.display()))),
        Some(folder) => Ok(predict_images(context, &find_run(context)?, &folder)?),
        None => Ok(predict_shards(context, &find_run(context)?)?),
    }
}

fn find_run(context: &Context) -> Result<Run> {
    let runs = context.out.runs();
    let id = match context.settings.predict.run.as_str() {
        "latest" => read_latest(&runs)?.with_context(|| format!("{} has no run; run ossify-train first", runs.display()))?,
        id => id.to_owned(),
    };
    if !is_plain_id(&id) {
        bail!("`{id}` is no id of a run; predict.run is \"latest\", or the name of a folder in {}", runs.display());
    }
    let folder = runs.join(&id);
    let manifest = Manifest::require(&folder, "there is no such run, or it was cut short; run ossify-train first")?;
    let model = manifest.file(MODEL).with_context(|| format!("{} lists no {MODEL}; run ossify-train with --force", folder.display()))?;
    model.verify(&folder)?;
    Ok(Run { model_hash: model.xxh3.clone(), class_map: manifest.summary["class_map"].clone(), id, folder })
}

fn open_network(context: &Context, run: &Run) -> Result<Network> {
    let device = device::choose(&context.settings.predict.device)?;
    device.prepare(context.threads(), Precision::Float32, false)?;
    context.reporter.say(format_args!("predicts with run {} on {}, {} threads", run.id, device.name(), device.threads()));
    on_device(LOWER, || Network::read(&run.folder.join(MODEL), device.inference(), context.settings.predict.flip))
}

fn predict_shards(context: &Context, run: &Run) -> Result<Outcome> {
    let shards = context.out.shards();
    let shards_manifest = Manifest::require(&shards, "there are no shards; run ossify-resize first")?;
    let mut fingerprint = context.fingerprint("predict", &["predict"]);
    fingerprint.add(&run.id).add(&run.model_hash).add(shards_manifest.content_hash());
    let fingerprint = fingerprint.finish();
    let predictions = context.out.predictions();
    let folder = predictions.join(&run.id);
    if !context.force
        && let Some(manifest) = Manifest::is_current(&folder, &fingerprint)
    {
        write_latest(&predictions, &run.id)?;
        return Ok(Outcome::current(manifest.summary));
    }

    let splits: Vec<Split> = Split::ALL.into_iter().filter(|split| context.settings.predict.splits.iter().any(|name| name == split.as_str())).collect();
    let found: Vec<(Split, Vec<&FileEntry>)> = splits.iter().map(|split| (*split, shards_of(&shards_manifest, *split).collect())).collect();
    if found.iter().all(|(_, files)| files.is_empty()) {
        bail!("{} has no image of {}; see predict.splits", shards.display(), context.settings.predict.splits.join(", "));
    }
    let network = open_network(context, run)?;
    let publication = Publication::begin(&folder)?;
    let started = Instant::now();
    let (mut files, mut images) = (Vec::new(), serde_json::Map::new());
    for (split, shard_files) in found {
        if shard_files.is_empty() {
            context.reporter.say(format_args!("{split}: no images"));
            continue;
        }
        let rows = on_device(LOWER, || predict_split(context, &network, &publication, &shards, split, &shard_files))?;
        images.insert(split.to_string(), rows.into());
        files.push(publication.describe(&table_name(split.as_str()), Some(rows))?);
    }
    let total: u64 = files.iter().filter_map(|file| file.rows).sum();
    let summary = json!({
        "run": run.id,
        "images": images,
        "class_names": network.class_names(),
        "model_xxh3": run.model_hash,
        "class_map": run.class_map,
        "shards": shards_manifest.content_hash(),
    });
    let manifest = publication.commit("predict", &fingerprint, files, summary)?;
    write_latest(&predictions, &run.id)?;
    tell(context, total, started, &folder);
    Ok(Outcome::done(manifest.summary))
}

fn table_name(stem: &str) -> String {
    format!("{stem}.parquet")
}

/// Predicts one split, shard by shard; at most one shard is mapped at a time.
fn predict_split(context: &Context, network: &Network, publication: &Publication, shards: &Path, split: Split, files: &[&FileEntry]) -> Result<u64> {
    let total = files.iter().filter_map(|file| file.rows).sum();
    let progress = context.reporter.progress(&format!("predict {split}"), "images", Some(total));
    let mut writer = TableWriter::<PredictionRow>::create(publication.stage(&table_name(split.as_str()))?)?;
    for file in files {
        // Each tensor is checked as it is read.
        let shard = ShardReader::open(shards.join(&file.path))?;
        let batch_size = context.settings.predict.batch_size;
        let predicted = network.predict(shard.shape(), split, &mut writer, &progress, |sender| send_shard(&shard, batch_size, sender))?;
        if predicted != shard.len() as u64 {
            bail!("{}: {predicted} of {} images were predicted; this is a defect of ossify-predict", file.path, shard.len());
        }
    }
    Ok(writer.finish()?)
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
    let mut batch = Batch { pixels: Vec::with_capacity(rows.len() * shape.bytes()), origins: Vec::with_capacity(rows.len()) };
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

fn predict_images(context: &Context, run: &Run, root: &Path) -> Result<Outcome> {
    // Tensors are made as those that the run was trained on, whatever the configuration says now.
    let config = run.folder.join("config.toml");
    let text = std::fs::read_to_string(&config).with_context(|| format!("cannot read {}", config.display()))?;
    let trained: Settings = toml::from_str(&text).with_context(|| format!("{} is no configuration of this version", config.display()))?;
    let images = ImageFolder::list(root, &trained.resize)?;
    let mut fingerprint = context.fingerprint("predict", &["predict"]);
    fingerprint.add(&run.id).add(&run.model_hash);
    images.add_to(&mut fingerprint);
    let fingerprint = fingerprint.finish();
    let id = format!("{}-images", run.id);
    let folder = context.out.predictions().join(&id);
    if !context.force
        && let Some(manifest) = Manifest::is_current(&folder, &fingerprint)
    {
        return Ok(Outcome::current(manifest.summary));
    }

    let network = open_network(context, run)?;
    let publication = Publication::begin(&folder)?;
    let started = Instant::now();
    let progress = context.reporter.progress("predict", "images", Some(images.len() as u64));
    let mut writer = TableWriter::<PredictionRow>::create(publication.stage(&table_name("images"))?)?;
    let batch_size = context.settings.predict.batch_size;
    // The table has a split in each row; images of a folder are in none, and count as test.
    on_device(LOWER, || network.predict(images.shape(), Split::Test, &mut writer, &progress, |sender| images.send(batch_size, sender)))?;
    drop(progress);
    let rows = writer.finish()?;
    let listed = images.len();
    let unreadable = images.unreadable();
    warn_of_unreadable(context, &unreadable);
    if rows == 0 {
        bail!("none of the {listed} images of {} could be read", root.display());
    }
    let files = vec![publication.describe(&table_name("images"), Some(rows))?];
    let gates: Vec<Gate> = strict_gate(context, unreadable.len()).into_iter().collect();
    let summary = json!({
        "run": run.id,
        "images": { "images": rows },
        "unreadable": unreadable,
        "class_names": network.class_names(),
        "model_xxh3": run.model_hash,
        "gates": gates,
    });
    let manifest = publication.commit("predict", &fingerprint, files, summary)?;
    tell(context, rows, started, &folder);
    Ok(Outcome::done(manifest.summary))
}

fn warn_of_unreadable(context: &Context, unreadable: &[Unreadable]) {
    const MAX_SHOWN: usize = 20;
    for image in unreadable.iter().take(MAX_SHOWN) {
        context.reporter.warn(format_args!("{}: {}", image.image_id, image.reason));
    }
    if unreadable.len() > MAX_SHOWN {
        context.reporter.warn(format_args!("and {} more images; manifest.json lists all under `unreadable`", unreadable.len() - MAX_SHOWN));
    }
}

fn strict_gate(context: &Context, unreadable: usize) -> Option<Gate> {
    (context.strict && unreadable > 0).then(|| Gate {
        name: "--strict".to_owned(),
        figure: unreadable as f64,
        limit: 0.0,
        message: format!("{unreadable} images could not be read"),
    })
}

fn tell(context: &Context, images: u64, started: Instant, folder: &Path) {
    let secs = started.elapsed().as_secs_f64();
    context.reporter.say(format_args!("{images} images in {secs:.1} s, {:.0} images/s; written to {}", images as f64 / secs.max(1e-9), folder.display()));
}
