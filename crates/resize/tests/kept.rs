//! Tests which shards stay when images are added, removed or changed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use common::{Bench, encoded, picture, published, text, with_each_file_damaged};
use image::ImageFormat;
use ossify_contract::Split;

/// The published shards by content, each with its modification time.
fn shards(bench: &Bench) -> BTreeMap<Vec<u8>, (String, i64)> {
    let folder = bench.out().join("shards");
    let names = published(&folder).into_keys().filter(|name| name.ends_with(".arrow"));
    names
        .map(|name| {
            let path = folder.join(&name);
            let changed = std::fs::metadata(&path).unwrap().mtime_nsec()
                + std::fs::metadata(&path).unwrap().mtime() * 1_000_000_000;
            (std::fs::read(&path).unwrap(), (name, changed))
        })
        .collect()
}

/// Runs the stage on the changed dataset, and with a fresh work folder, and checks that both give
/// the same bytes. Returns the number of shards, and how many were written.
fn rerun(bench: &Bench, before: &BTreeMap<Vec<u8>, (String, i64)>) -> (usize, usize) {
    bench.write_tables();
    let output = bench.run(&[]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let after = shards(bench);
    let fresh = bench.work_folder("fresh");
    assert!(bench.command(&fresh, &[]).output().unwrap().status.success());
    assert!(published(&bench.out().join("shards")) == published(&fresh.join("shards")));
    std::fs::remove_dir_all(&fresh).unwrap();
    let written = after
        .iter()
        .filter(|(content, (_, changed))| {
            before.get(*content).is_none_or(|(_, before)| before != changed)
        })
        .count();
    (after.len(), written)
}

fn sorted(bench: &mut Bench) {
    bench
        .rows
        .sort_by(|a, b| (a.split as usize, &a.image_id).cmp(&(b.split as usize, &b.image_id)));
}

#[test]
fn images_that_are_added_rewrite_the_shards_around_them() {
    let mut bench = Bench::with_images(400);
    sorted(&mut bench);
    bench.write_tables();
    bench.summary(&[]);
    let before = shards(&bench);
    for name in ["00100-new.png", "00101-new.png"] {
        bench.add(Split::Train, name, &encoded(&picture(60, 50, 7000), ImageFormat::Png), (60, 50));
    }
    sorted(&mut bench);
    let (all, written) = rerun(&bench, &before);
    assert!(all > 20 && (1..=4).contains(&written), "{written} of {all} shards were written");
}

#[test]
fn shards_whose_number_changes_are_renamed() {
    let mut bench = Bench::with_images(300);
    sorted(&mut bench);
    bench.write_tables();
    bench.summary(&[]);
    let before = shards(&bench);
    // More than a shard of images before all others.
    for i in 0..40 {
        bench.add(
            Split::Train,
            &format!("000-{i:02}.png"),
            &encoded(&picture(60, 50, 8000 + i), ImageFormat::Png),
            (60, 50),
        );
    }
    sorted(&mut bench);
    let (all, written) = rerun(&bench, &before);
    let after = shards(&bench);
    let renamed = after
        .iter()
        .filter(|(content, (name, _))| before.get(*content).is_some_and(|(old, _)| old != name))
        .count();
    assert!(renamed > 3 && written < all / 2, "{renamed} renamed, {written} of {all} written");
}

#[test]
fn a_changed_image_rewrites_its_shard_alone() {
    let mut bench = Bench::with_images(200);
    bench.summary(&[]);
    let before = shards(&bench);
    let row = bench.rows[60].clone();
    let path = bench.dataset().join(&row.image_id);
    std::fs::write(
        &path,
        encoded(&picture(row.width as u32, row.height as u32, 9999), ImageFormat::Png),
    )
    .unwrap();
    std::fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(SystemTime::now() + Duration::from_secs(5))
        .unwrap();
    let (_, written) = rerun(&bench, &before);
    assert_eq!(written, 1);
    bench.rows.remove(61);
    let before = shards(&bench);
    let (_, written) = rerun(&bench, &before);
    assert!((1..=3).contains(&written), "{written}");
}

#[test]
fn failures_of_shards_that_stay_are_still_reported() {
    let mut bench = Bench::with_images(120);
    let bad = bench.rows[7].image_id.clone();
    std::fs::write(bench.dataset().join(&bad), b"no picture").unwrap();
    assert_eq!(bench.summary(&[])["summary"]["failed_images"], 1);
    let before = shards(&bench);
    bench.add(Split::Test, "last.png", &encoded(&picture(60, 50, 1), ImageFormat::Png), (60, 50));
    let (_, written) = rerun(&bench, &before);
    assert!(written <= 2, "{written}");
    let again = bench.summary(&[]);
    assert_eq!(
        (&again["status"], &again["summary"]["failed"][0]["image_id"]),
        (&"current".into(), &bad.as_str().into())
    );
}

#[test]
fn a_damaged_shard_does_not_stay() {
    let mut bench = Bench::with_images(120);
    bench.summary(&[]);
    let shard = bench.out().join("shards/train-00000.arrow");
    let mut bytes = std::fs::read(&shard).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&shard, bytes).unwrap();
    bench.add(Split::Test, "last.png", &encoded(&picture(60, 50, 1), ImageFormat::Png), (60, 50));
    let before = shards(&bench);
    let (_, written) = rerun(&bench, &before);
    assert!(written >= 1);
}

#[test]
fn no_altered_byte_of_the_last_output_is_taken_over() {
    let mut bench = Bench::with_images(80);
    std::fs::write(bench.dataset().join(&bench.rows[7].image_id), b"no picture").unwrap();
    bench.summary(&[]);
    let before = bench.root.path().join("before");
    copy_folder(&bench.out().join("shards"), &before);
    // One image more, so that some shards stay and some do not.
    bench.add(Split::Test, "last.png", &encoded(&picture(60, 50, 1), ImageFormat::Png), (60, 50));
    bench.write_tables();
    let fresh = bench.work_folder("fresh");
    assert!(bench.command(&fresh, &[]).output().unwrap().status.success());
    let expected = published(&fresh.join("shards"));
    let out = bench.work_folder("rerun");
    let mut files = 0;
    with_each_file_damaged(&before, |file| {
        files += 1;
        copy_folder(&before, &out.join("shards"));
        let output = bench.command(&out, &[]).output().unwrap();
        assert!(output.status.success(), "{file}: {}", text(&output.stderr));
        assert!(published(&out.join("shards")) == expected, "{file}");
        std::fs::remove_dir_all(out.join("shards")).unwrap();
    });
    assert!(files > 5, "{files} files");
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}
