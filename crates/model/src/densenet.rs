//! One DenseNet definition for every architecture, layer for layer as torchvision builds it.

use burn::module::Module;
use burn::nn::BatchNorm;
use burn::nn::conv::Conv2d;
use burn::tensor::module::adaptive_avg_pool2d;
use burn::tensor::{DType, Device, Tensor};
use ossify_torch_kernels::ops::{self, BlockOptions, LayerParameters, Pool};

use crate::config::{BackboneShape, Pooling};
use crate::constant::Constant;
use crate::layers::{
    affine, batch_norm, by_position, convolution, convolve, enlargement, learns, norm_relu,
    remember, running,
};
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

impl Backbone {
    /// Builds the layers on `device`. The weights are arbitrary until
    /// [`Network::new`](crate::Network::new) or a file sets them.
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
        self.features_from(self.stem(input), 1)
    }

    /// How many dense blocks there are.
    pub fn block_count(&self) -> usize {
        self.blocks.len()
    }

    /// The map that dense block `block`, counted from 1, begins with to features `[N, F]`. The
    /// transition before a block belongs to it, and the stem to none.
    pub fn features_from(&self, map: Tensor<4>, block: usize) -> Tensor<2> {
        let last = self.blocks.len();
        let fine = (block..last).fold(map, |map, block| self.through_block(map, block));
        let coarse = self.activated(self.through_block(fine.clone(), last));
        let average = adaptive_avg_pool2d(coarse.clone(), [1, 1]).flatten(1, 3);
        let features = match &self.cells {
            None => average,
            Some(cells) => Tensor::cat(vec![average, cells.forward(coarse, fine).flatten(1, 2)], 1),
        };
        if self.is_half { features.cast(DType::F32) } else { features }
    }

    /// What the dense blocks from `block` on make of the map that it begins with, one map
    /// each, the last one normalised and activated.
    pub(crate) fn maps_from(&self, mut map: Tensor<4>, block: usize) -> Vec<Tensor<4>> {
        let mut maps = Vec::new();
        for block in block..=self.blocks.len() {
            map = self.through_block(map, block);
            maps.push(map.clone());
        }
        if let Some(last) = maps.last_mut() {
            *last = self.activated(last.clone());
        }
        maps
    }

    /// The last block's map, normalised and activated.
    pub(crate) fn activated(&self, last: Tensor<4>) -> Tensor<4> {
        norm_relu(&self.norm5, last, Pool::None)
    }

    /// Input to the map that the first dense block begins with.
    pub(crate) fn stem(&self, input: Tensor<4>) -> Tensor<4> {
        let input = if self.is_half { input.cast(DType::BF16) } else { input };
        norm_relu(&self.norm0, convolve(&self.conv0, input), Pool::Largest)
    }

    /// The transition before a block, counted from 1, and its layers.
    pub(crate) fn through_block(&self, mut map: Tensor<4>, block: usize) -> Tensor<4> {
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
