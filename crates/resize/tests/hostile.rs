//! Hostile and unreadable files: each is reported, and the others are processed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use common::{Bench, encoded, picture, text};
use image::ImageFormat;
use ossify_contract::{ImageStatus, IssueRow, Split, read_table};

/// Rule and reason of an image in `issues.parquet`.
fn issue(bench: &Bench, name: &str) -> (String, String) {
    let issues: Vec<IssueRow> = read_table(bench.out().join("shards/issues.parquet")).unwrap();
    let issue = issues
        .into_iter()
        .find(|issue| issue.path.ends_with(name))
        .unwrap_or_else(|| panic!("nothing is said of {name}"));
    (issue.rule, issue.message)
}

/// A JPEG whose frame header has a wrong height.
fn lying_jpeg(bytes: &[u8], height: u16) -> Vec<u8> {
    let mut lying = bytes.to_vec();
    let at = lying.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap() + 5;
    lying[at..at + 2].copy_from_slice(&height.to_be_bytes());
    lying
}

/// A PNG whose header has a wrong size, with a matching checksum.
fn lying_png(bytes: &[u8], (width, height): (u32, u32)) -> Vec<u8> {
    let mut lying = bytes.to_vec();
    lying[16..20].copy_from_slice(&width.to_be_bytes());
    lying[20..24].copy_from_slice(&height.to_be_bytes());
    let sum = lying[12..29].iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 }
        })
    });
    lying[29..33].copy_from_slice(&(!sum).to_be_bytes());
    lying
}

#[test]
fn bombs_and_lies_are_reported_and_the_others_are_processed() {
    let mut bench = Bench::with_images(12);
    let jpeg = encoded(&picture(64, 48, 500), ImageFormat::Jpeg);
    let png = encoded(&picture(64, 48, 501), ImageFormat::Png);
    let even = encoded(&image::DynamicImage::new_luma8(4000, 4000), ImageFormat::Png);
    bench.add(Split::Train, "tall.jpg", &lying_jpeg(&jpeg, 480), (64, 480));
    bench.add(Split::Train, "flat.jpg", &lying_jpeg(&jpeg, 16), (64, 16));
    bench.add(Split::Train, "tall.png", &lying_png(&png, (64, 480)), (64, 480));
    // 16 million pixels in some 16 KB.
    bench.add(Split::Valid, "bomb.png", &even, (4000, 4000));
    bench.add(Split::Valid, "huge.png", &lying_png(&even, (200_000, 200_000)), (200_000, 200_000));
    bench.write_tables();
    let arguments =
        ["--set", "resize.max_pixels=20000000", "--set", "resize.max_memory_bytes=20000000"];
    let output = bench.run(&arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    for name in ["tall.jpg", "flat.jpg", "tall.png"] {
        let (rule, reason) = issue(&bench, name);
        assert!(
            rule == "image-unreadable" && reason.contains("damaged"),
            "{name}: {rule}: {reason}"
        );
    }
    let (_, reason) = issue(&bench, "bomb.png");
    assert_eq!(
        reason,
        "it takes 192000000 bytes of memory, more than the limit of 20000000 \
        (resize.max_memory_bytes)"
    );
    let (_, reason) = issue(&bench, "huge.png");
    assert!(reason.contains("200000x200000 pixels"), "{reason}");
}

#[test]
fn a_file_without_read_permission_is_reported() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut bench = Bench::with_images(12);
    bench.add(
        Split::Train,
        "closed.jpg",
        &encoded(&picture(64, 48, 500), ImageFormat::Jpeg),
        (64, 48),
    );
    bench.write_tables();
    let path = bench.dataset().join("train/images/closed.jpg");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
    if std::fs::read(&path).is_ok() {
        eprintln!("skipped: this user may read everything");
        return;
    }
    assert!(bench.run(&[]).status.success());
    assert_eq!(
        issue(&bench, "closed.jpg"),
        (
            "image-not-read".into(),
            "the file cannot be opened or read: Permission denied (os error 13)".into()
        )
    );
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(bench.summary(&[])["summary"]["images"], 13);
}

#[test]
fn a_pipe_blocks_nobody() {
    let mut bench = Bench::with_images(8);
    bench.add(Split::Train, "pipe.jpg", b"", (64, 48));
    bench.rows.last_mut().unwrap().status = ImageStatus::Background;
    bench.write_tables();
    let path = bench.dataset().join("train/images/pipe.jpg");
    std::fs::remove_file(&path).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    assert!(bench.run(&[]).status.success());
    assert!(issue(&bench, "pipe.jpg").1.contains("a pipe, a socket or a device"));
}
