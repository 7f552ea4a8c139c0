use ossify_contract::{SplitMetrics, UnitBox};
use ossify_settings::BoxLoss;
use serde::{Deserialize, Serialize};

use crate::batches::Batch;
use crate::loss::{LEAST_AREA, Loss};

/// Sums over the samples of a pass, in double precision on the host, from the network's outputs. A checkpoint holds
/// those of the epoch that is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    loss: f64,
    classification_loss: f64,
    box_loss: f64,
    box_mse: f64,
    correct: u64,
    iou: f64,
    rows: u64,
}

impl Scores {
    /// Adds a batch. `logits` are rows of `classes`, `boxes` rows of four, `penalty` the head's at that step.
    pub fn add(&mut self, loss: &Loss, logits: &[f32], boxes: &[f32], penalty: f64, batch: &Batch) {
        let classes = logits.len() / batch.len().max(1);
        let rows = logits.chunks_exact(classes.max(1)).zip(boxes.as_chunks::<4>().0);
        for ((logits, found), (class, wanted)) in rows.zip(batch.classes.iter().zip(&batch.boxes)) {
            let class = usize::from(*class);
            let classification = loss.class_weight(class) * cross_entropy(logits, class, loss.label_smoothing);
            let box_loss = loss.box_weight * distance(loss, found, wanted) + loss.giou_weight * (1.0 - giou(found, wanted));
            self.loss += loss.classification_weight * classification + box_loss + penalty;
            self.classification_loss += classification;
            self.box_loss += box_loss;
            self.box_mse += squared(found, wanted);
            self.correct += u64::from(argmax(logits) == class);
            self.iou += UnitBox::from(*found).clamped().ordered().iou(&UnitBox::from(*wanted));
            self.rows += 1;
        }
    }

    /// Mean loss of the samples that were added after `before`.
    pub fn loss_since(&self, before: &Scores) -> f64 {
        (self.loss - before.loss) / (self.rows - before.rows).max(1) as f64
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
            box_loss: mean(self.box_loss),
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

fn mean_of_edges(found: &[f32; 4], wanted: &[f32; 4], of: impl Fn(f64) -> f64) -> f64 {
    found.iter().zip(wanted).map(|(a, b)| of(f64::from(*a) - f64::from(*b))).sum::<f64>() / 4.0
}

fn squared(found: &[f32; 4], wanted: &[f32; 4]) -> f64 {
    mean_of_edges(found, wanted, |error| error * error)
}

fn distance(loss: &Loss, found: &[f32; 4], wanted: &[f32; 4]) -> f64 {
    let beta = loss.smooth_l1_beta;
    match loss.box_loss {
        BoxLoss::Mse => squared(found, wanted),
        BoxLoss::SmoothL1 => mean_of_edges(found, wanted, |error| {
            let size = error.abs();
            if size < beta { size * size / (2.0 * beta) } else { size - beta / 2.0 }
        }),
    }
}

/// As the loss on the device has it.
fn giou(found: &[f32; 4], wanted: &[f32; 4]) -> f64 {
    let [a, b] = [found, wanted].map(|edges| edges.map(f64::from));
    let a = [a[0].min(a[2]), a[1].min(a[3]), a[0].max(a[2]), a[1].max(a[3])];
    let area = |left: f64, top: f64, right: f64, bottom: f64| (right - left).max(0.0) * (bottom - top).max(0.0);
    let common = area(a[0].max(b[0]), a[1].max(b[1]), a[2].min(b[2]), a[3].min(b[3]));
    let union = area(a[0], a[1], a[2], a[3]) + area(b[0], b[1], b[2], b[3]) - common;
    let hull = area(a[0].min(b[0]), a[1].min(b[1]), a[2].max(b[2]), a[3].max(b[3]));
    common / union.max(LEAST_AREA) - (hull - union) / hull.max(LEAST_AREA)
}

/// The first of the largest.
fn argmax(values: &[f32]) -> usize {
    values.iter().enumerate().fold((0, f32::NEG_INFINITY), |best, (i, value)| if *value > best.1 { (i, *value) } else { best }).0
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tensor};

    use super::*;
    use crate::batches::Inputs;

    fn batch() -> Batch {
        let boxes = vec![[0.1, 0.2, 0.5, 0.6], [0.0, 0.0, 1.0, 1.0]];
        Batch { inputs: Inputs::Features(Vec::new()), classes: vec![2, 0], boxes, changes: Vec::new(), digest: 0 }
    }

    const LOGITS: [[f32; 3]; 2] = [[0.5, -1.0, 2.0], [1.0, 3.0, -0.5]];
    const BOXES: [[f32; 4]; 2] = [[0.1, 0.2, 0.5, 0.6], [0.2, 0.0, 1.0, 0.5]];

    fn plain() -> Loss {
        Loss {
            classification_weight: 1.0,
            class_weights: vec![],
            label_smoothing: 0.0,
            box_loss: BoxLoss::Mse,
            smooth_l1_beta: 0.1,
            box_weight: 1.0,
            giou_weight: 0.0,
        }
    }

    #[test]
    fn device_and_host_agree_on_the_loss() {
        let device = Device::flex();
        let losses = [
            plain(),
            Loss { label_smoothing: 0.1, class_weights: vec![0.5, 1.0, 2.0], ..plain() },
            Loss { classification_weight: 0.3, box_loss: BoxLoss::SmoothL1, box_weight: 3.0, giou_weight: 2.0, ..plain() },
        ];
        for loss in losses {
            let on_device = loss.of(Tensor::from_floats(LOGITS, &device), Tensor::from_floats(BOXES, &device), &batch()).into_scalar::<f32>();
            let mut scores = Scores::default();
            scores.add(&loss, LOGITS.as_flattened(), BOXES.as_flattened(), 0.0, &batch());
            assert!((f64::from(on_device) - scores.metrics().loss).abs() < 1e-6, "{loss:?}");
        }
    }

    #[test]
    fn scores_are_means_over_samples() {
        let mut scores = Scores::default();
        scores.add(&plain(), LOGITS.as_flattened(), BOXES.as_flattened(), 0.25, &batch());
        let metrics = scores.metrics();
        assert_eq!((metrics.rows, metrics.accuracy), (2, 0.5));
        assert!((metrics.mean_iou - (1.0 + 0.4) / 2.0).abs() < 1e-6);
        assert!((metrics.box_mse - (0.04 + 0.25) / 8.0).abs() < 1e-6);
        assert!((metrics.loss - metrics.classification_loss - metrics.box_mse - 0.25).abs() < 1e-9);
    }

    #[test]
    fn sums_survive_a_checkpoint_to_the_last_bit() {
        let mut scores = Scores::default();
        scores.add(&plain(), LOGITS.as_flattened(), BOXES.as_flattened(), 0.1, &batch());
        let again: Scores = serde_json::from_str(&serde_json::to_string(&scores).unwrap()).unwrap();
        assert_eq!(again, scores);
    }
}
