//! The binary from outside: reports, exit codes, messages, and that nothing is done twice.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::path::Path;

use assert_cmd::Command;
use common::Work;
use ossify_contract::{
    ImageStatus, Manifest, MatchKind, MatchRow, PredictionRow, Split, read_table,
};
use serde_json::Value;

fn evaluate(out: &Path, more: &[&str]) -> assert_cmd::assert::Assert {
    let mut command = Command::cargo_bin("ossify-evaluate").unwrap();
    command.env_clear().current_dir(out).arg("--out").arg(out).args([
        "--json",
        "--set",
        "evaluate.bootstrap_samples=50",
    ]);
    command.args(["--set", "evaluate.splits=[\"valid\"]"]).args(more).assert()
}

fn report(out: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(out.join("reports/run-1/valid/report.json")).unwrap())
        .unwrap()
}

fn stdout(assert: assert_cmd::assert::Assert) -> Value {
    serde_json::from_slice(&assert.get_output().stdout).unwrap()
}

fn stderr(assert: assert_cmd::assert::Assert) -> String {
    String::from_utf8(assert.get_output().stderr.clone()).unwrap()
}

/// Every `{"value", "low", "high"}` below `value`, with its path.
fn scores(value: &Value, path: &str, found: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(map) if map.contains_key("value") => {
            found.push((path.to_owned(), value.clone()))
        }
        Value::Object(map) => {
            map.iter().for_each(|(key, value)| scores(value, &format!("{path}/{key}"), found))
        }
        Value::Array(items) => items
            .iter()
            .enumerate()
            .for_each(|(i, value)| scores(value, &format!("{path}/{i}"), found)),
        _ => {}
    }
}

/// Twelve images of three classes, one object each, two backgrounds.
fn one_object_each() -> Work {
    let mut work = Work::with_classes(&["wrist", "elbow", "humerus"]);
    for i in 0..12 {
        let at = 0.03 * i as f32;
        work.image(&format!("valid/images/{i:02}.png"), ImageStatus::Labelled)
            .object(Some(i % 3), [at, 0.1, at + 0.37, 0.61]);
    }
    work.image("valid/images/b0.png", ImageStatus::Background)
        .image("valid/images/b1.png", ImageStatus::Background);
    work
}

#[test]
fn perfect_predictions_score_exactly_one_and_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    one_object_each().predict_perfectly().write(folder.path());
    evaluate(folder.path(), &[]).code(0);
    let report = report(folder.path());
    let mut found = Vec::new();
    scores(&report, "", &mut found);
    assert!(found.len() > 40);
    for (path, score) in found {
        let figure = score["value"].as_f64().unwrap_or_else(|| panic!("{path} is not defined"));
        if ["box_mse", "log_loss", "brier", "ece"].iter().any(|loss| path.ends_with(loss)) {
            // Probabilities are clipped one step below 1 before the logarithm is taken.
            assert!(figure.abs() <= 1e-15, "{path} is {figure}");
            continue;
        }
        // Twelve images are not certain of it, four of a class less so.
        let low = score["low"].as_f64().unwrap();
        assert_eq!((figure, score["high"].as_f64()), (1.0, Some(1.0)), "{path}");
        assert!((0.39..0.76).contains(&low), "{path}/low is {low}");
    }
    let matches: Vec<MatchRow> =
        read_table(folder.path().join("reports/run-1/valid/matches.parquet")).unwrap();
    assert!(
        matches.len() == 12
            && matches.iter().all(|row| row.kind == MatchKind::Match && row.iou == Some(1.0))
    );
    assert_eq!(report["excluded"], serde_json::json!([]));
}

#[test]
fn an_empty_predictions_table_scores_zero_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    one_object_each().write(folder.path());
    let done = evaluate(folder.path(), &[]).code(0);
    let text = stderr(done);
    assert!(text.contains("no prediction for the 14 images"), "{text}");
    let report = report(folder.path());
    for path in [
        "/objects_level/accuracy",
        "/objects_level/balanced_accuracy",
        "/objects_level/macro_f1",
        "/objects_level/mean_iou",
        "/objects_level/iou50_rate",
        "/image_level/accuracy",
        "/image_level/top2_accuracy",
        "/image_level/macro_f1",
        "/detection/ap",
        "/detection/ap50",
        "/detection/ap75",
        "/detection/ar1",
    ] {
        let score = report.pointer(path).unwrap();
        assert_eq!((&score["value"], &score["low"]), (&0.0.into(), &0.0.into()), "{path}");
        // Nothing of twelve: at most 26 of 100.
        assert!((score["high"].as_f64().unwrap() - 0.2646).abs() < 1e-3, "{path}: {score}");
    }
    for path in [
        "/objects_level/box_mse",
        "/image_level/log_loss",
        "/image_level/macro_auroc",
        "/per_class/0/precision",
    ] {
        assert!(report.pointer(path).unwrap()["value"].is_null(), "{path}");
    }
    assert_eq!(report["match_kinds"], serde_json::json!({ "miss": 12 }));
    let page =
        std::fs::read_to_string(folder.path().join("reports/run-1/valid/report.html")).unwrap();
    assert!(page.contains("Nothing was predicted"));
}

#[test]
fn figures_of_a_small_case_are_those_worked_out_by_hand() {
    let folder = tempfile::tempdir().unwrap();
    let mut work = Work::with_classes(&["a", "b"]);
    // Right class and place.
    work.image("1", ImageStatus::Labelled).object(Some(0), [0.0, 0.0, 0.5, 0.5]).predict(
        0,
        0.9,
        [0.0, 0.0, 0.5, 0.5],
    );
    // Two objects: the large one is taken for the other class in place, the small one is missed.
    work.image("2", ImageStatus::Labelled)
        .object(Some(0), [0.0, 0.0, 0.5, 0.5])
        .object(Some(1), [0.75, 0.75, 1.0, 1.0])
        .predict(1, 0.75, [0.0, 0.0, 0.5, 0.5]);
    // Right class, half of the object: IoU 1/2 counts as in place.
    work.image("3", ImageStatus::Labelled).object(Some(1), [0.0, 0.0, 0.5, 0.5]).predict(
        1,
        0.5,
        [0.0, 0.0, 0.25, 0.5],
    );
    // A false alarm on a background.
    work.image("4", ImageStatus::Background).predict(0, 0.25, [0.0, 0.0, 1.0, 1.0]);
    work.write(folder.path());
    evaluate(folder.path(), &[]).code(0);
    let report = report(folder.path());
    let value = |path: &str| {
        report
            .pointer(path)
            .and_then(|score| score["value"].as_f64())
            .unwrap_or_else(|| panic!("{path}"))
    };
    let close = |path: &str, expected: f64| {
        assert!(
            (value(path) - expected).abs() < 1e-12,
            "{path}: {} and not {expected}",
            value(path)
        )
    };
    // Objects: a right; a taken for b; b "predicted" b by class alone; b right.
    close("/objects_level/accuracy", 3.0 / 4.0);
    close("/objects_level/balanced_accuracy", (0.5 + 1.0) / 2.0);
    close("/objects_level/macro_f1", (2.0 / 3.0 + 4.0 / 5.0) / 2.0);
    close("/objects_level/mean_iou", (1.0 + 1.0 + 0.0 + 0.5) / 4.0);
    close("/objects_level/iou50_rate", 3.0 / 4.0);
    let second = (0.75f64.powi(2) * 2.0 + 0.5f64.powi(2) * 2.0) / 4.0;
    close("/objects_level/box_mse", (0.0 + 0.0 + second + 0.0625 / 4.0) / 4.0);
    close("/image_level/accuracy", 2.0 / 3.0);
    close("/image_level/top2_accuracy", 1.0);
    let p = |share: f32| f64::from(share);
    close("/image_level/log_loss", -(p(0.9).ln() + p(0.25).ln() + p(0.5).ln()) / 3.0);
    close(
        "/image_level/brier",
        ((1.0 - p(0.9)).powi(2) + p(1.0 - 0.9).powi(2) + 2.0 * 0.75 * 0.75 + 2.0 * 0.5 * 0.5) / 3.0,
    );
    close("/image_level/ece", ((1.0 - p(0.9)) + 0.75 + 0.5) / 3.0);
    // Class a: images 1 and 2 with .9 and .25 against image 3 with .5.
    close("/per_class/0/auroc", 0.5);
    // Class a: hit at .9, two objects: precision 1 up to recall .5, 51 of 101 recalls. Class b: a
    // false alarm at .75, a hit at .5 that holds at IoU .5 alone: precision .5 up to recall .5.
    close("/detection/per_class/0/ap50", 51.0 / 101.0);
    close("/detection/per_class/1/ap50", 0.5 * 51.0 / 101.0);
    close("/detection/ap50", 0.75 * 51.0 / 101.0);
    close("/detection/ap75", 0.5 * 51.0 / 101.0);
    close("/detection/ar1", (0.5 + 0.05) / 2.0);
    assert_eq!(
        report["confusion_matrix"]["cells"],
        serde_json::json!([
            { "true_class": 0, "predicted_class": 0, "objects": 1 },
            { "true_class": 0, "predicted_class": 1, "objects": 1 },
            { "true_class": 1, "predicted_class": 1, "objects": 2 },
        ])
    );
    assert_eq!(
        report["match_kinds"],
        serde_json::json!({ "match": 2, "class_error": 1, "background": 1, "miss": 1 })
    );
}

#[test]
fn a_second_run_does_nothing_and_another_key_runs_it_again() {
    let folder = tempfile::tempdir().unwrap();
    one_object_each().predict_perfectly().write(folder.path());
    assert_eq!(stdout(evaluate(folder.path(), &[]).code(0))["status"], "done");
    let of = || std::fs::read(folder.path().join("reports/run-1/valid/manifest.json")).unwrap();
    let before = of();
    assert_eq!(stdout(evaluate(folder.path(), &[]).code(0))["status"], "current");
    assert_eq!(
        stdout(evaluate(folder.path(), &["--set", "general.threads=1"]).code(0))["status"],
        "current"
    );
    assert_eq!(before, of());
    assert_eq!(
        stdout(evaluate(folder.path(), &["--set", "general.seed=1"]).code(0))["status"],
        "done"
    );
    assert_eq!(
        stdout(evaluate(folder.path(), &["--set", "general.seed=1", "--force"]).code(0))["status"],
        "done"
    );
}

#[test]
fn files_are_the_same_bytes_whatever_the_number_of_threads() {
    let mut hashes = Vec::new();
    for threads in ["1", "2", "7"] {
        let folder = tempfile::tempdir().unwrap();
        let mut work = one_object_each();
        work.image("c", ImageStatus::Labelled)
            .object(Some(1), [0.1, 0.1, 0.2, 0.3])
            .predict(2, 0.4, [0.1, 0.1, 0.3, 0.3])
            .predict(1, 0.3, [0.1, 0.1, 0.2, 0.2]);
        work.image("d", ImageStatus::Labelled).object(Some(0), [0.1, 0.1, 0.2, 0.3]).predict(
            0,
            0.6,
            [0.1, 0.1, 0.2, 0.25],
        );
        work.write(folder.path());
        evaluate(folder.path(), &["--set", &format!("general.threads={threads}")]).code(0);
        let manifest = Manifest::open(&folder.path().join("reports/run-1/valid"), "").unwrap();
        assert!(manifest.files.iter().any(|file| file.path == "figures/confusion-matrix.svg"));
        hashes.push(manifest.content_hash());
    }
    assert!(hashes.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn gates_that_are_not_met_give_exit_code_3_again_and_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut work = one_object_each();
    work.image("x", ImageStatus::Labelled)
        .object(Some(0), [0.0, 0.0, 0.5, 0.5])
        .predict(0, 0.9, [0.0, 0.0, 0.5, 0.5])
        .write(folder.path());
    for _ in 0..2 {
        let done = evaluate(
            folder.path(),
            &["--set", "evaluate.min_accuracy=0.9", "--set", "evaluate.min_ap50=0.01"],
        )
        .code(3);
        let summary = stdout(done);
        assert_eq!(summary["gates"].as_array().unwrap().len(), 1, "{summary}");
        assert_eq!(summary["gates"][0]["name"], "evaluate.min_accuracy");
        let message = summary["gates"][0]["message"].as_str().unwrap();
        assert_eq!(message, "the image accuracy on the valid split is 0.0769, below 0.9");
    }
    evaluate(folder.path(), &["--set", "evaluate.min_accuracy=0.05"]).code(0);
}

#[test]
fn predictions_of_other_classes_or_images_are_refused_with_what_differs() {
    let folder = tempfile::tempdir().unwrap();
    let mut work = one_object_each();
    work.predict_perfectly();
    work.predictions[0].class_name = "knee".into();
    work.predictions[1].class_index = 7;
    work.write(folder.path());
    let text = stderr(evaluate(folder.path(), &[]).code(1));
    assert!(
        text.contains(
            "class_index 0 is `knee` there and `wrist` in the tables; class_index 7 \
            (`elbow`) is not among the tables' 3 trained classes"
        ),
        "{text}"
    );
    assert!(!folder.path().join("reports/run-1/valid/manifest.json").exists());

    work.predictions.truncate(2);
    work.predictions[0].class_name = "wrist".into();
    work.predictions[1].class_index = 1;
    work.predictions[1].image_id = "elsewhere.png".into();
    work.write(folder.path());
    let text = stderr(evaluate(folder.path(), &[]).code(1));
    assert!(
        text.contains(
            "1 of its images is not in the valid split of the tables, `elsewhere.png` among them"
        ),
        "{text}"
    );

    work.predictions.truncate(1);
    work.predictions[0].score = f32::NAN;
    work.write(folder.path());
    let text = stderr(evaluate(folder.path(), &[]).code(1));
    assert!(
        text.contains(
            "rank 1 for `valid/images/00.png`: the score is NaN; a confidence lies within 0 to 1"
        ),
        "{text}"
    );
}

#[test]
fn a_table_that_cannot_be_scored_is_refused_with_place_and_reason() {
    let folder = tempfile::tempdir().unwrap();
    let mut work = one_object_each();
    work.predict_perfectly().write(folder.path());
    let path = folder.path().join("mine.parquet");
    let refused = |reason: &str| {
        let name = format!("evaluate.predictions={}", path.display());
        let text = stderr(evaluate(folder.path(), &["--set", &name]).code(1));
        assert!(text.contains("mine.parquet") && text.contains(reason), "{text}");
    };
    let with_box = |edges: [f32; 4]| {
        let mut rows = work.predictions.clone();
        [rows[2].xmin, rows[2].ymin, rows[2].xmax, rows[2].ymax] = edges;
        common::write_rows(&path, &rows);
    };
    with_box([12.0, 30.0, 40.0, 44.0]);
    refused(
        "prediction of rank 1 for `valid/images/02.png`: the box [12.0, 30.0, 40.0, 44.0] lies far \
            outside the image, whose edges are 0 and 1; are these pixels?",
    );
    with_box([0.6, 0.5, 0.2, 0.9]);
    refused("the box [0.6, 0.5, 0.2, 0.9] ends before it begins");
    with_box([0.1, f32::NAN, 0.2, 0.9]);
    refused("is not made of finite numbers");
    // A box that hangs over is one.
    with_box([-0.05, 0.1, 0.5, 1.02]);
    evaluate(folder.path(), &["--set", &format!("evaluate.predictions={}", path.display())])
        .code(0);

    let mut rows = work.predictions.clone();
    rows[0].score = f32::NAN;
    common::write_rows(&path, &rows);
    refused("the score is NaN; a confidence lies within 0 to 1");
    let with_row = |change: &dyn Fn(&mut PredictionRow), reason: &str| {
        let mut rows = work.predictions.clone();
        change(&mut rows[2]);
        common::write_rows(&path, &rows);
        refused(reason);
    };
    let row = "for `valid/images/02.png`: ";
    with_row(
        &|row| row.split = Split::Test,
        &format!("prediction of rank 1 {row}its split is test, and the image is in valid"),
    );
    with_row(&|row| row.rank = 0, &format!("prediction of rank 0 {row}ranks count from 1"));
    with_row(&|row| row.rank = -5, &format!("prediction of rank -5 {row}ranks count from 1"));
    with_row(
        &|row| row.image_id = "valid/images/01.png".into(),
        "prediction of rank 1 for `valid/images/01.png`: there is more than one row of this rank",
    );
    with_row(
        &|row| row.probabilities = vec![0.3; 3],
        &format!("prediction of rank 1 {row}the probabilities add up to 0.9000, and should to 1"),
    );
    // 16 bits are exact enough.
    let mut rows = work.predictions.clone();
    rows[2].probabilities = vec![0.5, 0.25, 0.2505];
    common::write_rows(&path, &rows);
    evaluate(folder.path(), &["--set", &format!("evaluate.predictions={}", path.display())])
        .code(0);
    common::write_rows(&path, &work.predictions);
    let whole = std::fs::read(&path).unwrap();
    for length in [7, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..length]).unwrap();
        refused("not a whole Parquet table: its end is missing; make it or copy it again");
    }
    common::write_rows(&path, &work.images);
    refused("no column `rank` in this predictions table; it has image_id, split,");
}

#[test]
fn predictions_of_a_model_with_another_class_map_are_refused_though_the_names_agree() {
    let folder = tempfile::tempdir().unwrap();
    let mut work = one_object_each();
    work.predict_perfectly();
    let tables = work.write(folder.path()).tables();
    let manifest_path = folder.path().join("predictions/run-1/manifest.json");
    let manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&manifest_path).unwrap()).unwrap();
    let with_map = |digest: String| {
        let mut changed = manifest.clone();
        changed["summary"] = serde_json::json!({ "class_map": digest });
        std::fs::write(&manifest_path, changed.to_string()).unwrap();
    };
    let map = ossify_contract::ClassMap::read(tables.join("classes.parquet")).unwrap();
    // As where another class is merged into one of them: the trained names and their indices are
    // the same.
    let mut rows = map.rows().to_vec();
    rows.push(ossify_contract::ClassRow {
        class_id: 99,
        class_name: "ulna".into(),
        class_index: Some(0),
        kept: false,
        ..rows[0].clone()
    });
    let other = ossify_contract::ClassMap::new(rows);
    assert_eq!(other.kept_names(), map.kept_names());
    with_map(other.digest());
    let text = stderr(evaluate(folder.path(), &[]).code(1));
    assert!(text.contains("another class map"), "{text}");
    with_map(map.digest());
    evaluate(folder.path(), &[]).code(0);
}

#[test]
fn missing_inputs_are_reported_with_what_to_run() {
    let folder = tempfile::tempdir().unwrap();
    let text = stderr(evaluate(folder.path(), &[]).code(1));
    assert!(text.contains("run ossify-ingest first"), "{text}");
    one_object_each().write(folder.path());
    let text = stderr(evaluate(folder.path(), &["--set", "evaluate.predictions=run-2"]).code(2));
    assert!(text.contains("no predictions `run-2`") && text.contains("there are run-1"), "{text}");
    evaluate(folder.path(), &["--set", "evaluate.predictions=../tables"]).code(2);
    let text = stderr(evaluate(folder.path(), &["--set", "evaluate.splits=[\"test\"]"]).code(1));
    assert!(text.contains("has predictions of none of the splits test"), "{text}");
    std::fs::remove_dir_all(folder.path().join("predictions")).unwrap();
    let text = stderr(evaluate(folder.path(), &[]).code(1));
    assert!(text.contains("run ossify-predict first"), "{text}");
}

#[test]
fn a_foreign_table_is_scored_under_the_name_of_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut work = one_object_each();
    work.predict_perfectly();
    // A detector's table: no probabilities.
    work.predictions.iter_mut().for_each(|row| row.probabilities.clear());
    work.write(folder.path());
    let path = folder.path().join("my detector.parquet");
    common::write_rows(&path, &work.predictions);
    let said = stderr(
        evaluate(folder.path(), &["--set", &format!("evaluate.predictions={}", path.display())])
            .code(0),
    );
    let silent = "2 of 14 images of the valid split have no row in my-detector: this is taken as \
        nothing found there";
    assert!(said.contains(silent), "{said}");
    let report: Value = serde_json::from_slice(
        &std::fs::read(folder.path().join("reports/my-detector/valid/report.json")).unwrap(),
    )
    .unwrap();
    assert_eq!(report["run"], "my-detector");
    assert_eq!(report["image_level"]["accuracy"]["value"], 1.0);
    assert!(report["image_level"]["log_loss"]["value"].is_null());
    // Without probabilities it is a detector's: an image without a row is one without a finding.
    assert_eq!(report["task"], "detect");
    assert_eq!(report["findings"]["auroc"]["value"], 1.0);
    assert_eq!(report["findings"]["images_without"], 2);
}

#[test]
fn what_is_not_scored_is_counted_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let mut work = one_object_each();
    work.classes.push(("rare", false));
    work.image("rare", ImageStatus::Labelled).object(None, [0.1, 0.1, 0.5, 0.5]);
    work.image("cut", ImageStatus::Unreadable).object(Some(0), [0.1, 0.1, 0.5, 0.5]).predict(
        0,
        0.9,
        [0.1, 0.1, 0.5, 0.5],
    );
    work.image("nobody", ImageStatus::Unlabelled).predict(0, 0.9, [0.1, 0.1, 0.5, 0.5]);
    work.write(folder.path());
    evaluate(folder.path(), &[]).code(0);
    let report = report(folder.path());
    assert_eq!((report["images"].as_u64(), report["objects"].as_u64()), (Some(15), Some(12)));
    let excluded: Vec<(String, u64)> = report["excluded"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            (
                format!(
                    "{}: {}",
                    row["what"].as_str().unwrap(),
                    row["reason"].as_str().unwrap().split(':').next().unwrap()
                ),
                row["count"].as_u64().unwrap(),
            )
        })
        .collect();
    let expected = [
        ("images: unreadable", 1),
        ("images: unlabelled", 1),
        ("objects: their image is unreadable or unlabelled", 1),
        ("objects: rare class, not trained", 1),
        ("predictions: their image is unlabelled", 1),
        ("predictions: their image is unreadable", 1),
        ("images: no prediction though there is an object", 12),
    ];
    assert_eq!(excluded, expected.map(|(text, count)| (text.to_owned(), count)));
}

#[test]
fn images_of_one_leak_group_are_drawn_together() {
    let folder = tempfile::tempdir().unwrap();
    let mut work = one_object_each();
    work.fingerprints(|i| (i < 4).then_some(1));
    work.write(folder.path());
    evaluate(folder.path(), &[]).code(0);
    let report = report(folder.path());
    assert_eq!(report["counts"]["leaked_images"], 4);
    assert_eq!(report["bootstrap"]["units"], 11);
}

/// The first four images, which another split shows, too, are predicted perfectly, and no other one
/// is.
#[test]
fn scores_without_leaked_images_stand_beside() {
    let folder = tempfile::tempdir().unwrap();
    let mut work = one_object_each();
    work.predict_perfectly();
    for prediction in &mut work.predictions[4..] {
        (prediction.class_index, prediction.class_name) = match prediction.class_index {
            0 => (1, "elbow".into()),
            _ => (0, "wrist".into()),
        };
    }
    work.fingerprints(|i| (i < 4).then_some(i as i32));
    work.write(folder.path());
    evaluate(folder.path(), &[]).code(0);
    let report = report(folder.path());
    assert_eq!(report["image_level"]["accuracy"]["value"], 4.0 / 12.0);
    let kept = &report["without_leaked_images"];
    assert_eq!(
        (&kept["images"], &kept["image_level"]["accuracy"]["value"]),
        (&Value::from(10), &Value::from(0.0))
    );
    assert_eq!(kept["objects_level"]["mean_iou"]["value"], 1.0);
    let page =
        std::fs::read_to_string(folder.path().join("reports/run-1/valid/report.html")).unwrap();
    assert!(page.contains("With and without leaked images"));
}

/// Seven images: the darkest two are told wrong, the next two right, and the brightest two are off
/// place; the last one is in no shard.
#[test]
fn slices_by_brightness_are_thirds_of_the_images() {
    let folder = tempfile::tempdir().unwrap();
    let mut work = Work::with_classes(&["wrist", "elbow"]);
    for (i, (brightness, class)) in
        [(0.5, 0), (0.2, 1), (0.7, 0), (0.6, 0), (0.1, 1), (0.4, 0)].into_iter().enumerate()
    {
        let place = if brightness > 0.55 { [0.5, 0.5, 1.0, 1.0] } else { [0.0, 0.0, 0.5, 0.5] };
        work.image(&format!("{i}.png"), ImageStatus::Labelled)
            .object(Some(0), [0.0, 0.0, 0.5, 0.5]);
        work.predict(class, 0.9, place).fingerprint(None, brightness, brightness / 2.0);
    }
    // Without an object it has no part in the thirds.
    work.image("background.png", ImageStatus::Background)
        .predict(0, 0.9, [0.0, 0.0, 0.5, 0.5])
        .fingerprint(None, 0.0, 0.0);
    work.image("new.png", ImageStatus::Labelled).object(Some(0), [0.0, 0.0, 0.5, 0.5]).predict(
        0,
        0.9,
        [0.0, 0.0, 0.5, 0.5],
    );
    work.write(folder.path());
    evaluate(folder.path(), &[]).code(0);
    let slices = report(folder.path())["slices"].as_array().unwrap().clone();
    let by = |by: &str| -> Vec<Value> {
        slices.iter().filter(|slice| slice["by"] == by).cloned().collect()
    };
    let slice = |by: &str, part: &str, objects: u64, accuracy: f64, mean_iou: f64| {
        serde_json::json!({"by": by, "part": part, "objects": objects,
            "accuracy": accuracy, "found": mean_iou, "mean_iou": mean_iou})
    };
    let expected = |name, parts: [&str; 3]| {
        let figures = [(2, 0.0, 1.0), (2, 1.0, 1.0), (2, 1.0, 0.0), (1, 1.0, 1.0)];
        let parts = parts.into_iter().chain(["not known: the image is in no shard"]);
        parts
            .zip(figures)
            .map(|(part, (objects, accuracy, iou))| slice(name, part, objects, accuracy, iou))
            .collect::<Vec<Value>>()
    };
    let brightness = [
        "darkest third, below 0.400",
        "middle third, 0.400 to 0.600",
        "brightest third, 0.600 and more",
    ];
    assert_eq!(by("brightness of the image"), expected("brightness of the image", brightness));
    let contrast = [
        "flattest third, below 0.200",
        "middle third, 0.200 to 0.300",
        "most contrasted third, 0.300 and more",
    ];
    assert_eq!(by("contrast of the image"), expected("contrast of the image", contrast));
}

#[test]
fn without_fingerprints_the_slices_by_brightness_are_left_out_and_the_report_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut work = one_object_each();
    work.predict_perfectly().write(folder.path());
    evaluate(folder.path(), &[]).code(0);
    let report = report(folder.path());
    assert!(
        report["slices"]
            .as_array()
            .unwrap()
            .iter()
            .all(|slice| slice["by"] != "brightness of the image")
    );
    let limits = report["limits"].to_string();
    assert!(limits.contains("Scores by brightness and contrast are left out"), "{limits}");
}

#[test]
fn predictions_that_lack_images_are_refused_unless_gaps_are_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let mut work = one_object_each();
    work.predict_perfectly();
    work.predictions.retain(|prediction| prediction.image_id != "valid/images/03.png");
    work.summary = serde_json::json!({ "images": { "valid": 13 } });
    work.write(folder.path());
    let refused = stderr(evaluate(folder.path(), &[]).code(1));
    assert!(
        refused.contains(
            "3 of the 14 images of the valid split were not looked at for run-1, \
                `valid/images/03.png` among them"
        ),
        "{refused}"
    );
    evaluate(folder.path(), &["--set", "evaluate.allow_gaps=true"]).code(0);
    let excluded = &report(folder.path())["excluded"];
    assert!(
        excluded[0]["reason"]
            .as_str()
            .unwrap()
            .starts_with("no prediction though there is an object"),
        "{excluded}"
    );
}

#[test]
fn predictions_of_other_shards_are_refused_unless_gaps_are_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let mut work = one_object_each();
    work.predict_perfectly();
    work.fingerprints = Some(Vec::new());
    work.summary = serde_json::json!({ "shards_of_split": { "valid": "0123456789abcdef" } });
    work.write(folder.path());
    let refused = stderr(evaluate(folder.path(), &[]).code(1));
    assert!(
        refused.contains("The predictions run-1 of valid were made of other shards than those of"),
        "{refused}"
    );
    evaluate(folder.path(), &["--set", "evaluate.allow_gaps=true"]).code(0);
    let limits = report(folder.path())["limits"].to_string();
    assert!(limits.contains("were made of other shards"), "{limits}");
}

/// Ten images of one class and ten of another, whose probabilities overlap: counted by hand.
#[test]
fn thresholds_give_the_sensitivity_that_was_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let mut work = Work::with_classes(&["wrist", "elbow"]);
    for i in 0..10_i16 {
        let p = 0.95 - 0.05 * f32::from(i);
        for (class, p) in [(0, p), (1, p - 0.28)] {
            work.image(&format!("{class}-{i}.png"), ImageStatus::Labelled)
                .object(Some(class), [0.0, 0.0, 0.5, 0.5]);
            work.predict(i16::from(p < 0.5), p.max(1.0 - p), [0.0, 0.0, 0.5, 0.5]);
            work.predictions.last_mut().unwrap().probabilities = vec![p, 1.0 - p];
        }
    }
    work.write(folder.path());
    evaluate(folder.path(), &["--set", "evaluate.sensitivities=[0.8]"]).code(0);
    let report = report(folder.path());
    let points = report["operating_points"].as_array().unwrap();
    assert_eq!(points.len(), 2);
    // Eight of the wrists have 0.6 and more, as have two of the elbows: 0.67 and 0.62.
    assert_eq!(points[0]["class_name"], "wrist");
    assert!((points[0]["threshold"].as_f64().unwrap() - 0.6).abs() < 1e-6);
    assert_eq!(
        (&points[0]["sensitivity"]["value"], &points[0]["specificity"]["value"]),
        (&Value::from(0.8), &Value::from(0.8))
    );
    let calibration = &report["calibration"];
    assert_eq!(calibration["fitted_on"], "valid");
    assert!(
        calibration["log_loss"]["value"].as_f64()
            <= report["image_level"]["log_loss"]["value"].as_f64(),
        "{calibration}"
    );
}

#[test]
fn gates_stand_in_junit_xml_and_scores_in_markdown() {
    let folder = tempfile::tempdir().unwrap();
    one_object_each().predict_perfectly().write(folder.path());
    let read = |name: &str| {
        std::fs::read_to_string(folder.path().join("reports/run-1/valid").join(name)).unwrap()
    };
    evaluate(folder.path(), &[]).code(0);
    assert!(
        read("junit.xml").contains(
            "<testsuite name=\"ossify-evaluate run-1 valid\" tests=\"1\" failures=\"0\">"
        ),
        "{}",
        read("junit.xml")
    );
    evaluate(
        folder.path(),
        &["--set", "evaluate.min_accuracy=0.9", "--set", "evaluate.min_ap50=0.5"],
    )
    .code(0);
    assert!(read("junit.xml").contains("tests=\"2\" failures=\"0\""), "{}", read("junit.xml"));

    one_object_each().write(folder.path());
    evaluate(folder.path(), &["--set", "evaluate.min_accuracy=0.9"]).code(3);
    let junit = read("junit.xml");
    assert!(junit.contains("failures=\"1\""), "{junit}");
    assert!(
        junit.contains(
            "<failure message=\"the image accuracy on the valid split is 0.0000, \
        below 0.9\" type=\"gate\"/>"
        ),
        "{junit}"
    );
    let markdown = read("summary.md");
    assert!(
        markdown.contains("| image accuracy | 0.00 |")
            && markdown.contains("| `evaluate.min_accuracy` | **not met** |"),
        "{markdown}"
    );
    assert!(
        markdown.contains("- 12 images: no prediction though there is an object"),
        "{markdown}"
    );
}

#[test]
fn overlays_are_drawn_from_the_dataset_and_stand_in_the_page() {
    let (folder, dataset) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut work = one_object_each();
    work.predict_perfectly().write(folder.path());
    std::fs::create_dir_all(dataset.path().join("valid/images")).unwrap();
    for i in 0..11 {
        image::GrayImage::from_pixel(900, 60, image::Luma([90]))
            .save(dataset.path().join(format!("valid/images/{i:02}.png")))
            .unwrap();
    }
    let done = evaluate(folder.path(), &["--dataset", dataset.path().to_str().unwrap()]);
    let text = stderr(done.code(0));
    assert!(text.contains("1 image could not be drawn"), "{text}");
    let of_split = folder.path().join("reports/run-1/valid");
    let manifest = Manifest::open(&of_split, "").unwrap();
    assert_eq!(manifest.files.iter().filter(|file| file.path.starts_with("overlays/")).count(), 11);
    let first = image::open(of_split.join("overlays/worst-0001.png")).unwrap();
    assert_eq!((first.width(), first.height()), (640, 43));
    let page = std::fs::read_to_string(of_split.join("report.html")).unwrap();
    assert_eq!(page.matches("data:image/jpeg;base64,").count(), 11);
}

/// Class `i` has one object, class 0 has three more; all are taken for the next class.
fn many_classes(classes: usize) -> Work {
    let names: Vec<&'static str> = (0..classes).map(|i| &*format!("class {i}").leak()).collect();
    let mut work = Work::with_classes(&names);
    for i in 0..classes + 3 {
        let class = if i < classes { i } else { 0 };
        work.image(&format!("valid/images/{i:05}.png"), ImageStatus::Labelled)
            .object(Some(class as i16), [0.1, 0.1, 0.5, 0.5])
            .predict(((class + 1) % classes) as i16, 0.9, [0.1, 0.1, 0.5, 0.5]);
        work.predictions.last_mut().unwrap().probabilities.clear();
    }
    work
}

#[test]
fn files_grow_with_the_classes_and_not_with_their_square() {
    let size_of = |classes: usize| {
        let folder = tempfile::tempdir().unwrap();
        many_classes(classes).write(folder.path());
        evaluate(folder.path(), &["--set", "evaluate.bootstrap_samples=4"]).code(0);
        let reports = folder.path().join("reports/run-1/valid");
        let size = |name: &str| std::fs::metadata(reports.join(name)).unwrap().len();
        let sizes = ["report.html", "report.json", "figures/confusion-matrix.svg"].map(size);
        (
            sizes,
            std::fs::read_to_string(reports.join("report.html")).unwrap(),
            report(folder.path()),
        )
    };
    let (few, ..) = size_of(150);
    let (many, page, report) = size_of(600);
    for (few, many) in few.into_iter().zip(many) {
        assert!(many < 5 * few, "four times the classes: {few} bytes grew to {many}");
    }
    assert!(many[0] < 600_000 && many[2] < 300_000, "{many:?}");
    assert!(page.contains("The 30 of 600 classes with the most objects; report.json has all."));
    assert!(page.contains("(other classes)"));
    let cells = report["confusion_matrix"]["cells"].as_array().unwrap();
    assert_eq!(cells.len(), 600);
    assert_eq!(cells[0], serde_json::json!({"true_class": 0, "predicted_class": 1, "objects": 4}));
    assert_eq!(report["per_class"].as_array().unwrap().len(), 600);
    let marks = report["detection"]["confusion_matrix"]["cells"].as_array().unwrap();
    assert_eq!(marks.len(), 600);
    assert_eq!(marks[0], serde_json::json!({"true_class": 0, "predicted_class": 1, "count": 4}));
}

#[test]
fn objects_of_another_tool_that_cannot_be_scored_are_refused_with_row_and_reason() {
    let folder = tempfile::tempdir().unwrap();
    let mut work = one_object_each();
    work.predict_perfectly();
    let mut refused = |change: &dyn Fn(&mut ossify_contract::ObjectRow), reason: &str| {
        let good = work.objects[2].clone();
        change(&mut work.objects[2]);
        work.write(folder.path());
        work.objects[2] = good;
        let text = stderr(evaluate(folder.path(), &[]).code(1));
        let row = "object of `valid/images/02.png`, line 1: ";
        assert!(text.contains(row) && text.contains(reason), "{text}");
    };
    refused(&|row| row.xmax = f32::INFINITY, "is not made of finite numbers");
    refused(&|row| (row.xmin, row.xmax) = (0.6, 0.2), "ends before it begins");
    refused(&|row| row.ymax = 480.0, "are these pixels?");
    refused(&|row| row.area = f32::NAN, "the area is NaN");
    refused(&|row| row.class_index = Some(-1), "class_index is -1");
    refused(&|row| row.class_index = Some(99), "class_index is not in classes.parquet");
    refused(
        &|row| row.split = Split::Test,
        "its split is test, and the image is in the valid split of images.parquet",
    );
    let mut work = one_object_each();
    work.objects[2].image_id = "nowhere.png".into();
    work.write(folder.path());
    let text = stderr(evaluate(folder.path(), &[]).code(1));
    assert!(
        text.contains("object of `nowhere.png`, line 1: its split is valid, and the"),
        "{text}"
    );
    let mut work = one_object_each();
    work.images.push(work.images[1].clone());
    work.write(folder.path());
    let text = stderr(evaluate(folder.path(), &[]).code(1));
    assert!(text.contains("`valid/images/01.png` has more than one row"), "{text}");
}
