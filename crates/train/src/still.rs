use anyhow::Result;
use burn::module::Module;
use burn::tensor::Tensor;
use ossify_model::{Backbone, Classifier};

use crate::batches::Batch;
use crate::input::InputMaker;
use crate::phases::{Phase, Trained};

/// What of the network does not learn in a phase, in inference mode: its BatchNorm keeps its
/// statistics.
pub enum Still {
    /// The whole backbone; its features are at hand.
    Backbone,
    /// What lies before this block, counted from 1.
    Blocks(Box<Backbone>, usize),
    /// Everything learns.
    Nothing,
}

impl Still {
    /// In this phase.
    pub fn of(model: &Classifier, phase: &Phase) -> Self {
        match phase.trained {
            Trained::Head => Still::Backbone,
            Trained::FromBlock(block) => Still::Blocks(Box::new(model.backbone.valid()), block),
            Trained::All => Still::Nothing,
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
            Still::Backbone => Tensor::from_inner(input.features(batch)?),
            Still::Blocks(still, block) => {
                let map = still.before_block(input.pixels(batch)?, *block);
                backbone.features_from(Tensor::from_inner(map), *block)
            }
            Still::Nothing => backbone.forward(Tensor::from_inner(input.pixels(batch)?)),
        })
    }
}
