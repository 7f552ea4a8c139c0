//! Making shards share by share and merging gives the same result as making them at once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, SystemTime};

use common::{Bench, encoded, picture, published, text, with_each_file_damaged};
use image::ImageFormat;
use ossify_contract::{Manifest, Split};

fn run(bench: &Bench, out: &Path, arguments: &[&str]) -> Output {
    bench.command(out, arguments).output().unwrap()
}

fn part(bench: &Bench, out: &Path, share: &str) -> Output {
    let output = run(bench, out, &["--partition", share]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    output
}

fn is_current(output: &Output) -> bool {
    text(&output.stdout).contains("\"status\":\"current\"")
}

fn assert_same(bench: &Bench, out: &Path) {
    assert!(published(&bench.out().join("shards")) == published(&out.join("shards")));
    let manifest = |folder: PathBuf| Manifest {
        created_at: String::new(),
        ..Manifest::open(&folder, "").unwrap()
    };
    assert_eq!(manifest(bench.out().join("shards")), manifest(out.join("shards")));
}

#[test]
fn parts_of_all_shares_merge_into_what_is_made_at_once() {
    let bench = Bench::with_images(300);
    std::fs::write(bench.dataset().join(&bench.rows[7].image_id), b"no picture").unwrap();
    assert!(bench.run(&[]).status.success());
    // With more shares than shards, some shares are empty.
    for count in [1, 2, 3, 40] {
        let out = bench.work_folder(&format!("merged-{count}"));
        for number in (1..=count).rev() {
            part(&bench, &out, &format!("{number}/{count}"));
        }
        let merged = run(&bench, &out, &["--merge", &count.to_string()]);
        assert!(merged.status.success(), "{}", text(&merged.stderr));
        assert_same(&bench, &out);
        assert!(is_current(&run(&bench, &out, &["--merge", &count.to_string()])));
        // The output already exists, however it was made.
        assert!(is_current(&run(&bench, &out, &[])));
    }
}

#[test]
fn a_changed_image_is_decoded_by_its_share_alone() {
    let bench = Bench::with_images(300);
    let out = bench.work_folder("merged");
    let stale = |bench: &Bench| {
        (1..=4).filter(|number| !is_current(&part(bench, &out, &format!("{number}/4")))).count()
    };
    assert_eq!(stale(&bench), 4);
    assert!(run(&bench, &out, &["--merge", "4"]).status.success());
    let row = &bench.rows[60];
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
    assert_eq!(stale(&bench), 1);
    assert!(run(&bench, &out, &["--merge", "4"]).status.success());
    assert!(bench.run(&[]).status.success());
    assert_same(&bench, &out);
}

#[test]
fn a_merge_says_which_part_does_not_fit() {
    let mut bench = Bench::with_images(120);
    let out = bench.work_folder("merged");
    let said = |bench: &Bench, arguments: &[&str]| {
        let output = run(bench, &out, arguments);
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
        text(&output.stderr)
    };
    part(&bench, &out, "2/2");
    let error = said(&bench, &["--merge", "2"]);
    assert!(
        error.contains(
            "parts/resize/2: one part is not there (1/2); run ossify-resize --partition 1/2"
        ),
        "{error}"
    );
    part(&bench, &out, "1/2");
    let error = said(&bench, &["--merge", "2", "--set", "resize.filter=nearest"]);
    assert!(
        error.contains(
            "part 1/2 was made with another configuration or from another images.parquet"
        ),
        "{error}"
    );
    bench.add(Split::Train, "new.png", &encoded(&picture(60, 50, 1), ImageFormat::Png), (60, 50));
    bench.write_tables();
    bench.copy_tables(&out);
    part(&bench, &out, "1/2");
    let error = said(&bench, &["--merge", "2"]);
    assert!(
        error.contains(
            "part 2/2 was made with another configuration or from another images.parquet"
        ),
        "{error}"
    );
    part(&bench, &out, "2/2");
    let folder = out.join("parts/resize/2/2");
    let shard = Manifest::open(&folder, "")
        .unwrap()
        .files
        .iter()
        .find(|file| file.rows.is_some())
        .unwrap()
        .path
        .clone();
    std::fs::remove_file(folder.join(&shard)).unwrap();
    let error = said(&bench, &["--merge", "2"]);
    assert!(error.contains(&shard) && error.contains("missing"), "{error}");
    // The worker only makes what is missing.
    part(&bench, &out, "2/2");
    assert!(run(&bench, &out, &["--merge", "2"]).status.success());
    assert!(bench.run(&[]).status.success());
    assert_same(&bench, &out);
}

#[test]
fn a_merge_takes_no_altered_byte_of_a_part() {
    let bench = Bench::with_images(80);
    assert!(bench.run(&[]).status.success());
    let out = bench.work_folder("merged");
    let mut files = 0;
    for share in ["1/2", "2/2"] {
        part(&bench, &out, share);
    }
    for number in 1..=2 {
        let folder = out.join(format!("parts/resize/2/{number}"));
        with_each_file_damaged(&folder, |file| {
            files += 1;
            let merged = run(&bench, &out, &["--merge", "2", "--force"]);
            let error = text(&merged.stderr);
            assert_eq!(merged.status.code(), Some(1), "{file}: {error}");
            assert!(error.contains(file) && error.contains("again with --force"), "{error}");
        });
    }
    assert!(files > 10, "{files} files");
    let merged = run(&bench, &out, &["--merge", "2"]);
    assert!(merged.status.success(), "{}", text(&merged.stderr));
    assert_same(&bench, &out);
}

/// Two workers process each share at once, half of them are killed at some moment, and then each
/// share is processed again.
#[test]
fn workers_that_are_doubled_killed_and_late_leave_what_one_would() {
    let bench = Bench::with_images(400);
    assert!(bench.run(&[]).status.success());
    let out = bench.work_folder("merged");
    for round in 0..5_u64 {
        let spawn = |worker: u64| {
            let mut command =
                bench.command(&out, &["--force", "--partition", &format!("{}/3", worker % 3 + 1)]);
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        };
        let mut workers: Vec<_> = (0..6).map(spawn).collect();
        std::thread::sleep(Duration::from_millis(20 + 60 * round));
        workers.iter_mut().take(3).for_each(|worker| drop(worker.kill()));
        workers.iter_mut().for_each(|worker| drop(worker.wait()));
    }
    for number in [1, 2, 3, 2] {
        part(&bench, &out, &format!("{number}/3"));
    }
    assert!(run(&bench, &out, &["--merge", "3"]).status.success());
    assert_same(&bench, &out);
    // A late worker changes nothing.
    run(&bench, &out, &["--force", "--partition", "1/3"]);
    assert!(is_current(&run(&bench, &out, &["--merge", "3"])));
}
