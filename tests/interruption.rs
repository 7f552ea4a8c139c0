//! A stage that is killed at any moment and run again ends as if it had never been killed.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use ossify_tests::{Project, STAGES};

/// Kills of each stage, spread over the time that it takes undisturbed.
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
            // Uneven moments, so that they fall into different parts of the work.
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
