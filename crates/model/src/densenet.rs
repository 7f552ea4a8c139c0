//! One DenseNet definition for every architecture, layer for layer as torchvision builds it.

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, PaddingConfig2d};
use burn::tensor::module::adaptive_avg_pool2d;
use burn::tensor::{DType, Device, Tensor, TensorData};
use ossify_torch_kernels::ops::{
    self, BlockOptions, ChannelStatistics, LayerParameters, NormOptions, Pool,
};

use crate::config::{BackboneShape, Pooling};
use crate::constant::Constant;
use crate::tensors::state::{ParameterCounts, parameter_counts};

/// The convolutional part of the network: image in, feature vector out.
///
/// Field names follow torchvision's module names, so that a weight's path here and there differ by
/// a few fixed rules (see [`crate::weights`]).
#[derive(Module, Debug)]
pub struct Backbone {
    conv0: Conv2d,
    norm0: BatchNorm,
    blocks: Vec<DenseBlock>,
    transitions: Vec<Transition>,
    norm5: BatchNorm,
    cells: Option<CellGrid>,
    feature_channels: usize,
    keep_activations: bool,
    is_half: bool,
}

#[derive(Module, Debug)]
struct DenseBlock {
    layers: Vec<DenseLayer>,
}

/// BatchNorm, ReLU, 1x1 convolution, BatchNorm, ReLU, 3x3 convolution; the result is appended to
/// the input's channels.
#[derive(Module, Debug)]
struct DenseLayer {
    norm1: BatchNorm,
    conv1: Conv2d,
    norm2: BatchNorm,
    conv2: Conv2d,
}

/// BatchNorm, ReLU, 1x1 convolution to half the channels, 2x2 average pooling.
#[derive(Module, Debug)]
struct Transition {
    norm: BatchNorm,
    conv: Conv2d,
}

/// The grid of cells of [`Pooling::AverageAndCells`].
#[derive(Module, Debug)]
struct CellGrid {
    norm_fine: BatchNorm,
    conv_fine: Conv2d,
    conv_coarse: Conv2d,
    norm1: BatchNorm,
    conv1: Conv2d,
    norm2: BatchNorm,
    /// By the sides of both maps: see [`enlargement`].
    #[module(skip)]
    enlargement: Constant<[usize; 4], Tensor<3>>,
}

fn convolution(channels: [usize; 2], kernel: usize, stride: usize, device: &Device) -> Conv2d {
    let padding = kernel / 2;
    Conv2dConfig::new(channels, [kernel, kernel])
        .with_stride([stride, stride])
        .with_padding(PaddingConfig2d::Explicit(padding, padding, padding, padding))
        .with_bias(false)
        .init(device)
}

fn batch_norm(channels: usize, device: &Device) -> BatchNorm {
    BatchNormConfig::new(channels).init(device)
}

impl Backbone {
    /// Builds the layers on `device`. The weights are arbitrary until
    /// [`Classifier::new`](crate::Classifier::new) or a file sets them.
    ///
    /// `input_px` is the side of the input, on which the length of the feature vector may depend.
    pub fn with_shape(shape: &BackboneShape, input_px: usize, device: &Device) -> Self {
        let bottleneck = shape.bottleneck_factor * shape.growth_rate;
        let mut channels = shape.stem_channels;
        let mut blocks = Vec::with_capacity(shape.block_layers.len());
        let mut transitions = Vec::new();
        for (index, &layers) in shape.block_layers.iter().enumerate() {
            if index > 0 {
                transitions.push(Transition {
                    norm: batch_norm(channels, device),
                    conv: convolution([channels, channels / 2], 1, 1, device),
                });
                channels /= 2;
            }
            let layers = (0..layers).map(|_| {
                let layer = DenseLayer {
                    norm1: batch_norm(channels, device),
                    conv1: convolution([channels, bottleneck], 1, 1, device),
                    norm2: batch_norm(bottleneck, device),
                    conv2: convolution([bottleneck, shape.growth_rate], 3, 1, device),
                };
                channels += shape.growth_rate;
                layer
            });
            blocks.push(DenseBlock { layers: layers.collect() });
        }
        let cells = match shape.pooling {
            Pooling::GlobalAverage => None,
            Pooling::AverageAndCells { channels: cell_channels } => Some(CellGrid {
                norm_fine: batch_norm(shape.fine_channels(), device),
                conv_fine: convolution([shape.fine_channels(), cell_channels], 1, 1, device),
                conv_coarse: convolution([channels, cell_channels], 1, 1, device),
                norm1: batch_norm(cell_channels, device),
                conv1: convolution([cell_channels, cell_channels], 3, 1, device),
                norm2: batch_norm(cell_channels, device),
                enlargement: Constant::default(),
            }),
        };
        Self {
            conv0: convolution([3, shape.stem_channels], 7, 2, device),
            norm0: batch_norm(shape.stem_channels, device),
            blocks,
            transitions,
            norm5: batch_norm(channels, device),
            cells,
            feature_channels: shape.features(input_px).len(),
            keep_activations: false,
            is_half: false,
        }
    }

    /// Whether maps are bfloat16. Input, features and weights are float32 in any case.
    #[must_use]
    pub fn in_half_precision(self, is_half: bool) -> Self {
        Self { is_half, ..self }
    }

    /// Whether a training step keeps the normalised inputs of the convolutions for its backward
    /// pass, or recomputes them, as it does by default: see
    /// [`BlockOptions::keep_activations`].
    #[must_use]
    pub fn keeping_activations(self, keep_activations: bool) -> Self {
        Self { keep_activations, ..self }
    }

    /// Features of a batch: `[N, 3, S, S]`, normalised, to `[N, F]`.
    pub fn forward(&self, input: Tensor<4>) -> Tensor<2> {
        self.features_from(self.before_block(input, 1), 1)
    }

    /// How many dense blocks there are.
    pub fn block_count(&self) -> usize {
        self.blocks.len()
    }

    /// Input `[N, 3, S, S]` to the map that what belongs to dense block `block`, counted from 1,
    /// begins with. The transition before a block belongs to it, and the stem to none.
    pub fn before_block(&self, input: Tensor<4>, block: usize) -> Tensor<4> {
        let input = if self.is_half { input.cast(DType::BF16) } else { input };
        let stem = norm_relu(&self.norm0, convolve(&self.conv0, input), Pool::Largest);
        (1..block).fold(stem, |map, block| self.through_block(map, block))
    }

    /// A map of [`Self::before_block`] to features `[N, F]`.
    pub fn features_from(&self, map: Tensor<4>, block: usize) -> Tensor<2> {
        let last = self.blocks.len();
        let fine = (block..last).fold(map, |map, block| self.through_block(map, block));
        let coarse = norm_relu(&self.norm5, self.through_block(fine.clone(), last), Pool::None);
        let average = adaptive_avg_pool2d(coarse.clone(), [1, 1]).flatten(1, 3);
        let features = match &self.cells {
            None => average,
            Some(cells) => Tensor::cat(vec![average, cells.forward(coarse, fine).flatten(1, 2)], 1),
        };
        if self.is_half { features.cast(DType::F32) } else { features }
    }

    /// The transition before a block, counted from 1, and its layers.
    fn through_block(&self, mut map: Tensor<4>, block: usize) -> Tensor<4> {
        if let Some(transition) =
            block.checked_sub(2).and_then(|transition| self.transitions.get(transition))
        {
            map = transition.forward(map);
        }
        match block.checked_sub(1).and_then(|block| self.blocks.get(block)) {
            Some(block) => block.forward(map, self.keep_activations),
            None => map,
        }
    }

    /// Length `F` of the feature vector.
    pub fn feature_channels(&self) -> usize {
        self.feature_channels
    }

    /// Numbers in the backbone.
    pub fn parameter_counts(&self) -> ParameterCounts {
        parameter_counts(self)
    }
}

impl DenseBlock {
    fn forward(&self, map: Tensor<4>, keep_activations: bool) -> Tensor<4> {
        let Some(epsilon) = self.layers.first().map(|layer| layer.norm1.epsilon) else {
            return map;
        };
        let layers = self.layers.iter().map(DenseLayer::parameters).collect();
        if self.layers.iter().any(|layer| !learns(&layer.norm1, &map)) {
            let statistics = self
                .layers
                .iter()
                .map(|layer| [running(&layer.norm1, &map), running(&layer.norm2, &map)])
                .collect();
            return ops::dense_block_inference(map, layers, statistics, epsilon);
        }
        let (map, statistics) =
            ops::dense_block(map, layers, BlockOptions { epsilon, keep_activations });
        for (layer, [of_norm1, of_norm2]) in self.layers.iter().zip(statistics) {
            remember(&layer.norm1, of_norm1);
            remember(&layer.norm2, of_norm2);
        }
        map
    }
}

impl DenseLayer {
    fn parameters(&self) -> LayerParameters {
        LayerParameters {
            norm1: affine(&self.norm1),
            weight1: self.conv1.weight.val(),
            norm2: affine(&self.norm2),
            weight2: self.conv2.weight.val(),
        }
    }
}

impl Transition {
    /// Averaging and a 1x1 convolution can be swapped, being linear, and with a quarter of the
    /// positions the convolution takes a quarter of the time.
    fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        convolve(&self.conv, norm_relu(&self.norm, input, Pool::Mean))
    }
}

/// Every convolution here has one stride and one padding, and no bias.
fn convolve(convolution: &Conv2d, input: Tensor<4>) -> Tensor<4> {
    let [kernel, _] = convolution.kernel_size;
    ops::conv2d(input, convolution.weight.val(), convolution.stride[0], kernel / 2)
}

/// The norm, with the batch's statistics where it learns, followed by ReLU and pooling.
fn norm_relu(norm: &BatchNorm, input: Tensor<4>, pool: Pool) -> Tensor<4> {
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

fn affine(norm: &BatchNorm) -> [Tensor<1>; 2] {
    [norm.gamma.val(), norm.beta.val()]
}

/// As [`BatchNorm::forward`] decides it.
fn learns(norm: &BatchNorm, input: &Tensor<4>) -> bool {
    input.device().is_autodiff() && norm.training.is_enabled()
}

fn running(norm: &BatchNorm, input: &Tensor<4>) -> ChannelStatistics {
    let device = input.device();
    ChannelStatistics {
        mean: norm.running_mean.value().to_device(&device),
        variance: norm.running_var.value().to_device(&device),
    }
}

/// Moves the running statistics towards those of a batch, as [`BatchNorm::forward`] does.
fn remember(norm: &BatchNorm, batch: ChannelStatistics) {
    let moved = |running: Tensor<1>, batch: Tensor<1>| {
        let running = running.to_device(&batch.device());
        (running * (1.0 - norm.momentum) + batch.detach() * norm.momentum).detach()
    };
    norm.running_mean.update(moved(norm.running_mean.value_sync(), batch.mean));
    norm.running_var.update(moved(norm.running_var.value_sync(), batch.variance));
}

impl CellGrid {
    /// The last map `[N, C, h, w]` and that of the block before `[N, C', H, W]` to cells `[N, H *
    /// W, channels]`.
    fn forward(&self, coarse: Tensor<4>, fine: Tensor<4>) -> Tensor<3> {
        let [batch, _, height, width] = fine.dims();
        let [_, _, coarse_height, coarse_width] = coarse.dims();
        let coarse = by_position(convolve(&self.conv_coarse, coarse));
        let sides = [coarse_height, coarse_width, height, width];
        let enlargement = self.enlargement.get(sides, &coarse, || {
            enlargement([coarse_height, coarse_width], [height, width], &coarse)
        });
        let scaled = enlargement.matmul(coarse);
        let fine =
            by_position(convolve(&self.conv_fine, norm_relu(&self.norm_fine, fine, Pool::None)));
        let channels = fine.dims()[2];
        let map = (fine + scaled).swap_dims(1, 2).reshape([batch, channels, height, width]);
        by_position(norm_relu(
            &self.norm2,
            convolve(&self.conv1, norm_relu(&self.norm1, map, Pool::None)),
            Pool::None,
        ))
    }
}

/// `[N, C, H, W]` to `[N, H * W, C]`.
fn by_position(map: Tensor<4>) -> Tensor<3> {
    map.flatten::<3>(2, 3).swap_dims(1, 2)
}

/// What scales a map up bilinearly when it is multiplied from the left: `[1, H * W, h *
/// w]`, as PyTorch's `interpolate` with centres aligned (`align_corners = false`). Device and type
/// are those of `like`.
fn enlargement(from: [usize; 2], to: [usize; 2], like: &Tensor<3>) -> Tensor<3> {
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
