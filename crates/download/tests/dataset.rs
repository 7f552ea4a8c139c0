//! `ossify-download dataset` against a server on loopback.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod server;

use std::fs::{self, File};
use std::io::{Cursor, Write};
use std::path::Path;

use assert_cmd::Command;
use ossify_download::{BONE_FRACTURE, ExpectedSplit};
use server::{Reply, Server};
use tempfile::TempDir;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// An archive with the dataset's counts and empty pictures, the dataset nested in `root`.
fn dataset_archive(root: &str, change: impl Fn(&ExpectedSplit) -> u64) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let mut file = |name: String, content: &[u8]| {
        zip.start_file(name, options).unwrap();
        zip.write_all(content).unwrap();
    };
    file("data.yaml".into(), b"names: []\n");
    for split in BONE_FRACTURE.splits {
        let mut lines = split.lines_per_class.iter().enumerate().flat_map(|(class_id, count)| {
            (0..*count).map(move |_| format!("{class_id} .5 .5 .1 .1\n"))
        });
        for number in 0..change(split) {
            let is_last = number + 1 == split.images;
            let text: String = match number {
                _ if number < split.empty_label_files => String::new(),
                _ if is_last => lines.by_ref().collect(),
                _ => lines.next().unwrap(),
            };
            file(format!("{root}{}/images/{number}.jpg", split.name), b"x");
            file(format!("{root}{}/labels/{number}.txt", split.name), text.as_bytes());
        }
    }
    zip.finish().unwrap().into_inner()
}

fn command(folder: &Path) -> Command {
    let mut command = Command::cargo_bin("ossify-download").unwrap();
    command.current_dir(folder).arg("dataset").env("HOME", folder);
    for name in [
        "KAGGLE_USERNAME",
        "KAGGLE_KEY",
        "KAGGLE_API_TOKEN",
        "KAGGLE_CONFIG_DIR",
        "OSSIFY_KAGGLE_URL",
    ] {
        command.env_remove(name);
    }
    command
}

fn stderr(command: &mut Command, code: i32) -> String {
    let output = command.assert().code(code).get_output().clone();
    String::from_utf8(output.stderr).unwrap()
}

fn visible(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| !name.starts_with('.')).collect();
    names.sort();
    names
}

#[test]
fn the_dataset_is_fetched_with_the_users_key_through_broken_connections_and_installed_once() {
    let archive = dataset_archive("BoneFractureYolo8/BoneFractureYolo8/", |split| split.images);
    let length = archive.len();
    let storage = Server::start(move |number, request| {
        let reply = Reply::file(request, &archive, "\"a\"");
        if number < 2 { reply.cut_after(length / 3) } else { reply }
    });
    let location = format!("{}/bucket/archive.zip?signature=1", storage.url);
    let front =
        Server::start(move |_, _| Reply::new(302, b"").header("Location", location.clone()));
    let folder = TempDir::new().unwrap();
    let run = || {
        stderr(
            command(folder.path())
                .env("OSSIFY_KAGGLE_URL", &front.url)
                .env("KAGGLE_USERNAME", "me")
                .env("KAGGLE_KEY", "secret"),
            0,
        )
    };
    let text = run();
    assert!(
        text.contains("4148 images") && text.contains("every count is as it should be"),
        "{text}"
    );
    assert!(!text.contains("secret"));
    let datasets = folder.path().join("data/datasets");
    assert_eq!(visible(&datasets), ["BoneFractureYolo8"]);
    assert_eq!(visible(&datasets.join("BoneFractureYolo8")), ["test", "train", "valid"]);
    assert_eq!(
        front.requests()[0].path,
        "/datasets/download/pkdarabi/bone-fracture-detection-computer-vision-project"
    );
    assert_eq!(front.requests()[0].header("authorization"), Some("Basic bWU6c2VjcmV0"));
    assert_eq!(storage.requests().len(), 3);

    assert!(run().contains("already there"));
    assert_eq!(storage.requests().len(), 3);
}

#[test]
fn without_a_key_every_way_out_is_named() {
    let folder = TempDir::new().unwrap();
    let text = stderr(&mut command(folder.path()), 2);
    for way in ["~/.kaggle/", "KAGGLE_USERNAME and KAGGLE_KEY", ".env", "--archive", "demo"] {
        assert!(text.contains(way), "{way} is missing in:\n{text}");
    }
    assert!(!folder.path().join("data").exists());
}

#[test]
fn a_refused_key_is_told_as_one() {
    let server = Server::start(|_, _| Reply::new(401, b""));
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join(".env"), "KAGGLE_API_TOKEN=secret\n").unwrap();
    let text = stderr(command(folder.path()).args(["--url", &server.url]), 1);
    assert!(
        text.contains("does not accept this key")
            && text.contains("401")
            && !text.contains("secret"),
        "{text}"
    );
}

#[test]
fn an_archive_downloaded_by_hand_is_installed_and_kept() {
    let folder = TempDir::new().unwrap();
    // As on Kaggle: a second copy of the dataset beside, here an incomplete one that comes first.
    let path = folder.path().join("by hand.zip");
    fs::write(&path, dataset_archive("z/BoneFractureYolo8/", |split| split.images)).unwrap();
    let mut zip =
        ZipWriter::new_append(File::options().read(true).write(true).open(&path).unwrap()).unwrap();
    for split in ["train", "valid", "test"] {
        zip.start_file(format!("a/{split}/images/0.jpg"), SimpleFileOptions::default()).unwrap();
    }
    zip.finish().unwrap();
    stderr(command(folder.path()).arg("--archive").arg(&path), 0);
    assert!(path.exists());
    assert_eq!(
        fs::read_dir(folder.path().join("data/datasets/BoneFractureYolo8/train/images"))
            .unwrap()
            .count(),
        3631
    );
}

#[test]
fn an_archive_with_other_counts_is_not_installed() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("archive.zip");
    fs::write(
        &path,
        dataset_archive(
            "",
            |split| if split.name == "valid" { split.images - 1 } else { split.images },
        ),
    )
    .unwrap();
    let text = stderr(command(folder.path()).arg("--archive").arg(&path), 1);
    assert!(
        text.contains("valid images: 348 expected, 347 found")
            && text.contains("valid label lines: 204 expected"),
        "{text}"
    );
    assert!(!text.contains("train"), "{text}");
    assert!(visible(&folder.path().join("data/datasets")).is_empty());
}

#[test]
fn an_archive_of_something_else_and_a_folder_in_the_way_are_told() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("archive.zip");
    let mut zip = ZipWriter::new(File::create(&path).unwrap());
    zip.start_file("cats.txt", SimpleFileOptions::default()).unwrap();
    zip.finish().unwrap();
    let text = stderr(command(folder.path()).arg("--archive").arg(&path), 1);
    assert!(text.contains("no folder in it has train/images"), "{text}");
    assert!(!folder.path().join("data/datasets/.BoneFractureYolo8.partial").exists());

    fs::create_dir_all(folder.path().join("data/datasets/BoneFractureYolo8/train")).unwrap();
    let text = stderr(command(folder.path()).arg("--archive").arg(&path), 1);
    assert!(text.contains("move it away"), "{text}");
}

#[test]
fn a_login_page_instead_of_an_archive_is_removed_again() {
    let server = Server::start(|_, _| Reply::new(200, b"<html>log in</html>"));
    let folder = TempDir::new().unwrap();
    let text = stderr(
        command(folder.path()).env("OSSIFY_KAGGLE_URL", &server.url).env("KAGGLE_API_TOKEN", "t"),
        1,
    );
    assert!(text.contains("not a whole zip archive"), "{text}");
    assert!(visible(&folder.path().join("data/datasets")).is_empty());
}

#[test]
fn the_shared_copy_of_the_dataset_has_the_counts() {
    let shared =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/datasets/BoneFractureYolo8");
    if !shared.exists() {
        eprintln!("skipped: {} is not there", shared.display());
        return;
    }
    assert!(ossify_download::is_installed(&BONE_FRACTURE, &shared).unwrap());
}
