use anyhow::{Context as _, Result};
use burn::module::Module;
use burn::tensor::Tensor;
use ossify_model::{Head, Network, Output};

use crate::data::batches::Batch;
use crate::data::input::InputMaker;
use crate::optimise::phases::{Phase, Trained};

/// What of the network does not learn in a phase, in inference mode: its BatchNorm keeps its
/// statistics.
pub enum FrozenPart {
    /// A classifier's whole backbone; its features are at hand.
    Features,
    /// What lies before this block, counted from 1.
    Blocks(Box<Network>, usize),
    /// Everything learns.
    Nothing,
}

impl FrozenPart {
    /// In this phase.
    pub fn of(model: &Network, phase: &Phase) -> Self {
        let before = |block| FrozenPart::Blocks(Box::new(model.valid()), block);
        match (phase.trained, &model.head) {
            (Trained::Head, Head::Classifier(_)) => FrozenPart::Features,
            (Trained::Head, Head::Detector(_)) => before(model.backbone.block_count() + 1),
            (Trained::FromBlock(block), _) => before(block),
            (Trained::All, _) => FrozenPart::Nothing,
        }
    }

    /// What the network says of a batch, with gradients for what of it learns.
    ///
    /// # Errors
    /// Fails where the batch does not fit the network.
    pub fn output(&self, model: &Network, input: &InputMaker, batch: &Batch) -> Result<Output> {
        Ok(match self {
            FrozenPart::Features => of_features(model, Tensor::from_inner(input.features(batch)?))?,
            FrozenPart::Blocks(still, block) => {
                model.finish(still.begin(input.pixels(batch)?, *block).on_autodiff())
            }
            FrozenPart::Nothing => model.forward(Tensor::from_inner(input.pixels(batch)?)),
        })
    }
}

/// What a classifier says of features.
///
/// # Errors
/// Fails for a detector.
pub fn of_features(model: &Network, features: Tensor<2>) -> Result<Output> {
    let said = model.head.of_features(features);
    let said = said.context("a detector has no features; this is a defect of ossify-train")?;
    Ok(Output::Classifier(said))
}
