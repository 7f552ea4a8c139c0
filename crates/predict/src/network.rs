use std::sync::mpsc::{SyncSender, sync_channel};

use anyhow::{Context as _, Result, anyhow};
use burn::tensor::{Device, Tensor};
use ossify_contract::{ShardShape, Split, TableWriter};
use ossify_model::{Classifier, pixels, weights};
use ossify_settings::Progress;

use crate::rows::{Origin, row};

/// Batches that wait between the thread that makes them and the device; bounds their memory.
const QUEUE: usize = 3;

/// Images that go through the network together.
pub struct Batch {
    /// Rows of [height, width, channels] bytes.
    pub pixels: Vec<u8>,
    /// Where each row came from.
    pub origins: Vec<Origin>,
}

/// A trained network on a device.
pub struct Network {
    model: Classifier,
    description: weights::Metadata,
    device: Device,
    flip: bool,
}

impl Network {
    /// Reads `model.safetensors`. With `flip` each image is predicted mirrored, too, and the mean
    /// of both counts.
    ///
    /// # Errors
    /// Fails where the file cannot be read or does not fit its own description.
    pub fn read(path: &std::path::Path, device: Device, flip: bool) -> Result<Self> {
        let (model, description) = weights::load(path, &device)?;
        Ok(Network { model, description, device, flip })
    }

    /// Names of the classes in the order of the outputs.
    pub fn class_names(&self) -> &[String] {
        &self.description.class_names
    }

    /// Predicts all batches that `produce` sends, one after the other, and writes one row an image,
    /// in their order. `produce` runs on a thread of its own, ahead of need.
    ///
    /// # Errors
    /// Fails where the producer, the device or the disk does.
    pub fn predict(
        &self,
        shape: ShardShape,
        split: Split,
        writer: &mut TableWriter<ossify_contract::PredictionRow>,
        progress: &Progress,
        produce: impl FnOnce(&SyncSender<Result<Batch>>) + Send,
    ) -> Result<u64> {
        std::thread::scope(|scope| {
            let (sender, receiver) = sync_channel(QUEUE);
            std::thread::Builder::new()
                .spawn_scoped(scope, move || produce(&sender))
                .context("cannot start a thread that makes batches")?;
            let mut images = 0;
            for batch in receiver {
                let Batch { pixels, origins } = batch?;
                let (logits, boxes) = self.forward(pixels, origins.len(), shape)?;
                let classes = self.class_names().len();
                for ((origin, logits), unit) in
                    origins.iter().zip(logits.chunks_exact(classes)).zip(boxes.as_chunks::<4>().0)
                {
                    writer.push(row(origin, split, logits, *unit, self.class_names())?)?;
                    images += 1;
                }
                progress.inc(origins.len() as u64);
            }
            Ok(images)
        })
    }

    /// Logits and boxes, row by row.
    fn forward(
        &self,
        bytes: Vec<u8>,
        images: usize,
        shape: ShardShape,
    ) -> Result<(Vec<f32>, Vec<f32>)> {
        let dimensions =
            [images, shape.height as usize, shape.width as usize, shape.channels as usize];
        let config = &self.description.config;
        let input = pixels::to_input(
            bytes,
            dimensions,
            &self.device,
            config.normalization,
            config.input_px,
        )
        .context(
            "these tensors are not of the kind that the network was trained on; set \
                resize.side_px as for the run",
        )?;
        let output = if self.flip {
            let mirrored = self.model.forward(input.clone().flip([3])).mirrored();
            self.model.forward(input).mean(mirrored)
        } else {
            self.model.forward(input)
        };
        let boxes = output.boxes();
        Ok((numbers(output.logits)?, numbers(boxes)?))
    }
}

fn numbers(tensor: Tensor<2>) -> Result<Vec<f32>> {
    let data = tensor.try_into_data().map_err(|e| anyhow!("cannot read from the device: {e}"))?;
    data.try_into_vec().map_err(|e| anyhow!("cannot read from the device: {e:?}"))
}
