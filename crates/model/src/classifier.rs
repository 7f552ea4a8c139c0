//! Backbone and head as one network.

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use crate::config::{BackboneShape, ConfigError, ModelConfig};
use crate::densenet::Backbone;
use crate::head::{Head, HeadOutput, OutputSizes};
use crate::initial::randomize;
use crate::tensors::state::{ParameterCounts, parameter_counts};

/// The whole network: `[N, 3, S, S]` in, logits and boxes out.
#[derive(Module, Debug)]
pub struct Classifier {
    /// Image to features; may be used and stored on its own when it is frozen.
    pub backbone: Backbone,
    /// Features to logits and boxes.
    pub head: Head,
}

impl Classifier {
    /// Builds the network on `device` with random weights that depend on `seed` and the layer's
    /// name alone: the same on every device.
    ///
    /// Convolutions start as torchvision's do (Kaiming normal over the fan-in), dense layers as
    /// Keras' do (Glorot uniform, biases zero).
    ///
    /// # Errors
    /// [`ConfigError`] if `config` describes no network.
    pub fn new(config: &ModelConfig, seed: u64, device: &Device) -> Result<Self, ConfigError> {
        Ok(randomize(Self::empty(config, device)?, seed))
    }

    /// The layers, with arbitrary weights.
    pub(crate) fn empty(config: &ModelConfig, device: &Device) -> Result<Self, ConfigError> {
        config.validate()?;
        let shape = BackboneShape::of(config.architecture);
        let backbone = Backbone::with_shape(&shape, config.input_px, device);
        let head = Head::new(
            shape.features(config.input_px),
            &config.head_widths,
            config.dropout,
            config.classes,
            device,
        );
        Ok(Self { backbone, head })
    }

    /// Logits and boxes of a batch of normalised input; see [`crate::pixels`].
    pub fn forward(&self, input: Tensor<4>) -> HeadOutput {
        self.head.forward(self.backbone.forward(input))
    }

    /// How many classes and cells its outputs have.
    pub fn output_sizes(&self) -> OutputSizes {
        self.head.output_sizes(self.backbone.feature_channels())
    }

    /// Numbers in the whole network.
    pub fn parameter_counts(&self) -> ParameterCounts {
        parameter_counts(self)
    }
}
