use std::sync::mpsc::{SyncSender, sync_channel};

use anyhow::{Context as _, Result, anyhow, bail};
use burn::tensor::{Device, Tensor};
use ossify_contract::{ShardShape, Split};
use ossify_detection::nms::Suppression;
use ossify_model::{ClassifierOutput, DetectorOutput, Output, pixels, weights};
use ossify_settings::{PredictSettings, Progress};
use rayon::prelude::*;

use crate::cells::Cells;
use crate::rows::{Origin, classified, detected, not_finite};
use crate::tables::{Description, PredictedImage, TablePair};

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
    rule: Suppression,
}

/// What the network says of a batch, read from the device, image by image.
enum Answers {
    Classes(Classes),
    /// The second where the images were shown mirrored, too.
    Objects(Objects, Option<Objects>),
}

/// A classifier's answers.
struct Classes {
    /// One a class.
    logits: Vec<f32>,
    /// Four numbers a box.
    boxes: Vec<f32>,
}

/// A detector's answers.
struct Objects {
    /// One a class and cell.
    logits: Vec<f32>,
    /// Four numbers a box, a box a cell.
    boxes: Vec<f32>,
    /// Of the maps of cells.
    sides: Vec<usize>,
}

impl Network {
    /// Reads `model.safetensors`.
    ///
    /// # Errors
    /// Fails where the file cannot be read or does not fit its own description.
    pub fn read(
        path: &std::path::Path,
        device: Device,
        settings: &PredictSettings,
    ) -> Result<Self> {
        let (model, metadata) = weights::load(path, &device)?;
        #[expect(clippy::cast_possible_truncation, reason = "scores are float32")]
        let rule = Suppression {
            min_score: settings.min_score as f32,
            max_iou: settings.nms_iou,
            max_detections: settings.max_detections,
        };
        Ok(Network { model, metadata, device, flip: settings.flip, rule })
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
                let answers = self.forward(pixels, origins.len(), shape)?;
                let predicted: Vec<PredictedImage> = origins
                    .par_iter()
                    .enumerate()
                    .map(|(at, origin)| self.rows(origin, split, &answers, at))
                    .collect::<Result<_>>()?;
                predicted.into_iter().try_for_each(|image| tables.push(image))?;
                progress.inc(origins.len() as u64);
            }
            Ok(())
        })
    }

    /// The rows of image `at` of a batch.
    fn rows(
        &self,
        origin: &Origin,
        split: Split,
        answers: &Answers,
        at: usize,
    ) -> Result<PredictedImage> {
        let class_names = &self.metadata.class_names;
        match answers {
            Answers::Classes(classes) => {
                let logits = part(&classes.logits, class_names.len(), at)?;
                let boxes = part(&classes.boxes, 4, at)?.as_chunks::<4>().0;
                let [unit_box] = boxes else { bail!("no box; this is a defect of ossify-predict") };
                classified(origin, split, logits, *unit_box, class_names)
            }
            Answers::Objects(plain, mirrored) => {
                let cells = |objects: &Objects| {
                    let count: usize = objects.sides.iter().map(|side| side * side).sum();
                    let logits = part(&objects.logits, count * class_names.len(), at)?;
                    let boxes = part(&objects.boxes, count * 4, at)?.as_chunks::<4>().0;
                    Cells::of(logits, boxes).ok_or_else(|| not_finite(origin))
                };
                let mut found = cells(plain)?;
                if let Some(mirrored) = mirrored {
                    found = found.mean_with_mirrored(&cells(mirrored)?, &plain.sides);
                }
                detected(origin, split, &found, class_names, &self.rule)
            }
        }
    }

    fn forward(&self, bytes: Vec<u8>, images: usize, shape: ShardShape) -> Result<Answers> {
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
        let mirrored = self.flip.then(|| self.model.forward(input.clone().flip([3])));
        Ok(match (self.model.forward(input), mirrored) {
            (Output::Classifier(plain), None) => Answers::Classes(Classes::read(plain)?),
            (Output::Classifier(plain), Some(Output::Classifier(mirrored))) => {
                Answers::Classes(Classes::read(plain.mean(mirrored.mirrored()))?)
            }
            (Output::Detector(plain), None) => Answers::Objects(Objects::read(plain)?, None),
            (Output::Detector(plain), Some(Output::Detector(mirrored))) => {
                Answers::Objects(Objects::read(plain)?, Some(Objects::read(mirrored)?))
            }
            _ => bail!("a network has two tasks; this is a defect of ossify-predict"),
        })
    }
}

impl Classes {
    fn read(output: ClassifierOutput) -> Result<Self> {
        let boxes = output.boxes();
        Ok(Classes { logits: numbers(output.logits)?, boxes: numbers(boxes)? })
    }
}

impl Objects {
    fn read(output: DetectorOutput) -> Result<Self> {
        let DetectorOutput { logits, boxes, sides } = output;
        Ok(Objects { logits: numbers(logits)?, boxes: numbers(boxes)?, sides })
    }
}

/// The numbers of image `at`, where each image has `of_image`.
fn part(numbers: &[f32], of_image: usize, at: usize) -> Result<&[f32]> {
    numbers
        .get(at * of_image..(at + 1) * of_image)
        .context("the network gave fewer numbers than images; this is a defect of ossify-predict")
}

fn numbers<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>> {
    let data = tensor.try_into_data().map_err(|e| anyhow!("cannot read from the device: {e}"))?;
    data.try_into_vec().map_err(|e| anyhow!("cannot read from the device: {e:?}"))
}
