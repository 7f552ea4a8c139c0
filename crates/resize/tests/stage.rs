//! Tests of the stage through its command line.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use common::{Bench, encoded, json, picture, published, text};
use image::ImageFormat;
use ossify_contract::{
    FingerprintRow, ImageStatus, IssueRow, Manifest, ShardReader, Split, read_table,
};
use ossify_imaging::{decode_picture, to_tensor_into};
use ossify_vocabulary::{Channels, Filter, Geometry, Limits, TensorSpec};

const SPEC: TensorSpec = TensorSpec {
    side_px: 48,
    channels: Channels::Rgb,
    geometry: Geometry::Stretch,
    filter: Filter::Bilinear,
    antialias: true,
};

#[test]
fn every_image_stands_once_in_order_with_its_tensor_and_transform() {
    let bench = Bench::with_images(90);
    let summary = bench.summary(&[]);
    assert_eq!(summary["summary"]["images"], 90);
    assert_eq!(
        summary["summary"]["images_per_split"],
        serde_json::json!({"train": 45, "valid": 23, "test": 22})
    );
    // 45, 23 and 22 images in shards of 8 to 16, except for the last ones.
    let count = summary["summary"]["shards"].as_u64().unwrap();
    assert!((3 + 2 + 2..=6 + 3 + 3).contains(&count), "{count}");

    let shards = bench.out().join("shards");
    let manifest = Manifest::open(&shards, "").unwrap();
    let mut ids = Vec::new();
    for file in manifest.files.iter().filter(|file| file.path.ends_with(".arrow")) {
        let reader = ShardReader::open(shards.join(&file.path)).unwrap();
        assert_eq!(file.rows, Some(reader.len() as u64));
        for (row, image) in reader.iter().enumerate() {
            let bytes = std::fs::read(bench.dataset().join(image.image_id)).unwrap();
            let picture = decode_picture(&bytes, &Limits::default(), &SPEC).unwrap();
            let mut tensor = vec![0; SPEC.bytes()];
            let transform = to_tensor_into(&picture, &SPEC, &mut tensor).unwrap();
            assert_eq!(
                (&*reader.tensor(row).unwrap(), image.transform),
                (tensor.as_slice(), transform)
            );
            assert_eq!((image.width, image.height), picture.size());
            ids.push(image.image_id.to_owned());
        }
    }
    let expected: Vec<String> = ["test", "train", "valid"]
        .iter()
        .flat_map(|split| {
            bench
                .rows
                .iter()
                .filter(move |row| row.split.as_str() == *split)
                .map(|row| row.image_id.clone())
        })
        .collect();
    assert_eq!(ids, expected);

    let fingerprints: Vec<FingerprintRow> =
        read_table(shards.join("fingerprints.parquet")).unwrap();
    assert_eq!(fingerprints.len(), 90);
    assert!(fingerprints.iter().all(|row| row.leak_group.is_none()));
    // The pictures are random, so every hash is different.
    assert!(
        fingerprints
            .iter()
            .all(|row| (0.1..0.9).contains(&row.brightness) && (0.01..0.5).contains(&row.contrast)),
        "{fingerprints:?}"
    );
    assert_ne!(fingerprints[0].brightness, fingerprints[1].brightness);
}

#[test]
fn the_bytes_are_the_same_whatever_the_threads() {
    let bench = Bench::with_images(150);
    bench.summary(&["--set", "general.threads=1"]);
    let one = published(&bench.out().join("shards"));
    for threads in [2, 5] {
        bench.summary(&["--force", "--set", &format!("general.threads={threads}")]);
        assert!(published(&bench.out().join("shards")) == one, "{threads} threads");
    }
}

#[test]
fn a_second_run_does_nothing_until_an_input_changes() {
    let mut bench = Bench::with_images(40);
    assert_eq!(bench.summary(&[])["status"], "done");
    assert_eq!(bench.summary(&[])["status"], "current");
    assert_eq!(bench.summary(&["--set", "general.threads=1"])["status"], "current");
    assert_eq!(bench.summary(&["--force"])["status"], "done");
    assert_eq!(bench.summary(&["--set", "resize.geometry=letterbox"])["status"], "done");
    assert_eq!(bench.summary(&[])["status"], "done");
    // Changed labels do not cause a resize.
    bench.rows[0].object_count = 3;
    bench.write_tables();
    assert_eq!(bench.summary(&[])["status"], "current");
    let first = bench.dataset().join(&bench.rows[0].image_id);
    let size = (bench.rows[0].width as u32, bench.rows[0].height as u32);
    std::fs::write(&first, encoded(&picture(size.0, size.1, 9999), ImageFormat::Png)).unwrap();
    assert_eq!(bench.summary(&[])["status"], "done");
    assert_eq!(bench.summary(&[])["status"], "current");
    std::fs::remove_file(bench.out().join("shards/valid-00000.arrow")).unwrap();
    assert_eq!(bench.summary(&[])["status"], "done");
}

#[test]
fn bad_images_are_named_and_left_out_and_the_others_go_on() {
    let mut bench = Bench::with_images(20);
    let good = encoded(&picture(64, 48, 500), ImageFormat::Jpeg);
    bench.add(Split::Train, "cut.jpg", &good[..good.len() / 2], (64, 48));
    bench.add(Split::Train, "zeros.jpg", &[0; 100], (64, 48));
    bench.add(Split::Train, "empty.jpg", b"", (64, 48));
    bench.add(Split::Valid, "other-size.jpg", &good, (64, 49));
    bench.add(Split::Valid, "gone.jpg", &good, (64, 48));
    bench.add(Split::Valid, "folder.jpg", &good, (64, 48));
    bench.add(
        Split::Test,
        "bomb.png",
        &encoded(&picture(800, 700, 1), ImageFormat::Png),
        (800, 700),
    );
    bench.add(Split::Test, "known-bad.jpg", b"no image", (0, 0));
    bench.rows.last_mut().unwrap().status = ImageStatus::Unreadable;
    std::fs::remove_file(bench.dataset().join("valid/images/gone.jpg")).unwrap();
    std::fs::remove_file(bench.dataset().join("valid/images/folder.jpg")).unwrap();
    std::fs::create_dir(bench.dataset().join("valid/images/folder.jpg")).unwrap();
    bench.write_tables();

    let arguments = ["--set", "resize.max_pixels=500000"];
    let output = bench.run(&arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let summary = json(&output)["summary"].clone();
    assert_eq!((&summary["images"], &summary["unreadable"]), (&20.into(), &1.into()));
    let failed: Vec<(&str, &str, &str)> = summary["failed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|failure| {
            (
                failure["image_id"].as_str().unwrap(),
                failure["rule"].as_str().unwrap(),
                failure["reason"].as_str().unwrap(),
            )
        })
        .collect();
    let bytes = good.len() / 2;
    let cut = format!(
        "the jpeg file was cut short: its end is missing after {bytes} bytes; copy or download it \
        again"
    );
    assert_eq!(
        failed,
        [
            ("train/images/cut.jpg", "image-unreadable", cut.as_str()),
            (
                "train/images/zeros.jpg",
                "image-unreadable",
                "not an image: it begins with zeros only, as after a failed download or copy"
            ),
            ("train/images/empty.jpg", "image-unreadable", "the file is empty (0 bytes)"),
            (
                "valid/images/other-size.jpg",
                "image-changed",
                "the image has 64x48 pixels and the tables say 64x49"
            ),
            (
                "valid/images/gone.jpg",
                "image-not-read",
                "the file cannot be opened or read: No such file or directory (os error 2)"
            ),
            ("valid/images/folder.jpg", "image-unreadable", "this is a folder, not an image file"),
            (
                "test/images/bomb.png",
                "image-unreadable",
                "800x700 pixels are more than the limit of 500000 (resize.max_pixels)"
            ),
        ]
    );
    assert_eq!(
        summary["failed_per_rule"],
        serde_json::json!({"image-changed": 1, "image-not-read": 1, "image-unreadable": 5})
    );
    let issues: Vec<IssueRow> = read_table(bench.out().join("shards/issues.parquet")).unwrap();
    let listed: Vec<(&str, &str, &str)> = issues
        .iter()
        .map(|issue| (issue.path.as_str(), issue.rule.as_str(), issue.message.as_str()))
        .collect();
    assert_eq!(listed, failed, "the table says what the summary says");
    let said = text(&output.stderr);
    assert!(said.contains("error[image-changed]: the image has 64x48 pixels"), "{said}");
    assert!(said.contains("valid/images/gone.jpg"), "{said}");

    // The second run does nothing, but with --strict it reports what the first would have reported.
    let strict = bench.run(&[&arguments[..], &["--strict"]].concat());
    assert_eq!(strict.status.code(), Some(3), "{}", text(&strict.stderr));
    assert!(
        text(&strict.stderr)
            .contains("7 images that the tables call readable did not become tensors"),
        "{}",
        text(&strict.stderr)
    );

    // A file that could not be read is tried again.
    std::fs::write(bench.dataset().join("valid/images/gone.jpg"), &good).unwrap();
    assert_eq!(bench.summary(&arguments)["summary"]["images"], 21);
}

#[test]
fn a_shard_without_a_single_good_image_is_not_there() {
    let mut bench = Bench::new();
    for i in 0..16 {
        bench.add(Split::Train, &format!("{i}.jpg"), b"bad", (10, 10));
    }
    for i in 0..8 {
        bench.add(
            Split::Valid,
            &format!("{i}.png"),
            &encoded(&picture(30, 20, i), ImageFormat::Png),
            (30, 20),
        );
    }
    bench.write_tables();
    assert_eq!(bench.summary(&[])["summary"]["shards"], 1);
    let files: Vec<String> = published(&bench.out().join("shards")).into_keys().collect();
    assert_eq!(
        files,
        [
            "fingerprints.parquet",
            "issues.parquet",
            "leaks.parquet",
            "manifest.json",
            "valid-00000.arrow"
        ]
    );
}

#[test]
fn copies_across_splits_share_a_leak_group() {
    let mut bench = Bench::with_images(30);
    let original = picture(70, 60, 1000);
    let png = encoded(&original, ImageFormat::Png);
    bench.add(Split::Train, "original.png", &png, (70, 60));
    bench.add(Split::Test, "copy.png", &png, (70, 60));
    bench.add(Split::Valid, "same-pixels.bmp", &encoded(&original, ImageFormat::Bmp), (70, 60));
    let twice = encoded(&picture(70, 60, 1001), ImageFormat::Png);
    bench.add(Split::Train, "twice-a.png", &twice, (70, 60));
    bench.add(Split::Train, "twice-b.png", &twice, (70, 60));
    bench.write_tables();
    let summary = bench.summary(&[]);
    assert_eq!(
        summary["summary"]["leaks"],
        serde_json::json!({"groups": 1, "images": 3, "same_bytes": 1, "same_pixels": 1, "near": 0})
    );
    let rows: Vec<FingerprintRow> =
        read_table(bench.out().join("shards/fingerprints.parquet")).unwrap();
    let group: Vec<&str> = rows
        .iter()
        .filter(|row| row.leak_group == Some(0))
        .map(|row| row.image_id.as_str())
        .collect();
    assert_eq!(
        group,
        ["train/images/original.png", "valid/images/same-pixels.bmp", "test/images/copy.png"]
    );
    assert!(rows.iter().all(|row| row.leak_group.is_none_or(|group| group == 0)));
}

#[test]
fn wrong_paths_and_empty_inputs_are_reported_with_the_right_exit_code() {
    let bench = Bench::with_images(4);
    let fails = |command: &mut std::process::Command, code: i32, words: &str| {
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains(words), "{}", text(&output.stderr));
    };
    fails(bench.command(&bench.out(), &[]).args(["--set", "resize.sidepx=3"]), 2, "side_px");
    let nowhere = bench.root.path().join("nowhere");
    fails(&mut bench.command(&nowhere, &[]), 1, "run ossify-ingest first");
    let mut moved = std::process::Command::new(env!("CARGO_BIN_EXE_ossify-resize"));
    fails(moved.arg("--dataset").arg(&nowhere).arg("--out").arg(bench.out()), 2, "does not exist");
    std::fs::create_dir(&nowhere).unwrap();
    let mut empty = std::process::Command::new(env!("CARGO_BIN_EXE_ossify-resize"));
    fails(
        empty.arg("--dataset").arg(&nowhere).arg("--out").arg(bench.out()),
        1,
        "none of the 4 images became a tensor",
    );
    assert!(!bench.out().join("shards/manifest.json").exists());

    let images = bench.out().join("tables/images.parquet");
    let mut bytes = std::fs::read(&images).unwrap();
    bytes[10] ^= 1;
    std::fs::write(&images, bytes).unwrap();
    fails(&mut bench.command(&bench.out(), &[]), 1, "not the bytes that manifest.json says");
}

#[test]
fn ids_that_leave_the_dataset_are_refused() {
    let mut bench = Bench::with_images(4);
    bench.rows[2].image_id = "../secret.jpg".into();
    bench.write_tables();
    let output = bench.run(&[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("not a path below the dataset's folder"),
        "{}",
        text(&output.stderr)
    );
}

/// The names of the gates that were not met, which decide the exit code.
fn gates(output: &std::process::Output) -> Vec<String> {
    let names: Vec<String> = json(output)["gates"]
        .as_array()
        .unwrap()
        .iter()
        .map(|gate| gate["name"].as_str().unwrap().to_owned())
        .collect();
    let expected = if names.is_empty() { 0 } else { 3 };
    assert_eq!(output.status.code(), Some(expected), "{}", text(&output.stderr));
    names
}

#[test]
fn failed_images_and_leaks_have_gates_that_are_judged_at_each_call() {
    let mut bench = Bench::new();
    for (number, split) in
        [Split::Train, Split::Train, Split::Valid, Split::Test].iter().enumerate()
    {
        let bytes = encoded(&picture(80, 60, number as u32), ImageFormat::Png);
        bench.add(*split, &format!("{number}.png"), &bytes, (80, 60));
    }
    let twin = encoded(&picture(80, 60, 0), ImageFormat::Png);
    bench.add(Split::Valid, "twin.png", &twin, (80, 60));
    bench.add(Split::Valid, "broken.png", b"not a picture", (80, 60));
    bench
        .rows
        .sort_by(|a, b| (a.split as usize, &a.image_id).cmp(&(b.split as usize, &b.image_id)));
    bench.write_tables();
    assert_eq!(gates(&bench.run(&[])), [""; 0]);
    let share = |share: &str| format!("resize.max_failed_share={share}");
    for force in [&["--force"][..], &[]] {
        let run = |arguments: &[&str]| gates(&bench.run(&[arguments, force].concat()));
        assert_eq!(run(&["--set", &share("0.16")]), ["resize.max_failed_share"]);
        assert_eq!(run(&["--set", &share("0.17")]), [""; 0]);
        assert_eq!(run(&["--set", "resize.max_leaks=0"]), ["resize.max_leaks"]);
        assert_eq!(run(&["--set", "resize.max_leaks=1"]), [""; 0]);
        assert_eq!(run(&["--strict"]), ["--strict"]);
    }
    // The merge applies the gates to the whole.
    let all = ["--set", "resize.max_leaks=0", "--set", &share("0"), "--strict"];
    let run = |arguments: &[&str]| bench.run(&[&all, arguments].concat());
    for part in ["1/2", "2/2"] {
        let output = run(&["--partition", part]);
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    for force in [&["--force"][..], &[]] {
        let output = run(&[&["--merge", "2"], force].concat());
        assert_eq!(gates(&output), ["--strict", "resize.max_failed_share", "resize.max_leaks"]);
    }
}

#[test]
fn many_shards_take_few_open_files() {
    let bench = Bench::with_images(300);
    let out = bench.out();
    let few_files = |arguments: &[&str]| {
        let arguments: Vec<&str> =
            ["--set", "resize.images_per_shard=1"].iter().chain(arguments).copied().collect();
        let command = bench.command(&out, &arguments);
        let output = std::process::Command::new("sh")
            .args(["-c", "ulimit -n 100 && exec \"$@\"", "sh"])
            .arg(command.get_program())
            .args(command.get_args())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        json(&output)["summary"]["shards"].as_u64().unwrap()
    };
    assert_eq!(few_files(&[]), 300);
    let whole = published(&out.join("shards"));
    for part in ["1/3", "2/3", "3/3"] {
        let arguments = [
            "--set",
            "resize.images_per_shard=1",
            "--partition",
            part,
            "--set",
            "resize.side_px=48",
        ];
        let output = bench.command(&out, &arguments).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    assert_eq!(few_files(&["--merge", "3", "--force"]), 300);
    assert_eq!(published(&out.join("shards")).len(), whole.len());
}

#[test]
fn a_dataset_at_a_url_of_no_known_kind_is_a_usage_error() {
    let bench = Bench::with_images(1);
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ossify-resize"));
    command.args(["--dataset", "http://host/data", "--out"]).arg(bench.out());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
}
