//! What becomes of freed memory; alone in its process, whose peak is measured.

#![cfg(all(feature = "libtorch", target_env = "gnu"))]
#![allow(clippy::unwrap_used, reason = "tests")]
#![expect(
    deprecated,
    reason = "0.22.1 is the last Burn with libtorch, which this crate is built on"
)]

use burn::tensor::{Device, Tensor};
use ossify_torch_kernels::runtime::keep_freed_memory;

#[test]
fn a_freed_map_makes_room_for_the_next_of_its_size() {
    let device = Device::libtorch();
    assert!(keep_freed_memory());
    let ones = |count: usize| Tensor::<1>::ones([count], &device);
    // The library itself comes into memory with the first operation.
    let mut small = vec![ones(10) + ones(10)];
    let before = resident();
    for _ in 0..20 {
        let map = ones(1 << 22);
        // Something that stays, as a weight's gradient does, lies behind the map, or where the
        // one before it lay.
        small.push(ones(1000));
        drop(map);
    }
    let grown = resident() - before;
    assert!(grown < 64 << 20, "{} MiB", grown >> 20);
    assert!(
        small
            .into_iter()
            .map(|tensor| tensor.into_data().try_into_vec::<f32>().unwrap())
            .all(|values| values[0] >= 1.0)
    );
}

/// The most bytes that the process had in memory at one time.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}
