//! The queries of `pipelines/sql`, each on a small work folder whose answers are known.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use ossify_contract::WorkFolder;
use ossify_query::{Catalogue, Format, encode};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Rows and first row of every query; a query without a line here fails the test.
fn expected() -> BTreeMap<&'static str, (usize, Value)> {
    BTreeMap::from([
        (
            "class_balance",
            (
                5,
                json!({"split": "train", "class_name": "elbow", "objects": 1, "images": 1,
                    "share": 1.0 / 3.0}),
            ),
        ),
        (
            "split_summary",
            (
                4,
                json!({"split": "train", "status": "labelled", "images": 2, "objects": 3,
                    "findings": 1}),
            ),
        ),
        (
            "findings_per_rule",
            (
                2,
                json!({"rule": "coordinate-out-of-range", "severity": "error",
                    "action": "dropped", "findings": 2, "files": 2}),
            ),
        ),
        (
            "most_findings",
            (
                2,
                json!({"image_id": "train/images/b.jpg", "split": "train", "status": "unreadable",
                    "issue_count": 2, "object_count": 0}),
            ),
        ),
        (
            "tiny_boxes",
            (1, json!({"image_id": "train/images/a.rf.1.jpg", "line": 2, "class_name": "elbow"})),
        ),
        (
            "several_objects",
            (
                2,
                json!({"image_id": "train/images/a.rf.1.jpg", "split": "train", "objects": 2,
                    "classes": 2}),
            ),
        ),
        (
            "classes_per_source",
            (1, json!({"source_stem": "a", "images": 3, "splits": 2, "classes": 3})),
        ),
        (
            "image_sizes",
            (
                2,
                json!({"split": "train", "format": "jpeg", "images": 2, "min_width": 400,
                    "median_height": 500.0, "megabytes": 0.04}),
            ),
        ),
        (
            "filtered_classes",
            (
                1,
                json!({"class_id": 2, "class_name": "humerus", "train_objects": 1, "reason": "1 \
                    object in train"}),
            ),
        ),
        (
            "leaked_images",
            (
                2,
                json!({"leak_group": 0, "split": "train", "image_id": "train/images/a.rf.1.jpg",
                    "status": "labelled"}),
            ),
        ),
        (
            "worst_predictions",
            (
                2,
                json!({"image_id": "valid/images/a.rf.3.jpg", "kind": "class_error",
                    "predicted_class_name": "elbow", "score": 0.75}),
            ),
        ),
        (
            "confusion_pairs",
            (
                1,
                json!({"true_class_name": "wrist", "predicted_class_name": "elbow",
                    "predictions": 1, "mean_score": 0.75}),
            ),
        ),
        (
            "missed_objects",
            (
                1,
                json!({"image_id": "valid/images/a.rf.3.jpg", "line": 3,
                    "true_class_name": "elbow", "shape": "box"}),
            ),
        ),
        (
            "outcome_per_class",
            (
                2,
                json!({"true_class_name": "elbow", "kind": "miss", "objects": 1, "mean_iou": null}),
            ),
        ),
        (
            "unsure_predictions",
            (
                2,
                json!({"image_id": "valid/images/c.jpg", "split": "valid", "class_name": "wrist",
                    "score": 0.375, "status": "background"}),
            ),
        ),
    ])
}

fn same(found: &Value, expected: &Value) -> bool {
    match (found.as_f64(), expected.as_f64()) {
        (Some(found), Some(expected)) => (found - expected).abs() < 1e-6,
        _ => found == expected,
    }
}

#[test]
fn every_ready_made_query_says_what_it_answers_and_answers_it() {
    let folder = TempDir::new().unwrap();
    let work = WorkFolder::new(folder.path());
    support::write_all(&work);
    let catalogue = Catalogue::open(&work).unwrap();
    let mut expected = expected();
    for entry in
        fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines/sql")).unwrap()
    {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let sql = fs::read_to_string(&path).unwrap();
        let mut heading = sql.lines().take_while(|line| line.starts_with("-- "));
        assert!(heading.any(|line| line.contains('?')), "{name} begins with its question");
        let (rows, first) = expected
            .remove(name.as_str())
            .unwrap_or_else(|| panic!("{name} has no expectation in this test"));
        let mut answer = catalogue.query(&sql).unwrap_or_else(|e| panic!("{name}: {e}"));
        let found: Value =
            serde_json::from_slice(&encode(&mut answer, Format::Json).unwrap()).unwrap();
        let found = found.as_array().unwrap();
        assert_eq!(found.len(), rows, "{name}: {found:#?}");
        for (column, value) in first.as_object().unwrap() {
            assert!(
                same(&found[0][column], value),
                "{name}.{column} should be {value}: {:#?}",
                found[0]
            );
        }
    }
    assert!(expected.is_empty(), "no such query: {:?}", expected.keys());
}
