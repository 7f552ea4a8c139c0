use anyhow::{Context as _, Result, bail};
use burn::tensor::{DType, Device, Tensor, TensorData};
use ossify_contract::ShardShape;
use ossify_model::pixels::{self, Normalizer};
use ossify_vocabulary::Normalization;

use crate::data::augment::Augmentation;
use crate::data::augmenter::Augmenter;
use crate::data::batches::{Batch, Inputs};

/// Makes network input of batches, on the device: bytes are moved as they are, averaged down,
/// varied, normalised.
pub struct InputMaker {
    shape: ShardShape,
    input_px: usize,
    normalizer: Normalizer,
    device: Device,
    augmenter: Augmenter,
}

impl InputMaker {
    /// For images of `shape` and a network that takes `input_px`, on `device`, which has no
    /// gradients.
    pub fn new(
        shape: ShardShape,
        input_px: usize,
        normalization: Normalization,
        augmentation: Augmentation,
        device: Device,
    ) -> Self {
        let augmenter = Augmenter::new(augmentation, input_px, &device);
        let normalizer = Normalizer::new(normalization, &device);
        InputMaker { shape, input_px, normalizer, device, augmenter }
    }

    /// Images `[N, C, input_px, input_px]` of values 0..255, varied where the batch says so.
    ///
    /// # Errors
    /// Fails where the images do not fit the network.
    pub fn images(&self, batch: &Batch) -> Result<Tensor<4>> {
        let Inputs::Pixels(bytes) = &batch.inputs else {
            bail!("a batch of features where pixels are needed; this is a defect of ossify-train")
        };
        let ShardShape { height, width, channels } = self.shape;
        let shape = [batch.len(), height as usize, width as usize, channels as usize];
        let bytes = pixels::upload(bytes.clone(), shape, &self.device)?;
        // Before the device has work, for which another copy would wait.
        let changes = (!batch.changes.is_empty())
            .then(|| self.augmenter.upload(&batch.changes, &batch.compositions, &self.device));
        let images = pixels::shrink(bytes, self.input_px)?;
        Ok(match changes {
            None => images,
            Some(changes) => self.augmenter.apply(images, &changes),
        })
    }

    /// Network input `[N, 3, input_px, input_px]`.
    ///
    /// # Errors
    /// Fails where the images do not fit the network.
    pub fn pixels(&self, batch: &Batch) -> Result<Tensor<4>> {
        Ok(self.normalizer.apply(self.images(batch)?))
    }

    /// Features `[N, F]` of a batch that has them.
    ///
    /// # Errors
    /// Fails for a batch of pixels.
    pub fn features(&self, batch: &Batch) -> Result<Tensor<2>> {
        let Inputs::Features(rows) = &batch.inputs else {
            bail!("a batch of pixels where features are needed; this is a defect of ossify-train")
        };
        let width = rows.len().checked_div(batch.len()).context("an empty batch")?;
        Ok(Tensor::from_data(
            TensorData::new(rows.clone(), [batch.len(), width]),
            (&self.device, DType::F32),
        ))
    }
}
