//! Backbone and head as one network.

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use crate::config::{ConfigError, ModelConfig};
use crate::densenet::Backbone;
use crate::head::{Head, Output};
use crate::initial::randomize;
use crate::tensors::state::{ParameterCounts, parameter_counts};

/// The whole network: `[N, 3, S, S]` in, what its head says out.
#[derive(Module, Debug)]
pub struct Network {
    /// Image to maps and features; may be used and stored on its own when it is frozen.
    pub backbone: Backbone,
    /// What it says of them.
    pub head: Head,
}

/// A batch that has gone through the first dense blocks.
#[derive(Debug, Clone)]
pub struct Begun {
    /// Outputs of these blocks, where the head needs them.
    earlier: Vec<Tensor<4>>,
    /// What the next block begins with.
    map: Tensor<4>,
    /// The next block, counted from 1.
    block: usize,
}

impl Begun {
    /// As something that later operations have gradients for, and this has not.
    #[must_use]
    pub fn on_autodiff(self) -> Self {
        Begun {
            earlier: self.earlier.into_iter().map(Tensor::from_inner).collect(),
            map: Tensor::from_inner(self.map),
            block: self.block,
        }
    }
}

impl Network {
    /// Builds the network on `device` with random weights that depend on `seed` and the layer's
    /// name alone: the same on every device.
    ///
    /// Convolutions start as torchvision's do (Kaiming normal over the fan-in), dense layers as
    /// Keras' do (Glorot uniform, biases zero). A detector's scores start at 0.01 everywhere, so
    /// that the few cells that show something are not drowned by the many that do not (Lin et al.,
    /// "Focal Loss for Dense Object Detection", 2017).
    ///
    /// # Errors
    /// [`ConfigError`] if `config` describes no network.
    pub fn new(config: &ModelConfig, seed: u64, device: &Device) -> Result<Self, ConfigError> {
        Ok(randomize(Self::empty(config, device)?, seed))
    }

    /// The layers, with arbitrary weights.
    pub(crate) fn empty(config: &ModelConfig, device: &Device) -> Result<Self, ConfigError> {
        config.validate()?;
        let backbone = Backbone::with_shape(&config.backbone(), config.input_px, device);
        Ok(Self { backbone, head: Head::new(config, device) })
    }

    /// What the head says of a batch of normalised input; see [`crate::pixels`].
    pub fn forward(&self, input: Tensor<4>) -> Output {
        self.finish(self.begin(input, 1))
    }

    /// What lies before dense block `block`, counted from 1, as far as [`Self::finish`] needs it;
    /// with a block past the last, the whole backbone of a detector.
    pub fn begin(&self, input: Tensor<4>, block: usize) -> Begun {
        let mut map = self.backbone.stem(input);
        let mut earlier = Vec::new();
        for block in 1..block {
            map = self.backbone.through_block(map, block);
            if let Head::Detector(_) = self.head {
                earlier.push(map.clone());
            }
        }
        if block > self.backbone.block_count()
            && let Some(last) = earlier.last_mut()
        {
            *last = self.backbone.activated(last.clone());
        }
        Begun { earlier, map, block }
    }

    /// The dense blocks that are left, and the head.
    pub fn finish(&self, begun: Begun) -> Output {
        let Begun { mut earlier, map, block } = begun;
        match &self.head {
            Head::Classifier(head) => {
                Output::Classifier(head.forward(self.backbone.features_from(map, block)))
            }
            Head::Detector(head) => {
                earlier.extend(self.backbone.maps_from(map, block));
                let maps = earlier.split_off(earlier.len().saturating_sub(head.levels()));
                Output::Detector(head.forward(maps))
            }
        }
    }

    /// Numbers in the whole network.
    pub fn parameter_counts(&self) -> ParameterCounts {
        parameter_counts(self)
    }
}
