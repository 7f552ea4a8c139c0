//! Several predictions tables over the same images: `ossify-evaluate compare`.

mod changes;
mod comparison;
mod gates;
mod page;
mod pictures;
mod tables;
mod words;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, anyhow};
use ossify_contract::{ComparedSummary, ComparisonSummary, Publication, Summary as _};
use ossify_page::counted;
use ossify_settings::{Context, Outcome, StageError};
use ossify_vocabulary::Limits;
use serde_json::json;

use crate::compare::pictures::ChangedPicture;
use crate::compare::tables::ComparedTables;
pub use changes::{ConfusionChange, ImageChange, ImageChanges, Seen, mcnemar_exact};
pub use comparison::{AgainstBaseline, ClassLevels, ComparedTable, Comparison, Levels};

use crate::read::split::SplitData;
use crate::scores::bootstrap::Bootstrap;
use crate::scores::bootstrap::{paired_intervals, resampling_units};
use crate::scores::scorer::Scorer;

/// Changes where a comparison of the same inputs gets other files or fields.
const FORMAT: &str = "comparison 2: froc and findings";

/// Compares predictions with a baseline over each split of `evaluate.splits`. Both are named as in
/// `evaluate.predictions`: an id, `latest`, or the path of a predictions table.
///
/// Gates (`evaluate.max_drop`) are about the first split that is compared.
///
/// # Errors
/// Fails where tables are missing, where they belong to other classes, images or splits, and where
/// the disk does.
pub fn compare(
    context: &Context,
    baseline: &str,
    others: &[String],
) -> Result<Outcome, StageError> {
    let tables = ComparedTables::resolve(context, baseline, others)?;
    gates::check_settings(&context.settings.evaluate)?;
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(context.threads())
        .build()
        .context("cannot start threads")?;
    let (mut splits, mut gates, mut all_current) = (BTreeMap::new(), Vec::new(), true);
    for split in tables.splits() {
        let folder =
            context.out.reports().join("compare").join(tables.folder_name()).join(split.as_str());
        let has_gates = splits.is_empty();
        // Gates are about the first split: the same split must run again where it takes or loses
        // that place.
        let mut fingerprint = context.fingerprint("compare", &["general", "evaluate"]);
        fingerprint.add(FORMAT).add(if has_gates { "first" } else { "further" }).add(
            if ossify_storage::is_dir(&context.dataset).unwrap_or(true) {
                "drawn"
            } else {
                "undrawn"
            },
        );
        tables.add_to(&mut fingerprint, split)?;
        let fingerprint = fingerprint.finish();
        let current = if context.force {
            None
        } else {
            Publication::current_summary::<ComparisonSummary>(&folder, &fingerprint)
        };
        let summary = match current {
            Some((_, summary)) => summary,
            None => {
                let Some(data) = tables.read(context, split)? else { continue };
                all_current = false;
                let work = SplitComparison { context, tables: &tables, data: &data, has_gates };
                pool.install(|| work.publish(&folder, &fingerprint))?
            }
        };
        for other in &summary.comparisons {
            other.table.iter().for_each(|line| context.reporter.say(line));
            context.reporter.say(format_args!("{split}: {}", other.in_words));
        }
        context
            .reporter
            .say(format_args!("{split}: comparison in {}", folder.join("compare.html").display()));
        gates.extend(summary.gates.iter().cloned());
        splits.insert(split, summary);
    }
    if splits.is_empty() {
        return Err(anyhow!(
            "no split of evaluate.splits has predictions in these tables, so there \
            is nothing to compare"
        )
        .into());
    }
    let names: Vec<&str> = tables.names().collect();
    let summary =
        json!({ "baseline": names[0], "others": names[1..], "splits": splits, "gates": gates });
    let outcome = if all_current { Outcome::current(summary) } else { Outcome::done(summary) };
    Ok(outcome.with_gates(gates))
}

/// The comparison of one split.
struct SplitComparison<'a> {
    context: &'a Context,
    tables: &'a ComparedTables,
    /// What each table predicts, the baseline first.
    data: &'a [SplitData],
    has_gates: bool,
}

impl SplitComparison<'_> {
    fn publish(&self, folder: &Path, fingerprint: &str) -> Result<ComparisonSummary, StageError> {
        let settings = &self.context.settings.evaluate;
        let publication = Publication::begin(folder)?;
        let scorers: Vec<Scorer> = self.data.iter().map(Scorer::new).collect();
        let units = resampling_units(&self.data[0]);
        let bootstrap = Bootstrap {
            samples: settings.bootstrap_samples,
            seed: self.context.seed(),
            confidence: 0.95,
            units: units.1 as u64,
        };
        let paired = paired_intervals(&scorers, &units, bootstrap.samples, bootstrap.seed);
        let names: Vec<&str> = self.tables.names().collect();
        let mut comparison = Comparison::assemble(&names, self.data, &scorers, paired, bootstrap);
        if self.has_gates {
            comparison.gates = gates::unmet(&comparison, settings);
        }
        for at in 0..comparison.comparisons.len() {
            comparison.comparisons[at].in_words = words::verdict(&comparison, at);
        }

        let mut files = Vec::new();
        let mut text =
            serde_json::to_string_pretty(&comparison).context("cannot write compare.json")?;
        text.push('\n');
        publication.write("compare.json", text.as_bytes())?;
        files.push(publication.describe("compare.json", None)?);
        let drawn = self.draw(&comparison);
        let judged = self.has_gates.then_some(settings);
        publication.write(
            "compare.html",
            page::render(&comparison, self.tables, &drawn, judged).as_bytes(),
        )?;
        files.push(publication.describe("compare.html", None)?);
        let summary = summary(&comparison);
        publication.commit("compare", fingerprint, files, summary.to_json(folder)?)?;
        Ok(summary)
    }

    /// Pictures for each table that is compared; together about `evaluate.overlays`.
    fn draw<'a>(&self, comparison: &'a Comparison) -> Vec<(Vec<ChangedPicture<'a>>, Vec<String>)> {
        let limits = Limits::from(&self.context.settings.resize);
        let wanted =
            self.context.settings.evaluate.overlays.div_ceil(comparison.comparisons.len().max(1));
        let others = comparison.comparisons.iter().zip(&self.data[1..]);
        let drawn: Vec<_> = others
            .map(|(other, data)| {
                pictures::draw(
                    &other.images,
                    [&self.data[0], data],
                    &self.context.dataset,
                    wanted,
                    &limits,
                )
            })
            .collect();
        let mut undrawn = drawn.iter().flat_map(|(_, undrawn)| undrawn);
        if let Some(first) = undrawn.next() {
            self.context.reporter.warn(format_args!(
                "{}: {} could not be drawn; the first: {first}",
                comparison.split,
                counted(undrawn.count() as u64 + 1, "image", "images")
            ));
        }
        drawn
    }
}

fn summary(comparison: &Comparison) -> ComparisonSummary {
    let against_baseline = |(at, other): (usize, &AgainstBaseline)| ComparedSummary {
        name: other.name.clone(),
        image_accuracy: other.differences.image_level.accuracy,
        macro_f1: other.differences.image_level.macro_f1,
        mean_iou: other.differences.objects_level.mean_iou,
        ap50: other.differences.detection.ap50,
        froc: other.differences.froc.mean,
        finding_auroc: other.differences.findings.auroc,
        right_to_wrong: other.images.right_to_wrong,
        wrong_to_right: other.images.wrong_to_right,
        mcnemar_p: other.images.mcnemar_p,
        in_words: other.in_words.join(" "),
        table: words::terminal_table(comparison, at),
    };
    ComparisonSummary {
        images: comparison.images,
        labelled_images: comparison.labelled_images,
        objects: comparison.objects,
        comparisons: comparison.comparisons.iter().enumerate().map(against_baseline).collect(),
        gates: comparison.gates.clone(),
    }
}
