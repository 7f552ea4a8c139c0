//! What the stage holds does not depend on how many images there are.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
#![cfg(target_os = "linux")]

mod common;

use std::process::Stdio;
use std::time::Duration;

use common::Bench;

/// The most memory that the stage ever had, KiB.
fn peak_kib(images: usize) -> u64 {
    let bench = Bench::with_images(images);
    let arguments = ["--set", "resize.side_px=224", "--set", "general.threads=2"];
    let mut child = bench
        .command(&bench.out(), &arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        // The high-water mark only rises: what the last look misses is the process' end.
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let mark = text.lines().find_map(|line| {
            line.strip_prefix("VmHWM:")?.trim().strip_suffix("kB")?.trim().parse().ok()
        });
        peak = peak.max(mark.unwrap_or(0));
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(child.wait().unwrap().success());
    peak
}

#[test]
fn four_times_as_many_images_take_no_more_memory() {
    let (few, many) = (peak_kib(300), peak_kib(1200));
    assert!(few > 10_000, "{few} KiB were seen");
    // Runs of the same number differ by up to a quarter.
    assert!(many < few + few / 5 * 2, "{few} KiB for 300 images, {many} KiB for 1,200");
}
