//! Tests that a stage that is killed at any moment and run again ends as if it had never been
//! killed.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use ossify_tests::{Project, STAGES};

/// Number of kills of each stage, spread over its undisturbed running time.
const KILLS: u32 = 4;

#[test]
fn a_killed_stage_run_again_gives_the_bytes_of_an_undisturbed_run() {
    let (undisturbed, _) = Project::with_phantom(100);
    let (killed, _) = Project::with_phantom(100);
    for (number, stage) in STAGES.into_iter().enumerate() {
        let started = Instant::now();
        undisturbed.run(stage, &[]).success();
        let whole = started.elapsed();
        let mut deaths = 0;
        for kill in 0..KILLS {
            // Uneven moments, so that they hit different parts of the work.
            let share = (f64::from(kill) + 0.2 + 0.15 * number as f64) / f64::from(KILLS);
            let mut child = killed
                .command(stage, &[])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            sleep(Duration::from_secs_f64(whole.as_secs_f64() * share.min(0.97)));
            let ended = child.try_wait().unwrap().is_some();
            child.kill().unwrap();
            child.wait().unwrap();
            deaths += u32::from(!ended);
        }
        eprintln!(
            "{stage}: {whole:?} undisturbed, killed {deaths} of {KILLS} times before its end"
        );
        killed.run(stage, &[]).success();
        assert_eq!(killed.contents(), undisturbed.contents(), "after {stage}");
    }
}

#[test]
fn what_a_run_left_unfinished_goes_with_the_next_one_that_has_nothing_to_do() {
    let (project, _) = Project::with_phantom(60);
    project.run_all(&[]);
    let run = project.run_id();
    let folders = [
        "tables".to_owned(),
        "shards".to_owned(),
        format!("runs/{run}"),
        format!("predictions/{run}"),
        format!("reports/{run}/test"),
    ];
    for (stage, folder) in STAGES.into_iter().zip(folders) {
        let folder = project.out.join(folder);
        // Simulates a process that was killed during the renames: the new manifest and a file have
        // not been moved yet.
        let staging: PathBuf = folder.join(".partial");
        fs::create_dir(&staging).unwrap();
        let manifest = ossify_tests::read_json(&folder.join("manifest.json"));
        let file = manifest["files"][0]["path"].as_str().unwrap();
        for name in ["manifest.json", file] {
            fs::create_dir_all(staging.join(name).parent().unwrap()).unwrap();
            fs::rename(folder.join(name), staging.join(name)).unwrap();
        }
        assert_eq!(project.run(stage, &[]).success().status(), "current", "{stage}");
        assert!(!staging.exists() && folder.join(file).exists(), "{stage}");
        // Simulates the remains of a run for another output.
        fs::create_dir(&staging).unwrap();
        fs::write(staging.join("half"), "half").unwrap();
        assert_eq!(project.run(stage, &[]).success().status(), "current", "{stage}");
        assert!(!staging.exists(), "{stage}");
    }
}
