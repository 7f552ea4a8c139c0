use std::sync::mpsc::{SyncSender, sync_channel};

use anyhow::{Context as _, Result, anyhow};
use burn::tensor::{Device, Tensor};
use ossify_contract::{ShardShape, Split};
use ossify_model::{ClassifierOutput, pixels, weights};
use ossify_settings::Progress;

use crate::rows::{Origin, classified};
use crate::tables::{Description, TablePair};

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
    model: ossify_model::Network,
    metadata: weights::Metadata,
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
        let (model, metadata) = weights::load(path, &device)?;
        Ok(Network { model, metadata, device, flip })
    }

    /// What its predictions are.
    pub(crate) fn description(&self) -> Description {
        Description {
            task: self.metadata.config.task(),
            class_names: self.metadata.class_names.clone(),
        }
    }

    /// Predicts all batches that `produce` sends, one after the other, and adds their images to the
    /// tables, in their order. `produce` runs on a thread of its own, ahead of need.
    ///
    /// # Errors
    /// Fails where the producer, the device or the disk does.
    pub(crate) fn predict(
        &self,
        shape: ShardShape,
        split: Split,
        tables: &mut TablePair,
        progress: &Progress,
        produce: impl FnOnce(&SyncSender<Result<Batch>>) + Send,
    ) -> Result<()> {
        std::thread::scope(|scope| {
            let (sender, receiver) = sync_channel(QUEUE);
            std::thread::Builder::new()
                .spawn_scoped(scope, move || produce(&sender))
                .context("cannot start a thread that makes batches")?;
            for batch in receiver {
                let Batch { pixels, origins } = batch?;
                let (logits, boxes) = self.forward(pixels, origins.len(), shape)?;
                let class_names = &self.metadata.class_names;
                let outputs = logits.chunks_exact(class_names.len()).zip(boxes.as_chunks::<4>().0);
                for (origin, (logits, unit_box)) in origins.iter().zip(outputs) {
                    tables.push(classified(origin, split, logits, *unit_box, class_names)?)?;
                }
                progress.inc(origins.len() as u64);
            }
            Ok(())
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
        let config = &self.metadata.config;
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
        let said = |input: Tensor<4>| -> Result<ClassifierOutput> {
            self.model.forward(input).classifier().context("the run is of a detector")
        };
        let output = if self.flip {
            let mirrored = said(input.clone().flip([3]))?.mirrored();
            said(input)?.mean(mirrored)
        } else {
            said(input)?
        };
        let boxes = output.boxes();
        Ok((numbers(output.logits)?, numbers(boxes)?))
    }
}

fn numbers(tensor: Tensor<2>) -> Result<Vec<f32>> {
    let data = tensor.try_into_data().map_err(|e| anyhow!("cannot read from the device: {e}"))?;
    data.try_into_vec().map_err(|e| anyhow!("cannot read from the device: {e:?}"))
}
