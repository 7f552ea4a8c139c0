//! One share of the shards at a time, and the parts of all shares to one output.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use ossify_contract::{
    FileEntry, Part, PartFolder, PartPayload, PartSummary, Partition, PredictionRow, Publication,
    Split, TableReader, TableWriter, current_part, hash_file, read_parts, share_of_pieces,
};
use ossify_model::on_device;
use ossify_settings::Outcome;
use serde::{Deserialize, Serialize};

use crate::stage::{MEMORY_KEY, STAGE, ShardWork, open_network, table_name};

/// The tables of a part. Its whole is a run, its shards, and the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct PartTables {
    run: String,
    class_names: Vec<String>,
    /// The table of each split that the share has images of.
    tables: BTreeMap<Split, String>,
}

impl PartPayload for PartTables {
    const STAGE: &'static str = STAGE;
    const MADE_WITH: &'static str = "configuration, run or shards";

    fn origin(&self) -> Option<String> {
        Some(format!("it is of run {}", self.run))
    }
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
            current_part::<PartTables>(folder.path(), &fingerprint).filter(|_| !self.context.force)
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
        self.refuse_changed()?;
        let images: u64 = files.iter().filter_map(|file| file.rows).sum();
        let payload = PartTables {
            run: self.run.id.clone(),
            class_names: network.class_names().to_vec(),
            tables,
        };
        let summary = PartSummary::new(partition, &self.fingerprint, payload);
        let manifest = folder.publish(&fingerprint, files, &summary)?;
        self.context.reporter.say(format_args!(
            "part {partition}: {images} images; written to {}",
            folder.path().display()
        ));
        Ok(Outcome::done(manifest.summary))
    }

    pub(crate) fn merge(&self, count: u32) -> Result<Outcome> {
        let folder = self.context.out.predictions().join(&self.run.id);
        let parts: Vec<Part<PartTables>> = read_parts(&self.context.out, count, &self.fingerprint)?;
        if let Some(outcome) = self.current(&folder)? {
            return Ok(outcome);
        }
        for part in &parts {
            for file in &part.manifest.files {
                file.verify(&part.folder)?;
            }
        }
        let publication = Publication::begin(&folder)?;
        let mut files = Vec::new();
        for (split, shards) in
            by_split(self.files.iter().map(|(split, file)| (*split, file)).collect())
        {
            let table = table_name(split.as_str());
            let mut writer = TableWriter::<PredictionRow>::create(publication.stage(&table)?)?;
            // Shares follow each other as the shards do.
            for part in &parts {
                let Some(table) = part.payload.tables.get(&split) else { continue };
                let path = part.folder.join(&part.file(table)?.path);
                for rows in TableReader::<PredictionRow>::open(path)? {
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
            parts.first().map(|part| part.payload.class_names.clone()).unwrap_or_default();
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
