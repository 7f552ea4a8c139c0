//! Tests the main job end to end on synthetic radiographs.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Instant;

use ossify_contract::{
    ImageRow, IssueRow, Manifest, ObjectRow, PredictionRow, ShardReader, read_table,
};
use ossify_tests::{Project, STAGES, read_json};

#[test]
fn every_stage_meets_the_next_at_its_artefacts() {
    let (project, _) = Project::with_phantom(120);
    assert_eq!(project.run_all(&[]), ["done"; 5]);

    let images: Vec<ImageRow> = read_table(project.out.join("tables/images.parquet")).unwrap();
    let readable: Vec<_> = images
        .iter()
        .filter(|image| image.status.as_str() != "unreadable")
        .map(|image| image.image_id.as_str())
        .collect();
    let shards = Manifest::open(&project.out.join("shards"), "").unwrap();
    let mut in_shards = Vec::new();
    for file in shards.files.iter().filter(|file| file.path.ends_with(".arrow")) {
        let reader = ShardReader::open(project.out.join("shards").join(&file.path)).unwrap();
        assert_eq!(reader.len() as u64, file.rows.unwrap());
        in_shards.extend(reader.iter().map(|image| image.image_id.to_owned()));
    }
    let (mut expected, mut found) =
        (readable.clone(), in_shards.iter().map(String::as_str).collect::<Vec<_>>());
    expected.sort();
    found.sort();
    assert_eq!(found, expected, "each readable image stands in the shards exactly once");

    let run = project.run_id();
    for split in ["valid", "test"] {
        let predictions: Vec<PredictionRow> =
            read_table(project.out.join(format!("predictions/{run}/{split}.parquet"))).unwrap();
        let of_split = images
            .iter()
            .filter(|image| image.split.as_str() == split && image.status.as_str() != "unreadable")
            .count();
        assert_eq!(predictions.len(), of_split, "one prediction for each readable {split} image");
        for row in &predictions {
            assert!((row.probabilities.iter().sum::<f32>() - 1.0).abs() < 1e-4);
            assert!(
                row.xmin >= 0.0
                    && row.xmin <= row.xmax
                    && row.xmax <= 1.0
                    && row.ymin >= 0.0
                    && row.ymin <= row.ymax
                    && row.ymax <= 1.0,
                "{row:?}"
            );
        }
        let folder = project.out.join(format!("reports/{run}/{split}"));
        Manifest::open(&folder, "").unwrap();
        let report = read_json(&folder.join("report.json"));
        let accuracy = &report["image_level"]["accuracy"];
        let [value, low, high] =
            ["value", "low", "high"].map(|part| accuracy[part].as_f64().unwrap());
        assert!((0.0..=1.0).contains(&value) && low <= value && value <= high, "{accuracy}");
        assert!(std::fs::read_to_string(folder.join("report.html")).unwrap().contains("</html>"));
    }
}

#[test]
fn ingest_finds_exactly_what_phantom_planted() {
    let (project, planted) = Project::with_phantom(200);
    project.run("ingest", &[]).success();
    let issues: Vec<IssueRow> = read_table(project.out.join("tables/issues.parquet")).unwrap();
    let mut found: Vec<_> = issues
        .iter()
        .map(|row| {
            (
                row.rule.clone(),
                row.path.clone(),
                row.line.map(i64::from),
                row.action.as_str().to_owned(),
            )
        })
        .collect();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let faults = planted["faults"].as_array().unwrap();
    let mut expected: Vec<_> = faults
        .iter()
        .map(|fault| {
            (
                text(&fault["rule"]),
                text(&fault["path"]),
                fault["line"].as_i64(),
                text(&fault["action"]),
            )
        })
        .collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);

    let mut rules: Vec<_> = expected.iter().map(|(rule, ..)| rule.as_str()).collect();
    rules.dedup();
    assert!(rules.len() >= 8, "{rules:?}");

    let manifest = Manifest::open(&project.out.join("tables"), "").unwrap();
    assert_eq!(manifest.summary["ledger"], planted["ledger"]);
    let objects: Vec<ObjectRow> = read_table(project.out.join("tables/objects.parquet")).unwrap();
    let ledger = manifest.summary["ledger"].as_object().unwrap();
    let accepted: u64 = ledger
        .values()
        .map(|split| split["boxes"].as_u64().unwrap() + split["polygons"].as_u64().unwrap())
        .sum();
    assert_eq!(objects.len() as u64, accepted);
}

#[test]
fn a_second_run_does_nothing_and_a_changed_key_reruns_only_what_depends_on_it() {
    let (project, _) = Project::with_phantom(100);
    assert_eq!(project.run_all(&[]), ["done"; 5]);
    let first = project.contents();

    let started = Instant::now();
    assert_eq!(project.run_all(&[]), ["current"; 5]);
    eprintln!("five stages with nothing to do: {:?}", started.elapsed());
    assert_eq!(project.contents(), first);

    let (current, done) = ("current", "done");
    for (key, expected) in [
        ("evaluate.bootstrap_samples=60", [current, current, current, current, done]),
        ("predict.batch_size=8", [current, current, current, done, done]),
        ("train.optimizer.learning_rate=0.0007", [current, current, done, done, done]),
        ("resize.filter=catmull-rom", [current, done, done, done, done]),
        // This key changes no row, so the stages that read the tables find them unchanged.
        ("ingest.tolerance=0.011", [done, current, current, current, current]),
        ("general.threads=1", [current; 5]),
    ] {
        project.run_all(&[]);
        assert_eq!(project.run_all(&[]), ["current"; 5], "settled before {key}");
        let statuses = project.run_all(&["--set", key]);
        let matches = statuses.iter().zip(expected).all(|(status, expected)| {
            status == expected
                || (expected == done && key.starts_with("predict") && status == current)
        });
        assert!(matches, "{key}: {statuses:?}, expected {expected:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes_whatever_the_threads() {
    let (one, _) = Project::with_phantom(80);
    let (four, _) = Project::with_phantom(80);
    one.run_all(&["--set", "general.threads=1"]);
    four.run_all(&["--set", "general.threads=4"]);
    let compared: Vec<_> = one.contents();
    assert!(
        compared.iter().any(|(path, _)| path.ends_with("model.safetensors")) || compared.len() > 10,
        "{compared:?}"
    );
    // libtorch sums in a different order with a different number of threads, so only the outputs
    // before training are compared byte for byte.
    let before_training = |contents: Vec<(String, String)>| -> Vec<_> {
        contents
            .into_iter()
            .filter(|(path, _)| path.starts_with("tables") || path.starts_with("shards"))
            .collect()
    };
    assert_eq!(before_training(compared), before_training(four.contents()));
}

#[test]
fn every_stage_explains_itself() {
    for stage in STAGES {
        let project = Project::new();
        let help = project.run(stage, &["--help"]).success().stdout();
        for flag in
            ["--config", "--dataset", "--out", "--set", "--force", "--json", "--print-config"]
        {
            assert!(help.contains(flag), "{stage} --help lacks {flag}");
        }
        let printed =
            project.run(stage, &["--print-config", "--set", "train.epochs=9"]).success().stdout();
        assert!(
            printed
                .lines()
                .any(|line| line.starts_with("epochs = 9")
                    && line.ends_with("# --set train.epochs=9")),
            "{printed}"
        );
    }
}
