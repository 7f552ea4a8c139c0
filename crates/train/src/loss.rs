use burn::tensor::activation::log_softmax;
use burn::tensor::{DType, Device, Tensor, TensorData};
use ossify_contract::{SplitMetrics, UnitBox};

use crate::batches::Batch;

/// What is minimised: cross-entropy, the box's mean squared error times its weight, and the head's penalty.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Loss {
    /// Weight of the box loss.
    pub box_weight: f64,
    /// Share of a target that is spread evenly over all classes.
    pub label_smoothing: f64,
}

impl Loss {
    /// The loss of a batch as a tensor of one number, without the penalty.
    /// `logits` are [N, classes], `boxes` [N, 4].
    pub fn of(&self, logits: Tensor<2>, boxes: Tensor<2>, batch: &Batch) -> Tensor<1> {
        let device = logits.device();
        let [rows, classes] = logits.dims();
        let targets = self.class_targets(batch, classes, &device);
        let classification = (log_softmax(logits, 1) * targets).sum().neg() / rows as f64;
        let true_boxes: Vec<f32> = batch.boxes.iter().flatten().copied().collect();
        let true_boxes = Tensor::<2>::from_data(TensorData::new(true_boxes, [rows, 4]), (&device, DType::F32));
        let location = (boxes - true_boxes).square().mean();
        classification + location * self.box_weight
    }

    fn class_targets(&self, batch: &Batch, classes: usize, device: &Device) -> Tensor<2> {
        let rest = (self.label_smoothing / classes as f64) as f32;
        let mut targets = vec![rest; batch.len() * classes];
        for (row, class) in targets.chunks_exact_mut(classes).zip(&batch.classes) {
            if let Some(target) = row.get_mut(usize::from(*class)) {
                *target = (1.0 - self.label_smoothing) as f32 + rest;
            }
        }
        Tensor::from_data(TensorData::new(targets, [batch.len(), classes]), (device, DType::F32))
    }
}

/// Sums over the samples of a pass, in double precision on the host, from the network's outputs.
#[derive(Clone, Debug, Default)]
pub struct Scores {
    loss: f64,
    classification_loss: f64,
    box_mse: f64,
    correct: u64,
    iou: f64,
    rows: u64,
}

impl Scores {
    /// Adds a batch. `logits` are rows of `classes`, `boxes` rows of four, `penalty` the head's at that step.
    pub fn add(&mut self, loss: &Loss, logits: &[f32], boxes: &[f32], penalty: f64, batch: &Batch) {
        let classes = logits.len() / batch.len().max(1);
        for ((logits, found), (class, wanted)) in logits.chunks_exact(classes.max(1)).zip(boxes.chunks_exact(4)).zip(batch.classes.iter().zip(&batch.boxes)) {
            let class = usize::from(*class);
            let classification = cross_entropy(logits, class, loss.label_smoothing);
            let box_mse = found.iter().zip(wanted).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum::<f64>() / 4.0;
            let found = UnitBox::new(found[0], found[1], found[2], found[3]).clamped().ordered();
            self.loss += classification + loss.box_weight * box_mse + penalty;
            self.classification_loss += classification;
            self.box_mse += box_mse;
            self.correct += u64::from(argmax(logits) == class);
            self.iou += found.iou(&UnitBox::from(*wanted));
            self.rows += 1;
        }
    }

    /// Samples added so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Whether the loss is still a number.
    pub fn is_finite(&self) -> bool {
        self.loss.is_finite()
    }

    /// The means.
    pub fn metrics(&self) -> SplitMetrics {
        let mean = |sum: f64| if self.rows > 0 { sum / self.rows as f64 } else { 0.0 };
        SplitMetrics {
            loss: mean(self.loss),
            classification_loss: mean(self.classification_loss),
            box_loss: mean(self.box_mse),
            accuracy: mean(self.correct as f64),
            box_mse: mean(self.box_mse),
            mean_iou: mean(self.iou),
            rows: self.rows,
        }
    }
}

fn cross_entropy(logits: &[f32], class: usize, smoothing: f64) -> f64 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let log_sum = logits.iter().map(|logit| f64::from(logit - largest).exp()).sum::<f64>().ln() + f64::from(largest);
    let own = logits.get(class).map_or(f64::NAN, |logit| log_sum - f64::from(*logit));
    let all = logits.iter().map(|logit| log_sum - f64::from(*logit)).sum::<f64>() / logits.len() as f64;
    (1.0 - smoothing) * own + smoothing * all
}

/// The first of the largest.
fn argmax(values: &[f32]) -> usize {
    values.iter().enumerate().fold((0, f32::NEG_INFINITY), |best, (i, value)| if *value > best.1 { (i, *value) } else { best }).0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batches::Inputs;

    fn batch() -> Batch {
        Batch { inputs: Inputs::Features(Vec::new()), classes: vec![2, 0], boxes: vec![[0.1, 0.2, 0.5, 0.6], [0.0, 0.0, 1.0, 1.0]] }
    }

    const LOGITS: [[f32; 3]; 2] = [[0.5, -1.0, 2.0], [1.0, 3.0, -0.5]];
    const BOXES: [[f32; 4]; 2] = [[0.1, 0.2, 0.5, 0.6], [0.2, 0.0, 1.0, 0.5]];

    #[test]
    fn device_and_host_agree_on_the_loss() {
        let device = Device::flex();
        for label_smoothing in [0.0, 0.1] {
            let loss = Loss { box_weight: 3.0, label_smoothing };
            let on_device = loss.of(Tensor::from_floats(LOGITS, &device), Tensor::from_floats(BOXES, &device), &batch()).into_scalar::<f32>();
            let mut scores = Scores::default();
            scores.add(&loss, LOGITS.as_flattened(), BOXES.as_flattened(), 0.0, &batch());
            assert!((f64::from(on_device) - scores.metrics().loss).abs() < 1e-6);
        }
    }

    #[test]
    fn scores_are_means_over_samples() {
        let mut scores = Scores::default();
        scores.add(&Loss { box_weight: 1.0, label_smoothing: 0.0 }, LOGITS.as_flattened(), BOXES.as_flattened(), 0.25, &batch());
        let metrics = scores.metrics();
        assert_eq!((metrics.rows, metrics.accuracy), (2, 0.5));
        assert!((metrics.mean_iou - (1.0 + 0.4) / 2.0).abs() < 1e-6);
        assert!((metrics.box_mse - (0.04 + 0.25) / 8.0).abs() < 1e-6);
        assert!((metrics.loss - metrics.classification_loss - metrics.box_mse - 0.25).abs() < 1e-9);
    }
}
