//! The memory of the stage does not depend on the number of images. The test is alone in its
//! process, whose allocations are counted.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;
#[path = "common/peak.rs"]
mod peak;

use clap::Parser;
use common::Bench;
use ossify_settings::{Context, Share, StageArgs};
use peak::{Counting, peak_of};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    stage: StageArgs,
}

fn peak_bytes(images: usize) -> usize {
    let bench = Bench::with_images(images);
    let (dataset, out) = (bench.dataset(), bench.out());
    let arguments = [
        "resize",
        "--quiet",
        "--dataset",
        dataset.to_str().unwrap(),
        "--out",
        out.to_str().unwrap(),
        "--set",
        "resize.images_per_shard=100",
        "--set",
        "general.threads=2",
        // The search for near copies has a memory limit of its own.
        "--set",
        "resize.leak_candidates_per_image=0",
    ];
    let context = Context::resolve(&Cli::parse_from(arguments).stage).unwrap();
    peak_of(|| {
        let outcome = ossify_resize::run(&context, Share::Whole).unwrap();
        assert_eq!(outcome.summary["images"], images);
    })
}

#[test]
fn four_times_as_many_images_take_no_more_memory() {
    let (few, many) = (peak_bytes(300), peak_bytes(1200));
    println!("{few} bytes for 300 images, {many} for 1,200");
    // Rows of the table of images are held up to a batch, and hashes of the search for equal files
    // up to 16 MiB.
    assert!(many < few + 900 * 500, "{few} bytes for 300 images, {many} for 1,200");
}
