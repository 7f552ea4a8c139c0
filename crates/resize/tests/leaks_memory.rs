//! The memory of a search for leaks does not depend on the number of images. The test is alone in
//! its process, whose allocations are counted.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;
#[path = "common/peak.rs"]
mod peak;

use common::pool;
use ossify_contract::{LeakCounts, ShardShape, Split, Transform};
use ossify_resize::TensorView;
use ossify_resize::leaks::{ImageHashes, LeakSearch, Picture, Scratch};
use peak::{Counting, peak_of};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Number of rows that contain near copies.
const NEAR_AMONG: u64 = 150_000;

/// The finalizer of SplitMix64, Steele and others, "Fast Splittable Pseudorandom Number Generators"
/// (2014).
fn chance(number: u64) -> u64 {
    let z = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Random hashes. In each thousand, one repeats the bytes and one the pixels of its predecessor;
/// among the first rows, one has nearly its predecessor's hash. Later ones do not, so that pictures
/// do not dominate.
fn hashes(row: u64) -> ImageHashes {
    let of = |row: u64, kind: u64| chance((row * 3 + kind + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let is_near = row < NEAR_AMONG && row % 1000 == 5;
    let origin = |kinds: &[u64]| if kinds.contains(&(row % 1000)) { row - 1 } else { row };
    ImageHashes {
        split: Split::ALL[(row % 3) as usize],
        bytes_xxh3: of(origin(&[1]), 0),
        pixels_xxh3: of(origin(&[1, 3]), 1),
        perceptual_hash: of(if is_near { row - 1 } else { origin(&[1, 3]) }, 2)
            ^ u64::from(is_near),
    }
}

fn search(images: u64, picture: &Picture) -> LeakCounts {
    let folder = tempfile::tempdir().unwrap();
    let mut search = LeakSearch::new(Scratch::new(folder.path(), 4 << 20));
    (0..images).for_each(|row| search.add(&hashes(row)).unwrap());
    search.find(0.1, |_| Ok(picture.clone())).unwrap().counts
}

#[test]
fn four_times_as_many_images_take_no_more_memory() {
    let pixels: Vec<u8> = (0..112 * 112).map(|pixel| chance(pixel) as u8).collect();
    let shape = ShardShape { height: 112, width: 112, channels: 1 };
    let transform = Transform { scale_x: 1.0, scale_y: 1.0, offset_x: 0.0, offset_y: 0.0 };
    let picture =
        Picture::new(&TensorView { pixels: &pixels, shape, source: (112, 112), transform });
    pool(2).install(|| {
        let expected = |images: usize| {
            let each = images / 1000;
            let near = NEAR_AMONG as usize / 1000;
            LeakCounts {
                groups: 2 * each + near,
                images: 2 * (2 * each + near),
                same_bytes: each,
                same_pixels: each,
                near,
            }
        };
        let peak = |images: usize| {
            peak_of(|| assert_eq!(search(images as u64, &picture), expected(images)))
        };
        let (few, many) = (peak(300_000), peak(1_200_000));
        println!("{few} bytes for 300,000 images, {many} for 1,200,000");
        assert!(many < few + few / 20, "{few} bytes for 300,000 images, {many} for 1,200,000");
    });
}
