//! The reference dataset: the counts and boxes that the reference notebook printed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use std::path::{Path, PathBuf};

use common::{code, stderr};
use ossify_contract::{ClassRow, ImageRow, ImageStatus, IssueRow, Manifest, ObjectRow, Split, read_table};

fn dataset() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/datasets/BoneFractureYolo8");
    if path.is_dir() {
        return Some(path);
    }
    eprintln!("skipped: the reference dataset is not at {}", path.display());
    None
}

/// Boxes that the notebook prints, with their class ids.
const PRINTED_BOXES: [(i16, [f32; 4]); 10] = [
    (1, [0.4404683, 0.31309316, 0.7659444, 0.55647546]),
    (6, [0.2908256, 0.38371962, 0.41078433, 0.51536673]),
    (0, [0.4224264, 0.4298628, 0.60367703, 0.54083246]),
    (6, [0.41856024, 0.4094788, 0.6055509, 0.4855385]),
    (2, [0.365293, 0.396875, 0.5938265, 0.55958796]),
    (0, [0.72946703, 0.3694884, 0.8371946, 0.49267924]),
    (0, [0.5997687, 0.3987722, 0.6947129, 0.51465213]),
    (0, [0.55960584, 0.3642187, 0.7474956, 0.49238095]),
    (2, [0.5768778, 0.60538375, 0.6844229, 0.711113]),
    (6, [0.38905194, 0.4906167, 0.7111077, 0.591931]),
];

#[test]
fn the_reference_dataset_has_the_counts_that_the_notebook_printed() {
    let Some(dataset) = dataset() else { return };
    let out = tempfile::tempdir().unwrap();
    let output = common::ingest(&dataset, out.path(), &["--set", "ingest.min_polygon_vertices=4", "--set", "ingest.min_objects_per_class=10"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let tables = out.path().join("tables");
    let images: Vec<ImageRow> = read_table(tables.join("images.parquet")).unwrap();
    let objects: Vec<ObjectRow> = read_table(tables.join("objects.parquet")).unwrap();
    let issues: Vec<IssueRow> = read_table(tables.join("issues.parquet")).unwrap();
    let classes: Vec<ClassRow> = read_table(tables.join("classes.parquet")).unwrap();

    let of = |split: Split| images.iter().filter(|image| image.split == split).count();
    assert_eq!(Split::ALL.map(of), [3631, 348, 169]);
    assert!(images.iter().all(|image| image.status != ImageStatus::Unreadable && image.format == "jpeg" && image.channels == 3));
    let ledger = &Manifest::open(&tables, "").unwrap().summary["ledger"];
    let figure = |split: &str, key: &str| ledger[split][key].as_u64().unwrap();
    assert_eq!(["train", "valid", "test"].map(|split| figure(split, "lines")), [2088, 204, 96]);
    assert_eq!(["train", "valid", "test"].map(|split| figure(split, "quarantined")), [0, 3, 1]);

    let counts = |split: Split| {
        let mut counts = [0; 7];
        objects.iter().filter(|object| object.split == split).for_each(|object| counts[object.class_id as usize] += 1);
        counts
    };
    assert_eq!(counts(Split::Train), [339, 531, 316, 3, 311, 360, 228]);
    assert_eq!(objects.iter().filter(|object| object.split == Split::Train && object.class_index.is_some()).count(), 2085);
    assert_eq!(counts(Split::Valid).iter().sum::<i32>(), 201);
    assert_eq!(counts(Split::Test).iter().sum::<i32>(), 95);

    let kept: Vec<_> = classes.iter().map(|class| class.class_index).collect();
    assert_eq!(kept, [Some(0), Some(1), Some(2), None, Some(3), Some(4), Some(5)]);
    assert_eq!(classes[3].reason.as_deref(), Some("3 objects in train; ingest.min_objects_per_class is 10"));

    let of_valid: Vec<_> = issues.iter().filter(|issue| issue.split == Split::Valid).collect();
    assert_eq!(of_valid.len(), 3, "{of_valid:?}");
    for stem in ["image2_1224_png.rf.7c20", "image2_610_png.rf.c099", "image1_1031_png.rf.0f84"] {
        let found = of_valid.iter().find(|issue| issue.path.starts_with(&format!("valid/labels/{stem}"))).unwrap();
        assert_eq!(found.rule, "polygon-too-few-vertices");
    }

    for (class_id, expected) in PRINTED_BOXES {
        let is_it = |object: &&ObjectRow| object.class_id == class_id && object.unit_box().to_array().iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6);
        assert!(objects.iter().filter(|object| object.split == Split::Train).any(|object| is_it(&object)), "class {class_id}, {expected:?}");
    }
}
