//! Layers that backbone and heads have in common.

use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, PaddingConfig2d};
use burn::tensor::{Device, Tensor, TensorData};
use ossify_torch_kernels::ops::{self, ChannelStatistics, NormOptions, Pool};

/// A square convolution without bias whose output is as large as its input, for a stride of 1.
pub(crate) fn convolution(
    channels: [usize; 2],
    kernel: usize,
    stride: usize,
    device: &Device,
) -> Conv2d {
    let padding = kernel / 2;
    Conv2dConfig::new(channels, [kernel, kernel])
        .with_stride([stride, stride])
        .with_padding(PaddingConfig2d::Explicit(padding, padding, padding, padding))
        .with_bias(false)
        .init(device)
}

pub(crate) fn batch_norm(channels: usize, device: &Device) -> BatchNorm {
    BatchNormConfig::new(channels).init(device)
}

/// Every convolution here has one stride and one padding; a bias is left to the caller.
pub(crate) fn convolve(convolution: &Conv2d, input: Tensor<4>) -> Tensor<4> {
    let [kernel, _] = convolution.kernel_size;
    ops::conv2d(input, convolution.weight.val(), convolution.stride[0], kernel / 2)
}

/// The norm, with the batch's statistics where it learns, followed by ReLU and pooling.
pub(crate) fn norm_relu(norm: &BatchNorm, input: Tensor<4>, pool: Pool) -> Tensor<4> {
    let options = NormOptions { epsilon: norm.epsilon, pool };
    if learns(norm, &input) {
        let (output, statistics) = ops::norm_relu(input, affine(norm), options);
        remember(norm, statistics);
        output
    } else {
        let statistics = running(norm, &input);
        ops::norm_relu_inference(input, affine(norm), statistics, options)
    }
}

pub(crate) fn affine(norm: &BatchNorm) -> [Tensor<1>; 2] {
    [norm.gamma.val(), norm.beta.val()]
}

/// As [`BatchNorm::forward`] decides it.
pub(crate) fn learns(norm: &BatchNorm, input: &Tensor<4>) -> bool {
    input.device().is_autodiff() && norm.training.is_enabled()
}

pub(crate) fn running(norm: &BatchNorm, input: &Tensor<4>) -> ChannelStatistics {
    let device = input.device();
    ChannelStatistics {
        mean: norm.running_mean.value().to_device(&device),
        variance: norm.running_var.value().to_device(&device),
    }
}

/// Moves the running statistics towards those of a batch, as [`BatchNorm::forward`] does.
pub(crate) fn remember(norm: &BatchNorm, batch: ChannelStatistics) {
    let moved = |running: Tensor<1>, batch: Tensor<1>| {
        let running = running.to_device(&batch.device());
        (running * (1.0 - norm.momentum) + batch.detach() * norm.momentum).detach()
    };
    norm.running_mean.update(moved(norm.running_mean.value_sync(), batch.mean));
    norm.running_var.update(moved(norm.running_var.value_sync(), batch.variance));
}

/// `[N, C, H, W]` to `[N, H * W, C]`.
pub(crate) fn by_position(map: Tensor<4>) -> Tensor<3> {
    map.flatten::<3>(2, 3).swap_dims(1, 2)
}

/// What scales a map up bilinearly when it is multiplied from the left: `[1, H * W, h *
/// w]`, as PyTorch's `interpolate` with centres aligned (`align_corners = false`). Device and type
/// are those of `like`.
pub(crate) fn enlargement(from: [usize; 2], to: [usize; 2], like: &Tensor<3>) -> Tensor<3> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative, and the fraction is the share"
    )]
    let shares = |from: usize, to: usize, at: usize| {
        let source = ((at as f32 + 0.5) * from as f32 / to as f32 - 0.5).max(0.0);
        let first = (source as usize).min(from - 1);
        let second = (first + 1).min(from - 1);
        let share = source - first as f32;
        [(first, 1.0 - share), (second, share)]
    };
    let mut matrix = vec![0.0_f32; to[0] * to[1] * from[0] * from[1]];
    for (row, shares_of_position) in matrix.chunks_exact_mut(from[0] * from[1]).enumerate() {
        for (y, of_y) in shares(from[0], to[0], row / to[1]) {
            for (x, of_x) in shares(from[1], to[1], row % to[1]) {
                shares_of_position[y * from[1] + x] += of_y * of_x;
            }
        }
    }
    let matrix = TensorData::new(matrix, [1, to[0] * to[1], from[0] * from[1]]);
    Tensor::from_data(matrix, (&like.device(), like.dtype()))
}
