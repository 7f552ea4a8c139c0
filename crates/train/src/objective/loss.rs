use burn::tensor::activation::log_softmax;
use burn::tensor::{DType, Device, Tensor, TensorData};
use ossify_model::{ClassifierOutput, OutputSizes};
use ossify_settings::{BoxLoss, ClassWeights, TrainSettings};

use crate::data::batches::Batch;
use crate::objective::giou::giou;
use crate::rounding::single;

/// What is minimised: cross-entropy of the class, a distance between box edges and what their
/// overlap lacks, and where the network has a grid of cells the cross-entropy of the cell, each
/// times its weight. The head's penalty comes on top.
///
/// With a grid of cells each cell has a box of its own, and distance and overlap are means over
/// cells, weighted by how much a cell belongs to the object: see [`cell_shares`].
#[derive(Clone, Debug, PartialEq)]
pub struct Loss {
    /// Weight of the cross-entropy.
    pub classification_weight: f64,
    /// Weight of each class in the cross-entropy; 1 on average over the training samples.
    pub class_weights: Vec<f64>,
    /// Share of a target that is spread evenly over all classes.
    pub label_smoothing: f64,
    /// The distance between edges.
    pub box_loss: BoxLoss,
    /// Where smooth L1 turns from squared to absolute.
    pub smooth_l1_beta: f64,
    /// Weight of that distance.
    pub box_weight: f64,
    /// Weight of 1 - GIoU.
    pub giou_weight: f64,
    /// Weight of the cell's cross-entropy.
    pub cell_weight: f64,
}

/// What the network should say about a batch, on the device.
pub struct Targets {
    /// Shares of each class `[N, classes]`, smoothed and times the weight of the sample's class.
    classes: Tensor<2>,
    /// Box edges `[N, 1, 4]`.
    boxes: Tensor<3>,
    /// How much each cell belongs to the object, `[N, P]`: see [`cell_shares`].
    cell_shares: Tensor<2>,
}

impl Loss {
    /// The loss that the settings ask for, with `class_counts` training samples of each class.
    pub fn new(settings: &TrainSettings, class_counts: &[u64]) -> Self {
        Loss {
            classification_weight: settings.loss.classification_weight,
            class_weights: class_weights(settings.loss.class_weights, class_counts),
            label_smoothing: settings.loss.label_smoothing,
            box_loss: settings.loss.box_distance,
            smooth_l1_beta: settings.loss.smooth_l1_beta,
            box_weight: settings.loss.box_weight,
            giou_weight: settings.loss.giou_weight,
            cell_weight: settings.loss.cell_weight,
        }
    }

    /// Moves what the network should say about a batch to `device`. Call it before the batch goes
    /// through the network: a copy to the device waits until the device has done its work.
    pub fn targets(&self, batch: &Batch, sizes: OutputSizes, device: &Device) -> Targets {
        let (rows, OutputSizes { classes, cells }) = (batch.len(), sizes);
        let wanted: Vec<[f32; 4]> =
            batch.objects.iter().map(|object| object.unit_box.to_array()).collect();
        let shares: Vec<f32> =
            wanted.iter().flat_map(|wanted| cell_shares(wanted, cells)).map(single).collect();
        let options = (device, DType::F32);
        Targets {
            classes: self.class_targets(batch, classes, device),
            boxes: Tensor::from_data(
                TensorData::new(wanted.into_flattened(), [rows, 1, 4]),
                options,
            ),
            cell_shares: Tensor::from_data(TensorData::new(shares, [rows, cells]), options),
        }
    }

    /// The loss of a batch as a tensor of one number, without the penalty: the mean over its
    /// samples.
    pub fn of(&self, output: &ClassifierOutput, targets: &Targets) -> Tensor<1> {
        let [rows, cells, _] = output.candidates.dims();
        let log_probabilities = log_softmax(output.logits.clone(), 1);
        let classification =
            (log_probabilities * targets.classes.clone()).sum().neg() / rows as f64;
        let mut total = classification * self.classification_weight;
        let wanted = targets.boxes.clone().expand([rows, cells, 4]);
        let shares = targets.cell_shares.clone();
        let mean = |of_cells: Tensor<3>| {
            (of_cells.reshape([rows, cells]) * shares.clone()).sum() / rows as f64
        };
        if self.box_weight > 0.0 {
            total = total
                + mean(self.distance(output.candidates.clone(), wanted.clone())) * self.box_weight;
        }
        if self.giou_weight > 0.0 {
            total = total
                + mean(giou(output.candidates.clone(), wanted).neg() + 1.0) * self.giou_weight;
        }
        if self.cell_weight > 0.0 && cells > 1 {
            let cell =
                (log_softmax(output.cell_scores.clone(), 1) * shares).sum().neg() / rows as f64;
            total = total + cell * self.cell_weight;
        }
        total
    }

    /// Mean distance of edges `[N, P, 1]`: squared, or smooth L1 (Girshick 2015, with PyTorch's
    /// `beta`).
    fn distance(&self, found: Tensor<3>, wanted: Tensor<3>) -> Tensor<3> {
        let error = found - wanted;
        let of_edges = match self.box_loss {
            BoxLoss::Mse => error.square(),
            BoxLoss::SmoothL1 => {
                let beta = self.smooth_l1_beta;
                let size = error.abs();
                // x²/2β up to β, x - β/2 beyond: with c = min(x, β) both are c²/2β + (x - c).
                let near = size.clone().clamp_max(beta);
                near.clone().square() / (2.0 * beta) + (size - near)
            }
        };
        of_edges.mean_dim(2)
    }

    /// Targets `[N, classes]`, smoothed and times the weight of the sample's class.
    fn class_targets(&self, batch: &Batch, classes: usize, device: &Device) -> Tensor<2> {
        let mut targets = vec![0.0; batch.len() * classes];
        for (row, object) in targets.chunks_exact_mut(classes).zip(&batch.objects) {
            let class = usize::from(object.class);
            let weight = self.class_weight(class);
            row.fill(single(weight * self.label_smoothing / classes as f64));
            if let Some(target) = row.get_mut(class) {
                *target += single(weight * (1.0 - self.label_smoothing));
            }
        }
        Tensor::from_data(TensorData::new(targets, [batch.len(), classes]), (device, DType::F32))
    }

    /// Weight of a class; classes without one weigh 1.
    pub fn class_weight(&self, class: usize) -> f64 {
        self.class_weights.get(class).copied().unwrap_or(1.0)
    }
}

/// Deviation of the cells of an object around its centre, in widths and heights of its box. With
/// it half of the weight lies on the middle two fifths.
const CELL_DEVIATION: f64 = 0.3;

/// How much each cell of a square grid belongs to an object with this box: a normal distribution
/// around its centre that is as wide as the box, and at least half a cell. The shares add up to 1.
pub fn cell_shares(wanted: &[f32; 4], cells: usize) -> Vec<f64> {
    let side = cells.isqrt().max(1);
    let [left, top, right, bottom] = wanted.map(f64::from);
    let log_share = |at: usize, from: f64, to: f64| {
        let deviation = ((to - from) * CELL_DEVIATION).max(0.5 / side as f64);
        -0.5 * (((at as f64 + 0.5) / side as f64 - f64::midpoint(from, to)) / deviation).powi(2)
    };
    let logs: Vec<f64> = (0..cells)
        .map(|at| log_share(at % side, left, right) + log_share(at / side, top, bottom))
        .collect();
    let largest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let shares: Vec<f64> = logs.iter().map(|log| (log - largest).exp()).collect();
    let sum: f64 = shares.iter().sum();
    shares.into_iter().map(|share| share / sum).collect()
}

/// Weights of classes, 1 on average over the samples.
fn class_weights(kind: ClassWeights, counts: &[u64]) -> Vec<f64> {
    let power = match kind {
        ClassWeights::None => return Vec::new(),
        ClassWeights::Balanced => 1.0,
        ClassWeights::Sqrt => 0.5,
    };
    let raw: Vec<f64> = counts.iter().map(|count| (*count.max(&1) as f64).powf(-power)).collect();
    let total: u64 = counts.iter().sum();
    let mean = raw.iter().zip(counts).map(|(weight, count)| weight * *count as f64).sum::<f64>()
        / total.max(1) as f64;
    raw.into_iter().map(|weight| weight / mean.max(f64::MIN_POSITIVE)).collect()
}

#[cfg(test)]
mod tests {
    use ossify_detection::boxes::Truth;

    use super::*;
    use crate::data::batches::Inputs;

    fn batch(boxes: Vec<[f32; 4]>) -> Batch {
        Batch {
            inputs: Inputs::Features(Vec::new()),
            object_counts: vec![1; boxes.len()],
            objects: boxes
                .into_iter()
                .map(|unit_box| Truth { class: 0, unit_box: unit_box.into() })
                .collect(),
            object_weights: Vec::new(),
            changes: Vec::new(),
            compositions: Vec::new(),
            digest: 0,
        }
    }

    fn boxes_alone(box_loss: BoxLoss, box_weight: f64, giou_weight: f64) -> Loss {
        Loss {
            classification_weight: 0.0,
            class_weights: vec![],
            label_smoothing: 0.0,
            box_loss,
            smooth_l1_beta: 0.1,
            box_weight,
            giou_weight,
            cell_weight: 0.0,
        }
    }

    fn output(candidates: Tensor<3>, cell_scores: Tensor<2>) -> ClassifierOutput {
        ClassifierOutput {
            logits: Tensor::zeros([1, 1], &cell_scores.device()),
            cell_scores,
            candidates,
        }
    }

    fn targets(loss: &Loss, wanted: [f32; 4], cells: usize, device: &Device) -> Targets {
        loss.targets(&batch(vec![wanted]), OutputSizes { classes: 1, cells }, device)
    }

    fn of(loss: &Loss, found: [f32; 4], wanted: [f32; 4]) -> f64 {
        let device = Device::flex();
        let loss = loss.of(
            &output(Tensor::from_floats([[found]], &device), Tensor::zeros([1, 1], &device)),
            &targets(loss, wanted, 1, &device),
        );
        f64::from(loss.into_scalar::<f32>())
    }

    #[test]
    fn giou_of_known_pairs() {
        let giou = |found, wanted| 1.0 - of(&boxes_alone(BoxLoss::Mse, 0.0, 1.0), found, wanted);
        let close = |found: f64, expected: f64| {
            assert!((found - expected).abs() < 1e-6, "{found} against {expected}")
        };
        close(giou([0.1, 0.1, 0.5, 0.5], [0.1, 0.1, 0.5, 0.5]), 1.0);
        // Apart by as much as they are wide: union 2, hull 3 of a third each.
        close(giou([0.0, 0.0, 0.2, 0.2], [0.4, 0.0, 0.6, 0.2]), -1.0 / 3.0);
        // A quarter in common: 0.01 of 0.07, hull 0.09.
        close(giou([0.0, 0.0, 0.2, 0.2], [0.1, 0.1, 0.3, 0.3]), 1.0 / 7.0 - 2.0 / 9.0);
        close(giou([0.2, 0.2, 0.0, 0.0], [0.1, 0.1, 0.3, 0.3]), 1.0 / 7.0 - 2.0 / 9.0);
        assert!(giou([0.3, 0.3, 0.3, 0.3], [0.3, 0.3, 0.3, 0.3]).is_finite());
    }

    #[test]
    fn smooth_l1_is_squared_near_and_absolute_far() {
        let loss = boxes_alone(BoxLoss::SmoothL1, 1.0, 0.0);
        let expected = (0.05f64.powi(2) / 0.2 + (0.4 - 0.05)) / 4.0;
        assert!((of(&loss, [0.05, 0.0, 0.9, 1.0], [0.0, 0.0, 0.5, 1.0]) - expected).abs() < 1e-6);
    }

    #[test]
    fn giou_pulls_boxes_that_do_not_touch() {
        let device = Device::flex().autodiff();
        let found = Tensor::<3>::from_floats([[[0.0, 0.0, 0.2, 0.2]]], &device).require_grad();
        let loss = boxes_alone(BoxLoss::Mse, 0.0, 1.0);
        let loss = loss.of(
            &output(found.clone(), Tensor::zeros([1, 1], &device)),
            &targets(&loss, [0.6, 0.0, 0.8, 0.2], 1, &device),
        );
        let gradient =
            found.grad(&loss.backward()).unwrap().into_data().try_into_vec::<f32>().unwrap();
        assert!(gradient[2] < -0.1, "the right edge is to move right: {gradient:?}");
    }

    #[test]
    fn cells_of_an_object_are_around_its_centre() {
        let shares = cell_shares(&[0.5, 0.0, 1.0, 0.5], 16);
        assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        let right_top: f64 = [2, 3, 6, 7].iter().map(|at| shares[*at]).sum();
        assert!(right_top > 0.75, "{shares:?}");
        assert!(
            (shares[2] - shares[7]).abs() < 1e-12,
            "the four cells of the object are alike: {shares:?}"
        );
        // However small, an object has a cell.
        let shares = cell_shares(&[0.3, 0.3, 0.3, 0.3], 16);
        assert!(shares[5] > 0.4, "{shares:?}");
        assert_eq!(cell_shares(&[0.1, 0.2, 0.3, 0.4], 1), [1.0]);
    }

    #[test]
    fn the_cell_of_the_object_is_learned_and_the_boxes_around_it() {
        let device = Device::flex().autodiff();
        let loss = Loss { cell_weight: 1.0, ..boxes_alone(BoxLoss::Mse, 1.0, 0.0) };
        let candidates = Tensor::<3>::zeros([1, 16, 4], &device).require_grad();
        let cell_scores = Tensor::<2>::zeros([1, 16], &device).require_grad();
        let gradients = loss
            .of(
                &output(candidates.clone(), cell_scores.clone()),
                &targets(&loss, [0.5, 0.0, 1.0, 0.5], 16, &device),
            )
            .backward();
        let values = |gradient: Tensor<1>| gradient.into_data().try_into_vec::<f32>().unwrap();
        let of_cells = values(cell_scores.grad(&gradients).unwrap().flatten(0, 1));
        assert!(of_cells[2] < -0.1 && of_cells[12] > 0.0, "{of_cells:?}");
        let of_edges = values(candidates.grad(&gradients).unwrap().flatten(0, 2));
        assert!(
            of_edges[2 * 4 + 2] < 100.0 * of_edges[12 * 4 + 2],
            "the right edge moves right where the object is: {of_edges:?}"
        );
    }

    #[test]
    fn class_weights_are_one_on_average_over_the_samples() {
        for kind in [ClassWeights::Balanced, ClassWeights::Sqrt] {
            let counts = [100, 25, 400];
            let weights = class_weights(kind, &counts);
            let mean = weights.iter().zip(counts).map(|(w, c)| w * c as f64).sum::<f64>() / 525.0;
            assert!((mean - 1.0).abs() < 1e-12);
            let expected = if kind == ClassWeights::Balanced { 4.0 } else { 2.0 };
            assert!((weights[1] / weights[0] - expected).abs() < 1e-12);
        }
        assert!(class_weights(ClassWeights::None, &[1, 2]).is_empty());
    }
}
