use std::collections::BTreeMap;

use ossify_contract::Split;
use ossify_diagnostics::{Action, Finding, Format, Place, Renderer, Severity};
use ossify_settings::{Gate, Reporter};
use serde::{Deserialize, Serialize};

use crate::inputs::Plan;
use crate::leaks::Leaks;
use crate::shard_record::{Failure, ShardRecord};
use crate::tensor::Recipe;

/// Findings shown in full; the manifest has all of them.
const MAX_SHOWN: usize = 20;

/// How tensors were made, in the words of the configuration.
#[derive(Serialize)]
struct TensorWords {
    height: u32,
    width: u32,
    channels: u32,
    geometry: &'static str,
    filter: &'static str,
    antialias: bool,
}

/// What the stage says of its work. It has no times and no rates, so that equal work says equal things.
#[derive(Serialize)]
struct Summary<'a> {
    images: usize,
    images_per_split: BTreeMap<Split, usize>,
    shards: usize,
    tensor: TensorWords,
    /// Images that ingest found unreadable.
    unreadable: u64,
    failed: Vec<&'a Failure>,
    leaks: &'a Leaks,
}

pub(crate) fn summary(plan: &Plan, records: &[ShardRecord], leaks: &Leaks, recipe: &Recipe, settings: &ossify_settings::ResizeSettings) -> serde_json::Value {
    let mut images_per_split: BTreeMap<Split, usize> = Split::ALL.into_iter().map(|split| (split, 0)).collect();
    for (shard, record) in plan.shards.iter().zip(records) {
        *images_per_split.entry(shard.split).or_default() += record.hashes.len();
    }
    let shape = recipe.shape();
    let summary = Summary {
        images: images_per_split.values().sum(),
        images_per_split,
        shards: records.iter().filter(|record| record.entry.is_some()).count(),
        tensor: TensorWords {
            height: shape.height,
            width: shape.width,
            channels: shape.channels,
            geometry: settings.geometry.as_str(),
            filter: settings.filter.as_str(),
            antialias: settings.antialias,
        },
        unreadable: plan.unreadable,
        failed: failures(records).collect(),
        leaks,
    };
    serde_json::json!(summary)
}

/// The images that did not become tensors, in order.
pub(crate) fn failures(records: &[ShardRecord]) -> impl Iterator<Item = &Failure> {
    records.iter().flat_map(|record| &record.failures)
}

/// The failures that a manifest's summary tells of.
pub(crate) fn failures_of(summary: &serde_json::Value) -> Vec<Failure> {
    summary.get("failed").and_then(|failed| Vec::deserialize(failed).ok()).unwrap_or_default()
}

/// Shows the failures as findings.
pub(crate) fn show(failed: &[&Failure], dataset: &std::path::Path, reporter: &Reporter) {
    let findings: Vec<Finding> = failed.iter().take(MAX_SHOWN).map(|failure| finding(failure)).collect();
    let root = dataset.to_string_lossy();
    let renderer = Renderer { format: Format::Full, color: reporter.color(), root: &root };
    let mut text = Vec::new();
    if !findings.is_empty() && renderer.render(&findings, &mut text).is_ok() {
        reporter.say(String::from_utf8_lossy(&text).trim_end());
    }
    if failed.len() > MAX_SHOWN {
        reporter.warn(format_args!("and {} more images; shards/manifest.json lists all under `failed`", failed.len() - MAX_SHOWN));
    }
}

fn finding(failure: &Failure) -> Finding {
    let help = match failure.rule.as_str() {
        Failure::CHANGED => "the file changed after the tables were made; run ossify-ingest again",
        Failure::NOT_READ => "mend the file or its permissions and run this again",
        _ => "replace the file, or run ossify-ingest again after removing it",
    };
    Finding::new(failure.rule.as_str(), Severity::Error, Action::Dropped, Place::file(failure.image_id.as_str()), failure.reason.as_str())
        .with_note("this image is in no shard; all others are")
        .with_help(help)
}

/// With `--strict`, an image that failed is a gate that was not met.
pub(crate) fn strict_gate(failed: usize) -> Option<Gate> {
    (failed > 0).then(|| Gate {
        name: "--strict".to_owned(),
        figure: failed as f64,
        limit: 0.0,
        message: format!("{failed} images that the tables call readable did not become tensors"),
    })
}
