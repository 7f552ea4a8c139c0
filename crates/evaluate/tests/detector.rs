//! Reports on the predictions of a detector: nothing, one, or many an image.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::path::Path;

use assert_cmd::Command;
use common::Work;
use ossify_contract::{ImageStatus, Publication, WorkFolder};
use serde_json::{Value, json};

const HERE: [f32; 4] = [0.0, 0.0, 0.5, 0.5];
const AWAY: [f32; 4] = [0.75, 0.75, 1.0, 1.0];
/// Its centre is in `HERE`, and the IoU is below 0.5.
const INSIDE: [f32; 4] = [0.2, 0.2, 0.3, 0.3];

fn evaluate(out: &Path, more: &[&str]) -> assert_cmd::assert::Assert {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ossify-evaluate"));
    command.args(["--out", out.to_str().unwrap(), "--json"]).args(more);
    command.args(["--set", "evaluate.bootstrap_samples=100"]).assert()
}

fn report(out: &Path) -> Value {
    let path = out.join("reports/run-1/valid/report.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn page(out: &Path) -> String {
    std::fs::read_to_string(out.join("reports/run-1/valid/report.html")).unwrap()
}

fn stderr(done: assert_cmd::assert::Assert) -> String {
    String::from_utf8(done.get_output().stderr.clone()).unwrap()
}

fn value(report: &Value, path: &str) -> f64 {
    let score = report.pointer(path).unwrap_or_else(|| panic!("{path}"));
    score["value"].as_f64().unwrap_or_else(|| panic!("{path} is not defined"))
}

/// Six labelled images with one object, the last with two, and four without.
fn images() -> Work {
    let mut work = Work::with_classes(&["wrist", "elbow"]);
    for i in 0..6_i16 {
        work.image(&format!("f{i}.png"), ImageStatus::Labelled).object(Some(i % 2), HERE);
    }
    work.object(Some(0), AWAY);
    for i in 0..4 {
        work.image(&format!("h{i}.png"), ImageStatus::Background);
    }
    work
}

#[test]
fn a_perfect_table_scores_1() {
    let folder = tempfile::tempdir().unwrap();
    images().predict_perfectly().detected(0.0).write(folder.path());
    evaluate(folder.path(), &[]).code(0);
    let report = report(folder.path());
    assert_eq!(report["task"], "detect");
    for path in [
        "/detection/ap",
        "/detection/ap50",
        "/detection/ar100",
        "/detection/froc/any_class/mean",
        "/detection/froc/any_class/at_eighth",
        "/detection/froc/centre_in_box/mean",
        "/detection/froc/same_class/mean",
        "/detection/per_class/1/froc",
        "/findings/auroc",
        "/findings/points/0/sensitivity",
        "/findings/points/0/specificity",
        "/findings/points/0/objects_found",
        "/per_class/0/auroc",
    ] {
        assert_eq!(value(&report, path), 1.0, "{path}");
        let low = report.pointer(path).unwrap()["low"].as_f64().unwrap();
        assert!((0.2..1.0).contains(&low), "{path}: few images are not certain of it, {low}");
    }
    assert_eq!(value(&report, "/findings/points/0/false_alarms"), 0.0);
    let high = report.pointer("/findings/points/0/false_alarms/high").unwrap().as_f64().unwrap();
    assert!((high - 0.3689).abs() < 1e-3, "none in ten images: {high}");
    assert_eq!(report["match_kinds"], json!({ "match": 7 }));
    assert_eq!(report["excluded"], json!([]));
}

#[test]
fn an_empty_table_over_looked_at_images_finds_nothing_and_alarms_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let mut work = images();
    work.detected(0.0).write(folder.path());
    evaluate(folder.path(), &[]).code(0);
    let report = report(folder.path());
    for path in [
        "/detection/ap50",
        "/detection/froc/any_class/mean",
        "/findings/points/0/objects_found",
        "/findings/points/0/false_alarms",
    ] {
        assert_eq!(value(&report, path), 0.0, "{path}");
    }
    // All images have the score 0: nothing separates them, and a threshold above it calls none.
    assert_eq!(value(&report, "/findings/auroc"), 0.5);
    let points = report["findings"]["points"].as_array().unwrap();
    let strict = points.iter().find(|point| point["chosen_by"] == "specificity").unwrap();
    assert_eq!(
        (&strict["sensitivity"]["value"], &strict["specificity"]["value"]),
        (&json!(0.0), &json!(1.0))
    );
    assert_eq!(report["match_kinds"], json!({ "miss": 7 }));
}

/// Worked out by hand: three objects on two images, two images without one.
#[test]
fn froc_findings_and_confusion_of_a_small_case() {
    let folder = tempfile::tempdir().unwrap();
    let mut work = Work::with_classes(&["a", "b"]);
    // A hit, then a second box on the same object, and the second object by its centre alone.
    work.image("1", ImageStatus::Labelled)
        .object(Some(0), AWAY)
        .object(Some(1), HERE)
        .predict(0, 0.9, AWAY)
        .predict(0, 0.85, AWAY)
        .predict(1, 0.3, INSIDE);
    // A hit of another class.
    work.image("2", ImageStatus::Labelled).object(Some(0), HERE).predict(1, 0.6, HERE);
    // A false alarm, and an image that shows nothing and has no box.
    work.image("3", ImageStatus::Background).predict(0, 0.7, HERE);
    work.image("4", ImageStatus::Background);
    work.detected(0.05).write(folder.path());
    evaluate(folder.path(), &["--set", "evaluate.sensitivities=[0.9]"]).code(0);
    let report = report(folder.path());
    let froc = |rule: &str, at: &str| value(&report, &format!("/detection/froc/{rule}/{at}"));
    // False alarms an image: 0 at 0.9, 1/4 at 0.6, 1/2 at 0.3.
    let third = 1.0 / 3.0;
    assert_eq!(
        (froc("any_class", "at_eighth"), froc("any_class", "at_quarter")),
        (third, 2.0 * third)
    );
    assert_eq!(froc("any_class", "at_8"), 2.0 * third);
    assert!((froc("any_class", "mean") - (1.0 + 6.0 * 2.0) / 21.0).abs() < 1e-12);
    // By the centre the last box hits too, and is no false alarm.
    assert_eq!(
        (froc("centre_in_box", "at_quarter"), froc("centre_in_box", "at_eighth")),
        (1.0, third)
    );
    assert_eq!(froc("same_class", "at_8"), third);
    // 0.9 and 0.6 against 0.7 and 0.05.
    assert_eq!(value(&report, "/findings/auroc"), 0.75);
    assert_eq!(report["findings"]["images_with"], 2);
    assert_eq!(report["findings"]["images_without"], 2);
    // Sensitivity 1/2 and specificity 1 at 0.9, as good as 1 and 1/2 at 0.6: the highest of both.
    let first = &report["findings"]["points"][0];
    assert_eq!(first["chosen_by"], "youden");
    assert!((first["threshold"].as_f64().unwrap() - 0.9).abs() < 1e-6);
    let wanted = &report["findings"]["points"][1];
    assert_eq!((&wanted["chosen_by"], &wanted["wanted"]), (&json!("sensitivity"), &json!(0.9)));
    assert_eq!(wanted["false_alarms"]["value"], 0.25);
    // Boxes of at least 0.9: one hit.
    assert_eq!(
        report["detection"]["confusion_matrix"]["cells"],
        json!([
            { "true_class": 0, "predicted_class": null, "count": 1 },
            { "true_class": 0, "predicted_class": 0, "count": 1 },
            { "true_class": 1, "predicted_class": null, "count": 1 },
        ])
    );
    let page = page(folder.path());
    for sentence in [
        "On the valid split the detector finds 1 of 3 objects, 0.33 (",
        "with 0 false alarms on 4 images, 0.00 (0.00 to 0.92) an image",
        "these very images, which flatters it a little",
        "Any finding, by image",
        "FROC: objects found by false alarms",
        "(background)",
    ] {
        assert!(page.contains(sentence), "{sentence}");
    }
    assert!(!page.contains("image accuracy"), "a classifier's score leads no detector's page");
}

#[test]
fn an_image_that_nobody_looked_at_is_a_gap() {
    let folder = tempfile::tempdir().unwrap();
    let mut work = images();
    work.predict_perfectly().detected(0.0);
    // Without a prediction, and thus a gap because its row is missing.
    work.looked_at.as_mut().unwrap().pop();
    work.write(folder.path());
    let refused = stderr(evaluate(folder.path(), &[]).code(1));
    let gap = "1 of the 10 images of the valid split was not looked at for run-1, `h3.png` among";
    assert!(refused.contains(gap), "{refused}");
    evaluate(folder.path(), &["--set", "evaluate.allow_gaps=true"]).code(0);
    let report = report(folder.path());
    assert_eq!(report["findings"]["images_without"], 3);
    assert_eq!(report["excluded"][0]["count"], 1);
    let reason = report["excluded"][0]["reason"].as_str().unwrap();
    assert!(reason.starts_with("nobody looked at them"), "{reason}");
}

#[test]
fn tables_that_contradict_each_other_are_refused_with_image_and_reason() {
    let refused = |change: &dyn Fn(&mut Work), said: &str| {
        let folder = tempfile::tempdir().unwrap();
        let mut work = images();
        work.predict_perfectly().detected(0.0);
        change(&mut work);
        work.write(folder.path());
        let text = stderr(evaluate(folder.path(), &[]).code(1));
        assert!(text.contains("valid.images.parquet") && text.contains(said), "{text}");
    };
    refused(
        &|work| work.looked_at.as_mut().unwrap()[5].detections = 1,
        "`f5.png`: its row counts 1 predictions and there are 2",
    );
    refused(
        &|work| work.looked_at.as_mut().unwrap()[6].detections = 1,
        "`h0.png`: its row counts 1 predictions and there are none",
    );
    refused(
        &|work| work.looked_at.as_mut().unwrap()[0].score = Some(0.5),
        "`f0.png`: its score is 0.5, below that of its prediction, 1",
    );
    refused(
        &|work| work.looked_at.as_mut().unwrap()[0].class_scores = vec![0.5],
        "`f0.png`: 1 scores for 2 trained classes",
    );
    refused(
        &|work| drop(work.looked_at.as_mut().unwrap().remove(0)),
        "`f0.png`: it has predictions and no row",
    );
    refused(
        &|work| {
            let rows = work.looked_at.as_mut().unwrap();
            rows.push(rows[0].clone());
        },
        "`f0.png`: it has more than one row",
    );
    refused(
        &|work| work.looked_at.as_mut().unwrap()[7].image_id = "elsewhere.png".into(),
        "1 of its images is not in the valid split of the tables, `elsewhere.png` among them",
    );
}

#[test]
fn gates_and_comparison_know_froc_and_any_finding() {
    let folder = tempfile::tempdir().unwrap();
    let mut work = images();
    work.predict_perfectly().detected(0.0).write(folder.path());
    let mut worse = images();
    worse.predict_perfectly();
    // The boxes of three images are false alarms on images without an object.
    for (row, at) in worse.predictions.iter_mut().zip(0..3) {
        row.image_id = format!("h{at}.png");
    }
    worse.detected(0.0);
    let work_folder = WorkFolder::new(folder.path());
    let publication = Publication::begin(work_folder.predictions().join("run-2")).unwrap();
    common::write_rows(&publication.stage("valid.parquet").unwrap(), &worse.predictions);
    let rows = worse.looked_at.as_ref().unwrap();
    common::write_rows(&publication.stage("valid.images.parquet").unwrap(), rows);
    let files = ["valid.parquet", "valid.images.parquet"]
        .map(|name| publication.describe(name, Some(1)).unwrap());
    publication.commit("predict", "worse", files.to_vec(), json!({ "task": "detect" })).unwrap();

    // Made a day later than the first.
    let manifest = work_folder.predictions().join("run-2/manifest.json");
    let mut later: Value =
        serde_json::from_str(&std::fs::read_to_string(&manifest).unwrap()).unwrap();
    later["created_at"] = "2999-01-01T00:00:00Z".into();
    std::fs::write(&manifest, later.to_string()).unwrap();

    let of_worse = ["--set", "evaluate.predictions=run-2"];
    for (gate, words) in [
        ("min_froc", "the mean sensitivity at 1/8 to 8 false alarms an image"),
        ("min_finding_auroc", "the AUROC of any finding"),
    ] {
        let set = format!("evaluate.{gate}=0.99");
        evaluate(folder.path(), &["--set", &set]).code(0);
        let text =
            stderr(evaluate(folder.path(), &[&of_worse[..], &["--set", &set]].concat()).code(3));
        assert!(text.contains(&format!("gate evaluate.{gate} not met: {words}")), "{text}");
    }
    let compare = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ossify-evaluate"));
        command.args(["compare", "run-1", "run-2", "--out", folder.path().to_str().unwrap()]);
        command.args(["--set", "evaluate.drop_test=measured"]).args(more).assert()
    };
    let text = stderr(compare(&[]).code(3));
    for gate in ["ap50", "froc", "finding_auroc"] {
        assert!(text.contains(&format!("gate evaluate.max_drop.{gate} not met")), "{text}");
    }
    assert!(!text.contains("max_drop.accuracy"), "{text}");
    // The report on the second says what the first had.
    let path = folder.path().join("reports/run-2/valid/report.html");
    let page = std::fs::read_to_string(path).unwrap();
    assert!(page.contains("The predictions before these were run-1: AP50 "), "{page}");
    assert!(page.contains("<code>ossify-evaluate compare run-1 run-2</code>"));
    let off = "evaluate.max_drop={ap50=\"off\",froc=\"off\",finding_auroc=\"off\"}";
    compare(&["--set", off]).code(0);
}

#[test]
fn misses_and_false_alarms_are_drawn_and_lead_to_their_files() {
    let (folder, dataset) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut work = images();
    work.predict_perfectly();
    // The first image's box is a false alarm on a healthy one instead.
    work.predictions[0].image_id = "h0.png".into();
    work.detected(0.0).write(folder.path());
    for image in &work.images {
        let picture = image::GrayImage::from_pixel(90, 60, image::Luma([90]));
        picture.save(dataset.path().join(&image.image_id)).unwrap();
    }
    evaluate(folder.path(), &["--dataset", dataset.path().to_str().unwrap()]).code(0);
    let page = page(folder.path());
    for (file, title) in [
        ("overlays/miss-0001.png", "1 of 1 missed"),
        ("overlays/false-alarm-0001.png", "1 false alarm"),
        ("overlays/found-0001.png", "1 object found"),
    ] {
        assert!(folder.path().join("reports/run-1/valid").join(file).is_file(), "{file}");
        assert!(page.contains(&format!("<a href=\"{file}\">")), "{file}");
        assert!(page.contains(title), "{title}");
    }
    assert!(page.contains("true: wrist, elbow") || page.contains("true: elbow, wrist"));
}
