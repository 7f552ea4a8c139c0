//! The detector's head: maps of several resolutions in, scores and boxes in many places out.

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{BatchNorm, PaddingConfig2d};
use burn::tensor::{DType, Device, Tensor};
use ossify_torch_kernels::ops::Pool;

use crate::constant::Constant;
use crate::head::classifier::{MAX_LOG_DISTANCE, grid};
use crate::layers::{batch_norm, by_position, convolution, convolve, enlargement, norm_relu};

/// A feature pyramid (Lin et al. 2017) with a head without anchors (FCOS, Tian et al. 2019): each
/// cell of each map gives a score a class, by sigmoid, and the distances from its centre to the
/// edges of a box.
///
/// Maps are brought to one number of channels, the coarser ones scaled up and added to the finer
/// ones, then smoothed. The convolutions of scores and of distances are shared by all maps, and the
/// norms between them are each map's own.
#[derive(Module, Debug)]
pub struct DetectorHead {
    levels: Vec<Level>,
    conv_scores: Conv2d,
    conv_distances: Conv2d,
    scores: Conv2d,
    distances: Conv2d,
}

/// What each map has for itself.
#[derive(Module, Debug)]
struct Level {
    /// `None` for the last map, which comes normalised.
    norm_map: Option<BatchNorm>,
    conv_map: Conv2d,
    norm1: BatchNorm,
    conv1: Conv2d,
    norm2: BatchNorm,
    norm_scores: BatchNorm,
    norm_distances: BatchNorm,
    /// By the sides of the next map and of this: see [`enlargement`].
    #[module(skip)]
    enlargement: Constant<[usize; 4], Tensor<3>>,
    /// By side: see [`grid`].
    #[module(skip)]
    grid: Constant<usize, [Tensor<3>; 2]>,
}

/// What a detector says about a batch, cell by cell: maps from fine to coarse, each row by row.
#[derive(Debug, Clone)]
pub struct DetectorOutput {
    /// `[N, P, classes]`; their sigmoid are the scores.
    pub logits: Tensor<3>,
    /// `[N, P, 4]`: xmin, ymin, xmax, ymax as shares of the input tensor's width and height. Not
    /// confined to 0..1.
    pub boxes: Tensor<3>,
    /// Sides of the maps, in cells: `P` is the sum of their squares.
    pub sides: Vec<usize>,
}

impl DetectorHead {
    /// For maps of so many channels, from fine to coarse.
    pub(super) fn new(maps: &[usize], channels: usize, classes: usize, device: &Device) -> Self {
        let tower = || convolution([channels, channels], 3, 1, device);
        let output = |count| {
            Conv2dConfig::new([channels, count], [1, 1])
                .with_padding(PaddingConfig2d::Valid)
                .with_bias(true)
                .init(device)
        };
        let level = |(index, &of_map): (usize, &usize)| Level {
            norm_map: (index + 1 < maps.len()).then(|| batch_norm(of_map, device)),
            conv_map: convolution([of_map, channels], 1, 1, device),
            norm1: batch_norm(channels, device),
            conv1: tower(),
            norm2: batch_norm(channels, device),
            norm_scores: batch_norm(channels, device),
            norm_distances: batch_norm(channels, device),
            enlargement: Constant::default(),
            grid: Constant::default(),
        };
        DetectorHead {
            levels: maps.iter().enumerate().map(level).collect(),
            conv_scores: tower(),
            conv_distances: tower(),
            scores: output(classes),
            distances: output(4),
        }
    }

    /// How many maps it takes, the last of the backbone's blocks.
    pub fn levels(&self) -> usize {
        self.levels.len()
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        let [classes, ..] = self.scores.weight.dims();
        classes
    }

    /// What the head says about the maps `[N, C, h, w]` of a batch, from fine to coarse.
    pub fn forward(&self, maps: Vec<Tensor<4>>) -> DetectorOutput {
        let mut pyramid = Vec::with_capacity(maps.len());
        for (level, map) in self.levels.iter().zip(maps).rev() {
            let own = convolve(
                &level.conv_map,
                match &level.norm_map {
                    Some(norm) => norm_relu(norm, map, Pool::None),
                    None => map,
                },
            );
            let merged = match pyramid.last() {
                Some(coarser) => own.clone() + level.enlarged(coarser, own.dims()),
                None => own,
            };
            pyramid.push(merged);
        }
        let (mut logits, mut boxes, mut sides) = (Vec::new(), Vec::new(), Vec::new());
        for (level, map) in self.levels.iter().zip(pyramid.into_iter().rev()) {
            let [_, _, side, _] = map.dims();
            sides.push(side);
            let (of_level, boxes_of_level) = self.level(level, map);
            logits.push(of_level);
            boxes.push(boxes_of_level);
        }
        DetectorOutput { logits: Tensor::cat(logits, 1), boxes: Tensor::cat(boxes, 1), sides }
    }

    fn level(&self, level: &Level, map: Tensor<4>) -> (Tensor<3>, Tensor<3>) {
        let [_, _, side, _] = map.dims();
        let smoothed = norm_relu(
            &level.norm2,
            convolve(&level.conv1, norm_relu(&level.norm1, map, Pool::None)),
            Pool::None,
        );
        let tower = |conv: &Conv2d, norm: &BatchNorm, last: &Conv2d| {
            let found =
                convolve(last, norm_relu(norm, convolve(conv, smoothed.clone()), Pool::None));
            let found = by_position(found);
            // In half precision, a box would have 8 bits.
            let found = if found.dtype() == DType::BF16 { found.cast(DType::F32) } else { found };
            match &last.bias {
                Some(bias) => found + bias.val().reshape([1, 1, -1]),
                None => found,
            }
        };
        let logits = tower(&self.conv_scores, &level.norm_scores, &self.scores);
        let distances = tower(&self.conv_distances, &level.norm_distances, &self.distances);
        let [centres, signs] = level.grid.get(side, &distances, || grid(side, &distances));
        let distances = distances.clamp(-MAX_LOG_DISTANCE, MAX_LOG_DISTANCE).exp() / side as f64;
        (logits, centres + distances * signs)
    }
}

impl Level {
    /// A coarser map scaled up to the dimensions of this level's.
    fn enlarged(&self, coarser: &Tensor<4>, dimensions: [usize; 4]) -> Tensor<4> {
        let ([_, _, from_height, from_width], [batch, channels, height, width]) =
            (coarser.dims(), dimensions);
        let flat = by_position(coarser.clone());
        let sides = [from_height, from_width, height, width];
        let matrix = self
            .enlargement
            .get(sides, &flat, || enlargement([from_height, from_width], [height, width], &flat));
        matrix.matmul(flat).swap_dims(1, 2).reshape([batch, channels, height, width])
    }
}
