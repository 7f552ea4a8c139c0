//! Killed, out of disk space, or run twice at once: the output is complete or does not exist.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Bench, published, text};

#[test]
fn a_run_that_is_killed_at_any_moment_and_taken_up_gives_the_same_bytes() {
    let bench = Bench::with_images(400);
    let arguments = ["--set", "resize.side_px=224", "--set", "resize.images_per_shard=32"];
    let started = Instant::now();
    bench.summary(&arguments);
    let whole_run = started.elapsed();
    let undisturbed = published(&bench.out().join("shards"));

    let mut went_on = 0;
    for kill in 0..20u32 {
        let out = bench.work_folder(&format!("killed-{kill}"));
        // Moments spread over the run, including publishing, in a scattered order.
        let moment = whole_run.mul_f64(f64::from(kill * 7 % 20) / 19.0 * 1.05);
        let mut child = bench
            .command(&out, &arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(moment);
        child.kill().unwrap();
        child.wait().unwrap();
        let shards = out.join("shards");
        if shards.join("manifest.json").exists() {
            assert!(
                published(&shards) == undisturbed,
                "killed after {moment:?}: a manifest stands over other files"
            );
        }
        let again = bench.command(&out, &arguments).output().unwrap();
        assert!(again.status.success(), "killed after {moment:?}: {}", text(&again.stderr));
        went_on +=
            usize::from(text(&again.stderr).contains("going on where the last run was stopped"));
        assert!(published(&shards) == undisturbed, "killed after {moment:?}");
        assert!(!shards.join(".partial").exists(), "killed after {moment:?}");
    }
    println!(
        "20 kills within {whole_run:?}; {went_on} runs went on with shards that the killed one \
        had finished"
    );
    assert!(went_on > 0);
}

/// Starts the command, and kills it once there is a file at `path`.
fn kill_once_there(mut command: Command, path: &Path) {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !path.exists() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn shards_of_another_configuration_are_not_taken_for_those_of_this_one() {
    let bench = Bench::with_images(200);
    let letterbox = ["--set", "resize.geometry=letterbox"];
    bench.summary(&letterbox);
    let expected = published(&bench.out().join("shards"));
    let out = bench.work_folder("second");
    kill_once_there(
        bench.command(&out, &[]),
        &out.join("shards/.partial/train-00000.arrow.record"),
    );
    let again = bench.command(&out, &letterbox).output().unwrap();
    assert!(again.status.success(), "{}", text(&again.stderr));
    assert!(!text(&again.stderr).contains("going on"), "{}", text(&again.stderr));
    assert!(published(&out.join("shards")) == expected);
}

#[test]
fn a_damaged_shard_or_record_of_a_killed_run_is_made_again() {
    let bench = Bench::with_images(120);
    bench.summary(&[]);
    let expected = published(&bench.out().join("shards"));
    let out = bench.work_folder("second");
    let partial = out.join("shards/.partial");
    let command = bench.command(&out, &["--set", "general.threads=1"]);
    kill_once_there(command, &partial.join("train-00001.arrow.record"));
    for file in ["train-00000.arrow", "train-00001.arrow.record"] {
        if let Ok(mut bytes) = std::fs::read(partial.join(file)) {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(partial.join(file), bytes).unwrap();
        }
    }
    let again = bench.command(&out, &[]).output().unwrap();
    assert!(again.status.success(), "{}", text(&again.stderr));
    assert!(published(&out.join("shards")) == expected);
}

#[test]
fn a_second_process_is_kept_out() {
    let bench = Bench::with_images(8);
    let _busy = ossify_contract::Publication::begin(bench.out().join("shards")).unwrap();
    let output = bench.run(&[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("is being written by another ossify process"),
        "{}",
        text(&output.stderr)
    );
}

/// Needs the right to mount; skipped elsewhere.
#[test]
fn a_full_disk_is_reported_and_once_there_is_space_the_run_resumes() {
    let bench = Bench::with_images(200);
    bench.summary(&["--set", "resize.side_px=224"]);
    let expected = published(&bench.out().join("shards"));
    let disk = bench.root.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    let mount = |options: &str| {
        Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(&disk)
            .stderr(Stdio::null())
            .status()
    };
    if !mount("size=12m").is_ok_and(|status| status.success()) {
        eprintln!("skipped: mounting a small file system is not allowed here");
        return;
    }
    let unmount = Unmount(disk.clone());
    bench.copy_tables(&disk);
    let full = bench.command(&disk, &["--set", "resize.side_px=224"]).output().unwrap();
    assert_eq!(full.status.code(), Some(1), "{}", text(&full.stderr));
    assert!(
        text(&full.stderr).contains("the disk is full; free some space or choose another OUT"),
        "{}",
        text(&full.stderr)
    );
    assert!(!disk.join("shards/manifest.json").exists());
    assert!(mount("remount,size=200m").is_ok_and(|status| status.success()));
    let again = bench.command(&disk, &["--set", "resize.side_px=224"]).output().unwrap();
    assert!(again.status.success(), "{}", text(&again.stderr));
    assert!(published(&disk.join("shards")) == expected);
    drop(unmount);
}

struct Unmount(std::path::PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn an_output_path_that_is_a_file_is_reported() {
    let bench = Bench::with_images(4);
    std::fs::write(bench.out().join("shards"), b"in the way").unwrap();
    let output = bench.run(&[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("cannot create the folder"), "{}", text(&output.stderr));
}
