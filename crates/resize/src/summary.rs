use std::collections::BTreeMap;

use ossify_contract::{FailedImage, LeakCounts, ShardsSummary, Split, TensorSummary};
use ossify_diagnostics::{Action, Finding, Format, Location, Renderer, Severity};
use ossify_settings::Reporter;

use crate::plan::Plan;
use crate::shard_record::ShardRecord;
use crate::tensor::Recipe;

/// Number of findings that are shown in full.
const MAX_SHOWN: usize = 20;
/// Number of failures that the summary lists; `issues.parquet` has all of them.
const MAX_LISTED: usize = 1000;

/// Counts of what became of the images.
#[derive(Default)]
pub(crate) struct Counts {
    /// Number of images that became rows.
    pub(crate) rows: u64,
    rows_per_split: BTreeMap<Split, u64>,
    shards: u64,
    /// Number of images that are readable according to the tables but did not become rows.
    pub(crate) failed: u64,
    failed_per_rule: BTreeMap<String, u64>,
    /// The first of them, in order.
    listed: Vec<FailedImage>,
    pub(crate) leaks: LeakCounts,
}

impl Counts {
    pub(crate) fn add(&mut self, split: Split, record: &ShardRecord) {
        let rows = record.rows.len() as u64;
        self.rows += rows;
        *self.rows_per_split.entry(split).or_default() += rows;
        self.shards += u64::from(record.entry.is_some());
        self.failed += record.failures.len() as u64;
        for failure in &record.failures {
            *self.failed_per_rule.entry(failure.rule.clone()).or_default() += 1;
            if self.listed.len() < MAX_LISTED {
                self.listed.push(failure.clone());
            }
        }
    }

    pub(crate) fn summary(
        self,
        plan: &Plan,
        recipe: &Recipe,
        settings: &ossify_settings::ResizeSettings,
    ) -> ShardsSummary {
        let shape = recipe.shape();
        let of_split = |split| (split, self.rows_per_split.get(&split).copied().unwrap_or(0));
        ShardsSummary {
            images: self.rows,
            images_per_split: Split::ALL.into_iter().map(of_split).collect(),
            shards: self.shards,
            tensor: TensorSummary {
                height: shape.height,
                width: shape.width,
                channels: shape.channels,
                geometry: settings.geometry.as_str().to_owned(),
                filter: settings.filter.as_str().to_owned(),
                antialias: settings.antialias,
            },
            unreadable: plan.unreadable,
            failed_images: self.failed,
            failed_per_rule: self.failed_per_rule,
            failed: self.listed,
            leaks: self.leaks,
        }
    }
}

/// Shows the failures as findings.
pub(crate) fn show(counts: &Counts, dataset: &std::path::Path, reporter: &Reporter) {
    let findings: Vec<Finding> = counts.listed.iter().take(MAX_SHOWN).map(finding).collect();
    let root = dataset.to_string_lossy();
    let renderer = Renderer { format: Format::Full, color: reporter.color(), root: &root };
    let mut text = Vec::new();
    if !findings.is_empty() && renderer.render(&findings, &mut text).is_ok() {
        reporter.say(String::from_utf8_lossy(&text).trim_end());
    }
    if counts.failed > MAX_SHOWN as u64 {
        reporter.warn(format_args!(
            "and {} more images; shards/issues.parquet lists all",
            counts.failed - MAX_SHOWN as u64
        ));
    }
}

fn finding(failure: &FailedImage) -> Finding {
    let help = match failure.rule.as_str() {
        FailedImage::CHANGED => {
            "the file changed after the tables were made; run ossify-ingest again"
        }
        FailedImage::NOT_READ => "mend the file or its permissions and run this again",
        _ => "replace the file, or run ossify-ingest again after removing it",
    };
    Finding::new(
        failure.rule.as_str(),
        Severity::Error,
        Action::Dropped,
        Location::file(failure.image_id.as_str()),
        failure.reason.as_str(),
    )
    .with_note("this image is in no shard; all others are")
    .with_help(help)
}
