use ossify_contract::{SplitMetrics, UnitBox};
use ossify_settings::BoxLoss;
use serde::{Deserialize, Serialize};

use crate::data::batches::Batch;
use crate::objective::giou::MIN_AREA;
use crate::objective::loss::{Loss, cell_shares};

/// Sums over the samples of a pass, in double precision on the host, from the network's outputs. A
/// checkpoint holds those of the epoch that is under way.
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
    /// Adds a batch. `penalty` is the head's at that step.
    pub fn add(&mut self, loss: &Loss, outputs: &Outputs, penalty: f64, batch: &Batch) {
        let [classes, cells] = [&outputs.logits, &outputs.cell_scores]
            .map(|values| (values.len() / batch.len().max(1)).max(1));
        let candidates = outputs.candidates.as_chunks::<4>().0.chunks_exact(cells);
        let rows = outputs
            .logits
            .chunks_exact(classes)
            .zip(outputs.cell_scores.chunks_exact(cells).zip(candidates));
        for ((logits, (scores, candidates)), object) in rows.zip(&batch.objects) {
            let (class, wanted) = (usize::from(object.class), &object.unit_box.to_array());
            let classification =
                loss.class_weight(class) * cross_entropy(logits, class, loss.label_smoothing);
            let box_loss = box_loss(loss, scores, candidates, wanted);
            let Some(found) = candidates.get(argmax(scores)) else { continue };
            self.loss += loss.classification_weight * classification + box_loss + penalty;
            self.classification_loss += classification;
            self.box_loss += box_loss;
            self.box_mse += squared(found, wanted);
            self.correct += u64::from(argmax(logits) == class);
            self.iou += UnitBox::from(*found).clamped().ordered().iou(&object.unit_box);
            self.rows += 1;
        }
    }

    /// Adds `rows` images that a detector has looked at, with the means of its loss's terms over
    /// them, the box's with its weight.
    pub fn add_detection(&mut self, classification: f64, boxes: f64, rows: usize) {
        self.loss += (classification + boxes) * rows as f64;
        self.classification_loss += classification * rows as f64;
        self.box_loss += boxes * rows as f64;
        self.rows += rows as u64;
    }

    /// The means of a detector, which has no accuracy: what it is scored by is counted apart.
    pub fn detection_metrics(&self) -> SplitMetrics {
        SplitMetrics { accuracy: None, box_mse: None, mean_iou: None, ..self.metrics() }
    }

    /// Mean loss of the samples that were added after `before`.
    pub fn loss_since(&self, before: &Scores) -> f64 {
        (self.loss - before.loss) / (self.rows - before.rows).max(1) as f64
    }

    /// Samples added so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Whether no score is NaN or infinite.
    pub fn is_finite(&self) -> bool {
        let Scores { loss, classification_loss, box_loss, box_mse, iou, correct: _, rows: _ } =
            self;
        [loss, classification_loss, box_loss, box_mse, iou].into_iter().all(|sum| sum.is_finite())
    }

    /// The means.
    pub fn metrics(&self) -> SplitMetrics {
        let mean = |sum: f64| if self.rows > 0 { sum / self.rows as f64 } else { 0.0 };
        SplitMetrics {
            loss: mean(self.loss),
            classification_loss: mean(self.classification_loss),
            box_loss: mean(self.box_loss),
            accuracy: Some(mean(self.correct as f64)),
            box_mse: Some(mean(self.box_mse)),
            mean_iou: Some(mean(self.iou)),
            ap50: None,
            ap: None,
            auroc: None,
            rows: self.rows,
        }
    }
}

/// What the network said about a batch, on the host: see [`ossify_model::ClassifierOutput`].
#[derive(Debug, Clone, PartialEq)]
pub struct Outputs {
    /// Rows of as many as there are classes.
    pub logits: Vec<f32>,
    /// Rows of as many as there are cells.
    pub cell_scores: Vec<f32>,
    /// Four edges a cell.
    pub candidates: Vec<f32>,
}

/// What a sample adds to the loss besides the class.
fn box_loss(loss: &Loss, scores: &[f32], candidates: &[[f32; 4]], wanted: &[f32; 4]) -> f64 {
    let shares = cell_shares(wanted, candidates.len());
    let of_cell = |found: &[f32; 4]| {
        loss.box_weight * distance(loss, found, wanted)
            + loss.giou_weight * (1.0 - giou(found, wanted))
    };
    let boxes =
        shares.iter().zip(candidates).map(|(share, found)| share * of_cell(found)).sum::<f64>();
    if loss.cell_weight == 0.0 || candidates.len() == 1 {
        return boxes;
    }
    let log_sum = log_sum_exp(scores);
    boxes
        + loss.cell_weight
            * shares
                .iter()
                .zip(scores)
                .map(|(share, score)| share * (log_sum - f64::from(*score)))
                .sum::<f64>()
}

fn log_sum_exp(values: &[f32]) -> f64 {
    let largest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    values.iter().map(|value| f64::from(value - largest).exp()).sum::<f64>().ln()
        + f64::from(largest)
}

fn cross_entropy(logits: &[f32], class: usize, smoothing: f64) -> f64 {
    let log_sum = log_sum_exp(logits);
    let own = logits.get(class).map_or(f64::NAN, |logit| log_sum - f64::from(*logit));
    let all =
        logits.iter().map(|logit| log_sum - f64::from(*logit)).sum::<f64>() / logits.len() as f64;
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
    let area = |left: f64, top: f64, right: f64, bottom: f64| {
        (right - left).max(0.0) * (bottom - top).max(0.0)
    };
    let common = area(a[0].max(b[0]), a[1].max(b[1]), a[2].min(b[2]), a[3].min(b[3]));
    let union = area(a[0], a[1], a[2], a[3]) + area(b[0], b[1], b[2], b[3]) - common;
    let hull = area(a[0].min(b[0]), a[1].min(b[1]), a[2].max(b[2]), a[3].max(b[3]));
    common / union.max(MIN_AREA) - (hull - union) / hull.max(MIN_AREA)
}

/// The first of the largest.
fn argmax(values: &[f32]) -> usize {
    values
        .iter()
        .enumerate()
        .fold(
            (0, f32::NEG_INFINITY),
            |best, (i, value)| if *value > best.1 { (i, *value) } else { best },
        )
        .0
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tensor};
    use ossify_detection::boxes::Truth;
    use ossify_model::{ClassifierOutput, OutputSizes};

    use super::*;
    use crate::data::batches::Inputs;

    fn batch() -> Batch {
        let object = |class, unit_box: [f32; 4]| Truth { class, unit_box: unit_box.into() };
        Batch {
            inputs: Inputs::Features(Vec::new()),
            objects: vec![object(2, [0.1, 0.2, 0.5, 0.6]), object(0, [0.0, 0.0, 1.0, 1.0])],
            object_counts: vec![1; 2],
            object_weights: Vec::new(),
            changes: Vec::new(),
            compositions: Vec::new(),
            digest: 0,
        }
    }

    const LOGITS: [[f32; 3]; 2] = [[0.5, -1.0, 2.0], [1.0, 3.0, -0.5]];
    const BOXES: [[f32; 4]; 2] = [[0.1, 0.2, 0.5, 0.6], [0.2, 0.0, 1.0, 0.5]];

    fn outputs() -> Outputs {
        Outputs {
            logits: LOGITS.as_flattened().to_vec(),
            cell_scores: vec![0.0; 2],
            candidates: BOXES.as_flattened().to_vec(),
        }
    }

    fn plain() -> Loss {
        Loss {
            classification_weight: 1.0,
            class_weights: vec![],
            label_smoothing: 0.0,
            box_loss: BoxLoss::Mse,
            smooth_l1_beta: 0.1,
            box_weight: 1.0,
            giou_weight: 0.0,
            cell_weight: 0.0,
        }
    }

    #[test]
    fn device_and_host_agree_on_the_loss() {
        let device = Device::flex();
        let losses = [
            plain(),
            Loss { label_smoothing: 0.1, class_weights: vec![0.5, 1.0, 2.0], ..plain() },
            Loss {
                classification_weight: 0.3,
                box_loss: BoxLoss::SmoothL1,
                box_weight: 3.0,
                giou_weight: 2.0,
                ..plain()
            },
        ];
        // Without a grid of cells, and with one of four.
        let of_cells = Outputs {
            logits: LOGITS.as_flattened().to_vec(),
            cell_scores: vec![0.5, -1.0, 2.0, 0.0, 1.0, 1.5, -0.5, 0.25],
            candidates: (0..32_u8).map(|i| f32::from(i % 4) * 0.2 + f32::from(i) * 0.01).collect(),
        };
        for loss in
            losses.into_iter().chain([Loss { cell_weight: 2.0, giou_weight: 1.0, ..plain() }])
        {
            for (outputs, cells) in [(outputs(), 1), (of_cells.clone(), 4)] {
                let on_device = ClassifierOutput {
                    logits: Tensor::from_floats(LOGITS, &device),
                    cell_scores: Tensor::<1>::from_floats(&outputs.cell_scores[..], &device)
                        .reshape([2, cells]),
                    candidates: Tensor::<1>::from_floats(&outputs.candidates[..], &device)
                        .reshape([2, cells, 4]),
                };
                let targets = loss.targets(&batch(), OutputSizes { classes: 3, cells }, &device);
                let on_device = loss.of(&on_device, &targets).into_scalar::<f32>();
                let mut scores = Scores::default();
                scores.add(&loss, &outputs, 0.0, &batch());
                assert!(
                    (f64::from(on_device) - scores.metrics().loss).abs() < 1e-6,
                    "{loss:?}, {cells} cells"
                );
            }
        }
    }

    #[test]
    fn scores_are_means_over_samples() {
        let mut scores = Scores::default();
        scores.add(&plain(), &outputs(), 0.25, &batch());
        let metrics = scores.metrics();
        assert_eq!((metrics.rows, metrics.accuracy), (2, Some(0.5)));
        assert!((metrics.mean_iou.unwrap() - (1.0 + 0.4) / 2.0).abs() < 1e-6);
        assert!((metrics.box_mse.unwrap() - (0.04 + 0.25) / 8.0).abs() < 1e-6);
        assert!(
            (metrics.loss - metrics.classification_loss - metrics.box_mse.unwrap() - 0.25).abs()
                < 1e-9
        );
    }

    #[test]
    fn sums_survive_a_checkpoint_to_the_last_bit() {
        let mut scores = Scores::default();
        scores.add(&plain(), &outputs(), 0.1, &batch());
        let again: Scores = serde_json::from_str(&serde_json::to_string(&scores).unwrap()).unwrap();
        assert_eq!(again, scores);
    }
}
