//! What a detector minimises, from its outputs and the objects of each image.

use anyhow::Result;
use burn::tensor::activation::sigmoid;
use burn::tensor::{Int, Tensor, TensorData};
use ossify_contract::UnitBox;
use ossify_detection::boxes::Truth;
use ossify_model::DetectorOutput;
use ossify_settings::DetectSettings;

use crate::host::numbers;
use crate::objective::detection::assignment::{Assigner, Positive, Said, centres};
use crate::objective::giou::giou;
use crate::rounding::single;

/// What a detector minimises: of scores the quality focal loss, of boxes 1 - GIoU, both divided by
/// the sum of the targets of a batch.
///
/// Quality focal loss (Li et al., "Generalized Focal Loss", 2020): |target - score|^γ times their
/// cross-entropy. The target is what [`Assigner`] says of a cell that answers for an object, of its
/// class, and 0 everywhere else. Boxes are weighted by these targets, as in TOOD (Feng et al.
/// 2021). Of an object of a mixed image the target is multiplied by the image's share, as Zhang et
/// al. ("Bag of Freebies for Training Object Detection Neural Networks", 2019) weight losses.
#[derive(Clone, Debug, PartialEq)]
pub struct DetectionLoss {
    /// Which cells answer.
    pub assigner: Assigner,
    /// γ of the focal loss.
    pub focal_power: f64,
    /// Weight of 1 - GIoU.
    pub box_weight: f64,
}

/// A detector's output on the host.
pub struct HostOutput {
    /// Images times cells times classes, 0..1.
    pub scores: Vec<f32>,
    /// Images times cells.
    pub boxes: Vec<UnitBox>,
    /// Cells of an image.
    pub cells: usize,
    /// Classes.
    pub classes: usize,
}

impl HostOutput {
    /// Reads an output from its device.
    ///
    /// # Errors
    /// Fails where the device does.
    pub fn read(output: &DetectorOutput) -> Result<Self> {
        let [images, cells, classes] = output.logits.dims();
        let scores = sigmoid(output.logits.clone().without_autodiff());
        let boxes = output.boxes.clone().without_autodiff();
        let mut values = numbers(Tensor::cat(
            vec![scores.reshape([images * cells * classes]), boxes.reshape([images * cells * 4])],
            0,
        ))?;
        let boxes = values.split_off(images * cells * classes);
        let boxes = boxes.as_chunks::<4>().0.iter().map(|edges| UnitBox::from(*edges)).collect();
        Ok(HostOutput { scores: values, boxes, cells, classes })
    }

    /// What the cells of each image say.
    pub fn images(&self) -> impl Iterator<Item = Said<'_>> {
        self.scores
            .chunks_exact((self.cells * self.classes).max(1))
            .zip(self.boxes.chunks_exact(self.cells.max(1)))
            .map(|(scores, boxes)| Said { scores, boxes })
    }
}

/// The two terms of a loss, `[1]` each, the second with its weight.
pub struct Terms {
    /// Of scores.
    pub classification: Tensor<1>,
    /// Of boxes.
    pub boxes: Tensor<1>,
}

impl DetectionLoss {
    /// As configured.
    pub fn new(settings: &DetectSettings) -> Self {
        DetectionLoss {
            assigner: Assigner::new(settings),
            focal_power: settings.focal_power,
            box_weight: settings.box_weight,
        }
    }

    /// The loss of a batch whose images have these objects; `said` is `output` on the host.
    /// `weight` is that of an object by its number among those of the batch.
    pub fn of(
        &self,
        output: &DetectorOutput,
        said: &HostOutput,
        objects: &[&[Truth]],
        weight: impl Fn(usize) -> f64,
    ) -> Terms {
        let said: Vec<Said<'_>> = said.images().collect();
        let mut positives = self.assigner.assign(&said, objects, &centres(&output.sides));
        let mut first_object = 0;
        for (positives, objects) in positives.iter_mut().zip(objects) {
            for positive in positives {
                positive.target *= weight(first_object + positive.object);
            }
            first_object += objects.len();
        }
        let sum: f64 = positives.iter().flatten().map(|positive| positive.target).sum();
        // As the paper's code has it: a batch without objects is not divided by next to nothing.
        let normaliser = sum.max(1.0);
        Terms {
            classification: self.classification(&output.logits, &positives, objects) / normaliser,
            boxes: self.boxes(&output.boxes, &positives, objects) * (self.box_weight / normaliser),
        }
    }

    fn classification(
        &self,
        logits: &Tensor<3>,
        positives: &[Vec<Positive>],
        objects: &[&[Truth]],
    ) -> Tensor<1> {
        let dims @ [images, cells, classes] = logits.dims();
        let mut targets = vec![0.0_f32; images * cells * classes];
        for (image, (positives, objects)) in positives.iter().zip(objects).enumerate() {
            for positive in positives {
                let class = usize::from(objects[positive.object].class);
                if class < classes {
                    targets[(image * cells + positive.cell) * classes + class] =
                        single(positive.target);
                }
            }
        }
        let targets = Tensor::<3>::from_data(TensorData::new(targets, dims), &logits.device());
        let distance = (targets.clone() - sigmoid(logits.clone())).abs();
        let focus = if self.focal_power == 2.0 {
            distance.square()
        } else {
            distance.powf_scalar(self.focal_power)
        };
        // From logits, so that nothing overflows: max(z, 0) - z t + ln(1 + e^-|z|).
        let cross_entropy = logits.clone().clamp_min(0.0) - logits.clone() * targets
            + logits.clone().abs().neg().exp().log1p();
        (focus * cross_entropy).sum()
    }

    fn boxes(
        &self,
        boxes: &Tensor<3>,
        positives: &[Vec<Positive>],
        objects: &[&[Truth]],
    ) -> Tensor<1> {
        let ([images, cells, _], device) = (boxes.dims(), boxes.device());
        let (mut rows, mut wanted, mut weights) = (Vec::new(), Vec::new(), Vec::new());
        for (image, (positives, objects)) in positives.iter().zip(objects).enumerate() {
            for positive in positives {
                rows.push(i64::try_from(image * cells + positive.cell).unwrap_or(i64::MAX));
                wanted.extend(objects[positive.object].unit_box.to_array());
                weights.push(single(positive.target));
            }
        }
        let count = rows.len();
        if count == 0 {
            return Tensor::zeros([1], &device);
        }
        let rows = Tensor::<1, Int>::from_data(TensorData::new(rows, [count]), &device);
        let found = boxes.clone().reshape([images * cells, 4]).select(0, rows);
        let wanted = Tensor::<3>::from_data(TensorData::new(wanted, [1, count, 4]), &device);
        let weights = Tensor::<1>::from_data(TensorData::new(weights, [count]), &device);
        let lacking = giou(found.reshape([1, count, 4]), wanted).neg() + 1.0;
        (lacking.reshape([count]) * weights).sum()
    }
}
