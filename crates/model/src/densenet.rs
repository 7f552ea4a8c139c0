//! One DenseNet definition for every architecture, layer for layer as torchvision builds it.

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, PaddingConfig2d};
use burn::tensor::activation::softmax;
use burn::tensor::module::{adaptive_avg_pool2d, avg_pool2d, max_pool2d};
use burn::tensor::ops::{AvgPoolOptions, MaxPoolOptions};
use burn::tensor::{DType, Device, Tensor, TensorData};
use ossify_torch_kernels::ops::{self, BlockOptions, ChannelStatistics, LayerParameters};

use crate::config::{BackboneShape, Pooling};

/// The convolutional part of the network: image in, feature vector out.
///
/// Field names follow torchvision's module names, so that a weight's path here and there differ by a few fixed rules (see [`crate::weights`]).
#[derive(Module, Debug)]
pub struct Backbone {
    conv0: Conv2d,
    norm0: BatchNorm,
    blocks: Vec<DenseBlock>,
    transitions: Vec<Transition>,
    norm5: BatchNorm,
    attention: Option<Attention>,
    feature_channels: usize,
    keep_activations: bool,
    is_half: bool,
}

#[derive(Module, Debug)]
struct DenseBlock {
    layers: Vec<DenseLayer>,
}

/// BatchNorm, ReLU, 1x1 convolution, BatchNorm, ReLU, 3x3 convolution; the result is appended to the input's channels.
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

/// The attention maps of [`Pooling::AverageAndAttention`].
#[derive(Module, Debug)]
struct Attention {
    conv: Conv2d,
}

/// How many numbers a module learns and how many it only keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ParameterCounts {
    /// Weights and biases.
    pub trainable: usize,
    /// Running means and variances of the batch normalisations.
    pub statistics: usize,
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
    /// Builds the layers on `device`. The weights are arbitrary until [`Classifier::new`](crate::Classifier::new) or a file sets them.
    pub fn with_shape(shape: &BackboneShape, device: &Device) -> Self {
        let bottleneck = shape.bottleneck_factor * shape.growth_rate;
        let mut channels = shape.stem_channels;
        let mut blocks = Vec::with_capacity(shape.block_layers.len());
        let mut transitions = Vec::new();
        for (index, &layers) in shape.block_layers.iter().enumerate() {
            if index > 0 {
                transitions.push(Transition { norm: batch_norm(channels, device), conv: convolution([channels, channels / 2], 1, 1, device) });
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
        let attention = match shape.pooling {
            Pooling::GlobalAverage => None,
            Pooling::AverageAndAttention { maps } => Some(Attention { conv: convolution([channels, maps], 1, 1, device) }),
        };
        Self {
            conv0: convolution([3, shape.stem_channels], 7, 2, device),
            norm0: batch_norm(shape.stem_channels, device),
            blocks,
            transitions,
            norm5: batch_norm(channels, device),
            attention,
            feature_channels: shape.feature_channels(),
            keep_activations: false,
            is_half: false,
        }
    }

    /// Whether maps are bfloat16. Input, features and weights are float32 in any case.
    #[must_use]
    pub fn in_half_precision(self, is_half: bool) -> Self {
        Self { is_half, ..self }
    }

    /// Whether a training step keeps the normalised inputs of the convolutions for its backward pass, or makes them anew, as it does unless told
    /// otherwise: see [`BlockOptions::keep_activations`].
    #[must_use]
    pub fn keeping_activations(self, keep_activations: bool) -> Self {
        Self { keep_activations, ..self }
    }

    /// Features of a batch: `[N, 3, S, S]`, normalised, to `[N, F]`.
    pub fn forward(&self, input: Tensor<4>) -> Tensor<2> {
        self.pooled(self.feature_map(input))
    }

    /// The last feature map `[N, C, S / 2^(blocks + 1), ..]`, after the final normalisation and ReLU.
    pub fn feature_map(&self, input: Tensor<4>) -> Tensor<4> {
        self.map_from(self.before_block(input, 1), 1)
    }

    /// How many dense blocks there are.
    pub fn block_count(&self) -> usize {
        self.blocks.len()
    }

    /// Input `[N, 3, S, S]` to the map that what belongs to dense block `block`, counted from 1, begins with. The transition
    /// before a block belongs to it, and the stem to none.
    pub fn before_block(&self, input: Tensor<4>, block: usize) -> Tensor<4> {
        let input = if self.is_half { input.cast(DType::BF16) } else { input };
        let stem = norm_relu(&self.norm0, convolve(&self.conv0, input));
        let pool = MaxPoolOptions { kernel_size: [3, 3], stride: [2, 2], padding: [(1, 1), (1, 1)], dilation: [1, 1], ceil_mode: false };
        (1..block).fold(max_pool2d(stem, pool), |map, block| self.through_block(map, block))
    }

    /// A map of [`Self::before_block`] to features `[N, F]`.
    pub fn features_from(&self, map: Tensor<4>, block: usize) -> Tensor<2> {
        self.pooled(self.map_from(map, block))
    }

    fn map_from(&self, map: Tensor<4>, block: usize) -> Tensor<4> {
        let map = (block..=self.blocks.len()).fold(map, |map, block| self.through_block(map, block));
        let map = norm_relu(&self.norm5, map);
        if self.is_half { map.cast(DType::F32) } else { map }
    }

    /// The transition before a block, counted from 1, and its layers.
    fn through_block(&self, mut map: Tensor<4>, block: usize) -> Tensor<4> {
        if let Some(transition) = block.checked_sub(2).and_then(|transition| self.transitions.get(transition)) {
            map = transition.forward(map);
        }
        match block.checked_sub(1).and_then(|block| self.blocks.get(block)) {
            Some(block) => block.forward(map, self.keep_activations),
            None => map,
        }
    }

    fn pooled(&self, map: Tensor<4>) -> Tensor<2> {
        let average = adaptive_avg_pool2d(map.clone(), [1, 1]).flatten(1, 3);
        match &self.attention {
            None => average,
            Some(attention) => Tensor::cat(vec![average, attention.forward(map)], 1),
        }
    }

    /// Length `F` of the feature vector.
    pub fn feature_channels(&self) -> usize {
        self.feature_channels
    }

    /// Numbers in the backbone.
    pub fn parameter_counts(&self) -> ParameterCounts {
        crate::weights::parameter_counts(self)
    }
}

impl DenseBlock {
    fn forward(&self, map: Tensor<4>, keep_activations: bool) -> Tensor<4> {
        let Some(epsilon) = self.layers.first().map(|layer| layer.norm1.epsilon) else { return map };
        let layers = self.layers.iter().map(DenseLayer::parameters).collect();
        if self.layers.iter().any(|layer| !learns(&layer.norm1, &map)) {
            let statistics = self.layers.iter().map(|layer| [running(&layer.norm1, &map), running(&layer.norm2, &map)]).collect();
            return ops::dense_block_inference(map, layers, statistics, epsilon);
        }
        let (map, statistics) = ops::dense_block(map, layers, BlockOptions { epsilon, keep_activations });
        for (layer, [of_norm1, of_norm2]) in self.layers.iter().zip(statistics) {
            remember(&layer.norm1, of_norm1);
            remember(&layer.norm2, of_norm2);
        }
        map
    }
}

impl DenseLayer {
    fn parameters(&self) -> LayerParameters {
        LayerParameters { norm1: affine(&self.norm1), weight1: self.conv1.weight.val(), norm2: affine(&self.norm2), weight2: self.conv2.weight.val() }
    }
}

impl Transition {
    /// Averaging and a 1x1 convolution can change places, being linear, and with a quarter of the positions the convolution takes a quarter of the time.
    fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let averaging = AvgPoolOptions { kernel_size: [2, 2], stride: [2, 2], padding: [(0, 0), (0, 0)], count_include_pad: true, ceil_mode: false };
        convolve(&self.conv, avg_pool2d(norm_relu(&self.norm, input), averaging))
    }
}

/// Every convolution here has one stride and one padding, and no bias.
fn convolve(convolution: &Conv2d, input: Tensor<4>) -> Tensor<4> {
    let [kernel, _] = convolution.kernel_size;
    ops::conv2d(input, convolution.weight.val(), convolution.stride[0], kernel / 2)
}

/// The norm, with the batch's statistics where it learns, followed by ReLU.
fn norm_relu(norm: &BatchNorm, input: Tensor<4>) -> Tensor<4> {
    if learns(norm, &input) {
        let (output, statistics) = ops::norm_relu(input, affine(norm), norm.epsilon);
        remember(norm, statistics);
        output
    } else {
        let statistics = running(norm, &input);
        ops::norm_relu_inference(input, affine(norm), statistics, norm.epsilon)
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
    ChannelStatistics { mean: norm.running_mean.value().to_device(&device), variance: norm.running_var.value().to_device(&device) }
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

impl Attention {
    fn forward(&self, map: Tensor<4>) -> Tensor<2> {
        let [_, _, height, width] = map.dims();
        let weights = softmax(convolve(&self.conv, map.clone()).flatten::<3>(2, 3), 2);
        let under = weights.clone().matmul(map.flatten::<3>(2, 3).swap_dims(1, 2));
        let places = places(height, width, &weights);
        let centres = weights.clone().matmul(places.clone());
        let spreads = (weights.matmul(places.square()) - centres.clone().square()).clamp_min(LEAST_VARIANCE).sqrt();
        Tensor::cat([under, centres, spreads].map(|part| part.flatten(1, 2)).to_vec(), 1)
    }
}

/// Keeps the square root's gradient finite; a thousandth of a side is less than a pixel.
const LEAST_VARIANCE: f64 = 1e-6;

/// Centres of the positions of a map, row by row, as `[1, height * width, 2]`: x and y as shares of its sides. Device and type are those of `like`.
fn places(height: usize, width: usize, like: &Tensor<3>) -> Tensor<3> {
    let share = |at: usize, size: usize| (at as f32 + 0.5) / size as f32;
    let places: Vec<f32> = (0..height).flat_map(|y| (0..width).flat_map(move |x| [share(x, width), share(y, height)])).collect();
    Tensor::from_data(TensorData::new(places, [1, height * width, 2]), (&like.device(), like.dtype()))
}
