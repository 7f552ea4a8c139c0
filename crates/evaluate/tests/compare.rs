//! `ossify-evaluate compare` from outside: verdicts, exit codes, messages, and that nothing is done
//! twice.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::path::Path;

use assert_cmd::Command;
use common::Work;
use ossify_contract::{ImageStatus, Manifest, PredictionRow, Publication, Split};
use serde_json::Value;

fn compare(out: &Path, names: &[&str], more: &[&str]) -> assert_cmd::assert::Assert {
    let mut command = Command::cargo_bin("ossify-evaluate").unwrap();
    command.env_clear().current_dir(out).arg("compare").args(names).arg("--out").arg(out);
    command
        .args([
            "--json",
            "--set",
            "evaluate.bootstrap_samples=200",
            "--set",
            "evaluate.splits=[\"valid\"]",
        ])
        .args(more)
        .assert()
}

fn stdout(assert: assert_cmd::assert::Assert) -> Value {
    serde_json::from_slice(&assert.get_output().stdout).unwrap()
}

fn stderr(assert: assert_cmd::assert::Assert) -> String {
    String::from_utf8(assert.get_output().stderr.clone()).unwrap()
}

fn comparison(out: &Path, folder: &str) -> Value {
    serde_json::from_slice(
        &std::fs::read(out.join("reports/compare").join(folder).join("valid/compare.json"))
            .unwrap(),
    )
    .unwrap()
}

/// Forty images of two classes, one object each, and two backgrounds; `run-1` predicts all well.
fn forty_images() -> Work {
    let mut work = Work::with_classes(&["wrist", "elbow"]);
    for i in 0..40 {
        let at = 0.01 * i as f32;
        work.image(&format!("valid/{i:02}.png"), ImageStatus::Labelled)
            .object(Some(i % 2), [at, 0.1, at + 0.5, 0.6]);
        work.predict(i % 2, 0.9, [at, 0.1, at + 0.45, 0.6]);
    }
    work.image("valid/b0.png", ImageStatus::Background)
        .image("valid/b1.png", ImageStatus::Background);
    work
}

fn publish(out: &Path, id: &str, rows: &[PredictionRow]) {
    publish_with(out, id, rows, serde_json::json!({}));
}

fn publish_with(out: &Path, id: &str, rows: &[PredictionRow], summary: Value) {
    let predictions = Publication::begin(out.join("predictions").join(id)).unwrap();
    common::write_rows(&predictions.stage("valid.parquet").unwrap(), rows);
    let files = vec![predictions.describe("valid.parquet", Some(rows.len() as u64)).unwrap()];
    predictions.commit("predict", id, files, summary).unwrap();
}

/// The predictions with the class of the first `count` turned into the other one.
fn with_wrong_classes(rows: &[PredictionRow], count: usize) -> Vec<PredictionRow> {
    let mut rows = rows.to_vec();
    for row in rows.iter_mut().take(count) {
        row.class_index = 1 - row.class_index;
        row.class_name = ["wrist", "elbow"][row.class_index as usize].into();
        row.probabilities.reverse();
    }
    rows
}

/// Every `{"value", "low", "high", "above_zero"}` below a value.
fn differences(value: &Value, found: &mut Vec<Value>) {
    match value {
        Value::Object(map) if map.contains_key("above_zero") => found.push(value.clone()),
        Value::Object(map) => map.values().for_each(|value| differences(value, found)),
        Value::Array(items) => items.iter().for_each(|value| differences(value, found)),
        _ => {}
    }
}

#[test]
fn identical_tables_differ_by_exactly_0_and_exit_clean_at_every_test() {
    let folder = tempfile::tempdir().unwrap();
    let work = forty_images();
    work.write(folder.path());
    publish(folder.path(), "run-2", &work.predictions);
    for test in ["clear", "measured", "possible"] {
        let done = compare(
            folder.path(),
            &["run-1", "run-2"],
            &["--set", &format!("evaluate.drop_test={test}")],
        )
        .code(0);
        assert!(
            stderr(done)
                .contains("run-2 holds the same predictions as run-1: every difference is 0.")
        );
    }
    let comparison = comparison(folder.path(), "run-1-vs-run-2");
    let mut found = Vec::new();
    differences(&comparison, &mut found);
    assert!(found.len() > 30);
    // A classifier says nothing of whole images.
    let undefined = |difference: &Value| difference["value"].is_null();
    assert_eq!(found.iter().filter(|difference| undefined(difference)).count(), 1);
    for difference in found.into_iter().filter(|difference| !undefined(difference)) {
        assert_eq!(
            difference,
            serde_json::json!({ "value": 0.0, "low": 0.0, "high": 0.0, "above_zero": 0.0 })
        );
    }
    assert_eq!(comparison["comparisons"][0]["is_same"], true);
    assert_eq!(comparison["comparisons"][0]["images"]["mcnemar_p"], 1.0);
    // A table may be compared with itself, too.
    compare(folder.path(), &["run-1", "latest"], &[]).code(0);
    assert!(folder.path().join("reports/compare/run-1-vs-run-1-2/valid/compare.html").is_file());
}

#[test]
fn a_worse_table_gives_exit_code_3_with_a_reason_again_and_again() {
    let folder = tempfile::tempdir().unwrap();
    let work = forty_images();
    work.write(folder.path());
    publish(folder.path(), "run-2", &with_wrong_classes(&work.predictions, 10));
    for _ in 0..2 {
        let done = compare(
            folder.path(),
            &["run-1", "run-2"],
            &["--set", "evaluate.max_drop.accuracy=0.05"],
        )
        .code(3);
        let text = stderr(done);
        assert!(
            text.contains(
                "gate evaluate.max_drop.accuracy not met: the image accuracy of run-2 on \
                the valid split is 0.7500, 0.2500 below that of run-1 (1.0000); the 95 % interval \
                of the drop, 0.1"
            ),
            "{text}"
        );
        assert!(
            text.contains(
                "On the valid split run-2 is clearly worse than run-1 in image accuracy −0.25 (−0.3"
            ),
            "{text}"
        );
        assert!(text.contains("image accuracy         1.0000  0.7500     -0.2500  -0."), "{text}");
    }
    let summary = stdout(compare(folder.path(), &["run-1", "run-2"], &[]).code(3));
    let gates: Vec<&str> = summary["gates"]
        .as_array()
        .unwrap()
        .iter()
        .map(|gate| gate["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        gates,
        ["evaluate.max_drop.accuracy", "evaluate.max_drop.macro_f1", "evaluate.max_drop.ap50"]
    );
    // The other way round it is better, and the margins can be wide or off.
    compare(folder.path(), &["run-2", "run-1"], &[]).code(0);
    compare(
        folder.path(),
        &["run-1", "run-2"],
        &["--set", "evaluate.max_drop={accuracy=0.5,macro_f1=0.5,mean_iou=\"off\",ap50=\"off\"}"],
    )
    .code(0);
}

#[test]
fn what_counts_as_a_drop_is_chosen() {
    let folder = tempfile::tempdir().unwrap();
    let work = forty_images();
    work.write(folder.path());
    // One image of forty: less than chance makes.
    publish(folder.path(), "run-2", &with_wrong_classes(&work.predictions, 1));
    let code = |more: &[&str], code: i32| {
        stderr(compare(folder.path(), &["run-1", "run-2"], more).code(code))
    };
    code(&["--set", "evaluate.drop_test=clear"], 0);
    assert!(
        code(&["--set", "evaluate.drop_test=measured"], 3)
            .contains("a drop of at most 0 is allowed")
    );
    code(
        &[
            "--set",
            "evaluate.drop_test=measured",
            "--set",
            "evaluate.max_drop={accuracy=0.03,macro_f1=0.03,ap50=0.06}",
        ],
        0,
    );
    assert!(
        code(
            &["--set", "evaluate.drop_test=possible", "--set", "evaluate.max_drop.accuracy=0.03"],
            3
        )
        .contains("reaches above 0.03")
    );
    let text = code(&["--set", "evaluate.bootstrap_samples=0"], 2);
    assert!(
        text.contains(
            "evaluate.drop_test = \"clear\" judges by intervals, and \
        evaluate.bootstrap_samples = 0 makes none"
        ),
        "{text}"
    );
    let text =
        code(&["--set", "evaluate.bootstrap_samples=0", "--set", "evaluate.drop_test=measured"], 3);
    assert!(
        text.contains(
            "without resamples (evaluate.bootstrap_samples = 0) nothing says which of it is chance"
        ),
        "{text}"
    );
}

#[test]
fn images_and_confusions_that_changed_are_listed_the_worst_first() {
    let folder = tempfile::tempdir().unwrap();
    let mut work = forty_images();
    // The baseline has image 4 wrong.
    work.predictions = with_wrong_classes(&work.predictions[4..5], 1)
        .into_iter()
        .chain(work.predictions[..4].to_vec())
        .chain(work.predictions[5..].to_vec())
        .collect();
    work.write(folder.path());
    // The other one has 4 right, and 0 and 1 wrong, 1 with more confidence; 7 lost its box, 8 is
    // silent.
    let mut rows = forty_images().predictions;
    rows = with_wrong_classes(&rows, 2);
    (rows[0].score, rows[1].score) = (0.6, 0.8);
    rows[7].xmax = rows[7].xmin + 0.1;
    rows.remove(8);
    let path = folder.path().join("detector.parquet");
    common::write_rows(&path, &rows);
    let done = compare(
        folder.path(),
        &["run-1", path.to_str().unwrap()],
        &["--set", "evaluate.drop_test=clear"],
    );
    let text = stderr(done);
    assert!(
        text.contains(
            "Of 40 labelled images 3 turned from right to wrong and 1 from wrong to right, which \
                chance may explain (McNemar's exact test, p = 0.62)"
        ),
        "{text}"
    );
    assert!(
        text.contains(
            "detector has no prediction for 1 labelled image, and run-1 for 0; they \
        count as wrong."
        ),
        "{text}"
    );
    let comparison = comparison(folder.path(), "run-1-vs-detector");
    let images = &comparison["comparisons"][0]["images"];
    let ids = |list: &str| -> Vec<String> {
        images[list]
            .as_array()
            .unwrap()
            .iter()
            .map(|image| image["image_id"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(ids("worse"), ["valid/01.png", "valid/00.png", "valid/08.png"]);
    assert_eq!(ids("better"), ["valid/04.png"]);
    assert_eq!(ids("iou_lost"), ["valid/07.png"]);
    assert!(ids("iou_gained").is_empty());
    let count = |key: &str| images[key].as_u64().unwrap();
    assert_eq!(
        (
            count("right_in_both"),
            count("right_to_wrong"),
            count("wrong_to_right"),
            count("wrong_in_both")
        ),
        (36, 3, 1, 0)
    );
    assert_eq!(images["mcnemar_p"], 0.625);
    let confusions: Vec<(String, Value, i64)> = comparison["comparisons"][0]["confusions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pair| {
            (
                pair["true_class_name"].as_str().unwrap().to_owned(),
                pair["predicted_class_name"].clone(),
                pair["change"].as_i64().unwrap(),
            )
        })
        .collect();
    // Wrist for elbow: 0 now, 4 no more.
    assert_eq!(confusions, [("wrist".into(), Value::Null, 1), ("elbow".into(), "wrist".into(), 1)]);
    let page = std::fs::read_to_string(
        folder.path().join("reports/compare/run-1-vs-detector/valid/compare.html"),
    )
    .unwrap();
    assert!(
        page.contains("valid/01.png") && page.contains("no prediction") && !page.contains(">NaN")
    );
}

/// Five images changed, three of them to worse: the file of one is not there.
#[test]
fn images_that_changed_are_drawn_as_far_as_they_are_there() {
    let (folder, dataset) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut work = forty_images();
    let good = work.predictions.clone();
    // The baseline has 4 wrong and a small box on 5.
    work.predictions[4] = with_wrong_classes(&good[4..5], 1).remove(0);
    work.predictions[5].xmax -= 0.2;
    work.write(folder.path());
    let mut rows = with_wrong_classes(&good, 2);
    rows[7].xmax -= 0.2;
    publish(folder.path(), "run-2", &rows);
    let page = |more: &[&str]| {
        let text = stderr(compare(folder.path(), &["run-1", "run-2"], more));
        (
            text,
            std::fs::read_to_string(
                folder.path().join("reports/compare/run-1-vs-run-2/valid/compare.html"),
            )
            .unwrap(),
        )
    };
    let (text, without) = page(&[]);
    assert!(text.contains("valid: 5 images could not be drawn; the first: "), "{text}");
    assert!(
        without.contains("5 images could not be drawn; the first: ")
            && !without.contains("data:image/jpeg")
    );

    std::fs::create_dir_all(dataset.path().join("valid")).unwrap();
    for i in [0, 4, 5, 7] {
        image::GrayImage::from_pixel(64, 48, image::Luma([90]))
            .save(dataset.path().join(format!("valid/{i:02}.png")))
            .unwrap();
    }
    let dataset = ["--dataset", dataset.path().to_str().unwrap()];
    let (text, with) = page(&dataset);
    assert!(
        text.contains("valid: 1 image could not be drawn; the first: ") && text.contains("01.png"),
        "{text}"
    );
    let titles = |page: &str| -> Vec<String> {
        page.split("<figcaption><strong>")
            .skip(1)
            .map(|rest| rest.split('<').next().unwrap().to_owned())
            .collect()
    };
    let expected = [
        "right to wrong, true: wrist",
        "box lost IoU, true: elbow",
        "wrong to right, true: wrist",
        "box gained IoU, true: elbow",
    ];
    assert_eq!(titles(&with), expected);
    assert_eq!(with.matches("data:image/jpeg;base64,").count(), 4);

    // Two pictures: one to worse and one to better.
    let (_, few) = page(
        &[&dataset[..], &["--set", "evaluate.overlays=2", "--set", "evaluate.drop_test=possible"]]
            .concat(),
    );
    assert_eq!(titles(&few).last().map(String::as_str), Some("wrong to right, true: wrist"));
    assert_eq!(few.matches("could not be drawn").count() + titles(&few).len(), 2);
    let (_, none) = page(&[&dataset[..], &["--set", "evaluate.overlays=0"]].concat());
    assert!(titles(&none).is_empty() && !none.contains("could not be drawn"));
}

#[test]
fn several_tables_are_each_compared_with_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let work = forty_images();
    work.write(folder.path());
    publish(folder.path(), "run-2", &work.predictions);
    publish(folder.path(), "run-3", &with_wrong_classes(&work.predictions, 12));
    let summary = stdout(compare(folder.path(), &["run-1", "run-2", "run-3"], &[]).code(3));
    assert!(
        summary["gates"]
            .as_array()
            .unwrap()
            .iter()
            .all(|gate| gate["message"].as_str().unwrap().contains("of run-3 on"))
    );
    let comparison = comparison(folder.path(), "run-1-vs-run-2-vs-run-3");
    assert_eq!(comparison["tables"].as_array().unwrap().len(), 3);
    let names: Vec<&str> = comparison["comparisons"]
        .as_array()
        .unwrap()
        .iter()
        .map(|other| other["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["run-2", "run-3"]);
    Manifest::open(&folder.path().join("reports/compare/run-1-vs-run-2-vs-run-3/valid"), "")
        .unwrap();
}

#[test]
fn a_second_comparison_does_nothing_and_other_inputs_run_it_again() {
    let folder = tempfile::tempdir().unwrap();
    let work = forty_images();
    work.write(folder.path());
    publish(folder.path(), "run-2", &work.predictions);
    let status = |more: &[&str]| {
        stdout(compare(folder.path(), &["run-1", "run-2"], more).code(0))["status"].clone()
    };
    assert_eq!(status(&[]), "done");
    assert_eq!(status(&["--set", "general.threads=1"]), "current");
    assert_eq!(status(&["--force"]), "done");
    publish(folder.path(), "run-2", &with_wrong_classes(&work.predictions, 1));
    assert_eq!(status(&[]), "done");
    assert_eq!(status(&[]), "current");
}

#[test]
fn files_are_the_same_bytes_whatever_the_number_of_threads() {
    let mut hashes = Vec::new();
    for threads in ["1", "2", "7"] {
        let folder = tempfile::tempdir().unwrap();
        let work = forty_images();
        work.write(folder.path());
        publish(folder.path(), "run-2", &with_wrong_classes(&work.predictions, 5));
        compare(
            folder.path(),
            &["run-1", "run-2"],
            &["--set", &format!("general.threads={threads}")],
        )
        .code(3);
        hashes.push(
            Manifest::open(&folder.path().join("reports/compare/run-1-vs-run-2/valid"), "")
                .unwrap()
                .content_hash(),
        );
    }
    assert!(hashes.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn tables_of_other_images_splits_or_classes_are_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let work = forty_images();
    work.write(folder.path());
    let refused = |other: &str, code: i32, reason: &str| {
        let text = stderr(compare(folder.path(), &["run-1", other], &[]).code(code));
        assert!(text.contains(reason), "{text}");
    };
    publish_with(
        folder.path(),
        "fewer",
        &work.predictions[3..],
        serde_json::json!({ "images": { "valid": 37 } }),
    );
    refused(
        "fewer",
        1,
        "error: 5 of the 42 images of the valid split were not looked at for fewer, \
            `valid/00.png` among them; if they came since, run ossify-predict again",
    );
    let mut rows = work.predictions.clone();
    rows[0].image_id = "elsewhere.png".into();
    publish(folder.path(), "strange", &rows);
    refused(
        "strange",
        1,
        "1 of its images is not in the valid split of the tables, `elsewhere.png` among them",
    );
    let mut rows = work.predictions.clone();
    rows[0].class_name = "knee".into();
    publish(folder.path(), "renamed", &rows);
    refused(
        "renamed",
        1,
        "was made with another class map: class_index 0 is `knee` there and `wrist` in the tables",
    );
    let mut rows = work.predictions.clone();
    for row in &mut rows {
        row.split = Split::Test;
        row.image_id = row.image_id.replace("valid/", "test/");
    }
    common::write_rows(&folder.path().join("test.parquet"), &rows);
    refused(
        "test.parquet",
        1,
        "error: run-1 has predictions of the valid split and test has none, so they cannot be \
            compared on it; predict it for test, or leave valid out of evaluate.splits\n",
    );
    refused("run-9", 2, "compare: no predictions `run-9`");
    assert!(!folder.path().join("reports/compare").exists());
    compare(folder.path(), &["run-1"], &[]).code(2);
}
