//! One share of the shards at a time, and the parts of all shares to one output.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use ossify_contract::{
    FileEntry, ImagePredictionRow, Part, PartFolder, PartPayload, PartSummary, Partition,
    PredictionRow, Publication, Row, Split, TableReader, TempPath, current_part, hash_file,
    read_parts, share_of_pieces,
};
use ossify_model::on_device;
use ossify_settings::Outcome;
use serde::{Deserialize, Serialize};

use crate::run::{MEMORY_KEY, STAGE};
use crate::shards::{ShardWork, by_split};
use crate::tables::{Counts, Description, TablePair};

/// What a part has. Its whole is a run, its shards, and the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct PartTables {
    run: String,
    #[serde(flatten)]
    description: Description,
    /// The tables of each split that the share has images of.
    tables: BTreeMap<Split, PairOfFiles>,
}

/// Names of the files of two tables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct PairOfFiles {
    predictions: String,
    images: String,
}

impl PartPayload for PartTables {
    const STAGE: &'static str = STAGE;
    const MADE_WITH: &'static str = "configuration, run or shards";

    fn origin(&self) -> Option<String> {
        Some(format!("it is of run {}", self.run))
    }
}

/// The shards of a share, in order. A share is whole shards, as resize has it: so batches, and with
/// them the last digits of the predictions, are those of one run over all.
fn share<'a>(
    work: &'a ShardWork,
    partition: Partition,
) -> impl Iterator<Item = (Split, &'a FileEntry)> {
    let share =
        share_of_pieces(partition, work.files.iter().map(|(_, file)| file.rows.unwrap_or(0)));
    let files = work.files.iter().zip(share).filter(|(_, is_in)| *is_in);
    files.map(|((split, file), _)| (*split, file))
}

/// Predicts the shards of a share, unless that was done.
///
/// # Errors
/// Fails where shards or run are damaged, or the device or the disk fails.
pub(crate) fn predict_part(work: &ShardWork, partition: Partition) -> Result<Outcome> {
    let folder = PartFolder::create(work.context.out.part(STAGE, partition))?;
    let fingerprint = format!("{} {partition}", work.fingerprint);
    if let Some(manifest) =
        current_part::<PartTables>(folder.path(), &fingerprint).filter(|_| !work.context.force)
    {
        return Ok(Outcome::current(manifest.summary));
    }
    let network = work.run.open_network(work.context)?;
    let (mut files, mut tables, mut images) = (Vec::new(), BTreeMap::new(), 0);
    for (split, shards) in by_split(share(work, partition)) {
        let (predictions, images_table) = (folder.begin_path()?, folder.begin_path()?);
        let counts: Counts = on_device(MEMORY_KEY, || {
            let pair = TablePair::create(&predictions, &images_table)?;
            work.predict_split(&network, pair, split, &shards)
        })?;
        let mut adopt = |path: TempPath, stem: String, rows: u64| -> Result<String> {
            let (bytes, hash) = hash_file(&path)?;
            let xxh3 = format!("{hash:016x}");
            let entry =
                FileEntry { path: String::new(), rows: Some(rows), bytes, xxh3, inputs: None };
            let entry = folder.adopt(path, &stem, "parquet", entry)?;
            let name = entry.path.clone();
            files.push(entry);
            Ok(name)
        };
        let pair = PairOfFiles {
            predictions: adopt(predictions, split.to_string(), counts.predictions)?,
            images: adopt(images_table, format!("{split}.images"), counts.images)?,
        };
        tables.insert(split, pair);
        images += counts.images;
    }
    work.refuse_changed()?;
    let payload =
        PartTables { run: work.run.id.clone(), description: network.description(), tables };
    let summary = PartSummary::new(partition, &work.fingerprint, payload);
    let manifest = folder.publish(&fingerprint, files, &summary)?;
    work.context.reporter.say(format_args!(
        "part {partition}: {images} images; written to {}",
        folder.path().display()
    ));
    Ok(Outcome::done(manifest.summary))
}

/// Makes one output of the parts of all shares.
///
/// # Errors
/// Fails where a part is missing, damaged or of something else, or the disk does.
pub(crate) fn merge(work: &ShardWork, count: u32) -> Result<Outcome> {
    let parts: Vec<Part<PartTables>> = read_parts(&work.context.out, count, &work.fingerprint)?;
    if let Some(outcome) = work.current()? {
        return Ok(outcome);
    }
    for part in &parts {
        for file in &part.manifest.files {
            file.verify(&part.folder)?;
        }
    }
    let Some(description) = parts.first().map(|part| part.payload.description.clone()) else {
        bail!("there are no parts to merge");
    };
    let publication = Publication::begin(work.folder())?;
    let mut tables = BTreeMap::new();
    for (split, shards) in work.by_split() {
        let mut pair = TablePair::stage(&publication, split.as_str())?;
        // Shares follow each other as the shards do.
        for part in &parts {
            let Some(files) = part.payload.tables.get(&split) else { continue };
            copy::<PredictionRow>(part, &files.predictions, |row| pair.push_prediction(row))?;
            copy::<ImagePredictionRow>(part, &files.images, |row| pair.push_image(row))?;
        }
        let counts = pair.finish()?;
        let expected: u64 = shards.iter().filter_map(|file| file.rows).sum();
        if counts.images != expected {
            bail!(
                "the parts have {} of the {expected} images of {split}; this is a defect of \
                 ossify-predict",
                counts.images
            );
        }
        tables.insert(split, counts);
    }
    let outcome = work.publish(publication, &tables, &description)?;
    work.context
        .reporter
        .say(format_args!("{count} parts merged; written to {}", work.folder().display()));
    Ok(outcome)
}

/// Gives each row of a part's table to `push`.
fn copy<R: Row>(
    part: &Part<PartTables>,
    file: &str,
    mut push: impl FnMut(R) -> Result<()>,
) -> Result<()> {
    let path = part.folder.join(&part.file(file)?.path);
    for rows in TableReader::<R>::open(path)? {
        rows?.into_iter().try_for_each(&mut push)?;
    }
    Ok(())
}
