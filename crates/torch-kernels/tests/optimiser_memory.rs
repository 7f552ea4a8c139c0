//! What a step of the optimiser takes in memory; alone in its process, whose peak is measured.

#![cfg(feature = "libtorch")]
#![allow(clippy::unwrap_used, reason = "tests")]
#![expect(
    deprecated,
    reason = "0.22.1 is the last Burn with libtorch, which this crate is built on"
)]

use burn::tensor::{Device, Tensor};
use ossify_torch_kernels::optimiser::{Clip, Parameter, Rule, StepOptions, step};

#[test]
fn memory_that_nobody_else_holds_is_reused() {
    let device = Device::libtorch();
    let options = StepOptions {
        rule: Rule::Adam { number: 1.0, rate: 0.1, epsilon: 1e-8, decay: 0.0 },
        clip: Clip::Off,
        penalty: 0.0,
    };
    let first_step = |count: usize| {
        let parameter = Parameter {
            weights: Tensor::<1>::ones([count], &device).into(),
            first: None,
            second: None,
        };
        step(
            vec![parameter],
            vec![Tensor::<1>::ones([count], &device).into()],
            vec![false],
            options,
        )
        .unwrap()
        .0
    };
    // The library itself comes into memory with the first step.
    first_step(10);
    let before = resident();
    let big = 1 << 22;
    let mut parameters = first_step(big);
    for _ in 0..3 {
        parameters =
            step(parameters, vec![Tensor::<1>::ones([big], &device).into()], vec![false], options)
                .unwrap()
                .0;
    }
    // Weights, gradient and two memories of 16 MiB each; a copy of them would take as much again.
    let grown = resident() - before;
    assert!(grown < 100 << 20, "{} MiB", grown >> 20);
    let weights = parameters.remove(0).weights.into_tensor::<1>();
    assert!(weights.into_data().try_into_vec::<f32>().unwrap()[0] < 1.0);
}

/// The most bytes that the process had in memory at one time.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}
