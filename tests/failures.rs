//! Tests common mistakes and failures: a clear message, the right exit code, and no incomplete
//! output that looks complete.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::process::Command;

use ossify_tests::{Project, STAGES, binary};

#[test]
fn an_unknown_key_is_a_usage_error_that_names_the_nearest_key() {
    let project = Project::new();
    for stage in STAGES {
        project
            .run(stage, &["--set", "train.epoch=3"])
            .fails_with(2, &["unknown key `train.epoch`", "did you mean `train.epochs`?"]);
    }
}

#[test]
fn a_conf_file_that_is_not_there_is_a_usage_error() {
    let project = Project::new();
    for stage in STAGES {
        let output = Command::new(binary(&format!("ossify-{stage}")))
            .args(["--config", "nowhere.toml"])
            .current_dir(project.path())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{stage}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("nowhere.toml"), "{stage}");
    }
}

#[test]
fn a_dataset_that_is_not_there_is_a_usage_error_that_names_the_path() {
    let project = Project::new();
    project.run("ingest", &[]).fails_with(2, &["dataset"]);
    assert!(!project.out.join("tables/manifest.json").exists());
}

#[test]
fn an_empty_dataset_fails_and_says_what_was_looked_for() {
    let project = Project::new();
    fs::create_dir_all(&project.dataset).unwrap();
    let ended = project.run("ingest", &[]);
    assert!([1, 2].contains(&ended.code()), "{}", ended.stderr());
    assert!(
        ended.stderr().contains("data.yaml") || ended.stderr().contains("images"),
        "{}",
        ended.stderr()
    );
    assert!(!project.out.join("tables/manifest.json").exists());
}

#[test]
fn a_dataset_without_labels_fails_and_says_so() {
    let (project, _) = Project::with_phantom(30);
    for split in ["train", "valid", "test"] {
        fs::remove_dir_all(project.dataset.join(split).join("labels")).unwrap();
    }
    let ended = project.run("ingest", &[]);
    ended.fails_with(1, &["label"]);
    assert!(!project.out.join("tables/manifest.json").exists());
}

#[test]
fn a_stage_without_its_input_names_the_stage_that_makes_it() {
    let project = Project::new();
    fs::create_dir_all(&project.dataset).unwrap();
    for (stage, earlier) in
        [("resize", "ingest"), ("train", "ingest"), ("predict", "train"), ("evaluate", "ingest")]
    {
        project.run(stage, &[]).fails_with(1, &[earlier]);
    }
}

#[test]
fn an_unmet_gate_ends_with_three_each_time() {
    let (project, _) = Project::with_phantom(60);
    for _ in 0..2 {
        project
            .run("ingest", &["--set", "ingest.max_quarantined_share=0"])
            .fails_with(3, &["ingest.max_quarantined_share"]);
    }
    project.run("ingest", &["--strict"]).fails_with(3, &["strict"]);
    project.run("ingest", &[]).success();
    for stage in ["resize", "train", "predict"] {
        project.run(stage, &[]).success();
    }
    for _ in 0..2 {
        project
            .run("evaluate", &["--set", "evaluate.min_accuracy=1"])
            .fails_with(3, &["evaluate.min_accuracy"]);
    }
}

#[test]
fn a_damaged_artefact_is_refused_by_the_stage_that_reads_it() {
    let (project, _) = Project::with_phantom(60);
    project.run("ingest", &[]).success();
    let table = project.out.join("tables/images.parquet");
    let mut bytes = fs::read(&table).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    fs::write(&table, bytes).unwrap();
    project.run("resize", &[]).fails_with(1, &["images.parquet", "manifest.json"]);
}

#[test]
fn a_damaged_manifest_is_refused_in_words() {
    let (project, _) = Project::with_phantom(60);
    project.run("ingest", &[]).success();
    let path = project.out.join("tables/manifest.json");
    let whole = fs::read(&path).unwrap();
    let text = String::from_utf8(whole.clone()).unwrap();
    for (content, words) in [
        (&b""[..], "it is cut short"),
        (&whole[..whole.len() / 2], "it is cut short"),
        (b"hello", "line 1, column 1 is not JSON"),
        (b"{\"a\": \"\xe9\"}", "line 1, column 8 is not JSON"),
        (text.replace("\"bytes\"", "\"bites\"").as_bytes(), "is not as ossify writes it"),
    ] {
        fs::write(&path, content).unwrap();
        let ended = project.run("resize", &[]);
        let advice = "; run ossify-ingest again with --force\n";
        ended.fails_with(1, &["tables/manifest.json: damaged: ", words, advice]);
        assert_eq!(ended.stderr().lines().count(), 1, "{}", ended.stderr());
    }
    project.run("ingest", &["--force"]).success();
    project.run("resize", &[]).success();
}

#[test]
fn a_cuda_device_that_is_not_there_is_an_error_and_never_a_silent_fall() {
    if fs::metadata("/dev/nvidia0").is_ok() {
        eprintln!("skipped: this machine has a GPU");
        return;
    }
    let (project, _) = Project::with_phantom(60);
    project.run("ingest", &[]).success();
    project.run("resize", &[]).success();
    for arguments in [&["--set", "train.device=cuda:0"][..], &["--device", "cuda:0"]] {
        let ended = project.run("train", arguments);
        assert!([1, 2].contains(&ended.code()), "{}", ended.stderr());
        assert!(ended.stderr().to_lowercase().contains("cuda"), "{}", ended.stderr());
    }
}

/// A file size limit simulates a full disk: it needs no privileges, and writes also fail in the
/// middle of a file.
#[test]
fn a_disk_that_takes_no_more_leaves_nothing_that_looks_whole() {
    let (project, _) = Project::with_phantom(120);
    for (stage, folder, kib) in [("ingest", "tables", 4), ("resize", "shards", 512)] {
        let command = project.command(stage, &[]);
        let mut limited = Command::new("sh");
        limited
            .args(["-c", &format!("ulimit -f {}; exec \"$0\" \"$@\"", kib * 2)])
            .arg(command.get_program())
            .args(command.get_args());
        let output = limited.current_dir(project.path()).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stage}: {stderr}");
        assert!(stderr.contains(folder) && !stderr.contains("panicked"), "{stage}: {stderr}");
        assert!(!project.out.join(folder).join("manifest.json").exists(), "{stage}");
        project.run(stage, &[]).success();
    }
}

/// A PNG whose header is in order and whose pixels are not.
fn png_without_pixels(side: u32) -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
    let sides = [side.to_be_bytes(), side.to_be_bytes()].concat();
    let header = [&sides[..], &[8, 0, 0, 0, 0]].concat();
    for (kind, content) in [(b"IHDR", &header[..]), (b"IDAT", b"no deflate stream"), (b"IEND", b"")]
    {
        let chunk = [&kind[..], content].concat();
        bytes.extend((content.len() as u32).to_be_bytes());
        bytes.extend(&chunk);
        bytes.extend(crc32(&chunk).to_be_bytes());
    }
    bytes
}

fn crc32(bytes: &[u8]) -> u32 {
    let next = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 }
        })
    };
    !bytes.iter().fold(!0, next)
}

#[test]
fn an_image_that_cannot_be_decoded_is_counted_and_fails_no_report() {
    let (project, _) = Project::with_phantom(60);
    let images = project.dataset.join("valid/images");
    let mut names: Vec<_> =
        fs::read_dir(&images).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    fs::remove_file(&names[1]).unwrap();
    fs::write(names[1].with_extension("png"), png_without_pixels(256)).unwrap();
    for stage in ["ingest", "resize", "train", "predict"] {
        project.run(stage, &[]).success();
    }
    let ended = project.run("evaluate", &[]).success();
    let told = format!("1 of {} images of the valid split could not be decoded", names.len());
    assert!(ended.stderr().contains(&told), "{}", ended.stderr());
    assert!(ended.stderr().contains("shards/issues.parquet"), "{}", ended.stderr());
    // One that resize has seen and decoded is a gap, if predictions lack it.
    fs::remove_file(project.out.join("shards/issues.parquet")).unwrap();
    project
        .run("evaluate", &["--force"])
        .fails_with(1, &["issues.parquet", "run ossify-resize again with --force"]);
}

#[test]
fn a_lost_table_of_issues_decodes_no_image_again() {
    let (project, _) = Project::with_phantom(60);
    project.run("ingest", &[]).success();
    project.run("resize", &[]).success();
    let before = project.contents();
    fs::remove_file(project.out.join("shards/issues.parquet")).unwrap();
    let ended = project.run("resize", &[]).success();
    assert_eq!(ended.status(), "done");
    assert!(!ended.stderr().contains("images decoded"), "{}", ended.stderr());
    assert_eq!(project.contents(), before);
}
