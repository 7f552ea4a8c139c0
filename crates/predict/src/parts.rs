//! One share of the shards at a time, and the parts of all shares to one output.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use ossify_contract::{
    FileEntry, Manifest, Part, PartFolder, Partition, PredictionRow, Publication, Split,
    TableReader, TableWriter, hash_file, read_parts, share_of_pieces,
};
use ossify_model::on_device;
use ossify_settings::Outcome;
use serde::{Deserialize, Serialize};

use crate::stage::{MEMORY_KEY, STAGE, ShardWork, open_network, table_name};

/// What a part says of itself, in the summary of its manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct PartSummary {
    partition: String,
    /// Of the whole that it is a part of: run, shards, configuration.
    whole: String,
    run: String,
    class_names: Vec<String>,
    /// The table of each split that the share has images of.
    tables: BTreeMap<Split, String>,
}

impl ShardWork<'_> {
    /// The shards of a share, in order. A share is whole shards, as resize has it: so batches, and
    /// with them the last digits of the predictions, are those of one run over all.
    fn share(&self, partition: Partition) -> Vec<(Split, &FileEntry)> {
        let share =
            share_of_pieces(partition, self.files.iter().map(|(_, file)| file.rows.unwrap_or(0)));
        self.files
            .iter()
            .zip(share)
            .filter(|(_, is_in)| *is_in)
            .map(|((split, file), _)| (*split, file))
            .collect()
    }

    pub(crate) fn part(&self, partition: Partition) -> Result<Outcome> {
        let folder = PartFolder::create(self.context.out.part(STAGE, partition))?;
        let fingerprint = format!("{} {partition}", self.fingerprint);
        if let Some(manifest) =
            Manifest::is_current(folder.path(), &fingerprint).filter(|_| !self.context.force)
        {
            return Ok(Outcome::current(manifest.summary));
        }
        let network = open_network(self.context, self.run)?;
        let (mut files, mut tables) = (Vec::new(), BTreeMap::new());
        for (split, shards) in by_split(self.share(partition)) {
            let path = folder.begin_path()?;
            let rows =
                on_device(MEMORY_KEY, || self.predict_split(&network, &path, split, &shards))?;
            let (bytes, hash) = hash_file(&path)?;
            let entry = FileEntry {
                path: String::new(),
                rows: Some(rows),
                bytes,
                xxh3: format!("{hash:016x}"),
                inputs: None,
            };
            let entry = folder.adopt(path, split.as_str(), "parquet", entry)?;
            tables.insert(split, entry.path.clone());
            files.push(entry);
        }
        let images: u64 = files.iter().filter_map(|file| file.rows).sum();
        let summary = PartSummary {
            partition: partition.to_string(),
            whole: self.fingerprint.clone(),
            run: self.run.id.clone(),
            class_names: network.class_names().to_vec(),
            tables,
        };
        let manifest = folder.publish(
            "predict-part",
            &fingerprint,
            files,
            serde_json::to_value(summary).context("cannot encode the summary")?,
        )?;
        self.context.reporter.say(format_args!(
            "part {partition}: {images} images; written to {}",
            folder.path().display()
        ));
        Ok(Outcome::done(manifest.summary))
    }

    pub(crate) fn merge(&self, count: u32) -> Result<Outcome> {
        let folder = self.context.out.predictions().join(&self.run.id);
        if let Some(outcome) = self.current(&folder)? {
            return Ok(outcome);
        }
        let mut parts = Vec::new();
        for Part { partition, folder: path, manifest, summary } in
            read_parts::<PartSummary>(&self.context.out, STAGE, count)?
        {
            if summary.whole != self.fingerprint {
                bail!(
                    "part {partition} was made with another configuration, run (its is {}, that of \
                        the merge {}) or other shards; run ossify-predict --partition \
                     {partition} with those of the merge",
                    summary.run,
                    self.run.id
                );
            }
            for file in &manifest.files {
                file.verify(&path)?;
            }
            parts.push((path, summary));
        }
        let publication = Publication::begin(&folder)?;
        let mut files = Vec::new();
        for (split, shards) in
            by_split(self.files.iter().map(|(split, file)| (*split, file)).collect())
        {
            let table = table_name(split.as_str());
            let mut writer = TableWriter::<PredictionRow>::create(publication.stage(&table)?)?;
            // Shares follow each other as the shards do.
            for (path, summary) in &parts {
                let Some(part) = summary.tables.get(&split) else { continue };
                for rows in TableReader::<PredictionRow>::open(path.join(part))? {
                    rows?.into_iter().try_for_each(|row| writer.push(row))?;
                }
            }
            let rows = writer.finish()?;
            let expected: u64 = shards.iter().filter_map(|file| file.rows).sum();
            if rows != expected {
                bail!(
                    "the parts have {rows} of the {expected} images of {split}; this is a defect \
                        of ossify-predict"
                );
            }
            files.push(publication.describe(&table, Some(rows))?);
        }
        let class_names =
            parts.first().map(|(_, summary)| summary.class_names.clone()).unwrap_or_default();
        let outcome = self.publish(publication, files, &class_names)?;
        self.context
            .reporter
            .say(format_args!("{count} parts merged; written to {}", folder.display()));
        Ok(outcome)
    }
}

fn by_split(files: Vec<(Split, &FileEntry)>) -> BTreeMap<Split, Vec<&FileEntry>> {
    let mut splits: BTreeMap<Split, Vec<&FileEntry>> = BTreeMap::new();
    for (split, file) in files {
        splits.entry(split).or_default().push(file);
    }
    splits
}
