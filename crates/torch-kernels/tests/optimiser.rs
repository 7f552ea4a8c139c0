//! The fused step of the optimiser against Burn's primitives on Flex.

#![cfg(feature = "libtorch")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
#![expect(
    deprecated,
    reason = "0.22.1 is the last Burn with libtorch, which this crate is built on"
)]

use burn::tensor::{Device, Tensor, TensorData};
use ossify_torch_kernels::optimiser::{
    AnyTensor, Clip, Parameter, Rule, StepOptions, follow, step,
};
use proptest::prelude::*;

fn tensor<const D: usize>(values: &[f32], shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap()
}

fn close(found: &[f32], right: &[f32]) {
    assert_eq!(found.len(), right.len());
    for (a, b) in found.iter().zip(right) {
        assert!((a - b).abs() <= 2e-6 * b.abs().max(1.0), "{a} against {b}");
    }
}

/// A kernel and a bias after `steps` steps, what is remembered of both, and the penalised squares
/// of each step.
fn run(
    device: &Device,
    numbers: &[f32],
    shape: [usize; 2],
    steps: u32,
    options: impl Fn(f64) -> StepOptions,
) -> (Vec<f32>, Vec<f32>) {
    let count = shape[0] * shape[1];
    let kernel = Parameter {
        weights: tensor(&numbers[..count], shape, device).into(),
        first: None,
        second: None,
    };
    let bias = Parameter {
        weights: tensor(&numbers[..shape[1]], [shape[1]], device).into(),
        first: None,
        second: None,
    };
    let (mut parameters, mut squares) = (vec![kernel, bias], Vec::new());
    for number in 1..=steps {
        let scaled: Vec<f32> = numbers.iter().map(|value| value * number as f32).collect();
        // A gradient that lies column by column, as that of a linear layer may.
        let gradients: Vec<AnyTensor> = vec![
            tensor(&scaled[count..2 * count], [shape[1], shape[0]], device).swap_dims(0, 1).into(),
            tensor(&scaled[count..count + shape[1]], [shape[1]], device).into(),
        ];
        let (moved, sum) =
            step(parameters, gradients, vec![true, false], options(f64::from(number))).unwrap();
        parameters = moved;
        squares.extend(values(sum));
    }
    let mut found = Vec::new();
    for (index, Parameter { weights, first, second }) in parameters.into_iter().enumerate() {
        found.extend(if index == 0 {
            values(weights.into_tensor::<2>())
        } else {
            values(weights.into_tensor::<1>())
        });
        found.extend(first.into_iter().chain(second).flat_map(values));
    }
    (found, squares)
}

fn clips() -> impl Strategy<Value = Clip> {
    prop_oneof![
        Just(Clip::Off),
        (0.1..10.0).prop_map(Clip::Parameter),
        (0.1..10.0).prop_map(Clip::Global)
    ]
}

fn rules() -> impl Strategy<Value = Rule> {
    let adam = (1e-8..1e-3, 0.0..0.5).prop_map(|(epsilon, decay)| Rule::Adam {
        number: 1.0,
        rate: 0.01,
        epsilon,
        decay,
    });
    prop_oneof![
        adam,
        prop_oneof![Just(0.0), 0.1..0.99].prop_map(|momentum| Rule::Sgd { rate: 0.01, momentum })
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn libtorch_steps_as_primitives_do(
        rule in rules(),
        clip in clips(),
        penalty in prop_oneof![Just(0.0), 0.001..0.1],
        shape in [1_usize..20, 1_usize..20],
        numbers in prop::collection::vec(-1.0_f32..1.0, 800),
    ) {
        let options = |number: f64| StepOptions {
            rule: match rule {
                Rule::Adam { rate, epsilon, decay, .. } => {
                    Rule::Adam { number, rate, epsilon, decay }
                }
                sgd @ Rule::Sgd { .. } => sgd,
            },
            clip,
            penalty,
        };
        let (right, right_squares) = run(&Device::flex(), &numbers, shape, 4, options);
        let (found, squares) = run(&Device::libtorch(), &numbers, shape, 4, options);
        close(&found, &right);
        close(&squares, &right_squares);
    }

    #[test]
    fn averages_follow_on_libtorch_as_primitives_do(
        share in 0.0..=1.0,
        shape in [1_usize..20, 1_usize..20],
        numbers in prop::collection::vec(-1.0_f32..1.0, 800),
    ) {
        let count = shape[0] * shape[1];
        let run = |device: &Device| {
            let averages: Vec<AnyTensor> = vec![
                tensor(&numbers[..count], shape, device).into(),
                tensor(&numbers[..3], [3], device).into(),
            ];
            let kernel =
                tensor(&numbers[count..2 * count], [shape[1], shape[0]], device).swap_dims(0, 1);
            let next = vec![kernel.into(), tensor(&numbers[3..6], [3], device).into()];
            let mut moved = follow(averages, next, share).into_iter();
            let mut found = values(moved.next().unwrap().into_tensor::<2>());
            found.extend(values(moved.next().unwrap().into_tensor::<1>()));
            found
        };
        close(&run(&Device::libtorch()), &run(&Device::flex()));
    }
}

#[test]
fn what_others_hold_stays_as_it_was() {
    let device = Device::libtorch();
    let weights: Tensor<1> = tensor(&[1.0, 2.0], [2], &device);
    let gradient: Tensor<1> = tensor(&[0.5, -0.5], [2], &device);
    let options = StepOptions {
        rule: Rule::Sgd { rate: 0.1, momentum: 0.0 },
        clip: Clip::Parameter(0.1),
        penalty: 0.2,
    };
    let parameter = Parameter { weights: weights.clone().into(), first: None, second: None };
    let (moved, _) =
        step(vec![parameter], vec![gradient.clone().into()], vec![true], options).unwrap();
    assert_eq!((values(weights), values(gradient.clone())), (vec![1.0, 2.0], vec![0.5, -0.5]));
    assert!(values(moved[0].weights.clone().into_tensor::<1>())[0] < 1.0);
    let averages = follow(vec![gradient.clone().into()], vec![moved[0].weights.clone()], 0.5);
    assert_eq!(values(gradient), vec![0.5, -0.5]);
    assert!(values(averages[0].clone().into_tensor::<1>())[0] > 0.5);
}

#[test]
fn norms_do_not_depend_on_the_number_of_threads() {
    let device = Device::libtorch();
    let numbers: Vec<f32> =
        (0..300_000_u32).map(|i| ((i.wrapping_mul(2_654_435_761) >> 8) as f32) / 1e6).collect();
    let options = StepOptions {
        rule: Rule::Sgd { rate: 1.0, momentum: 0.0 },
        clip: Clip::Global(1.0),
        penalty: 0.1,
    };
    let run = |threads| {
        ossify_torch_kernels::runtime::set_threads(threads);
        let parameter = Parameter {
            weights: tensor(&numbers, [numbers.len()], &device).into(),
            first: None,
            second: None,
        };
        let (mut moved, squares) = step(
            vec![parameter],
            vec![tensor(&numbers, [numbers.len()], &device).into()],
            vec![true],
            options,
        )
        .unwrap();
        (values(moved.remove(0).weights.into_tensor::<1>()), values(squares))
    };
    assert_eq!(run(1), run(3));
}

#[test]
fn averages_do_not_depend_on_the_number_of_threads() {
    let device = Device::libtorch();
    let numbers: Vec<f32> =
        (0..300_001_u32).map(|i| ((i.wrapping_mul(2_654_435_761) >> 8) as f32) / 1e6).collect();
    let run = |threads| {
        ossify_torch_kernels::runtime::set_threads(threads);
        let averages = vec![tensor(&numbers, [numbers.len()], &device).into()];
        let reversed: Vec<f32> = numbers.iter().rev().copied().collect();
        let mut moved =
            follow(averages, vec![tensor(&reversed, [numbers.len()], &device).into()], 0.3);
        values(moved.remove(0).into_tensor::<1>())
    };
    assert_eq!(run(1), run(3));
}
