//! A run from tables and shards to its folder.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
#![allow(missing_docs)]

mod common;

use std::time::Duration;

use common::{Work, text, timeless};
use ossify_contract::Manifest;

#[test]
fn a_run_leaves_what_the_contract_says_and_a_second_one_does_nothing() {
    let work = Work::new(24, 11);
    let output = work.train(&["--json"]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let folder = work.run_folder();
    let manifest = Manifest::open(&folder, "").unwrap();
    for file in ["config.toml", "environment.json", "metrics.jsonl", "model.safetensors", "checkpoints/best/checkpoint.safetensors"] {
        assert!(manifest.file(file).is_some(), "{file}");
    }
    let metrics = work.metrics();
    assert_eq!(metrics.iter().map(|metrics| metrics.epoch).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(metrics.iter().all(|metrics| metrics.train.rows == 24 && metrics.valid.unwrap().rows == 11));
    assert!(metrics[2].train.classification_loss < metrics[0].train.classification_loss, "{metrics:#?}");
    assert_eq!(metrics[2].step, 9);

    let again = work.train(&["--json"]).output().unwrap();
    assert!(text(&again.stderr).contains("already there"), "{}", text(&again.stderr));
    assert_eq!(Manifest::read(&folder).unwrap().unwrap(), manifest);
}

#[test]
fn the_same_seed_gives_the_same_model_and_another_seed_another() {
    let model = |seed: &str| {
        let work = Work::new(16, 6);
        let output = work.train(&["epochs=2"]).env("OSSIFY__GENERAL__SEED", seed).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        (std::fs::read(work.run_folder().join("model.safetensors")).unwrap(), timeless(work.metrics()))
    };
    let first = model("1");
    assert!(first == model("1"));
    assert!(first != model("2"));
}

#[test]
fn a_run_that_is_killed_again_and_again_ends_as_an_undisturbed_one() {
    let recipe = ["epochs=5", "--quiet"];
    let undisturbed = Work::new(40, 12);
    let started = std::time::Instant::now();
    assert!(undisturbed.train(&recipe).status().unwrap().success());
    let whole = started.elapsed();

    let killed = Work::new(40, 12);
    let mut kills = 0;
    // Ever later, so that every part of the run is hit and the end is reached.
    for attempt in 1.. {
        let mut child = killed.train(&recipe).spawn().unwrap();
        std::thread::sleep(whole.mul_f64(0.07 * f64::from(attempt)).min(Duration::from_secs(60)));
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success());
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
    }
    assert!(kills > 0);
    assert_eq!(timeless(killed.metrics()), timeless(undisturbed.metrics()));
    let model = |work: &Work| std::fs::read(work.run_folder().join("model.safetensors")).unwrap();
    assert!(model(&killed) == model(&undisturbed), "other bytes after {kills} kills");
}

#[cfg(unix)]
#[test]
fn a_signal_ends_the_run_with_a_word_and_the_next_one_goes_on() {
    let work = Work::new(40, 12);
    let recipe = ["epochs=2000"];
    let child = work.train(&recipe).stderr(std::process::Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(2));
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("interrupted; the checkpoint") && said.contains("goes on from there"), "{said}");
    assert!(!work.out().join("runs").join("latest").exists());
}

#[test]
fn frozen_features_are_computed_once_and_used_by_later_runs() {
    let work = Work::new(16, 6);
    let recipe = ["mode=\"frozen\"", "shift=0", "brightness=0"];
    let first = work.train(&recipe).output().unwrap();
    let said = text(&first.stderr);
    assert!(first.status.success(), "{said}");
    assert!(said.contains("computed once for 22 images") && said.contains("a frozen backbone with random weights"), "{said}");
    let other = work.train(&[&recipe[..], &["learning_rate=0.005"]].concat()).output().unwrap();
    assert!(text(&other.stderr).contains("features of the frozen backbone: taken from"), "{}", text(&other.stderr));
    assert_eq!(std::fs::read_dir(work.out().join("features")).unwrap().count(), 1);
}

#[test]
fn a_changed_cache_of_features_is_computed_again() {
    let work = Work::new(16, 6);
    let recipe = ["mode=\"frozen\"", "shift=0", "brightness=0"];
    assert!(work.train(&recipe).output().unwrap().status.success());
    let model = std::fs::read(work.run_folder().join("model.safetensors")).unwrap();
    let cache = std::fs::read_dir(work.out().join("features")).unwrap().next().unwrap().unwrap().path();
    let chunk = cache.join("train-00000.f32");
    let bytes = std::fs::read(&chunk).unwrap();
    std::fs::write(&chunk, vec![0; bytes.len()]).unwrap();
    let again = work.train(&[&recipe[..], &["--force"]].concat()).output().unwrap();
    assert!(text(&again.stderr).contains("computed once"), "{}", text(&again.stderr));
    assert!(std::fs::read(&chunk).unwrap() == bytes);
    assert!(std::fs::read(work.run_folder().join("model.safetensors")).unwrap() == model);
}
