//! A work folder with a few rows in every table, made with the contract's writers.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::path::Path;

use ossify_contract::{
    Action, ClassRow, FingerprintRow, ImagePredictionRow, ImageRow, ImageStatus, IssueRow,
    MatchKind, MatchRow, ObjectRow, PredictionRow, Publication, Row, Severity, Shape, Split,
    TableWriter, WorkFolder, write_latest,
};

/// One table of a folder to be published.
pub fn stage<R: Row>(publication: &Publication, path: &str, rows: Vec<R>) -> (String, u64) {
    let mut writer = TableWriter::<R>::create(publication.stage(path).unwrap()).unwrap();
    for row in rows {
        writer.push(row).unwrap();
    }
    (path.to_owned(), writer.finish().unwrap())
}

fn publish(
    folder: &Path,
    stage_name: &str,
    tables: impl FnOnce(&Publication) -> Vec<(String, u64)>,
) {
    let publication = Publication::begin(folder).unwrap();
    let files = tables(&publication)
        .into_iter()
        .map(|(path, rows)| publication.describe(&path, Some(rows)).unwrap())
        .collect();
    publication.commit(stage_name, "fingerprint", files, serde_json::json!({})).unwrap();
}

fn image(
    image_id: &str,
    split: Split,
    status: ImageStatus,
    object_count: i32,
    issue_count: i32,
    source_stem: &str,
) -> ImageRow {
    ImageRow {
        image_id: image_id.into(),
        split,
        label_path: Some(image_id.replace("images", "labels").replace(".jpg", ".txt")),
        width: 400,
        height: 500,
        channels: 3,
        format: "jpeg".into(),
        bytes: 20_000,
        exif_orientation: 1,
        source_stem: source_stem.into(),
        status,
        object_count,
        issue_count,
    }
}

fn object(
    image_id: &str,
    split: Split,
    line: i32,
    class: (i16, &str, Option<i16>),
    corners: [f32; 4],
) -> ObjectRow {
    let [xmin, ymin, xmax, ymax] = corners;
    let vertices = (line == 1).then(|| vec![[xmin, ymin], [xmax, ymin], [xmax, ymax]]);
    ObjectRow {
        image_id: image_id.into(),
        split,
        line,
        class_id: class.0,
        class_name: class.1.into(),
        class_index: class.2,
        shape: if line == 1 { Shape::Polygon } else { Shape::Box },
        vertices,
        xmin,
        ymin,
        xmax,
        ymax,
        area: (xmax - xmin) * (ymax - ymin),
        repaired: false,
    }
}

pub const TRAIN: [&str; 3] =
    ["train/images/a.rf.1.jpg", "train/images/a.rf.2.jpg", "train/images/b.jpg"];
pub const VALID: [&str; 2] = ["valid/images/a.rf.3.jpg", "valid/images/c.jpg"];
const WRIST: (i16, &str, Option<i16>) = (0, "wrist", Some(0));
const ELBOW: (i16, &str, Option<i16>) = (1, "elbow", Some(1));
const RARE: (i16, &str, Option<i16>) = (2, "humerus", None);

/// The tables of ingest.
pub fn write_tables(work: &WorkFolder) {
    use ImageStatus::{Background, Labelled, Unreadable};
    publish(&work.tables(), "ingest", |publication| {
        let images = vec![
            image(TRAIN[0], Split::Train, Labelled, 2, 1, "a"),
            image(TRAIN[1], Split::Train, Labelled, 1, 0, "a"),
            image(TRAIN[2], Split::Train, Unreadable, 0, 2, "b"),
            image(VALID[0], Split::Valid, Labelled, 2, 0, "a"),
            image(VALID[1], Split::Valid, Background, 0, 0, "c"),
        ];
        let objects = vec![
            object(TRAIN[0], Split::Train, 1, WRIST, [0.1, 0.1, 0.5, 0.5]),
            object(TRAIN[0], Split::Train, 2, ELBOW, [0.6, 0.6, 0.65, 0.9]),
            object(TRAIN[1], Split::Train, 1, RARE, [0.2, 0.2, 0.4, 0.4]),
            object(VALID[0], Split::Valid, 1, WRIST, [0.1, 0.1, 0.6, 0.5]),
            object(VALID[0], Split::Valid, 3, ELBOW, [0.7, 0.7, 0.9, 0.9]),
        ];
        let issue = |path: &str, line, rule: &str| IssueRow {
            split: Split::Train,
            path: path.into(),
            line,
            column: line.map(|_| 3),
            rule: rule.into(),
            severity: Severity::Error,
            action: Action::Dropped,
            message: "x centre is 1.5".into(),
            text: Some("0 1.5 \u{1b}[31m.5 .1 .1".into()),
        };
        let issues = vec![
            issue("train/labels/a.rf.1.txt", Some(3), "coordinate-out-of-range"),
            issue("train/images/b.jpg", None, "image-unreadable"),
            issue("train/labels/b.txt", Some(1), "coordinate-out-of-range"),
        ];
        let class = |(class_id, name, class_index): (i16, &str, Option<i16>),
                     train_objects,
                     valid_objects| ClassRow {
            class_id,
            class_name: name.into(),
            class_index,
            train_objects,
            valid_objects,
            test_objects: 0,
            train_images: train_objects,
            valid_images: valid_objects,
            test_images: 0,
            kept: class_index.is_some(),
            reason: class_index.is_none().then(|| "1 object in train".into()),
        };
        vec![
            stage(publication, "images.parquet", images),
            stage(publication, "objects.parquet", objects),
            stage(publication, "issues.parquet", issues),
            stage(
                publication,
                "classes.parquet",
                vec![class(WRIST, 1, 1), class(ELBOW, 1, 1), class(RARE, 1, 0)],
            ),
        ]
    });
}

/// What resize found in pictures that ingest knows by their headers alone.
pub fn write_issues_of_shards(work: &WorkFolder) {
    publish(&work.shards(), "resize", |publication| {
        let issue = IssueRow {
            split: Split::Valid,
            path: VALID[1].into(),
            line: None,
            column: None,
            rule: "image-unreadable".into(),
            severity: Severity::Error,
            action: Action::Dropped,
            message: "the jpeg file is damaged".into(),
            text: None,
        };
        vec![stage(publication, "issues.parquet", vec![issue])]
    });
}

/// The tables of all stages.
pub fn write_all(work: &WorkFolder) {
    write_tables(work);
    publish(&work.shards(), "resize", |publication| {
        let fingerprint = |image_id: &str, split, leak_group| FingerprintRow {
            image_id: image_id.into(),
            split,
            bytes_xxh3: u64::MAX,
            pixels_xxh3: 7,
            perceptual_hash: 1 << 63,
            brightness: 0.25,
            contrast: 0.125,
            leak_group,
        };
        let rows = vec![
            fingerprint(TRAIN[0], Split::Train, Some(0)),
            fingerprint(TRAIN[1], Split::Train, None),
            fingerprint(VALID[0], Split::Valid, Some(0)),
            fingerprint(VALID[1], Split::Valid, None),
        ];
        vec![stage(publication, "fingerprints.parquet", rows)]
    });
    let prediction =
        |image_id: &str, split, class: (i16, &str, Option<i16>), score: f32| PredictionRow {
            image_id: image_id.into(),
            split,
            rank: 1,
            class_index: class.2.unwrap(),
            class_name: class.1.into(),
            score,
            probabilities: vec![score, 1.0 - score],
            xmin: 0.1,
            ymin: 0.1,
            xmax: 0.6,
            ymax: 0.5,
        };
    // An older run, which must not be mixed in.
    for (id, score) in [("run-1", 0.1), ("run-2", 0.75)] {
        publish(&work.predictions().join(id), "predict", |publication| {
            let valid = vec![
                prediction(VALID[0], Split::Valid, ELBOW, score),
                prediction(VALID[1], Split::Valid, WRIST, score / 2.0),
            ];
            let looked_at = VALID.map(|image_id| ImagePredictionRow {
                image_id: image_id.into(),
                split: Split::Valid,
                score: None,
                class_scores: Vec::new(),
                detections: 1,
            });
            vec![
                stage(publication, "valid.parquet", valid),
                stage(publication, "valid.images.parquet", looked_at.to_vec()),
                stage::<PredictionRow>(publication, "test.parquet", vec![]),
                stage::<ImagePredictionRow>(publication, "test.images.parquet", vec![]),
            ]
        });
        publish(&work.reports().join(id).join("valid"), "evaluate", |publication| {
            let row = |kind,
                       line: Option<i32>,
                       true_class: Option<&str>,
                       predicted: Option<&str>,
                       iou| MatchRow {
                image_id: VALID[usize::from(line.is_none())].into(),
                line,
                rank: predicted.map(|_| 1),
                true_class_name: true_class.map(str::to_owned),
                predicted_class_name: predicted.map(str::to_owned),
                score: predicted.map(|_| score),
                iou,
                kind,
            };
            let rows = vec![
                row(MatchKind::ClassError, Some(1), Some("wrist"), Some("elbow"), Some(1.0)),
                row(MatchKind::Miss, Some(3), Some("elbow"), None, None),
                row(MatchKind::Background, None, None, Some("wrist"), Some(0.0)),
            ];
            vec![stage(publication, "matches.parquet", rows)]
        });
        write_latest(&work.predictions(), id).unwrap();
    }
}
