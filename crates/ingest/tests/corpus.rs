//! The corpus of label files: each `.txt` has its `.expected` beside it, with every object and
//! every finding. `OSSIFY_UPDATE_CORPUS=1` rewrites the expectations, to be reviewed before they
//! are committed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[path = "common/expectation.rs"]
mod expectation;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use expectation::difference;
use ossify_ingest::rules::{Rule, RuleBook};
use ossify_ingest::{ClassNames, LabelFile, LabelRules, parse_labels};

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

fn cases() -> Vec<PathBuf> {
    let mut cases: Vec<_> = std::fs::read_dir(corpus())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "txt"))
        .collect();
    cases.sort();
    cases
}

/// The rules of the corpus; the cases about too few vertices use the minimum of the bone-fracture
/// recipe.
fn rules(name: &str) -> LabelRules {
    let min_polygon_vertices = if name.starts_with("polygon-too-few") { 4 } else { 3 };
    LabelRules {
        tolerance: 0.01,
        min_polygon_vertices,
        classes: ClassNames::from_list(["elbow", "forearm", "wrist"]),
        book: RuleBook::default(),
    }
}

fn render(file: &LabelFile) -> String {
    let boxes = file.objects.iter().filter(|object| object.vertices.is_none()).count();
    let polygons = file.objects.len() - boxes;
    let mut text = format!(
        "{} lines = {boxes} boxes + {polygons} polygons + {} quarantined\n",
        file.lines, file.quarantined
    );
    for object in &file.objects {
        let edges = object.unit_box.to_array();
        let vertices = object
            .vertices
            .as_ref()
            .map_or_else(String::new, |vertices| format!(" vertices={}", vertices.len()));
        let repaired = if object.repaired { " repaired" } else { "" };
        writeln!(
            text,
            "object {}: class {} {} {edges:?} area={}{vertices}{repaired}",
            object.line,
            object.class_id,
            object.shape().as_str(),
            object.area
        )
        .unwrap();
    }
    for finding in &file.findings {
        let location =
            match (finding.location.line, finding.location.column, finding.location.width) {
                (Some(line), Some(column), Some(width)) => format!("{line}:{column}+{width}"),
                (Some(line), _, _) => format!("{line}"),
                _ => "file".to_owned(),
            };
        let message = ossify_diagnostics::printable(&finding.message);
        writeln!(
            text,
            "{} {} {} at {location}: {message}",
            finding.severity.as_str(),
            finding.rule,
            finding.action.as_str()
        )
        .unwrap();
        if let Some(help) = &finding.help {
            writeln!(text, "    help: {}", ossify_diagnostics::printable(help)).unwrap();
        }
    }
    text
}

#[test]
fn every_case_has_exactly_the_objects_and_findings_that_are_expected() {
    let mut failures = Vec::new();
    for case in cases() {
        let name = case.file_stem().unwrap().to_str().unwrap().to_owned();
        let found =
            render(&parse_labels("labels/case.txt", &std::fs::read(&case).unwrap(), &rules(&name)));
        failures.extend(difference(&case, &found));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn every_expectation_has_its_case() {
    for entry in std::fs::read_dir(corpus()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "expected") {
            assert!(path.with_extension("txt").exists(), "{} has no case", path.display());
        }
    }
}

/// Rules about files and folders, which a label file alone cannot show.
const RULES_OF_DATASETS: [Rule; 7] = [
    Rule::ImageMissing,
    Rule::LabelMissing,
    Rule::ImageUnreadable,
    Rule::ImageTooSmall,
    Rule::StemCollision,
    Rule::PathEscapesDataset,
    Rule::ClassRare,
];

#[test]
fn the_corpus_shows_each_rule_at_least_twice() {
    assert!(cases().len() >= 80, "{} cases", cases().len());
    let mut files_with_rule = std::collections::BTreeMap::<String, usize>::new();
    for case in cases() {
        let name = case.file_stem().unwrap().to_str().unwrap().to_owned();
        let mut found: Vec<_> =
            parse_labels("l.txt", &std::fs::read(&case).unwrap(), &rules(&name))
                .findings
                .into_iter()
                .map(|finding| finding.rule)
                .collect();
        found.sort();
        found.dedup();
        found.into_iter().for_each(|rule| *files_with_rule.entry(rule).or_default() += 1);
    }
    for rule in Rule::ALL.iter().filter(|rule| !RULES_OF_DATASETS.contains(rule)) {
        let files = files_with_rule.get(rule.name()).copied().unwrap_or(0);
        assert!(files >= 2, "{} is shown by {files} files", rule.name());
    }
}

#[test]
fn the_example_of_each_page_is_found_by_its_rule() {
    for rule in Rule::ALL.iter().filter(|rule| !rule.page().example.is_empty()) {
        let rules = rules(rule.name());
        let file = parse_labels("l.txt", rule.page().example.as_bytes(), &rules);
        assert!(
            file.findings.iter().any(|finding| finding.rule == rule.name()),
            "{}: {:?}",
            rule.name(),
            file.findings
        );
    }
}
