//! The classifier's head: feature vector in, class logits and a box out.

use burn::module::Module;
use burn::nn::{BatchNorm, BatchNormConfig, Dropout, DropoutConfig, Linear, LinearConfig};
use burn::tensor::activation::{log_softmax, relu, softmax};
use burn::tensor::{Device, Tensor, TensorData};

use crate::config::FeatureLayout;
use crate::constant::Constant;

/// Dropout, BatchNorm, dense layer and ReLU for each width, then two linear outputs side by side:
/// classes and box.
///
/// Where features have a grid of cells, the box is read from the grid instead: in each cell a
/// linear output gives a score and the distances from there to the box's edges, as FCOS does (Tian
/// et al. 2019). The classes are then predicted from the averages and from the mean cell, weighted
/// by the softmax of the scores.
#[derive(Module, Debug)]
pub struct ClassifierHead {
    stages: Vec<HeadStage>,
    classes: Linear,
    boxes: Linear,
    average: usize,
    cell_channels: usize,
    /// By side: see [`grid`].
    #[module(skip)]
    grid: Constant<usize, [Tensor<3>; 2]>,
}

#[derive(Module, Debug)]
struct HeadStage {
    dropout: Dropout,
    norm: BatchNorm,
    dense: Linear,
}

/// How many numbers the head gives for each image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputSizes {
    /// Scores of classes.
    pub classes: usize,
    /// Cells, each with a score and a box; 1 where features have no grid.
    pub cells: usize,
}

/// What the head says about a batch.
#[derive(Debug, Clone)]
pub struct ClassifierOutput {
    /// Unnormalised class scores `[N, classes]`; their softmax are the probabilities.
    pub logits: Tensor<2>,
    /// Unnormalised scores of the cells `[N, P]`, row by row of a square grid; one cell where
    /// features have no grid.
    pub cell_scores: Tensor<2>,
    /// The box that each cell proposes, `[N, P, 4]`: xmin, ymin, xmax, ymax as shares of the input
    /// tensor's width and height. Not confined to 0..1.
    pub candidates: Tensor<3>,
}

impl ClassifierOutput {
    /// Box edges `[N, 4]`: those of the cell with the highest score.
    pub fn boxes(&self) -> Tensor<2> {
        let [batch, cells, edges] = self.candidates.dims();
        if cells == 1 {
            return self.candidates.clone().reshape([batch, edges]);
        }
        let best =
            self.cell_scores.clone().argmax(1).reshape([batch, 1, 1]).expand([batch, 1, edges]);
        self.candidates.clone().gather(1, best).reshape([batch, edges])
    }

    /// What was said about mirrored input, left and right exchanged, as cells and boxes of the
    /// input itself.
    #[must_use]
    pub fn mirrored(self) -> Self {
        let [batch, count] = self.cell_scores.dims();
        let side = count.isqrt();
        let cell_scores =
            self.cell_scores.reshape([batch, side, side]).flip([2]).reshape([batch, count]);
        let of_rows =
            self.candidates.reshape([batch, side, side, 4]).flip([2]).reshape([batch, count, 4]);
        let edge = |edge| of_rows.clone().narrow(2, edge, 1);
        let candidates = Tensor::cat(vec![1.0 - edge(2), edge(1), 1.0 - edge(0), edge(3)], 2);
        Self { logits: self.logits, cell_scores, candidates }
    }

    /// The mean of two outputs about the same input: of probabilities, and cell by cell of scores
    /// and boxes. Logits come out as the logarithms of probabilities. It does not matter which of
    /// the two comes first.
    #[must_use]
    pub fn mean(self, other: Self) -> Self {
        let [one, two] = [self.logits, other.logits].map(|logits| log_softmax(logits, 1));
        // ln((e^a + e^b) / 2) from the larger one, as it is finite where a probability is too small
        // for a float.
        let logits = one.clone().max_pair(two.clone())
            + ((one - two).abs().neg().exp().log1p() - std::f64::consts::LN_2);
        Self {
            logits,
            cell_scores: (self.cell_scores + other.cell_scores) / 2.0,
            candidates: (self.candidates + other.candidates) / 2.0,
        }
    }
}

/// Distances from a cell to a box's edges are `exp` of what the output says, held to this on both
/// sides, times the distance of neighbouring cells.
pub(super) const MAX_LOG_DISTANCE: f64 = 4.0;

/// Keras' default for BatchNorm; Burn's and PyTorch's is 1e-5. Of Keras' momentum, which keeps 0.99
/// of the running statistics at each step, Burn's 0.9 is kept instead: short runs would otherwise
/// be validated with statistics that have hardly left their start.
const NORM_EPSILON: f64 = 1e-3;

impl ClassifierHead {
    /// Builds the layers on `device`; the weights are arbitrary until they are set.
    pub(crate) fn new(
        features: FeatureLayout,
        widths: &[usize],
        dropout: f64,
        classes: usize,
        device: &Device,
    ) -> Self {
        let FeatureLayout { average, cell_channels, .. } = features;
        let mut inputs = average + cell_channels;
        let stages = widths.iter().map(|&width| {
            let stage = HeadStage {
                dropout: DropoutConfig::new(dropout).init(),
                norm: BatchNormConfig::new(inputs).with_epsilon(NORM_EPSILON).init(device),
                dense: LinearConfig::new(inputs, width).init(device),
            };
            inputs = width;
            stage
        });
        let stages = stages.collect();
        let boxes = if cell_channels > 0 {
            LinearConfig::new(cell_channels, 5)
        } else {
            LinearConfig::new(inputs, 4)
        };
        Self {
            stages,
            classes: LinearConfig::new(inputs, classes).init(device),
            boxes: boxes.init(device),
            average,
            cell_channels,
            grid: Constant::default(),
        }
    }

    /// What the head says about feature vectors `[N, F]`.
    pub fn forward(&self, features: Tensor<2>) -> ClassifierOutput {
        let [batch, length] = features.dims();
        if self.cell_channels == 0 {
            let hidden = self.hidden(features);
            let candidates = self.boxes.forward(hidden.clone()).reshape([batch, 1, 4]);
            let cell_scores = Tensor::zeros([batch, 1], (&candidates.device(), candidates.dtype()));
            return ClassifierOutput {
                logits: self.classes.forward(hidden),
                cell_scores,
                candidates,
            };
        }
        let count = self.output_sizes(length).cells;
        let map = features.clone().narrow(1, self.average, length - self.average).reshape([
            batch,
            count,
            self.cell_channels,
        ]);
        let found = self.boxes.forward(map.clone());
        let cell_scores = found.clone().narrow(2, 0, 1).reshape([batch, count]);
        let mean_cell = softmax(cell_scores.clone(), 1)
            .reshape([batch, 1, count])
            .matmul(map)
            .reshape([batch, self.cell_channels]);
        let hidden =
            self.hidden(Tensor::cat(vec![features.narrow(1, 0, self.average), mean_cell], 1));
        let side = count.isqrt();
        let [centres, signs] = self.grid.get(side, &found, || grid(side, &found));
        let distances =
            found.narrow(2, 1, 4).clamp(-MAX_LOG_DISTANCE, MAX_LOG_DISTANCE).exp() / side as f64;
        ClassifierOutput {
            logits: self.classes.forward(hidden),
            cell_scores,
            candidates: centres + distances * signs,
        }
    }

    /// How many classes and cells the outputs have for feature vectors of this length.
    pub(crate) fn output_sizes(&self, length: usize) -> OutputSizes {
        let [_, classes] = self.classes.weight.dims();
        let cells = (length - self.average).checked_div(self.cell_channels).unwrap_or(1);
        OutputSizes { classes, cells }
    }

    fn hidden(&self, features: Tensor<2>) -> Tensor<2> {
        self.stages.iter().fold(features, |hidden, stage| {
            relu(stage.dense.forward(stage.norm.forward(stage.dropout.forward(hidden))))
        })
    }

    /// Sum of the squared kernel weights of the dense layers, without biases and without the two
    /// outputs: what Keras' `l2(c)` multiplies by `c` and adds to the loss. Shape `[1]`; `None` for
    /// a head without dense layers.
    pub fn l2_penalty(&self) -> Option<Tensor<1>> {
        self.stages
            .iter()
            .map(|stage| stage.dense.weight.val().square().sum())
            .reduce(|total, squares| total + squares)
    }
}

/// Centres of the cells of a square grid, row by row, once for each edge of a box: x, y, x, y as
/// shares of the sides, `[1, P, 4]`; and the directions in which edges lie from there, `[1, 1, 4]`.
/// Device and type are those of `like`.
pub(super) fn grid(side: usize, like: &Tensor<3>) -> [Tensor<3>; 2] {
    let share = |at: usize| (at as f32 + 0.5) / side as f32;
    let centres: Vec<f32> = (0..side * side)
        .flat_map(|at| [share(at % side), share(at / side), share(at % side), share(at / side)])
        .collect();
    let options = (&like.device(), like.dtype());
    [
        TensorData::new(centres, [1, side * side, 4]),
        TensorData::from([[[-1.0_f32, -1.0, 1.0, 1.0]]]),
    ]
    .map(|data| Tensor::from_data(data, options))
}
