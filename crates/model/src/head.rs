//! The head: feature vector in, class logits and a box out.

use burn::module::Module;
use burn::nn::{BatchNorm, BatchNormConfig, Dropout, DropoutConfig, Linear, LinearConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};

/// Dropout, BatchNorm, dense layer and ReLU for each width, then two linear outputs side by side.
#[derive(Module, Debug)]
pub struct Head {
    stages: Vec<HeadStage>,
    classes: Linear,
    boxes: Linear,
}

#[derive(Module, Debug)]
struct HeadStage {
    dropout: Dropout,
    norm: BatchNorm,
    dense: Linear,
}

/// What the head says about a batch.
#[derive(Debug, Clone)]
pub struct HeadOutput {
    /// Unnormalised class scores `[N, classes]`; their softmax are the probabilities.
    pub logits: Tensor<2>,
    /// Box edges `[N, 4]`: xmin, ymin, xmax, ymax as shares of the input tensor's width and height. Linear, so not confined to 0..1.
    pub boxes: Tensor<2>,
}

/// Keras' default for BatchNorm; Burn's and PyTorch's is 1e-5. Of Keras' momentum, which keeps 0.99 of the running statistics at each step, Burn's 0.9
/// is kept instead: short runs would otherwise be validated with statistics that have hardly left their start.
const NORM_EPSILON: f64 = 1e-3;

impl Head {
    /// Builds the layers on `device`; the weights are arbitrary until they are set.
    pub(crate) fn new(feature_channels: usize, widths: &[usize], dropout: f64, classes: usize, device: &Device) -> Self {
        let mut inputs = feature_channels;
        let stages = widths.iter().map(|&width| {
            let stage = HeadStage {
                dropout: DropoutConfig::new(dropout).init(),
                norm: BatchNormConfig::new(inputs).with_epsilon(NORM_EPSILON).init(device),
                dense: LinearConfig::new(inputs, width).init(device),
            };
            inputs = width;
            stage
        });
        let stages = stages.collect();
        Self { stages, classes: LinearConfig::new(inputs, classes).init(device), boxes: LinearConfig::new(inputs, 4).init(device) }
    }

    /// Logits and boxes of feature vectors `[N, F]`.
    pub fn forward(&self, features: Tensor<2>) -> HeadOutput {
        let hidden = self.stages.iter().fold(features, |hidden, stage| relu(stage.dense.forward(stage.norm.forward(stage.dropout.forward(hidden)))));
        HeadOutput { logits: self.classes.forward(hidden.clone()), boxes: self.boxes.forward(hidden) }
    }

    /// Sum of the squared kernel weights of the dense layers, without biases and without the two outputs: what Keras' `l2(c)` multiplies by `c` and
    /// adds to the loss. Shape `[1]`; `None` for a head without dense layers.
    pub fn l2_penalty(&self) -> Option<Tensor<1>> {
        self.stages.iter().map(|stage| stage.dense.weight.val().square().sum()).reduce(|total, squares| total + squares)
    }
}
