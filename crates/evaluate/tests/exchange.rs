//! Import and export from outside: every format, a corpus of bad files, and a round trip.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use assert_cmd::assert::Assert;
use common::Work;
use ossify_contract::{
    ImagePredictionRow, ImageStatus, Manifest, PredictionRow, Shape, Split, UnitBox, read_table,
};
use serde_json::{Value, json};

fn command(out: &Path, subcommand: Option<&str>, more: &[&str]) -> Assert {
    let mut command = Command::cargo_bin("ossify-evaluate").unwrap();
    command
        .env_clear()
        .current_dir(corpus())
        .args(subcommand)
        .arg("--json")
        .arg("--out")
        .arg(out)
        .args(more)
        .assert()
}

fn import(out: &Path, more: &[&str]) -> Assert {
    command(out, Some("import"), &[&["--split", "valid", "--id", "theirs"], more].concat())
}

fn export(out: &Path, more: &[&str]) -> Assert {
    command(out, Some("export"), &[&["--split", "valid"], more].concat())
}

fn evaluate(out: &Path, more: &[&str]) -> Assert {
    let settings =
        ["--set", "evaluate.bootstrap_samples=20", "--set", "evaluate.splits=[\"valid\"]"];
    command(out, None, &[&settings, more].concat())
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad_predictions")
}

fn json_of(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

fn stdout(assert: &Assert) -> Value {
    json_of(&assert.get_output().stdout)
}

fn stderr(assert: &Assert) -> String {
    String::from_utf8(assert.get_output().stderr.clone()).unwrap()
}

fn imported(out: &Path) -> Vec<PredictionRow> {
    Manifest::open(&out.join("predictions/theirs"), "").unwrap();
    read_table(out.join("predictions/theirs/valid.parquet")).unwrap()
}

/// Three trained classes and a rare one; images of every kind that a foreign name may mean.
fn work() -> Work {
    let mut work = Work::with_classes(&["wrist", "elbow", "humerus"]);
    work.classes.push(("rare", false));
    for image_id in ["a.png", "b.png", "c.png", "7.png"] {
        work.image(image_id, ImageStatus::Labelled).object(Some(0), [0.25, 0.25, 0.75, 0.75]);
    }
    work.image("x/d.png", ImageStatus::Background)
        .image("y/d.png", ImageStatus::Background)
        .image("sizeless.png", ImageStatus::Unreadable);
    work.images.last_mut().unwrap().width = 0;
    work.image("t.png", ImageStatus::Background);
    work.images.last_mut().unwrap().split = Split::Train;
    work
}

const EXPECTED: &str = "; expected is [{\"image_id\": .., \"category_id\": .., \"bbox\": [x, y, \
    width, height], \"score\": ..}, ..]";

/// Each bad file or folder with the flags it is imported with, and the error, or what is left out.
const CORPUS: [(&str, &[&str], &[&str]); 18] = [
    (
        "empty.json",
        COCO,
        &["empty.json is not a list of detections: EOF while parsing a value at line 1 column 0; \
                expected.."],
    ),
    ("empty_list.json", COCO, &["empty_list.json has no predictions: the list has no entry"]),
    (
        "table.json",
        COCO,
        &["table.json is not a list of detections: expected value at line 1 column 1; expected.."],
    ),
    (
        "truncated.json",
        COCO,
        &["truncated.json is not a list of detections: EOF while parsing a string at line 3 \
             column 26; expected.."],
    ),
    (
        "ground_truth.json",
        COCO,
        &["ground_truth.json is not a list of detections: invalid type: map, expected a list at \
                line 1 column 1; expected.."],
    ),
    (
        "undecided.json",
        COCO,
        &["the ids do not say how the classes are numbered: neither 0 nor 4 is among them, which \
                would show whether the dataset's classes 0 to 3 are \
           counted from 0 or from 1; give --category-ids from-0 or from-1, or for COCO results the \
           --ground-truth that they belong to"],
    ),
    (
        "contradictory.json",
        COCO,
        &["the ids contradict each other: there is category_id 0 and also category_id 4, though \
                the dataset's classes are 0 to 3; \
           these are predictions of other classes, or --category-ids has to say how they are \
           numbered"],
    ),
    (
        "contradictory_ultralytics.json",
        ULTRALYTICS,
        &["the ids contradict each other: there is category_id 0 and also file_name, which \
                Ultralytics writes since it counts from 1, though the \
           dataset's classes are 0 to 3; these are predictions of other classes, or --category-ids \
           has to say how they are numbered"],
    ),
    (
        "strangers.json",
        COCO,
        &["strangers.json: none of its 3 predictions can be used: 1: no object with image_id, \
                category_id, bbox and score (as strangers.json: entry 3: \
           3); 2: its image is not in the tables (as strangers.json: entry 1: `zz`)"],
    ),
    (
        "rows.json",
        COCO,
        &[
            "3 predictions",
            "9: no object with image_id, category_id, bbox and score (rows.json: entry 2: 7)",
            "5: the score is not a number between 0 and 1 (rows.json: entry 17: score is NaN)",
            "6: the box is not made of finite numbers with a size of 0 or more (rows.json: entry \
                11: bbox is [1, 2, 3], and should be x, y, width and \
             height)",
            "2: its image is not in the tables (rows.json: entry 22: `stranger.png`)",
            "1: several images of the split have that name (rows.json: entry 24: `d` is that of \
                `x/d.png` and of others)",
            "1: the tables do not know the size of its image, so pixels cannot become shares \
                (rows.json: entry 25: `sizeless.png`)",
            "2: its class is not in the tables (rows.json: entry 28: class 99; the dataset's are 0 \
                to 3)",
            "1: its image is in another split (rows.json: entry 26: `t.png` is in train)",
            "1: its class was filtered as rare and is not scored (rows.json: entry 27: class 3 \
                (`rare`))",
        ],
    ),
    (
        "yolo",
        YOLO,
        &[
            "3 predictions",
            "4: not the six columns: class, x centre, y centre, width, height, confidence \
                (yolo/a.txt:3: 5 columns; without a confidence: save it, as \
             with save_conf=True)",
            "2: the score is not a number between 0 and 1 (yolo/c.txt:4: score 1.1)",
            "3: the box is not made of finite numbers with a size of 0 or more (yolo/c.txt:1: box \
                [NaN, 0.5, 0.2, 0.2])",
            "2: its image is not in the tables (yolo/classes.txt:1: `classes`)",
            "1: several images of the split have that name (yolo/d.txt:1: `d` is that of `x/d.png` \
                and of others)",
            "5: its class is not in the tables (yolo/b.txt:1: class NaN)",
            "1: its image is in another split (yolo/t.txt:1: `t.png` is in train)",
            "1: its class was filtered as rare and is not scored (yolo/b.txt:4: class 3 (`rare`))",
        ],
    ),
    ("yolo_blank", YOLO, &["yolo_blank has no predictions: no file in it has a line"]),
    (
        "yolo_without_text",
        YOLO,
        &["yolo_without_text has no predictions: there is no .txt file in it (Ultralytics puts \
                them into `labels`)"],
    ),
    (
        "truth_without_categories.json",
        &["--format", "coco", "--ground-truth", "truth_without_categories.json"],
        &["the ground truth truth_without_categories.json cannot be used: missing field \
                `categories` at line 1 column 45; it needs `images` with id and \
           file_name, and `categories` with id and name"],
    ),
    (
        "truth_with_an_id_twice.json",
        &["--format", "coco", "--ground-truth", "truth_with_an_id_twice.json"],
        &["the ground truth truth_with_an_id_twice.json cannot be used: images, entry 2: id 1 \
                occurs twice; it needs `images` with id and file_name, \
           and `categories` with id and name"],
    ),
    (
        "truth_with_a_named_category.json",
        &["--format", "coco", "--ground-truth", "truth_with_a_named_category.json"],
        &["the ground truth truth_with_a_named_category.json cannot be used: invalid type: \
                string \"one\", expected i64 at line 2 column 28; it needs \
           `images` with id and file_name, and `categories` with id and name"],
    ),
    (
        "truth.json",
        &["--format", "coco", "--ground-truth", "truth.json"],
        &["truth.json is not a list of detections: invalid type: map, expected a list at line 1 \
                column 1; expected.."],
    ),
    (
        "results_of_truth.json",
        &["--format", "coco", "--ground-truth", "truth.json"],
        &[
            "3 predictions",
            "2: its image is not in the tables (results_of_truth.json: entry 3: `stranger.png`)",
            "1: the ground truth has its image with width and height exchanged: as stored, not as \
                its EXIF orientation turns it (results_of_truth.json: \
             entry 2: `b.png` is 48x64 there)",
            "2: its class is not in the tables (results_of_truth.json: entry 8: class `knee`)",
            "1: its image is in another split (results_of_truth.json: entry 4: `t.png` is in \
                train)",
            "1: its class was filtered as rare and is not scored (results_of_truth.json: entry 9: \
                class 3 (`rare`))",
        ],
    ),
];
const COCO: &[&str] = &["--format", "coco"];
const YOLO: &[&str] = &["--format", "yolo"];
const ULTRALYTICS: &[&str] = &["--format", "ultralytics"];

#[test]
fn bad_files_are_reported_exactly_and_never_hide_good_neighbours() {
    let folder = tempfile::tempdir().unwrap();
    work().write(folder.path());
    for (path, flags, expected) in CORPUS {
        let done = import(folder.path(), &[flags, &["--force", path]].concat());
        let answer = stdout(&done);
        let found: Vec<String> = match answer["error"].as_str() {
            Some(error) => {
                assert_eq!(done.get_output().status.code(), Some(1), "{path}");
                assert!(stderr(&done).contains(error), "{path}");
                vec![error.replace(EXPECTED, "; expected..")]
            }
            None => {
                let of_split = &answer["summary"]["splits"]["valid"];
                let figure = |key: &str| of_split[key].as_u64().unwrap();
                let groups = of_split["left_out"].as_array().unwrap();
                let count = |group: &Value| group["count"].as_u64().unwrap();
                assert_eq!(
                    figure("entries"),
                    figure("predictions") + groups.iter().map(count).sum::<u64>(),
                    "{path}"
                );
                assert_eq!(figure("predictions"), imported(folder.path()).len() as u64, "{path}");
                let words = |group: &Value| {
                    format!(
                        "{}: {} ({})",
                        count(group),
                        group["reason"].as_str().unwrap(),
                        group["example"].as_str().unwrap()
                    )
                };
                [format!("{} predictions", figure("predictions"))]
                    .into_iter()
                    .chain(groups.iter().map(words))
                    .collect()
            }
        };
        assert_eq!(found, expected, "{path}");
    }
    // The last case's boxes are pixels of its ground truth, whose first image is twice as large as
    // that of the tables.
    let boxes: Vec<_> = imported(folder.path())
        .iter()
        .map(|row| (row.image_id.clone(), row.score, row.unit_box().to_array()))
        .collect();
    let whole = [0.0, 0.0, 1.0, 1.0];
    assert_eq!(
        boxes,
        [
            ("a.png".into(), 0.5, [0.25, 0.25, 0.75, 0.75]),
            ("c.png".into(), 0.75, whole),
            ("c.png".into(), 0.5, whole)
        ]
    );
    let names = |path: PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
    let files: BTreeSet<String> =
        std::fs::read_dir(corpus()).unwrap().map(|entry| names(entry.unwrap().path())).collect();
    assert_eq!(
        files,
        CORPUS.iter().map(|(path, ..)| (*path).to_owned()).collect(),
        "each file needs a case"
    );
}

#[test]
fn wrong_rows_are_a_gate_with_strict_whenever_they_were_imported() {
    let folder = tempfile::tempdir().unwrap();
    work().write(folder.path());
    import(folder.path(), &["--format", "coco", "rows.json"]).code(0);
    for _ in 0..2 {
        let done = import(folder.path(), &["--format", "coco", "rows.json", "--strict"]).code(3);
        assert_eq!(
            stdout(&done)["gates"][0]["message"],
            "26 predictions of rows.json could not be used"
        );
    }
}

#[test]
fn imported_predictions_are_scored_under_their_name_with_what_was_left_out() {
    let folder = tempfile::tempdir().unwrap();
    work().predict_perfectly().write(folder.path());
    import(folder.path(), &["--format", "coco", "rows.json"]).code(0);
    let manifest = Manifest::open(&folder.path().join("predictions/theirs"), "").unwrap();
    assert_eq!(
        (manifest.stage.as_str(), manifest.summary["run"].as_str()),
        ("import", Some("theirs"))
    );
    assert_eq!(manifest.summary["splits"]["valid"]["silent_images"], 4);
    evaluate(folder.path(), &["--set", "evaluate.predictions=theirs"]).code(0);
    let report =
        json_of(&std::fs::read(folder.path().join("reports/theirs/valid/report.json")).unwrap());
    assert_eq!(report["counts"]["predictions"], 3);
    let excluded: Vec<_> = report["excluded"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["reason"].as_str().unwrap(), row["count"].as_u64().unwrap()))
        .collect();
    assert!(
        excluded
            .contains(&("left out by ossify-evaluate import: its image is not in the tables", 2)),
        "{excluded:?}"
    );
    // Rows without probabilities are a detector's, to which an image without a row shows nothing:
    // its object is missed.
    assert!(
        excluded.iter().all(|(reason, _)| !reason.starts_with("no prediction")),
        "{excluded:?}"
    );
    let findings = &report["findings"];
    assert_eq!(
        (findings["images_with"].as_u64(), findings["images_without"].as_u64()),
        (Some(4), Some(2))
    );
    assert_eq!(report["detection"]["froc"]["any_class"]["at_8"]["value"], 0.0);
    // The newest predictions are still those of ossify-predict.
    assert_eq!(
        std::fs::read_to_string(folder.path().join("predictions/latest")).unwrap(),
        "run-1\n"
    );
}

#[test]
fn ranks_follow_the_score_and_ties_the_order_of_appearance() {
    let (folder, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    work().write(folder.path());
    let labels = theirs.path().to_str().unwrap();
    std::fs::write(
        theirs.path().join("b.txt"),
        "0 .5 .5 .2 .2 .5\n1 .5 .5 .2 .2 .75\n2 .5 .5 .2 .2 .5\n",
    )
    .unwrap();
    std::fs::write(theirs.path().join("a.png.txt"), "2 0.5 0.5 0.5 0.5 0.125").unwrap();
    std::fs::write(theirs.path().join("c.txt"), "").unwrap();
    assert_eq!(
        stdout(&import(folder.path(), &["--format", "yolo", labels]).code(0))["status"],
        "done"
    );
    let rows = imported(folder.path());
    let found: Vec<_> = rows
        .iter()
        .map(|row| (row.image_id.as_str(), row.rank, row.class_name.as_str(), row.score))
        .collect();
    assert_eq!(
        found,
        [
            ("a.png", 1, "humerus", 0.125),
            ("b.png", 1, "elbow", 0.75),
            ("b.png", 2, "wrist", 0.5),
            ("b.png", 3, "humerus", 0.5)
        ]
    );
    assert_eq!(rows[0].unit_box(), UnitBox::new(0.25, 0.25, 0.75, 0.75));
    assert!(rows.iter().all(|row| row.probabilities.is_empty() && row.split == Split::Valid));

    assert_eq!(
        stdout(&import(folder.path(), &["--format", "yolo", labels]).code(0))["status"],
        "current"
    );
    std::fs::write(theirs.path().join("c.txt"), "0 .5 .5 .2 .2 .5").unwrap();
    assert_eq!(
        stdout(&import(folder.path(), &["--format", "yolo", labels]).code(0))["status"],
        "done"
    );
    assert_eq!(imported(folder.path()).len(), 5);
}

/// Images that a source says were looked at, and the detections on each.
fn looked_at(folder: &Path) -> Option<Vec<(String, i32)>> {
    let folder = folder.join("predictions/theirs");
    let manifest = Manifest::open(&folder, "").unwrap();
    let file = manifest.file("valid.images.parquet")?;
    let rows: Vec<ImagePredictionRow> = read_table(folder.join(&file.path)).unwrap();
    let said = &manifest.summary["splits"]["valid"]["images_looked_at"];
    assert_eq!((said.as_u64(), file.rows), (Some(rows.len() as u64), Some(rows.len() as u64)));
    assert!(rows.iter().all(|row| row.score.is_none() && row.split == Split::Valid));
    Some(rows.into_iter().map(|row| (row.image_id, row.detections)).collect())
}

#[test]
fn images_that_were_looked_at_are_listed_where_the_source_says_which() {
    let (folder, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    work().write(folder.path());
    let labels = theirs.path().to_str().unwrap();
    let yolo = ["--format", "yolo", labels];
    std::fs::write(theirs.path().join("b.txt"), "0 .5 .5 .2 .2 .5\n1 .5 .5 .2 .2 .5").unwrap();
    import(folder.path(), &yolo).code(0);
    assert_eq!(looked_at(folder.path()), None, "most tools write no file where nothing was found");
    std::fs::write(theirs.path().join("c.txt"), "\n").unwrap();
    import(folder.path(), &yolo).code(0);
    let found = |rows: &[(&str, i32)]| {
        Some(rows.iter().map(|(image, rows)| ((*image).to_owned(), *rows)).collect::<Vec<_>>())
    };
    assert_eq!(looked_at(folder.path()), found(&[("b.png", 2), ("c.png", 0)]));

    let coco = ["--format", "coco", "--ground-truth", "truth.json"];
    import(folder.path(), &[&coco[..], &["results_of_truth.json"]].concat()).code(0);
    let of_truth = found(&[("a.png", 1), ("c.png", 2)]);
    assert_eq!(looked_at(folder.path()), of_truth);
    // A tool that found nothing at all has an empty list.
    let nothing = theirs.path().join("nothing.json");
    std::fs::write(&nothing, "[]").unwrap();
    import(folder.path(), &[&coco[..], &[nothing.to_str().unwrap()]].concat()).code(0);
    assert_eq!(imported(folder.path()), []);
    assert_eq!(looked_at(folder.path()), found(&[("a.png", 0), ("c.png", 0)]));

    import(folder.path(), &["--format", "coco", "rows.json"]).code(0);
    assert_eq!(looked_at(folder.path()), None);
    assert!(!folder.path().join("predictions/theirs/valid.images.parquet").exists());
}

#[test]
fn the_numbering_of_ultralytics_is_seen_or_asked_for() {
    let (folder, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    work().write(folder.path());
    let file = theirs.path().join("predictions.json");
    let path = file.to_str().unwrap();
    let classes_of = |ids: [i64; 2], with_file_name: bool, more: &[&str]| {
        let entry = |(image, category): (Value, i64)| {
            let mut entry = json!({ "image_id": image, "category_id": category, "bbox": [0.0, 0.0,
                32.0, 24.0], "score": 0.5 });
            if with_file_name {
                entry["file_name"] = json!(if image == 7 { "7.png" } else { "a.png" });
            }
            entry
        };
        std::fs::write(
            &file,
            json!([entry((json!("a"), ids[0])), entry((json!(7), ids[1]))]).to_string(),
        )
        .unwrap();
        let done = import(folder.path(), &[&["--format", "ultralytics", path], more].concat());
        if done.get_output().status.code() == Some(1) {
            return Err(stderr(&done));
        }
        Ok(imported(folder.path())
            .into_iter()
            .map(|row| (row.image_id, row.class_index))
            .collect::<Vec<_>>())
    };
    let found = |seven: i16, a: i16| Ok(vec![("7.png".to_owned(), seven), ("a.png".to_owned(), a)]);
    assert_eq!(classes_of([0, 2], false, &[]), found(2, 0));
    assert_eq!(classes_of([1, 2], true, &[]), found(1, 0));
    assert!(
        classes_of([1, 2], false, &[])
            .is_err_and(|text| text.contains("neither 0 nor 4 is among them")
                && text.contains("--category-ids"))
    );
    assert_eq!(classes_of([1, 2], false, &["--category-ids", "from-1"]), found(1, 0));
    assert_eq!(classes_of([1, 2], false, &["--category-ids", "from-0"]), found(2, 1));
}

#[test]
fn splits_are_imported_side_by_side() {
    let (folder, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    work().write(folder.path());
    let labels = theirs.path().to_str().unwrap();
    std::fs::write(theirs.path().join("b.txt"), "0 .5 .5 .2 .2 .5").unwrap();
    std::fs::write(theirs.path().join("t.txt"), "0 .5 .5 .2 .2 .5").unwrap();
    let both = ["--format", "yolo", "--id", "both", labels];
    command(folder.path(), Some("import"), &[&["--split", "valid"], both.as_slice()].concat())
        .code(0);
    command(
        folder.path(),
        Some("import"),
        &[&["--split", "train", "--strict"], both.as_slice()].concat(),
    )
    .code(0);
    let done =
        command(folder.path(), Some("import"), &[&["--split", "valid"], both.as_slice()].concat())
            .code(0);
    assert_eq!(stdout(&done)["status"], "current");
    let manifest = Manifest::open(&folder.path().join("predictions/both"), "").unwrap();
    assert_eq!(
        manifest.files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(),
        ["train.parquet", "valid.parquet"]
    );
    assert_eq!(
        manifest.summary["splits"]["train"]["left_out"][0]["example"],
        format!("{labels}/b.txt:1: `b.png` is in valid")
    );
}

#[test]
fn the_command_line_is_checked_before_anything_is_read() {
    let folder = tempfile::tempdir().unwrap();
    import(folder.path(), &["--format", "coco", "rows.json"]).code(1);
    work().write(folder.path());
    std::fs::create_dir_all(folder.path().join("runs/mine")).unwrap();
    for (flags, expected) in [
        (&["--format", "coco", "nowhere.json"][..], "nowhere.json is not a file"),
        (&["--format", "yolo", "rows.json"], "rows.json is not a folder"),
        (&["--format", "coco", "yolo"], "yolo is not a file"),
        (&["--format", "voc", "rows.json"], "invalid value 'voc'"),
        (&["--format", "yolo", "yolo", "--category-ids", "from-1"], "belongs to JSON files"),
        (
            &["--format", "ultralytics", "rows.json", "--ground-truth", "truth.json"],
            "belongs to --format coco",
        ),
        (
            &["--format", "coco", "rows.json", "--ground-truth", "nowhere.json"],
            "nowhere.json is not a file",
        ),
        (
            &[
                "--format",
                "coco",
                "rows.json",
                "--ground-truth",
                "truth.json",
                "--category-ids",
                "from-1",
            ],
            "cannot be used with",
        ),
        (&["--format", "coco"], "PATH"),
    ] {
        let text = stderr(&import(folder.path(), flags).code(2));
        assert!(text.contains(expected), "{flags:?}: {text}");
    }
    for (id, expected) in [
        ("latest", "something else"),
        ("a.parquet", "something else"),
        ("../a", "a name has letters"),
        (".a", "a name has letters"),
        ("run-1", "written by ossify-predict"),
        ("mine", "there is a run"),
    ] {
        let done = command(
            folder.path(),
            Some("import"),
            &["--split", "valid", "--id", id, "--format", "coco", "rows.json"],
        )
        .code(2);
        assert!(stderr(&done).contains(expected), "{id}: {}", stderr(&done));
    }
    let text = stderr(&export(folder.path(), &[]).code(2));
    assert!(text.contains("--to <FILE.json>"), "{text}");
    let done =
        command(folder.path(), Some("export"), &["--split", "all", "--to", "x.json"]).code(2);
    assert!(stderr(&done).contains("is none of train, valid, test"));
    let done =
        Command::cargo_bin("ossify-evaluate").unwrap().args(["--force", "import"]).assert().code(2);
    assert!(stderr(&done).contains("cannot be used with"), "{}", stderr(&done));
    assert!(!folder.path().join("predictions/theirs").exists());
}

#[test]
fn an_export_is_what_is_scored_and_the_same_bytes_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let mut work = work();
    work.image("b/first.png", ImageStatus::Labelled)
        .object(Some(2), [0.0, 0.25, 0.5, 1.0])
        .object(None, [0.0, 0.0, 1.0, 1.0]);
    let polygon = work.objects.iter_mut().rev().nth(1).unwrap();
    (polygon.shape, polygon.vertices, polygon.area) =
        (Shape::Polygon, Some(vec![[0.0, 0.25], [0.5, 0.25], [0.25, 1.0]]), 0.1875);
    work.image("nobody.png", ImageStatus::Unlabelled).object(Some(0), [0.0, 0.0, 1.0, 1.0]);
    work.write(folder.path());
    let file = folder.path().join("deep/truth.json");
    let done = export(folder.path(), &["--to", file.to_str().unwrap()]).code(0);
    assert_eq!(
        stdout(&done)["summary"],
        json!({ "split": "valid", "images": 7, "images_left_out": 2, "annotations": 5,
            "objects_left_out": 2 })
    );
    let bytes = std::fs::read(&file).unwrap();
    let truth = json_of(&bytes);
    assert_eq!(
        truth["categories"],
        json!([{ "id": 1, "name": "wrist" }, { "id": 2, "name": "elbow" }, { "id": 3,
            "name": "humerus" }])
    );
    assert_eq!(
        truth["images"][3],
        json!({ "id": 4, "file_name": "b/first.png", "width": 64, "height": 48 })
    );
    assert_eq!(
        truth["annotations"][3],
        json!({
            "id": 4, "image_id": 4, "category_id": 3, "bbox": [0.0, 12.0, 32.0, 36.0],
                "area": 576.0,
            "segmentation": [[0.0, 12.0, 32.0, 12.0, 16.0, 48.0]], "iscrowd": 0,
        })
    );
    assert_eq!(truth["annotations"][0]["segmentation"], json!([]));
    export(folder.path(), &["--to", file.to_str().unwrap()]).code(0);
    assert_eq!(std::fs::read(&file).unwrap(), bytes);
    assert_eq!(std::fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
}

#[test]
fn exported_results_come_back_as_the_same_predictions() {
    let folder = tempfile::tempdir().unwrap();
    let mut work = work();
    for (i, image_id) in ["e/one.png", "e/two.png"].into_iter().enumerate() {
        work.image(image_id, ImageStatus::Labelled).object(Some(1), [0.1, 0.2, 0.3, 0.4]);
        for k in 0..5_i16 {
            let (at, score) = (0.013 * f32::from(k) + 0.3 * i as f32, 0.9 - 0.17 * f32::from(k));
            work.predict(k % 3, score, [at, 0.3 * at + 0.001, at + 1.0 / 3.0, 0.777]);
        }
    }
    work.write(folder.path());
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (truth, results) = (file("truth.json"), file("results.json"));
    let done = export(
        folder.path(),
        &["--to", &truth, "--to-results", &results, "--predictions", "run-1"],
    )
    .code(0);
    assert_eq!(stdout(&done)["summary"]["predictions"], 10);
    import(folder.path(), &["--format", "coco", "--ground-truth", &truth, &results]).code(0);
    let (theirs, ours) = (imported(folder.path()), work.predictions);
    assert_eq!(theirs.len(), ours.len());
    for (theirs, ours) in theirs.into_iter().zip(ours) {
        let far = theirs
            .unit_box()
            .to_array()
            .into_iter()
            .zip(ours.unit_box().to_array())
            .find(|(a, b)| (a - b).abs() > 1e-6);
        assert_eq!(far, None, "{theirs:?}");
        let [xmin, ymin, xmax, ymax] = theirs.unit_box().to_array();
        assert_eq!(
            theirs,
            PredictionRow { probabilities: Vec::new(), xmin, ymin, xmax, ymax, ..ours }
        );
    }
    // Without the ground truth image numbers mean nothing, and that is said.
    let text = stderr(&import(folder.path(), &["--format", "coco", &results]).code(1));
    assert!(
        text.contains("none of its 10 predictions can be used")
            && text.contains("no file of the split has that number as its name"),
        "{text}"
    );
}

#[test]
fn a_box_far_outside_its_image_is_left_out_alone_and_the_rest_is_scored() {
    let folder = tempfile::tempdir().unwrap();
    work().write(folder.path());
    let path = folder.path().join("far.json");
    let rows = r#"[
        {"image_id": "a", "category_id": 0, "bbox": [16, 12, 32, 24], "score": 0.9},
        {"image_id": "b", "category_id": 0, "bbox": [640, 12, 32, 24], "score": 0.8}
    ]"#;
    std::fs::write(&path, rows).unwrap();
    let args = [path.to_str().unwrap(), "--format", "coco"];
    let said = stderr(&import(folder.path(), &args).code(0));
    assert!(said.contains("1: the box lies far outside its image"), "{said}");
    assert!(said.contains("[640.0, 12.0, 32.0, 24.0] on an image of 64 x 48 pixels"), "{said}");
    assert_eq!(imported(folder.path()).len(), 1);
    evaluate(folder.path(), &["--set", "evaluate.predictions=theirs"]).code(0);
    let args = [&args[..], &["--strict"]].concat();
    import(folder.path(), &args).code(3);
}

#[test]
fn an_export_goes_where_it_is_sent_and_replaces_no_link_or_device() {
    use std::os::unix::fs::{FileTypeExt as _, symlink};
    let folder = tempfile::tempdir().unwrap();
    work().write(folder.path());
    let file = folder.path().join("truth.json");
    export(folder.path(), &["--to", file.to_str().unwrap()]).code(0);
    let whole = std::fs::read(&file).unwrap();

    let link = folder.path().join("link.json");
    symlink(&file, &link).unwrap();
    std::fs::write(&file, "old").unwrap();
    // What an earlier version would have opened and followed.
    let planted = folder.path().join("planted");
    symlink(&planted, folder.path().join(".truth.json.tmp")).unwrap();
    symlink(&planted, folder.path().join(".link.json.tmp")).unwrap();
    export(folder.path(), &["--to", link.to_str().unwrap()]).code(0);
    assert!(link.symlink_metadata().unwrap().is_symlink());
    assert_eq!(std::fs::read(&file).unwrap(), whole);
    assert!(!planted.exists());

    let pipe = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let reader = std::thread::spawn({
        let pipe = pipe.clone();
        move || std::fs::read(pipe).unwrap()
    });
    export(folder.path(), &["--to", pipe.to_str().unwrap()]).code(0);
    assert!(pipe.symlink_metadata().unwrap().file_type().is_fifo());
    assert_eq!(reader.join().unwrap(), whole);

    let said = stderr(&export(folder.path(), &["--to", "/dev/full"]).code(1));
    assert!(said.contains("cannot write /dev/full"), "{said}");
    assert!(Path::new("/dev/full").metadata().unwrap().file_type().is_char_device());
}
