//! Which predictions are scored, and all files that a report depends on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use ossify_contract::{
    ArtefactError, ClassMap, Environment, EpochMetrics, FileEntry, Fingerprint, Inputs, IssueRow,
    LeftOutRows, Manifest, PredictionsSummary, ReportSummary, Split, TableReader, TablesSummary,
    hash_file, image_predictions_file, is_plain_id, predictions_file, read_latest, read_metrics,
    read_unchanged, shards_of,
};
use ossify_settings::{Context, StageError};

use crate::read::looked_at::PredictedTables;
use crate::read::split::{Excluded, ScoredImage, SplitData};
use crate::read::tables::Tables;

/// Tables that a report reads.
const TABLES: [&str; 3] = ["images.parquet", "objects.parquet", "classes.parquet"];
const TABLES_HINT: &str = "run ossify-ingest first, with the same --config and --out";
/// The table of the shards that lists the images without a tensor.
const ISSUES: &str = "issues.parquet";
/// Files of a run that a report shows.
const RUN_FILES: [&str; 3] = ["metrics.jsonl", "environment.json", "config.toml"];

/// The manifest of the label tables that are read here, whose bytes are checked against it.
pub(crate) fn verified_tables(context: &Context) -> Result<Manifest, StageError> {
    let folder = context.out.tables();
    let manifest = Manifest::require(&folder, TABLES_HINT)?;
    Inputs::declare(folder, &manifest, TABLES)?.verify()?;
    Ok(manifest)
}

/// The predictions of a split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PredictionFiles {
    pub predictions: PathBuf,
    /// The images that were looked at, where a table says so.
    pub images: Option<PathBuf>,
}

impl PredictionFiles {
    /// Those that a manifest lists of a split; `None` where there are no predictions of it.
    fn listed(manifest: &Manifest, folder: &Path, split: Split) -> Option<Self> {
        let path = |name: &str| manifest.file(name).map(|file| folder.join(&file.path));
        Some(PredictionFiles {
            predictions: path(&predictions_file(split.as_str()))?,
            images: path(&image_predictions_file(split.as_str())),
        })
    }

    /// A table that somebody named, with the table of images beside it, if there is one.
    fn named(path: &Path) -> Self {
        let beside = path
            .file_stem()
            .map(|stem| path.with_file_name(image_predictions_file(&stem.to_string_lossy())));
        PredictionFiles {
            predictions: path.to_path_buf(),
            images: beside.filter(|beside| beside.is_file()),
        }
    }
}

/// The predictions with everything that belongs to them.
pub(crate) struct Sources {
    /// Id of the predictions: that of a run, or the stem of a table's file.
    pub id: String,
    /// The tables of each split to report on; one file may hold several splits.
    pub predictions: Vec<(Split, PredictionFiles)>,
    /// The tables of the valid split, on which temperature and thresholds are fitted, where there
    /// are some.
    pub valid: Option<PredictionFiles>,
    /// Manifest of the predictions, where a stage wrote them.
    pub manifest: Option<Manifest>,
    /// What that manifest says of them; nothing without one.
    summary: PredictionsSummary,
    /// In what they do not belong to these tables, a sentence each; empty unless
    /// `evaluate.allow_gaps` is set.
    pub gaps: Vec<String>,
    pub tables: Tables,
    /// The label tables that are read.
    read_tables: Inputs,
    fingerprints: Option<FileEntry>,
    /// Name of the dataset, where the tables say it.
    pub dataset: Option<String>,
    /// Of each split, the report on the newest predictions that are older than these.
    before: BTreeMap<Split, RunBefore>,
    run_folder: PathBuf,
    /// Those of [`RUN_FILES`] that the run's manifest lists; empty if there is no such run.
    run_files: Vec<FileEntry>,
}

impl Sources {
    /// Those of `evaluate.predictions`.
    pub fn resolve(context: &Context) -> Result<Self, StageError> {
        Self::named(context, "evaluate.predictions", &context.settings.evaluate.predictions)
    }

    /// Those that `wanted` names: a path, an id, or `latest`. Messages say that `asked_by` asked
    /// for them.
    pub fn named(context: &Context, asked_by: &str, wanted: &str) -> Result<Self, StageError> {
        let out = &context.out;
        let tables_manifest = Manifest::require(&out.tables(), TABLES_HINT)?;
        let read_tables = Inputs::declare(out.tables(), &tables_manifest, TABLES)?;
        let shards_manifest = Manifest::read(&out.shards()).ok().flatten();
        let fingerprints =
            shards_manifest.as_ref().and_then(|manifest| manifest.file("fingerprints.parquet"));
        let tables = Tables {
            folder: out.tables(),
            fingerprints: fingerprints.map(|file| out.shards().join(&file.path)),
        };
        let splits = &context.settings.evaluate.splits;
        let (id, predictions, manifest) = Self::find(context, asked_by, wanted, splits)?;
        let summary = match &manifest {
            Some(manifest) => manifest.summary_of(&out.predictions().join(&id))?,
            None => PredictionsSummary::default(),
        };
        if let Some(classes) = tables_manifest.file("classes.parquet") {
            classes.verify(&tables.folder)?;
        }
        if let Some(theirs) = &summary.class_map
            && *theirs != ClassMap::read(tables.folder.join("classes.parquet"))?.digest()
        {
            return Err(StageError::Failed(anyhow!(
                "the model of the predictions {id} was trained with another class map than that of \
                    {}: since then classes were renamed, filtered or \
                 merged otherwise; run ossify-train and ossify-predict again (or import again), or \
                 configure [ingest] as it was",
                tables.folder.display()
            )));
        }
        let mut gaps = Vec::new();
        for (split, _) in &predictions {
            let (Some(predicted), Some(present)) =
                (summary.shards_of_split.get(split), &shards_manifest)
            else {
                continue;
            };
            let names = shards_of(present, *split).map(|file| &file.path);
            if *predicted != Inputs::declare(out.shards(), present, names)?.hash() {
                gaps.push(format!(
                    "The predictions {id} of {split} were made of other shards than those of {}: \
                     images came, went or were resized otherwise since.",
                    out.shards().display()
                ));
            }
        }
        if let (Some(gap), false) = (gaps.first(), context.settings.evaluate.allow_gaps) {
            return Err(StageError::Failed(anyhow!(
                "{gap} Run ossify-predict again, or score what is there with --set \
                    evaluate.allow_gaps=true"
            )));
        }
        let dataset = tables_manifest
            .summary_of::<TablesSummary>(&tables.folder)
            .ok()
            .map(|summary| summary.dataset)
            .filter(|name| !name.is_empty());
        let before = match &manifest {
            Some(manifest) => splits
                .iter()
                .filter_map(|split| {
                    Some((*split, RunBefore::find(context, &id, manifest, *split)?))
                })
                .collect(),
            None => BTreeMap::new(),
        };
        let run_folder = out.runs().join(&id);
        let valid = match &manifest {
            Some(manifest) => {
                PredictionFiles::listed(manifest, &out.predictions().join(&id), Split::Valid)
            }
            None => predictions.first().map(|(_, files)| files.clone()),
        };
        let fingerprints = fingerprints.cloned();
        let run_files = match Manifest::read(&run_folder)? {
            Some(run) => RUN_FILES.iter().filter_map(|name| run.file(name).cloned()).collect(),
            None => Vec::new(),
        };
        Ok(Sources {
            id,
            predictions,
            valid,
            manifest,
            summary,
            gaps,
            tables,
            read_tables,
            fingerprints,
            dataset,
            before,
            run_folder,
            run_files,
        })
    }

    #[allow(clippy::type_complexity, reason = "the three parts go straight into the struct")]
    fn find(
        context: &Context,
        asked_by: &str,
        wanted: &str,
        splits: &[Split],
    ) -> Result<(String, Vec<(Split, PredictionFiles)>, Option<Manifest>), StageError> {
        let as_path = Path::new(wanted);
        if as_path.extension().is_some_and(|extension| extension == "parquet")
            || as_path.components().count() > 1
        {
            if !as_path.is_file() {
                return Err(StageError::Usage(anyhow!(
                    "{asked_by}: there is no file {wanted}; name a predictions table, an id below \
                        {}, or \"latest\"",
                    context.out.predictions().display()
                )));
            }
            return Ok((
                plain_name(as_path),
                splits.iter().map(|split| (*split, PredictionFiles::named(as_path))).collect(),
                None,
            ));
        }
        let folder = context.out.predictions();
        let id = match wanted {
            "latest" => read_latest(&folder)?.ok_or_else(|| {
                anyhow!(
                    "no predictions below {} yet: run ossify-predict first, or name a table \
                    with --set evaluate.predictions=FILE.parquet",
                    folder.display()
                )
            })?,
            id => id.to_owned(),
        };
        if !is_plain_id(&id) {
            return Err(StageError::Usage(anyhow!(
                "{asked_by}: \"{id}\" is not an id; name a folder below {}, a .parquet file, \
                    or \"latest\"",
                folder.display()
            )));
        }
        let of_id = folder.join(&id);
        if !of_id.is_dir() {
            let known = known_ids(&folder);
            let known = if known.is_empty() {
                "there are no predictions yet: run ossify-predict first".to_owned()
            } else {
                format!("there are {}", known.join(", "))
            };
            return Err(StageError::Usage(anyhow!(
                "{asked_by}: no predictions `{id}` below {}; {known}",
                folder.display()
            )));
        }
        let manifest = Manifest::require(&of_id, "run ossify-predict again")?;
        let read = splits.iter().chain([&Split::Valid]);
        let read = read.flat_map(|split| entries(&manifest, *split));
        manifest.require_files(&of_id, read)?;
        let there: Vec<(Split, PredictionFiles)> = splits
            .iter()
            .filter_map(|split| Some((*split, PredictionFiles::listed(&manifest, &of_id, *split)?)))
            .collect();
        for split in splits.iter().filter(|split| !there.iter().any(|(found, _)| found == *split)) {
            context.reporter.warn(format_args!(
                "no predictions of the {split} split below {}; it gets no report (predict.splits \
                    chooses what is predicted)",
                of_id.display()
            ));
        }
        if there.is_empty() {
            let names: Vec<_> = splits.iter().map(|split| split.as_str()).collect();
            return Err(anyhow!(
                "{} has predictions of none of the splits {}; run ossify-predict with \
                    predict.splits set to them",
                of_id.display(),
                names.join(", ")
            )
            .into());
        }
        Ok((id, there, Some(manifest)))
    }

    /// Adds all inputs of a split's report; reads small files and foreign predictions only.
    pub fn add_to(
        &self,
        fingerprint: &mut Fingerprint,
        split: Split,
        files: &PredictionFiles,
    ) -> Result<(), StageError> {
        fingerprint.add(&self.id).add(split.as_str());
        for table in self.read_tables.files() {
            fingerprint.add(&table.xxh3);
        }
        fingerprint.add(self.fingerprints.as_ref().map_or("", |file| &file.xxh3));
        let listed =
            |split: Split| self.manifest.iter().flat_map(move |manifest| entries(manifest, split));
        if listed(split).count() == 0 {
            for path in [Some(&files.predictions), files.images.as_ref()].into_iter().flatten() {
                fingerprint.add(format!("{:016x}", hash_file(path)?.1));
            }
        }
        for entry in listed(split) {
            // The report lists what an import left out, and the inputs of the import decide that.
            fingerprint.add(&entry.xxh3).add(entry.inputs.as_deref().unwrap_or(""));
        }
        for entry in listed(Split::Valid) {
            fingerprint.add(&entry.xxh3);
        }
        fingerprint.add(self.summary.task.map_or("", |task| task.as_str()));
        fingerprint.add(self.dataset.as_deref().unwrap_or(""));
        if let Some(before) = self.before.get(&split) {
            fingerprint.add(&before.id).add(&before.report);
        }
        for name in RUN_FILES {
            let entry = self.run_files.iter().find(|file| file.path == name);
            fingerprint.add(entry.map_or("", |file| &file.xxh3));
        }
        Ok(())
    }

    /// Reads a split with its predictions, after a check of the files against their manifests.
    ///
    /// # Errors
    /// Where a file is not what its manifest says, or the predictions do not belong to the tables.
    pub fn read(
        &self,
        context: &Context,
        split: Split,
        files: &PredictionFiles,
    ) -> Result<SplitData, StageError> {
        let inputs = self.inputs_of(context, split);
        read_unchanged(&inputs, || {
            inputs.iter().try_for_each(Inputs::verify)?;
            let tables = PredictedTables {
                predictions: &files.predictions,
                images: files.images.as_deref(),
                task: self.summary.task,
            };
            Ok(self.tables.read_split(split, &tables).map_err(anyhow::Error::from)?)
        })
    }

    /// The files that the scores of a split are made of and that a manifest names.
    fn inputs_of(&self, context: &Context, split: Split) -> [Inputs; 3] {
        let out = &context.out;
        let predictions = self.manifest.iter().flat_map(|manifest| entries(manifest, split));
        [
            self.read_tables.clone(),
            Inputs::of(out.shards(), self.fingerprints.iter().cloned().collect()),
            Inputs::of(out.predictions().join(&self.id), predictions.cloned().collect()),
        ]
    }

    /// Refuses predictions that nobody made for some of the images, unless `evaluate.allow_gaps`
    /// is set: images that the table of looked-at images lacks or, of predictions of earlier
    /// versions, which have no such table, images without a prediction. There is a warning of
    /// images that `ossify-resize` could make no tensor of, and of those that another detector has
    /// no row for: it may have found nothing.
    ///
    /// # Errors
    /// Fails with how many lack, and one of them; where the list of images without a tensor is
    /// damaged.
    pub fn check_images(&self, context: &Context, data: &SplitData) -> Result<(), StageError> {
        let has_table = self.has_image_table(data.split);
        let is_silent = |image: &&ScoredImage| {
            if has_table { !image.is_looked_at } else { image.predictions.is_empty() }
        };
        let silent = data.images.iter().filter(is_silent);
        let mut silent: BTreeSet<&str> = silent.map(|image| image.image_id.as_str()).collect();
        // `ossify-predict` counts the images of a split.
        let is_of_tensors = self.summary.images.contains_key(data.split.as_str());
        if is_of_tensors {
            let all = silent.len();
            remove_without_tensor(context, &mut silent)?;
            if silent.len() < all {
                context.reporter.warn(format_args!(
                    "{} of {} images of the {} split could not be decoded and have no prediction \
                     (shards/issues.parquet lists them): every object there is missed",
                    all - silent.len(),
                    data.images.len(),
                    data.split
                ));
            }
        }
        let Some(first) = silent.first() else { return Ok(()) };
        let (have, were) = if silent.len() == 1 { ("has", "was") } else { ("have", "were") };
        if !(has_table || is_of_tensors) || context.settings.evaluate.allow_gaps {
            context.reporter.warn(format_args!(
                "{} of {} images of the {} split {have} no row in {}: this is taken as nothing \
                 found there, so that every object there is missed",
                silent.len(),
                data.images.len(),
                data.split,
                self.id
            ));
            return Ok(());
        }
        Err(StageError::Failed(anyhow!(
            "{} of the {} images of the {} split {were} not looked at for {}, `{first}` among \
             them; if they came since, run ossify-predict again, or score what is there with --set \
             evaluate.allow_gaps=true, where they count as wrong",
            silent.len(),
            data.images.len(),
            data.split,
            self.id
        )))
    }

    /// The report on this split of the predictions before these.
    pub fn run_before(&self, split: &str) -> Option<&RunBefore> {
        self.before.iter().find(|(of, _)| of.as_str() == split).map(|(_, before)| before)
    }

    fn has_image_table(&self, split: Split) -> bool {
        let files = self.predictions.iter().find(|(of, _)| *of == split);
        files.is_some_and(|(_, files)| files.images.is_some())
    }

    /// What an import of the predictions left out.
    pub fn left_out_at_import(&self, split: Split) -> Vec<Excluded> {
        let groups = self.summary.splits.get(&split).map_or(&[][..], |split| &split.left_out);
        let excluded = |group: &LeftOutRows| Excluded {
            what: "predictions".into(),
            count: group.count,
            reason: format!("left out by ossify-evaluate import: {}", group.reason),
        };
        groups.iter().map(excluded).collect()
    }

    /// The run that made the predictions, as far as it is there.
    ///
    /// # Errors
    /// Where a file is not what the run's manifest says, or cannot be understood.
    pub fn run(&self) -> anyhow::Result<RunFacts> {
        let verified = |name: &str| -> anyhow::Result<Option<PathBuf>> {
            let Some(entry) = self.run_files.iter().find(|file| file.path == name) else {
                return Ok(None);
            };
            entry.verify(&self.run_folder)?;
            Ok(Some(self.run_folder.join(name)))
        };
        let read = |path: &PathBuf| {
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
        };
        let damaged = |path: &PathBuf| {
            format!(
                "{} is not as ossify-train writes it; run ossify-train again with --force",
                path.display()
            )
        };
        let text =
            |path: &PathBuf| String::from_utf8(read(path)?).ok().with_context(|| damaged(path));
        let environment = match verified("environment.json")? {
            None => None,
            Some(path) => {
                let environment = serde_json::from_slice(&read(&path)?).ok();
                Some(environment.with_context(|| damaged(&path))?)
            }
        };
        let metrics = verified("metrics.jsonl")?.map(|path| read_metrics(&path)).transpose()?;
        Ok(RunFacts {
            metrics: metrics.unwrap_or_default(),
            environment,
            config: verified("config.toml")?.as_ref().map(text).transpose()?,
        })
    }
}

/// Removes the images that the shards' table of issues lists: they became no tensor.
fn remove_without_tensor(
    context: &Context,
    images: &mut BTreeSet<&str>,
) -> Result<(), ArtefactError> {
    if images.is_empty() {
        return Ok(());
    }
    let shards = context.out.shards();
    let manifest = Manifest::read(&shards)?;
    let Some(manifest) = manifest.filter(|manifest| manifest.file(ISSUES).is_some()) else {
        return Ok(());
    };
    Inputs::declare(&shards, &manifest, [ISSUES])?.verify()?;
    for rows in TableReader::<IssueRow>::open(shards.join(ISSUES))? {
        for row in rows? {
            images.remove(row.path.as_str());
        }
    }
    Ok(())
}

/// A report on earlier predictions.
pub(crate) struct RunBefore {
    /// Id of the predictions.
    pub id: String,
    /// Fingerprint of the report.
    report: String,
    pub scores: ReportSummary,
}

impl RunBefore {
    /// The newest predictions that are older than those of `manifest` and have a report on this
    /// split. What cannot be read is passed over: it is a remark.
    fn find(context: &Context, id: &str, manifest: &Manifest, split: Split) -> Option<Self> {
        let folder = context.out.predictions();
        let read = |path: &Path| Manifest::read(path).ok().flatten();
        let older = ids(&folder).into_iter().filter(|other| other != id).filter_map(|other| {
            let made_at = read(&folder.join(&other))?.created_at;
            let report = context.out.reports().join(&other).join(split.as_str());
            let found = read(&report)?;
            let scores = found.summary_of(&report).ok()?;
            let before = RunBefore { id: other, report: found.fingerprint, scores };
            (made_at < manifest.created_at).then_some((made_at, before))
        });
        older.max_by(|a, b| (&a.0, &a.1.id).cmp(&(&b.0, &b.1.id))).map(|(_, before)| before)
    }
}

/// What is known of a run.
#[derive(Default)]
pub(crate) struct RunFacts {
    pub metrics: Vec<EpochMetrics>,
    pub environment: Option<Environment>,
    pub config: Option<String>,
}

/// The files of a split's predictions that a manifest lists.
fn entries(manifest: &Manifest, split: Split) -> impl Iterator<Item = &FileEntry> {
    [predictions_file(split.as_str()), image_predictions_file(split.as_str())]
        .into_iter()
        .filter_map(|name| manifest.file(&name))
}

/// The file's stem as a folder's name.
fn plain_name(path: &Path) -> String {
    plain(&path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default())
}

/// The text with nothing but letters, digits, `.`, `_` and `-`, for a folder's name.
pub(crate) fn plain(text: &str) -> String {
    let name: String = text
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' })
        .collect();
    let name = name.trim_start_matches('.');
    if name.is_empty() { "predictions".into() } else { name.to_owned() }
}

/// The first ids below a folder, for a message.
fn known_ids(folder: &Path) -> Vec<String> {
    let mut ids = ids(folder);
    ids.truncate(10);
    ids
}

/// The ids below a folder, in order.
fn ids(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut ids: Vec<String> = entries
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| is_plain_id(name))
        .collect();
    ids.sort();
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_table_gives_a_plain_id() {
        assert_eq!(plain_name(Path::new("/a/my preds.v2.parquet")), "my-preds.v2");
        assert_eq!(plain_name(Path::new("..parquet")), "predictions");
    }
}
