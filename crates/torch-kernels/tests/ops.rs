//! The fused operations against Burn's primitives on Flex, and against finite differences in double
//! precision.

#![cfg(feature = "libtorch")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
#![expect(
    deprecated,
    reason = "0.22.1 is the last Burn with libtorch, which this crate is built on"
)]

use burn::tensor::{DType, Device, Tensor, TensorData};
use ossify_torch_kernels::ops::{
    self, BlockOptions, ChannelStatistics, LayerParameters, NormOptions, Pool,
};
use proptest::prelude::*;

const EPSILON: f64 = 1e-5;

fn norm_options(pool: Pool) -> NormOptions {
    NormOptions { epsilon: EPSILON, pool }
}

/// Numbers that look random and depend on the seed and the index alone.
fn numbers(seed: u64, count: usize) -> impl Iterator<Item = f64> {
    (0..count as u64).map(move |index| {
        let mut bits = (seed << 32 ^ index).wrapping_add(0x9e37_79b9_7f4a_7c15);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) >> 11) as f64 / (1_u64 << 53) as f64 * 2.0 - 1.0
    })
}

/// Numbers around `middle`; a leaf whose gradient is kept where the device has gradients.
fn leaf<const D: usize>(
    seed: u64,
    shape: [usize; D],
    middle: f64,
    (device, dtype): (&Device, DType),
) -> Tensor<D> {
    let values: Vec<f64> =
        numbers(seed, shape.iter().product()).map(|value| middle + value).collect();
    let tensor = Tensor::from_data(TensorData::new(values, shape), (device, dtype));
    if device.is_autodiff() { tensor.require_grad() } else { tensor }
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().convert::<f64>().try_into_vec().unwrap()
}

/// Norm of the difference over the norm of what is right.
fn error(found: &[f64], right: &[f64]) -> f64 {
    assert_eq!(found.len(), right.len());
    let norm = |values: &mut dyn Iterator<Item = f64>| {
        values.map(|value| value * value).sum::<f64>().sqrt()
    };
    norm(&mut found.iter().zip(right).map(|(a, b)| a - b))
        / norm(&mut right.iter().copied()).max(1e-3)
}

/// Outputs and gradients of one way to compute, each with a name.
type Found = Vec<(String, Vec<f64>)>;

fn assert_close(found: &Found, right: &Found, tolerance: f64) {
    for ((name, found), (_, right)) in found.iter().zip(right) {
        let error = error(found, right);
        assert!(error < tolerance, "{name} is off by {error:.1e}");
    }
    assert_eq!(found.len(), right.len());
}

/// The weighted sum of an output, whose gradient is the weights.
fn weighted<const D: usize>(output: Tensor<D>) -> Tensor<1> {
    let dims = output.dims();
    let weights: Vec<f64> = numbers(99, dims.iter().product()).collect();
    let weights =
        Tensor::from_data(TensorData::new(weights, dims), (&output.device(), output.dtype()));
    (output * weights).sum()
}

/// Sizes of a dense block and of what it is given.
#[derive(Clone, Copy, Debug)]
struct Block {
    batch: usize,
    side: [usize; 2],
    channels: usize,
    layers: usize,
    growth: usize,
    bottleneck: usize,
}

impl Block {
    fn input(&self, target: (&Device, DType)) -> Tensor<4> {
        leaf(1, [self.batch, self.channels, self.side[0], self.side[1]], 0.3, target)
    }

    fn parameters(&self, target: (&Device, DType)) -> Vec<LayerParameters> {
        let layer = |index: usize| {
            let (seed, channels) = (10 * (index as u64 + 1), self.channels + index * self.growth);
            LayerParameters {
                norm1: [
                    leaf(seed, [channels], 1.5, target),
                    leaf(seed + 1, [channels], 0.1, target),
                ],
                weight1: leaf(seed + 2, [self.bottleneck, channels, 1, 1], 0.0, target),
                norm2: [
                    leaf(seed + 3, [self.bottleneck], 1.5, target),
                    leaf(seed + 4, [self.bottleneck], 0.1, target),
                ],
                weight2: leaf(seed + 5, [self.growth, self.bottleneck, 3, 3], 0.0, target),
            }
        };
        (0..self.layers).map(layer).collect()
    }

    fn run(&self, device: &Device, dtype: DType, keep_activations: bool) -> Found {
        self.run_typed(device, [dtype; 2], keep_activations)
    }

    /// With types of maps and of parameters.
    fn run_typed(
        &self,
        device: &Device,
        [maps, parameters]: [DType; 2],
        keep_activations: bool,
    ) -> Found {
        let (input, layers) = (self.input((device, maps)), self.parameters((device, parameters)));
        let (output, statistics) = ops::dense_block(
            input.clone(),
            layers.clone(),
            BlockOptions { epsilon: EPSILON, keep_activations },
        );
        let mut found = vec![("output".to_owned(), values(output.clone()))];
        for (index, layer) in statistics.into_iter().enumerate() {
            for (norm, of) in layer.into_iter().enumerate() {
                found.push((format!("mean {norm} of layer {index}"), values(of.mean)));
                found.push((format!("variance {norm} of layer {index}"), values(of.variance)));
            }
        }
        let gradients = weighted(output).backward();
        found.push(("gradient of the input".to_owned(), values(input.grad(&gradients).unwrap())));
        for (index, layer) in layers.iter().enumerate() {
            for (name, vector) in ["gamma1", "beta1", "gamma2", "beta2"]
                .iter()
                .zip(layer.norm1.iter().chain(&layer.norm2))
            {
                found.push((
                    format!("gradient of {name} of layer {index}"),
                    values(vector.grad(&gradients).unwrap()),
                ));
            }
            for (name, weight) in [("weight1", &layer.weight1), ("weight2", &layer.weight2)] {
                found.push((
                    format!("gradient of {name} of layer {index}"),
                    values(weight.grad(&gradients).unwrap()),
                ));
            }
        }
        found
    }
}

fn libtorch() -> Device {
    Device::libtorch().autodiff()
}

fn flex() -> Device {
    Device::flex().autodiff()
}

/// Where it is `decided`, all of a channel passes ReLU or nothing: each shift is about 5 to one
/// side, and normalised values stay within 2.
fn norm_relu(shape: [usize; 4], pool: Pool, decided: bool, device: &Device, dtype: DType) -> Found {
    let channels = shape[1];
    let input = leaf(1, shape, 0.4, (device, dtype));
    let shifts = numbers(3, channels).enumerate().map(|(channel, value)| {
        if decided { value + if channel % 3 == 0 { -5.0 } else { 5.0 } } else { value }
    });
    let beta = Tensor::from_data(
        TensorData::new(shifts.collect::<Vec<f64>>(), [channels]),
        (device, dtype),
    )
    .require_grad();
    let norm = [leaf(2, [channels], 1.2, (device, dtype)), beta];
    let (output, ChannelStatistics { mean, variance }) =
        ops::norm_relu(input.clone(), norm.clone(), norm_options(pool));
    let gradients = weighted(output.clone()).backward();
    let [gamma, beta] = norm.map(|values| values.grad(&gradients).unwrap());
    vec![
        ("output".into(), values(output)),
        ("mean".into(), values(mean)),
        ("variance".into(), values(variance)),
        ("gradient of the input".into(), values(input.grad(&gradients).unwrap())),
        ("gradient of gamma".into(), values(gamma)),
        ("gradient of beta".into(), values(beta)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn convolution_is_that_of_flex(
        batch in 1_usize..5,
        channels in 1_usize..9,
        kernels in 1_usize..9,
        height in 7_usize..14,
        width in 7_usize..14,
        // Not 1x1 with a stride: Burn's own gradient of the weight is wrong there where the last
        // positions are left over, see below.
        (kernel, stride) in prop::sample::select(vec![
            (1_usize, 1_usize),
            (3, 1),
            (3, 2),
            (7, 1),
            (7, 2),
        ]),
    ) {
        let run = |device: &Device| -> Found {
            let input = leaf(1, [batch, channels, height, width], 0.0, (device, DType::F32));
            let weight = leaf(2, [kernels, channels, kernel, kernel], 0.0, (device, DType::F32));
            let output = ops::conv2d(input.clone(), weight.clone(), stride, kernel / 2);
            let gradients = weighted(output.clone()).backward();
            let gradient = |of: Tensor<4>| values(of.grad(&gradients).unwrap());
            vec![("output".into(), values(output)), ("gradient of the \
                input".into(), gradient(input)), ("gradient of the \
                weight".into(), gradient(weight))]
        };
        assert_close(&run(&libtorch()), &run(&flex()), 1e-5);
    }

    #[test]
    fn samples_are_those_of_flex(
        batch in 1_usize..4,
        channels in 1_usize..4,
        height in 2_usize..14,
        width in 2_usize..14,
        side in 1_usize..12,
        reach in 0.1_f64..2.0,
    ) {
        let run = |device: &Device| {
            let images = leaf::<4>(1, [batch, channels, height, width], 0.0, (device, DType::F32));
            let points = leaf::<4>(2, [batch, side, side, 2], 0.0, (device, DType::F32)) * reach;
            // As pixels come: channels side by side.
            let interleaved = images
                .permute([0, 2, 3, 1])
                .reshape([batch, height, width, channels])
                .permute([0, 3, 1, 2]);
            values(ops::sample(interleaved, points))
        };
        assert!(error(&run(&Device::libtorch()), &run(&Device::flex())) < 1e-5);
    }

    #[test]
    fn norm_and_relu_and_pooling_are_those_of_flex(
        batch in 1_usize..5, channels in 1_usize..70, height in 2_usize..14, width in 2_usize..14,
        pool in prop::sample::select(vec![Pool::None, Pool::Largest, Pool::Mean]),
    ) {
        let shape = [batch, channels, height, width];
        // In double precision nothing is so near to zero that it passes ReLU here and not there.
        assert_close(
            &norm_relu(shape, pool, false, &libtorch(), DType::F64),
            &norm_relu(shape, pool, false, &flex(), DType::F64),
            1e-9,
        );
        assert_close(
            &norm_relu(shape, pool, true, &libtorch(), DType::F32),
            &norm_relu(shape, pool, true, &flex(), DType::F64),
            1e-4,
        );
    }

    #[test]
    fn single_precision_kernels_agree_with_double_precision(
        batch in 1_usize..4,
        channels in 1_usize..300,
        side in 3_usize..30,
    ) {
        let shape = [batch, channels, side, side];
        assert_close(
            &norm_relu(shape, Pool::None, true, &libtorch(), DType::F32),
            &norm_relu(shape, Pool::None, true, &libtorch(), DType::F64),
            1e-4,
        );
        // A flip at ReLU moves the gradient of its whole channel by its share of it.
        let [single, double] =
            [DType::F32, DType::F64]
                .map(|dtype| norm_relu(shape, Pool::None, false, &libtorch(), dtype));
        assert_close(&single, &double, 1e-2 + 2.0 / (batch * side * side) as f64);
    }

    #[test]
    fn a_dense_block_is_that_of_flex(
        batch in 2_usize..5,
        channels in 1_usize..20,
        layers in 1_usize..8,
        growth in 1_usize..7,
        bottleneck in 1_usize..9,
        height in 3_usize..9, width in 3_usize..9, keep_activations: bool,
    ) {
        let block = Block { batch, side: [height, width], channels, layers, growth, bottleneck };
        // In double precision: behind several layers the rounding of single precision decides which
        // values ReLU lets pass.
        let right = block.run(&flex(), DType::F64, true);
        assert_close(&block.run(&libtorch(), DType::F64, keep_activations), &right, 1e-8);
        if layers == 1 {
            // Loosely: a flip at ReLU, which single precision allows, is a part of a small block.
            assert_close(&block.run(&libtorch(), DType::F32, keep_activations), &right, 0.2);
        }
    }
}

#[test]
fn a_strided_1x1_convolution_has_the_gradient_of_its_differences() {
    let target = (&libtorch(), DType::F64);
    let (input, weight) = (leaf(1, [2, 2, 12, 8], 0.0, target), leaf(2, [1, 2, 1, 1], 0.0, target));
    let score = |weight: Tensor<4>| values(weighted(ops::conv2d(input.clone(), weight, 2, 0)))[0];
    let gradients = weighted(ops::conv2d(input.clone(), weight.clone(), 2, 0)).backward();
    let found = values(weight.grad(&gradients).unwrap());
    for (at, found) in found.iter().enumerate() {
        let mut moved = values(weight.clone());
        moved[at] += 1.0;
        // The score is linear in the weight.
        let difference = score(Tensor::from_data(TensorData::new(moved, [1, 2, 1, 1]), target))
            - score(weight.clone());
        assert!((difference - found).abs() < 1e-9, "{found} and {difference}");
    }
}

#[test]
fn gradients_of_a_dense_block_are_its_finite_differences() {
    const STEP: f64 = 1e-6;
    let block = Block { batch: 2, side: [4, 3], channels: 3, layers: 3, growth: 2, bottleneck: 4 };
    let device = libtorch();
    let target = (&device, DType::F64);
    let options = BlockOptions { epsilon: EPSILON, keep_activations: true };
    let (input, layers) = (block.input(target), block.parameters(target));
    let score = |input: Tensor<4>, layers: Vec<LayerParameters>| {
        values(weighted(ops::dense_block(input, layers, options).0))[0]
    };
    let gradients = weighted(ops::dense_block(input.clone(), layers.clone(), options).0).backward();

    let bump = |tensor: Tensor<4>, at: usize, by: f64| {
        let dims = tensor.dims();
        let mut moved = values(tensor);
        moved[at] += by;
        Tensor::<4>::from_data(TensorData::new(moved, dims), target)
    };
    let check = |name: &str, of: &Tensor<4>, score: &dyn Fn(Tensor<4>) -> f64| {
        let found = values(of.grad(&gradients).unwrap());
        for at in (0..found.len()).step_by(found.len() / 10 + 1) {
            let difference = (score(bump(of.clone(), at, STEP))
                - score(bump(of.clone(), at, -STEP)))
                / (2.0 * STEP);
            assert!(
                (difference - found[at]).abs() < 1e-4 * (1.0 + found[at].abs()),
                "{name} at {at}: {} and {difference}",
                found[at]
            );
        }
    };
    check("input", &input, &|moved| score(moved, layers.clone()));
    for index in 0..layers.len() {
        let with = |change: &dyn Fn(&mut LayerParameters)| {
            let mut changed = layers.clone();
            change(&mut changed[index]);
            score(input.clone(), changed)
        };
        check("weight1", &layers[index].weight1, &|moved| {
            with(&|layer| layer.weight1 = moved.clone())
        });
        check("weight2", &layers[index].weight2, &|moved| {
            with(&|layer| layer.weight2 = moved.clone())
        });
    }
}

#[test]
fn recomputed_activations_are_those_that_were_kept() {
    // Of the first layers the bottleneck is recomputed as well.
    let block =
        Block { batch: 3, side: [7, 7], channels: 80, layers: 6, growth: 12, bottleneck: 24 };
    let device = libtorch();
    assert_eq!(block.run(&device, DType::F32, true), block.run(&device, DType::F32, false));
}

#[test]
fn inference_takes_the_statistics_that_it_is_given() {
    let block =
        Block { batch: 3, side: [6, 5], channels: 10, layers: 4, growth: 6, bottleneck: 12 };
    let run = |device: &Device| {
        let target = (device, DType::F32);
        let norm = |seed: u64, channels: usize| ChannelStatistics {
            mean: leaf(seed, [channels], 0.0, target).detach(),
            variance: leaf(seed + 1, [channels], 2.0, target).detach(),
        };
        let statistics = (0..block.layers).map(|layer| {
            let seed = 1000 + 10 * layer as u64;
            [norm(seed, block.channels + layer * block.growth), norm(seed + 5, block.bottleneck)]
        });
        values(ops::dense_block_inference(
            block.input(target),
            block.parameters(target),
            statistics.collect(),
            EPSILON,
        ))
    };
    let right = run(&Device::flex());
    assert!(error(&run(&Device::libtorch()), &right) < 1e-5);
    // A network whose norms are held still while something before it learns.
    assert!(error(&run(&libtorch()), &right) < 1e-5);
}

#[test]
fn the_batch_statistics_given_back_make_inference_equal_to_training() {
    let block =
        Block { batch: 4, side: [8, 8], channels: 12, layers: 3, growth: 8, bottleneck: 16 };
    for device in [libtorch(), flex()] {
        let target = (&device, DType::F32);
        let options = BlockOptions { epsilon: EPSILON, keep_activations: false };
        let (output, statistics) =
            ops::dense_block(block.input(target), block.parameters(target), options);
        let again = ops::dense_block_inference(
            block.input(target),
            block.parameters(target),
            statistics,
            EPSILON,
        );
        assert!(error(&values(again), &values(output)) < 1e-5);
    }
}

/// Maps in bfloat16, whose numbers have 8 bits, with parameters in float32.
#[test]
fn half_precision_maps_go_with_single_precision_parameters() {
    let device = libtorch();
    let maps = |dtype: DType, pool: Pool| {
        let parameters = if dtype == DType::BF16 { DType::F32 } else { dtype };
        let input = leaf(1, [3, 6, 9, 9], 0.0, (&device, dtype));
        let weight = leaf(2, [5, 6, 3, 3], 0.0, (&device, parameters));
        // Far from zero, so that rounding does not decide what ReLU lets pass.
        let norm =
            [leaf(3, [5], 1.0, (&device, parameters)), leaf(4, [5], 8.0, (&device, parameters))];
        let (output, statistics) = ops::norm_relu(
            ops::conv2d(input.clone(), weight.clone(), 2, 1),
            norm.clone(),
            norm_options(pool),
        );
        assert_eq!(
            (output.dtype(), statistics.mean.dtype(), statistics.variance.dtype()),
            (dtype, parameters, parameters)
        );
        let gradients = weighted(output.clone()).backward();
        let [gamma, beta] = norm.map(|values| values.grad(&gradients).unwrap());
        let (input, weight) = (input.grad(&gradients).unwrap(), weight.grad(&gradients).unwrap());
        assert_eq!((input.dtype(), weight.dtype(), gamma.dtype()), (dtype, parameters, parameters));
        let inferred = ops::norm_relu_inference(
            output.clone(),
            [gamma.clone(), beta.clone()],
            statistics.clone(),
            norm_options(pool),
        );
        assert_eq!(inferred.dtype(), dtype);
        let found: Found = vec![
            ("output".into(), values(output)),
            ("mean".into(), values(statistics.mean)),
            ("variance".into(), values(statistics.variance)),
            ("gradient of the input".into(), values(input)),
            ("gradient of the weight".into(), values(weight)),
            ("gradient of gamma".into(), values(gamma)),
            ("gradient of beta".into(), values(beta)),
        ];
        found
    };
    for pool in [Pool::None, Pool::Mean] {
        assert_close(&maps(DType::BF16, pool), &maps(DType::F64, pool), 0.03);
    }

    for keep_activations in [true, false] {
        let block =
            Block { batch: 4, side: [8, 8], channels: 16, layers: 2, growth: 8, bottleneck: 32 };
        let found = block.run_typed(&device, [DType::BF16, DType::F32], keep_activations);
        // What ReLU lets pass differs here and there.
        assert_close(&found, &block.run(&device, DType::F64, true), 0.12);
    }
}

/// Of a block whose parameters do not fit, libtorch's refusal arrives with its words.
#[test]
fn shapes_that_do_not_fit_are_refused_and_nothing_aborts() {
    let block = Block { batch: 2, side: [4, 4], channels: 5, layers: 2, growth: 3, bottleneck: 4 };
    let device = libtorch();
    let target = (&device, DType::F32);
    let refusal = |input: Tensor<4>, layers: Vec<LayerParameters>| {
        let options = BlockOptions { epsilon: EPSILON, keep_activations: true };
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            ops::dense_block(input, layers, options).0.dims()
        }))
        .unwrap_err();
        panic.downcast_ref::<String>().cloned().unwrap_or_default()
    };
    let other = leaf(1, [2, 6, 4, 4], 0.0, target);
    assert!(
        refusal(other, block.parameters(target))
            .contains("layer 1 of a dense block has parameters of another shape")
    );
    let mut layers = block.parameters(target);
    layers[1].weight2 = leaf(3, [3, 5, 3, 3], 0.0, target);
    assert!(
        refusal(block.input(target), layers)
            .contains("layer 2 of a dense block has parameters of another shape")
    );
    let mut layers = block.parameters(target);
    layers[0].norm1[0] = leaf(3, [5], 0.0, (&device, DType::F64));
    assert!(refusal(block.input(target), layers).contains("Double"));
}
