//! What the stage holds does not depend on how many images there are. Alone in its process, whose
//! allocations are counted.

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
        // The pictures that the search for near copies compares have a bound of their own.
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
    // Up to a batch of the table of images its rows are held, and up to 16 MiB the hashes of the
    // search for equal files.
    assert!(many < few + 900 * 500, "{few} bytes for 300 images, {many} for 1,200");
}
