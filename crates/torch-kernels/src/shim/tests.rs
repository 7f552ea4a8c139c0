use tch::{Device, Kind, Tensor};

use crate::ops::{NormOptions, Pool};
use crate::shim::{
    BlockShape, convolution_backward, dense_block, dense_block_backward, norm_relu,
    norm_relu_backward,
};

const PLAIN: NormOptions = NormOptions { epsilon: 1e-5, pool: Pool::None };

fn is_channels_last(tensor: &Tensor) -> bool {
    let [batch, channels, height, width] = tensor.size()[..] else { return false };
    batch > 0 && tensor.stride() == [height * width * channels, 1, width * channels, channels]
}

fn random(sizes: &[i64]) -> Tensor {
    Tensor::randn(sizes, (Kind::Float, Device::Cpu))
}

fn layer(channels: i64) -> [Tensor; 6] {
    [
        random(&[channels]),
        random(&[channels]),
        random(&[8, channels, 1, 1]),
        random(&[8]),
        random(&[8]),
        random(&[4, 8, 3, 3]),
    ]
}

/// Channels lie side by side all the way through, whatever the input's layout: a network that
/// permutes in between would be correct and slow.
#[test]
fn everything_that_comes_out_is_channels_last() {
    let parameters: Vec<Tensor> = (0..3).flat_map(|index| layer(6 + 4 * index)).collect();
    let parameters: Vec<&Tensor> = parameters.iter().collect();
    for input in [random(&[2, 6, 5, 7]), random(&[2, 5, 7, 6]).permute([0, 3, 1, 2])] {
        for keep_activations in [true, false] {
            let forward = dense_block(&input, &parameters, 1e-5, keep_activations).unwrap();
            let maps: Vec<&Tensor> = forward.iter().filter(|tensor| tensor.dim() == 4).collect();
            // Bottlenecks of so few channels are recomputed.
            assert_eq!(maps.len(), if keep_activations { 1 + 3 * 3 } else { 1 });
            assert!(maps.iter().all(|map| is_channels_last(map)));
            let shape = BlockShape::of(&input, &parameters, 1e-5).unwrap();
            // A gradient in the other layout, as a linear layer's would be.
            let mut gradient = random(&[2, 18, 5, 7]);
            let backward = dense_block_backward(
                &shape,
                &mut gradient,
                &forward.iter().collect::<Vec<_>>(),
                &parameters,
            )
            .unwrap();
            assert!(is_channels_last(&backward[0]));
        }
        let [output, mean, variance] =
            norm_relu(&input, &random(&[6]), &random(&[6]), PLAIN).unwrap();
        assert!(is_channels_last(&output));
        let norm = [&random(&[6]), &random(&[6]), &mean, &variance];
        assert!(is_channels_last(
            &norm_relu_backward(&random(&[2, 6, 5, 7]), &input, norm, PLAIN).unwrap()[0]
        ));
        let weight = random(&[4, 6, 3, 3]);
        let [gradient, _] =
            convolution_backward(&random(&[2, 4, 5, 7]), &input, &weight, (1, 1), [true, true])
                .unwrap();
        assert!(is_channels_last(&gradient.unwrap()));
    }
}

/// Our own gradient of the 3x3 convolution's weight against libtorch's, of the same
/// activations: over several parts, and with pictures of one pixel.
#[test]
fn the_second_weights_gradient_is_that_of_the_convolution() {
    for (batch, height, width) in [(5, 9, 7), (3, 1, 1), (2, 1, 6), (9, 40, 40), (1, 64, 64)] {
        let input = random(&[batch, 6, height, width]);
        // As wide as those of DenseNet121, for which ours is taken.
        let [bottleneck, growth] = [128, 32];
        let parameters = [
            random(&[6]),
            random(&[6]),
            random(&[bottleneck, 6, 1, 1]),
            random(&[bottleneck]),
            random(&[bottleneck]),
            random(&[growth, bottleneck, 3, 3]),
        ];
        let parameters: Vec<&Tensor> = parameters.iter().collect();
        let forward = dense_block(&input, &parameters, 1e-5, true).unwrap();
        let before_norm = forward
            .iter()
            .rfind(|tensor| tensor.size()[..] == [batch, bottleneck, height, width])
            .unwrap();
        let [activated, ..] = norm_relu(before_norm, parameters[3], parameters[4], PLAIN).unwrap();
        let gradient = random(&[batch, 6 + growth, height, width]);
        let shape = BlockShape::of(&input, &parameters, 1e-5).unwrap();
        let found = dense_block_backward(
            &shape,
            &mut gradient.copy(),
            &forward.iter().collect::<Vec<_>>(),
            &parameters,
        )
        .unwrap();
        let [_, right] = convolution_backward(
            &gradient.narrow(1, 6, growth),
            &activated,
            parameters[5],
            (1, 1),
            [false, true],
        )
        .unwrap();
        let right = right.unwrap();
        let off = (&found[6] - &right).abs().max().double_value(&[])
            / right.abs().max().double_value(&[]);
        assert!(off < 1e-4, "{batch} x {height} x {width}: {off}");
    }
}

#[test]
fn only_wanted_gradients_are_made() {
    let (input, weight, gradient) =
        (random(&[1, 2, 4, 4]), random(&[3, 2, 1, 1]), random(&[1, 3, 4, 4]));
    let found = convolution_backward(&gradient, &input, &weight, (1, 0), [false, true]).unwrap();
    assert_eq!(found.map(|gradient| gradient.is_some()), [false, true]);
}

/// Sums over many positions are taken in pieces, whose order must not depend on who adds them up.
#[test]
fn norms_do_not_depend_on_the_number_of_threads() {
    let (input, gradient) = (random(&[8, 48, 40, 40]), random(&[8, 48, 40, 40]));
    let (gamma, beta) = (random(&[48]), random(&[48]));
    let run = |threads| {
        tch::set_num_threads(threads);
        let [output, mean, variance] = norm_relu(&input, &gamma, &beta, PLAIN).unwrap();
        let backward =
            norm_relu_backward(&gradient, &input, [&gamma, &beta, &mean, &variance], PLAIN)
                .unwrap();
        [output, mean, variance].into_iter().chain(backward).collect::<Vec<_>>()
    };
    let (one, four) = (run(1), run(4));
    assert!(one.iter().zip(&four).all(|(a, b)| a.equal(b)));
}

#[test]
fn a_large_mean_does_not_drown_a_small_variance() {
    let input = random(&[4, 3, 32, 32]) * 0.01 + 1000.0;
    let [_, mean, variance] = norm_relu(&input, &random(&[3]), &random(&[3]), PLAIN).unwrap();
    let double = input.to_kind(Kind::Double);
    let right = double.var_dim([0_i64, 2, 3].as_slice(), false, false);
    let off = (variance.to_kind(Kind::Double) / right - 1.0).abs().max().double_value(&[]);
    assert!(off < 1e-3, "{off}");
    assert!((mean.double_value(&[0]) - 1000.0).abs() < 0.01);
}

#[test]
fn what_libtorch_says_becomes_an_error() {
    let error = convolution_backward(
        &random(&[1, 3, 4, 4]),
        &random(&[1, 2, 9, 9]),
        &random(&[3, 2, 3, 3]),
        (1, 1),
        [true, true],
    )
    .unwrap_err();
    assert!(!error.to_string().is_empty() && !error.to_string().contains("frame #"), "{error}");
    let error = norm_relu(&random(&[2, 3, 4, 4]), &random(&[4]), &random(&[4]), PLAIN).unwrap_err();
    assert_eq!(error.to_string(), "a norm of [4] Float for an input of [2, 3, 4, 4] Float");
}
