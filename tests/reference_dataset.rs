//! Tests against the reference dataset, if it is available: the counts given by its publisher and
//! by the reference notebook.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use ossify_contract::{ClassRow, ImageRow, IssueRow, Manifest, ObjectRow, read_table};
use ossify_tests::{Project, reference_dataset, workspace_root};

#[test]
fn ingest_gives_the_counts_of_the_reference() {
    let Some(dataset) = reference_dataset() else { return };
    let mut project = Project::new();
    project.dataset = dataset;
    let conf = workspace_root().join("conf/bone-fracture.toml");
    std::fs::copy(conf, project.path().join("test.toml")).unwrap();
    project.run("ingest", &[]).success();

    let tables = project.out.join("tables");
    let manifest = Manifest::open(&tables, "").unwrap();
    let ledger = &manifest.summary["ledger"];
    for (split, lines, quarantined, rare) in
        [("train", 2088, 0, 3), ("valid", 204, 3, 0), ("test", 96, 1, 0)]
    {
        let split = &ledger[split];
        let count = |name: &str| split[name].as_u64().unwrap();
        assert_eq!(
            (count("lines"), count("quarantined"), count("rare_filtered")),
            (lines, quarantined, rare),
            "{split}"
        );
        assert_eq!(count("lines"), count("boxes") + count("polygons") + count("quarantined"));
    }

    let images: Vec<ImageRow> = read_table(tables.join("images.parquet")).unwrap();
    let mut counts = BTreeMap::new();
    for image in &images {
        *counts.entry((image.split.as_str(), image.status.as_str())).or_insert(0) += 1;
    }
    assert_eq!(images.len(), 4148);
    let backgrounds = ["train", "valid", "test"].map(|split| counts[&(split, "background")]);
    assert_eq!(backgrounds, [1827, 175, 86], "images with an empty label file");
    // The only line of two valid images and one test image is a polygon of three vertices.
    assert_eq!(
        (
            counts[&("train", "labelled")],
            counts[&("valid", "unlabelled")],
            counts[&("test", "unlabelled")]
        ),
        (3631 - 1827, 2, 1)
    );

    let objects: Vec<ObjectRow> = read_table(tables.join("objects.parquet")).unwrap();
    let of = |split: &str| {
        objects.iter().filter(|object| object.split.as_str() == split).collect::<Vec<_>>()
    };
    assert_eq!((of("train").len(), of("valid").len(), of("test").len()), (2088, 201, 95));
    assert_eq!(of("train").iter().filter(|object| object.class_index.is_some()).count(), 2085);

    let classes: Vec<ClassRow> = read_table(tables.join("classes.parquet")).unwrap();
    assert_eq!(
        classes.iter().map(|class| class.train_objects).collect::<Vec<_>>(),
        [339, 531, 316, 3, 311, 360, 228]
    );
    assert_eq!(
        classes.iter().map(|class| class.class_index).collect::<Vec<_>>(),
        [Some(0), Some(1), Some(2), None, Some(3), Some(4), Some(5)]
    );

    let issues: Vec<IssueRow> = read_table(tables.join("issues.parquet")).unwrap();
    let mut of_valid: Vec<_> = issues
        .iter()
        .filter(|issue| issue.split.as_str() == "valid")
        .map(|issue| (issue.path.as_str(), issue.rule.as_str()))
        .collect();
    of_valid.sort();
    let named = [
        "image1_1031_png.rf.0f84f2c23a4cd720a80e74e445be6466",
        "image2_1224_png.rf.7c20f6876b3efc39ea916cda7db4c00c",
        "image2_610_png.rf.c0995510828ea9894c4ffdea39630aca",
    ];
    assert_eq!(of_valid.len(), 3, "{of_valid:?}");
    for ((path, rule), name) in of_valid.iter().zip(named) {
        assert_eq!(
            (*path, *rule),
            (format!("valid/labels/{name}.txt").as_str(), "polygon-too-few-vertices")
        );
    }
}

/// The first ten boxes that the reference notebook prints, with their class ids.
const NOTEBOOK_BOXES: [(i16, [f32; 4]); 10] = [
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
fn the_boxes_that_the_notebook_prints_are_in_the_table() {
    let Some(dataset) = reference_dataset() else { return };
    let mut project = Project::new();
    project.dataset = dataset;
    project.run("ingest", &[]).success();
    let objects: Vec<ObjectRow> = read_table(project.out.join("tables/objects.parquet")).unwrap();
    for (class_id, printed) in NOTEBOOK_BOXES {
        let is_it = |object: &&ObjectRow| {
            object.class_id == class_id
                && object
                    .unit_box()
                    .to_array()
                    .iter()
                    .zip(printed)
                    .all(|(a, b)| (a - b).abs() < 1e-6)
        };
        assert!(objects.iter().any(|object| is_it(&object)), "class {class_id} {printed:?}");
    }
}
