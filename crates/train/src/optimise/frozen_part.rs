use anyhow::Result;
use burn::module::Module;
use burn::tensor::Tensor;
use ossify_model::{Backbone, Classifier};

use crate::data::batches::Batch;
use crate::data::input::InputMaker;
use crate::optimise::phases::{Phase, Trained};

/// What of the network does not learn in a phase, in inference mode: its BatchNorm keeps its
/// statistics.
pub enum FrozenPart {
    /// The whole backbone; its features are at hand.
    Backbone,
    /// What lies before this block, counted from 1.
    Blocks(Box<Backbone>, usize),
    /// Everything learns.
    Nothing,
}

impl FrozenPart {
    /// In this phase.
    pub fn of(model: &Classifier, phase: &Phase) -> Self {
        match phase.trained {
            Trained::Head => FrozenPart::Backbone,
            Trained::FromBlock(block) => {
                FrozenPart::Blocks(Box::new(model.backbone.valid()), block)
            }
            Trained::All => FrozenPart::Nothing,
        }
    }

    /// Features `[N, F]` of a batch, with gradients for what of the backbone learns.
    ///
    /// # Errors
    /// Fails where the batch does not fit the network.
    pub fn features(
        &self,
        backbone: &Backbone,
        input: &InputMaker,
        batch: &Batch,
    ) -> Result<Tensor<2>> {
        Ok(match self {
            FrozenPart::Backbone => Tensor::from_inner(input.features(batch)?),
            FrozenPart::Blocks(still, block) => {
                let map = still.before_block(input.pixels(batch)?, *block);
                backbone.features_from(Tensor::from_inner(map), *block)
            }
            FrozenPart::Nothing => backbone.forward(Tensor::from_inner(input.pixels(batch)?)),
        })
    }
}
