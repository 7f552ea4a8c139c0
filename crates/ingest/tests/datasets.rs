//! Tests of all dataset layouts, and of the rules about files and folders.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use common::{Dataset, NAMES, code, stderr, table_bytes};
use ossify_contract::{ImageStatus, ObjectRow, Split};

fn ids(dataset: &Dataset) -> Vec<(Split, String)> {
    dataset.images().into_iter().map(|image| (image.split, image.image_id)).collect()
}

fn rules(dataset: &Dataset) -> Vec<(String, String)> {
    dataset.issues().into_iter().map(|issue| (issue.rule, issue.path)).collect()
}

fn status(dataset: &Dataset, id: &str) -> ImageStatus {
    dataset.images().into_iter().find(|image| image.image_id == id).unwrap().status
}

fn run(dataset: &Dataset, arguments: &[&str]) -> String {
    let output = dataset.ingest(arguments);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    stderr(&output)
}

#[test]
fn rows_are_in_order_of_split_path_and_line() {
    let dataset = Dataset::small();
    dataset.pair("train/images/a.k.png", "0 0.5 0.5 0.2 0.1\n");
    dataset.pair("train/images/sub/z.png", "0 0.5 0.5 0.2 0.1\n");
    run(&dataset, &[]);
    let ids: Vec<_> = ids(&dataset).into_iter().map(|(_, id)| id).collect();
    let expected = [
        "train/images/a.k.png",
        "train/images/a.png",
        "train/images/b.png",
        "train/images/c.png",
        "train/images/sub/z.png",
        "valid/images/d.png",
    ];
    assert_eq!(ids, expected);
    let objects: Vec<_> =
        dataset.objects().into_iter().map(|object| (object.image_id, object.line)).collect();
    let mut sorted = objects.clone();
    sorted.sort();
    assert_eq!(objects, sorted);
}

#[test]
fn an_image_row_has_what_the_header_says() {
    let dataset = Dataset::small();
    run(&dataset, &[]);
    let image = dataset.images().remove(0);
    assert_eq!(
        (image.width, image.height, image.channels, image.format.as_str(), image.exif_orientation),
        (20, 30, 1, "png", 1)
    );
    assert_eq!(
        (image.status, image.object_count, image.issue_count),
        (ImageStatus::Labelled, 2, 0)
    );
    assert_eq!(image.label_path.as_deref(), Some("train/labels/a.txt"));
    assert_eq!(status(&dataset, "train/images/c.png"), ImageStatus::Background);
}

/// A DICOM picture of 20x30 pixels with 12 bits, and further elements before its pixels.
fn dicom(further: &[(u16, u16, &[u8])]) -> Vec<u8> {
    let number = |value: u16| value.to_le_bytes().to_vec();
    let mut elements: Vec<((u16, u16), Vec<u8>)> = vec![
        ((0x0028, 0x0002), number(1)),
        ((0x0028, 0x0004), b"MONOCHROME2 ".to_vec()),
        ((0x0028, 0x0010), number(30)),
        ((0x0028, 0x0011), number(20)),
        ((0x0028, 0x0100), number(16)),
        ((0x0028, 0x0101), number(12)),
        ((0x7fe0, 0x0010), (0..600u16).flat_map(|i| (i * 6).to_le_bytes()).collect()),
    ];
    elements
        .extend(further.iter().map(|(group, element, value)| ((*group, *element), value.to_vec())));
    elements.sort();
    let mut file = [&[0; 128][..], b"DICM\x02\0\x10\0UI\x12\x001.2.840.10008.1.2\0"].concat();
    for ((group, element), value) in elements {
        file.extend([group.to_le_bytes(), element.to_le_bytes()].concat());
        file.extend((value.len() as u32).to_le_bytes());
        file.extend(value);
    }
    file
}

#[test]
fn dicom_images_are_rows_and_pictures_like_any_other() {
    let dataset = Dataset::small();
    dataset.write("train/images/x.dcm", dicom(&[]));
    dataset.write("train/labels/x.txt", "0 0.5 0.5 0.2 0.1\n");
    dataset.write("train/images/film.DICOM", dicom(&[(0x0028, 0x0008, b"12")]));
    dataset.write("train/labels/film.txt", "0 0.5 0.5 0.2 0.1\n");
    // It is the class's only image, so the page shows it.
    dataset.write("train/labels/a.txt", "1 0.3 0.3 0.1 0.1\n");
    run(&dataset, &[]);
    let image =
        dataset.images().into_iter().find(|image| image.image_id == "train/images/x.dcm").unwrap();
    assert_eq!(
        (image.width, image.height, image.channels, image.format.as_str(), image.exif_orientation),
        (20, 30, 1, "dicom", 1)
    );
    assert_eq!((image.status, image.object_count), (ImageStatus::Labelled, 1));
    assert_eq!(status(&dataset, "train/images/film.DICOM"), ImageStatus::Unreadable);
    let issue =
        dataset.issues().into_iter().find(|issue| issue.rule == "image-unreadable").unwrap();
    assert_eq!(
        (issue.path.as_str(), issue.message.as_str()),
        (
            "train/images/film.DICOM",
            "this kind of dicom is not supported: it holds 12 frames; save the frame that is \
            meant as a file of its own, for example with dcmj2pnm +on2 +F 1"
        )
    );
    let page = std::fs::read_to_string(dataset.tables().join("ingest.html")).unwrap();
    assert_eq!(
        page.matches("data:image/jpeg").count(),
        1,
        "browsers do not show DICOM: it is drawn as JPEG"
    );
    assert!(!page.contains("image/dicom"));
}

#[test]
fn folders_may_be_named_the_other_way_round() {
    let dataset = Dataset::new();
    dataset.pair("images/train/a.png", "0 0.5 0.5 0.2 0.1\n");
    dataset.pair("images/val/b.png", "0 0.5 0.5 0.2 0.1\n");
    run(&dataset, &["--set", "dataset.class_names=[\"a\"]"]);
    assert_eq!(
        ids(&dataset),
        [(Split::Train, "images/train/a.png".into()), (Split::Valid, "images/val/b.png".into())]
    );
    assert_eq!(dataset.objects().len(), 2);
}

#[test]
fn without_names_anywhere_the_error_says_where_to_put_them() {
    let dataset = Dataset::new();
    dataset.pair("train/images/a.png", "0 0.5 0.5 0.2 0.1\n");
    let output = dataset.ingest(&[]);
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains("dataset.class_names"), "{}", stderr(&output));
}

#[test]
fn all_forms_of_data_yaml_give_the_same_tables() {
    let forms = [
        NAMES,
        "path: .\ntrain: train/images\nval: valid/images\nnames: {0: elbow, 1: forearm, 2: \
        wrist}\n",
        "train: [train/images]\nvalid: ./valid/images\nnc: 3\nnames:\n  - elbow\n  - forearm\n  - \
        wrist\n",
        "path: /nowhere/else\ntrain: train\nval: valid\ntest:  # none\nnames:\n  0: elbow\n  1: \
        forearm\n  2: wrist\n",
        "train: train.txt\nval: lists/valid.txt\nnames: [elbow, forearm, wrist]\n",
        "names: [elbow, forearm, wrist]\n",
    ];
    let mut expected = None;
    for form in forms {
        let dataset = Dataset::small();
        dataset.write("data.yaml", form);
        dataset.write(
            "train.txt",
            "./train/images/a.png\n./train/images/c.png\r\ntrain/images/b.png\n\n",
        );
        dataset.write("lists/valid.txt", "../valid/images/d.png\n");
        run(&dataset, &[]);
        let tables = (dataset.images(), dataset.objects(), dataset.issues(), dataset.classes());
        assert_eq!(&tables, expected.get_or_insert_with(|| tables.clone()), "{form}");
    }
}

#[test]
fn another_name_of_the_description_is_found_and_two_are_refused() {
    let dataset = Dataset::small();
    std::fs::rename(dataset.path().join("data.yaml"), dataset.path().join("bones.yaml")).unwrap();
    dataset.write("compose.yml", "services: {}\n");
    run(&dataset, &[]);
    assert_eq!(dataset.classes().len(), 3);
    dataset.write("other.yaml", NAMES);
    let output = dataset.ingest(&[]);
    assert!(code(&output) == 1 && stderr(&output).contains("bones.yaml"), "{}", stderr(&output));
    let output = common::ingest(&dataset.path().join("other.yaml"), &dataset.out(), &[]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
}

#[test]
fn a_list_that_names_a_missing_image_is_a_finding_at_its_line() {
    let dataset = Dataset::small();
    dataset.write("data.yaml", "train: train.txt\nnames: [elbow, forearm, wrist]\n");
    dataset.write("train.txt", "train/images/a.png\n  train/images/gone.png\n");
    dataset.write("train/labels/gone.txt", "0 0.5 0.5 0.2 0.1\n");
    run(&dataset, &[]);
    let issue = dataset.issues().into_iter().find(|issue| issue.path == "train.txt").unwrap();
    assert_eq!(
        (issue.rule.as_str(), issue.line, issue.column),
        ("image-missing", Some(2), Some(3))
    );
    assert_eq!(dataset.manifest().summary["ledger"]["train"]["quarantined"], 1);
}

#[test]
fn an_image_in_two_splits_is_refused() {
    let dataset = Dataset::small();
    dataset.write("data.yaml", "train: train/images\nval: train/images\nnames: [a, b, c]\n");
    let output = dataset.ingest(&[]);
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains("3 images are in train and in valid"), "{}", stderr(&output));
}

#[test]
fn faults_of_files_are_found_and_the_ledger_adds_up() {
    let dataset = Dataset::faulty();
    run(&dataset, &[]);
    let found = rules(&dataset);
    let expected = [
        ("stem-collision", "train/images/twin.bmp"),
        ("stem-collision", "train/images/twin.png"),
        ("image-missing", "train/labels/orphan.txt"),
        ("label-missing", "train/images/unlabelled.png"),
        ("image-too-small", "train/images/tiny.png"),
        ("image-unreadable", "train/images/cut.png"),
    ];
    for (rule, path) in expected {
        assert!(found.contains(&(rule.into(), path.into())), "{rule} {path}: {found:?}");
    }
    assert_eq!(status(&dataset, "train/images/unlabelled.png"), ImageStatus::Unlabelled);
    assert_eq!(status(&dataset, "train/images/twin.png"), ImageStatus::Unlabelled);
    for unusable in ["train/images/tiny.png", "train/images/cut.png"] {
        assert_eq!(status(&dataset, unusable), ImageStatus::Unreadable);
        assert!(
            dataset.objects().iter().any(|object| object.image_id == unusable),
            "its objects stay in the table"
        );
    }
    let ledger = &dataset.manifest().summary["ledger"]["train"];
    // a: 4, b: 3, orphan: 2, tiny: 1, cut: 1, twin: 1; dropped are 3 of a, 1 of b, the orphan's and
    // the twins'.
    assert_eq!((&ledger["lines"], &ledger["quarantined"]), (&12.into(), &7.into()));
}

#[test]
fn missing_labels_may_mean_background() {
    let dataset = Dataset::small();
    dataset.image("train/images/unlabelled.png", 20, 30);
    run(&dataset, &["--set", "dataset.missing_labels=background"]);
    assert_eq!(status(&dataset, "train/images/unlabelled.png"), ImageStatus::Background);
    assert!(rules(&dataset).is_empty());
}

#[test]
fn files_that_are_not_images_are_recognised_by_their_content() {
    let dataset = Dataset::small();
    dataset.pair("train/images/note.jpg", "0 0.5 0.5 0.2 0.1\n");
    dataset.write("train/images/note.jpg", "not an image");
    dataset.write("train/images/empty.png", "");
    dataset.write("train/images/anim.gif", "GIF89a......");
    dataset.write("train/images/Thumbs.db", "x");
    dataset.write("train/images/._a.png", "x");
    run(&dataset, &[]);
    let unreadable: Vec<_> = rules(&dataset)
        .into_iter()
        .filter(|(rule, _)| rule == "image-unreadable")
        .map(|(_, path)| path)
        .collect();
    assert_eq!(
        unreadable,
        ["train/images/anim.gif", "train/images/empty.png", "train/images/note.jpg"]
    );
    assert_eq!(dataset.manifest().summary["splits"]["train"]["ignored_files"], 2);
}

#[test]
fn a_label_that_is_not_utf8_leaves_its_image_unlabelled() {
    let dataset = Dataset::small();
    dataset.write("train/labels/a.txt", b"0 0.5 0.5 0.2 0.1\n\xff\n");
    run(&dataset, &[]);
    assert_eq!(status(&dataset, "train/images/a.png"), ImageStatus::Unlabelled);
    assert_eq!(dataset.manifest().summary["ledger"]["train"]["quarantined"], 2);
}

#[test]
fn rare_classes_are_filtered_from_all_splits_and_the_others_renumbered() {
    let dataset = Dataset::small();
    dataset.pair("train/images/e.png", "0 0.5 0.5 0.2 0.1\n2 0.5 0.5 0.2 0.1\n");
    run(&dataset, &["--set", "ingest.min_objects_per_class=2"]);
    let classes: Vec<_> = dataset
        .classes()
        .into_iter()
        .map(|class| (class.class_index, class.kept, class.reason))
        .collect();
    assert_eq!(classes[0], (Some(0), true, None));
    assert_eq!(
        classes[1],
        (None, false, Some("1 object in train; ingest.min_objects_per_class is 2".into()))
    );
    assert_eq!(classes[2], (Some(1), true, None));
    let index_of = |object: &ObjectRow| [Some(0), None, Some(1)][object.class_id as usize];
    assert!(dataset.objects().iter().all(|object| object.class_index == index_of(object)));
    let ledger = dataset.manifest().summary["ledger"].clone();
    assert_eq!(
        (&ledger["train"]["rare_filtered"], &ledger["valid"]["rare_filtered"]),
        (&1.into(), &1.into())
    );
    assert_eq!(rules(&dataset), [("class-rare".into(), "data.yaml".into())]);
}

#[test]
fn a_dataset_without_train_keeps_its_classes() {
    let dataset = Dataset::new();
    dataset.write("data.yaml", "val: valid/images\nnames: [a, b]\n");
    dataset.pair("valid/images/d.png", "1 0.5 0.5 0.2 0.1\n");
    run(&dataset, &[]);
    assert!(dataset.classes().iter().all(|class| class.kept));
}

#[test]
fn a_path_in_data_yaml_that_leads_outside_is_refused() {
    let dataset = Dataset::small();
    let outside = Dataset::small();
    dataset.write(
        "data.yaml",
        format!("train: {}\nnames: [a, b, c]\n", outside.path().join("train/images").display()),
    );
    let output = dataset.ingest(&[]);
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains("path-escapes-dataset"), "{}", stderr(&output));
    run(&dataset, &["--set", "dataset.follow_links=true"]);
    assert_eq!(dataset.images().len(), 3);
}

#[test]
fn links_that_lead_outside_are_not_followed() {
    use std::os::unix::fs::symlink;
    let dataset = Dataset::small();
    let outside = Dataset::small();
    symlink(
        outside.path().join("train/images/a.png"),
        dataset.path().join("train/images/linked.png"),
    )
    .unwrap();
    symlink(
        outside.path().join("train/labels/a.txt"),
        dataset.path().join("train/labels/linked.txt"),
    )
    .unwrap();
    symlink(outside.path().join("train/images"), dataset.path().join("train/images/folder"))
        .unwrap();
    // Inside the dataset a link counts as a file.
    symlink(
        dataset.path().join("train/images/a.png"),
        dataset.path().join("train/images/inside.png"),
    )
    .unwrap();
    symlink(dataset.path().join("train/images"), dataset.path().join("train/images/circle"))
        .unwrap();
    symlink("nowhere.png", dataset.path().join("train/images/dangling.png")).unwrap();
    let text = run(&dataset, &[]);
    assert!(text.contains("train/images/circle"), "{text}");
    let escapes: Vec<_> = rules(&dataset)
        .into_iter()
        .filter(|(rule, _)| rule == "path-escapes-dataset")
        .map(|(_, path)| path)
        .collect();
    assert_eq!(
        escapes,
        ["train/images/folder", "train/images/linked.png", "train/labels/linked.txt"]
    );
    assert_eq!(status(&dataset, "train/images/linked.png"), ImageStatus::Unreadable);
    assert_eq!(status(&dataset, "train/images/dangling.png"), ImageStatus::Unreadable);
    let inside = dataset
        .images()
        .into_iter()
        .find(|image| image.image_id == "train/images/inside.png")
        .unwrap();
    assert_eq!(inside.width, 20);
    std::fs::remove_file(dataset.path().join("train/images/circle")).unwrap();
    run(&dataset, &["--set", "dataset.follow_links=true"]);
    assert_eq!(status(&dataset, "train/images/linked.png"), ImageStatus::Labelled);
    assert!(ids(&dataset).iter().any(|(_, id)| id == "train/images/folder/b.png"));
}

#[test]
fn a_file_name_that_is_not_utf8_is_a_finding() {
    use std::os::unix::ffi::OsStrExt;
    let dataset = Dataset::small();
    let name = std::ffi::OsStr::from_bytes(b"x\xff.png");
    std::fs::copy(
        dataset.path().join("train/images/a.png"),
        dataset.path().join("train/images").join(name),
    )
    .unwrap();
    run(&dataset, &[]);
    assert_eq!(status(&dataset, "train/images/x\\xFF.png"), ImageStatus::Unreadable);
}

#[test]
fn a_file_name_that_is_not_utf8_hides_no_image_that_is_called_as_it_is_shown() {
    use std::os::unix::ffi::OsStrExt;
    let dataset = Dataset::small();
    dataset.pair("train/images/x\\xFF.png", "0 0.5 0.5 0.2 0.1\n");
    let name = std::ffi::OsStr::from_bytes(b"x\xff.png");
    let images = dataset.path().join("train/images");
    std::fs::copy(images.join("a.png"), images.join(name)).unwrap();
    let output = dataset.ingest(&[]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert_eq!(status(&dataset, "train/images/x\\xFF.png"), ImageStatus::Labelled);
    let text = stderr(&output);
    assert!(text.contains("not UTF-8, and is shown as that of another image"), "{text}");
    assert!(!text.contains("more than once"), "{text}");
}

#[test]
fn tens_of_thousands_of_classes_neither_fill_the_page_nor_the_terminal() {
    let dataset = Dataset::small();
    let names: Vec<String> = (0..32_000).map(|id| format!("class {id}")).collect();
    let names = names.join(", ");
    dataset.write(
        "data.yaml",
        format!("train: ../train/images\nval: ../valid/images\nnames: [{names}]\n"),
    );
    let output = dataset.ingest(&[]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(stderr(&output).lines().count() < 100, "{}", stderr(&output));
    let html = std::fs::metadata(dataset.tables().join("ingest.html")).unwrap().len();
    assert!(html < 2_000_000, "{html} bytes");
}

#[test]
fn a_label_file_that_cannot_be_read_fails_the_run() {
    let dataset = Dataset::small();
    let label = dataset.path().join("train/labels/a.txt");
    std::fs::remove_file(&label).unwrap();
    std::os::unix::fs::symlink("/proc/self/mem", &label).unwrap();
    let output = dataset.ingest(&["--set", "dataset.follow_links=true"]);
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains("train/labels/a.txt"), "{}", stderr(&output));
    assert!(!dataset.tables().join("manifest.json").exists());
}

/// A dataset of many images with some faults.
fn large(images: usize) -> Dataset {
    let dataset = Dataset::new();
    dataset.write("data.yaml", NAMES);
    for at in 0..images {
        let split = ["train", "train", "valid"][at % 3];
        let mut label = String::new();
        for line in 0..at % 5 {
            let class = (at + line) % 4;
            label.push_str(&format!("{class} 0.5 0.{} 0.2 0.{}\n", 2 + line, 1 + at % 7));
        }
        if at % 11 == 0 {
            label.push_str("1 0.1 0.1 0.3 0.1 0.3 1.3 0.1 0.3\n");
        }
        dataset.pair(&format!("{split}/images/{at:05}.bmp"), label);
    }
    dataset
}

#[test]
fn the_number_of_threads_never_changes_a_byte() {
    let dataset = large(3000);
    let mut expected = None;
    for threads in ["1", "2", "7"] {
        run(&dataset, &["-q", "--force", "--set", &format!("general.threads={threads}")]);
        let bytes = table_bytes(&dataset.tables());
        assert_eq!(bytes.len(), 5);
        assert!(&bytes == expected.get_or_insert_with(|| bytes.clone()), "{threads} threads");
    }
}

#[test]
fn killed_at_any_moment_the_next_run_gives_the_same_tables() {
    let dataset = large(1500);
    run(&dataset, &["-q"]);
    let expected = table_bytes(&dataset.tables());
    for millis in [1, 5, 10, 15, 20, 30, 40, 60, 80] {
        let out = tempfile::tempdir().unwrap();
        let mut child = common::command(&dataset.path(), out.path(), &["-q"]).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(millis));
        let _ = child.kill();
        child.wait().unwrap();
        let tables = out.path().join("tables");
        let output = common::ingest(&dataset.path(), out.path(), &["-q"]);
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        assert!(table_bytes(&tables) == expected, "killed after {millis} ms");
        ossify_contract::Manifest::open(&tables, "").unwrap();
        assert!(!tables.join(".partial").exists());
    }
}
