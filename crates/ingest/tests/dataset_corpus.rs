//! The corpus of datasets: each `.dataset` file describes a small dataset, and the `.expected` file
//! beside it has the exit code, the ledger, images that are not simply labelled, classes, and every
//! row of issues.parquet, or else the error. `OSSIFY_UPDATE_CORPUS=1` rewrites the expectations, to
//! be reviewed before they are committed.
//!
//! A file starts with a line `-- PATH --`, followed by its text. Images have no text: `-- PATH
//! 20x30 --`, with `cut` if the end of the file should be missing; `-- PATH link TARGET --` is a
//! symbolic link. Lines `set SECTION.KEY=VALUE` and comments come before the first file.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;
#[path = "common/dataset_text.rs"]
mod dataset_text;
#[path = "common/expectation.rs"]
mod expectation;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use common::{code, stderr};
use dataset_text::{cases, make};
use expectation::difference;
use ossify_contract::ImageStatus;
use ossify_diagnostics::printable;
use ossify_ingest::rules::Rule;

/// Runs ingest; returns the result as text, and the rules that had findings.
fn ingest(text: &str) -> (String, Vec<String>) {
    let (dataset, settings) = make(text);
    let output =
        dataset.ingest(&settings.iter().map(String::as_str).chain(["-q"]).collect::<Vec<_>>());
    let mut found = format!("exit code {}\n", code(&output));
    found.push_str(&dataset.portable(stderr(&output).as_bytes()));
    if !dataset.tables().join("manifest.json").exists() {
        return (found, Vec::new());
    }
    for (split, ledger) in dataset.manifest().summary["ledger"].as_object().unwrap() {
        let count = |name: &str| ledger[name].as_u64().unwrap();
        let (lines, boxes, polygons, quarantined, rare) = (
            count("lines"),
            count("boxes"),
            count("polygons"),
            count("quarantined"),
            count("rare_filtered"),
        );
        writeln!(
            found,
            "{split}: {lines} lines = {boxes} boxes + {polygons} polygons + \
            {quarantined} quarantined; {rare} of rare classes"
        )
        .unwrap();
    }
    for image in dataset.images().iter().filter(|image| image.status != ImageStatus::Labelled) {
        writeln!(found, "{} is {}", printable(&image.image_id), image.status.as_str()).unwrap();
    }
    for class in dataset.classes() {
        let index = class.class_index.map_or_else(|| "none".to_owned(), |index| index.to_string());
        writeln!(
            found,
            "class {} {} has index {index}{}",
            class.class_id,
            class.class_name,
            class.reason.map_or(String::new(), |reason| format!(": {reason}"))
        )
        .unwrap();
    }
    let issues = dataset.issues();
    for issue in &issues {
        let location = [issue.line, issue.column]
            .into_iter()
            .flatten()
            .map(|at| format!(":{at}"))
            .collect::<String>();
        let (severity, action) = (issue.severity.as_str(), issue.action.as_str());
        let message = dataset.portable(printable(&issue.message).as_bytes());
        writeln!(
            found,
            "{} {}{location}: {severity} {} {action}: {message}",
            issue.split,
            printable(&issue.path),
            issue.rule
        )
        .unwrap();
    }
    (found, issues.into_iter().map(|issue| issue.rule).collect())
}

#[test]
fn every_dataset_gives_exactly_what_is_expected_and_each_rule_is_shown_twice() {
    let mut failures = Vec::new();
    let mut cases_with_rule = BTreeMap::<String, usize>::new();
    for case in cases() {
        let name = case.file_name().unwrap().to_str().unwrap();
        if name.ends_with(".expected") {
            assert!(case.with_extension("dataset").exists(), "{name} has no case");
            continue;
        }
        assert!(name.ends_with(".dataset"), "{name} is neither a case nor an expectation");
        let (found, mut rules) = ingest(&std::fs::read_to_string(&case).unwrap());
        rules.sort();
        rules.dedup();
        rules.into_iter().for_each(|rule| *cases_with_rule.entry(rule).or_default() += 1);
        failures.extend(difference(&case, &found));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    // The rules about lines are shown by the corpus of label files.
    for rule in [
        Rule::ImageMissing,
        Rule::LabelMissing,
        Rule::ImageUnreadable,
        Rule::ImageTooSmall,
        Rule::StemCollision,
        Rule::PathEscapesDataset,
        Rule::ClassRare,
    ] {
        let cases = cases_with_rule.get(rule.name()).copied().unwrap_or(0);
        assert!(cases >= 2, "{} is shown by {cases} cases", rule.name());
    }
}
