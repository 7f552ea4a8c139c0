//! What a network looks like: architecture, head, input. Plain values, no tensors.

use ossify_vocabulary::{Architecture, Normalization, Task};

/// The numbers that define a DenseNet; every architecture is one value of this type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackboneShape {
    /// Channels that each dense layer adds (`k` in the paper).
    pub growth_rate: usize,
    /// Dense layers of each block.
    pub block_layers: Vec<usize>,
    /// Channels after the stem (7x7 convolution with stride 2, then 3x3 max pooling with stride 2).
    pub stem_channels: usize,
    /// Channels of a layer's 1x1 convolution, in multiples of the growth rate (`bn_size` in
    /// torchvision).
    pub bottleneck_factor: usize,
    /// How the last feature map becomes a vector.
    pub pooling: Pooling,
}

impl BackboneShape {
    /// The numbers that make up an architecture.
    ///
    /// Those of the four large ones are Table 1 of Huang et al., "Densely Connected Convolutional
    /// Networks" (2017), as torchvision builds them.
    pub fn of(architecture: Architecture) -> Self {
        let torchvision = |growth_rate, block_layers, stem_channels| Self {
            growth_rate,
            block_layers,
            stem_channels,
            bottleneck_factor: 4,
            pooling: Pooling::GlobalAverage,
        };
        match architecture {
            Architecture::DenseNet121 => torchvision(32, [6, 12, 24, 16].to_vec(), 64),
            Architecture::DenseNet161 => torchvision(48, [6, 12, 36, 24].to_vec(), 96),
            Architecture::DenseNet169 => torchvision(32, [6, 12, 32, 32].to_vec(), 64),
            Architecture::DenseNet201 => torchvision(32, [6, 12, 48, 32].to_vec(), 64),
            Architecture::DenseNetCompact => Self {
                growth_rate: 24,
                block_layers: [2, 4, 6].to_vec(),
                stem_channels: 24,
                bottleneck_factor: 2,
                pooling: Pooling::AverageAndCells { channels: 48 },
            },
        }
    }

    /// Channels after each block. Each transition between blocks halves them, rounded down.
    fn block_channels(&self) -> impl Iterator<Item = usize> {
        let mut channels = self.stem_channels;
        self.block_layers.iter().enumerate().map(move |(index, layers)| {
            channels = if index == 0 { channels } else { channels / 2 } + layers * self.growth_rate;
            channels
        })
    }

    /// Channels of the last feature map.
    pub fn map_channels(&self) -> usize {
        self.block_channels().last().unwrap_or(self.stem_channels)
    }

    /// Channels of the maps that a detector's pyramid stands on, from fine to coarse: those of all
    /// blocks but the first, whose cells are 4 pixels wide and too many.
    pub(crate) fn pyramid_channels(&self) -> Vec<usize> {
        self.block_channels().skip(1).collect()
    }

    /// Channels after the last block but one.
    pub(crate) fn fine_channels(&self) -> usize {
        self.block_channels()
            .nth(self.block_layers.len().saturating_sub(2))
            .unwrap_or(self.stem_channels)
    }

    /// How the feature vector of an image of `input_px` by `input_px` pixels is made up.
    pub fn features(&self, input_px: usize) -> FeatureLayout {
        let average = self.map_channels();
        match self.pooling {
            Pooling::GlobalAverage => FeatureLayout { average, cell_channels: 0, side: 0 },
            Pooling::AverageAndCells { channels } => {
                let side = input_px.div_ceil(4) >> self.block_layers.len().saturating_sub(2);
                FeatureLayout { average, cell_channels: channels, side }
            }
        }
    }

    /// Multiply-adds of the convolutions for one image of `input_px` by `input_px` pixels.
    pub fn multiply_adds(&self, input_px: usize) -> u64 {
        let after_stride_2 = |side: usize| side.div_ceil(2);
        let mut side = after_stride_2(input_px);
        let mut total = 3 * 7 * 7 * self.stem_channels * side * side;
        side = after_stride_2(side);
        let mut channels = self.stem_channels;
        for (index, &layers) in self.block_layers.iter().enumerate() {
            if index > 0 {
                side /= 2;
                total += channels * (channels / 2) * side * side;
                channels /= 2;
            }
            for _ in 0..layers {
                let bottleneck = self.bottleneck_factor * self.growth_rate;
                total += (channels * bottleneck + 9 * bottleneck * self.growth_rate) * side * side;
                channels += self.growth_rate;
            }
        }
        if let FeatureLayout { cell_channels, side: fine, .. } = self.features(input_px)
            && cell_channels > 0
        {
            total += cell_channels
                * (channels * side * side
                    + (self.fine_channels() + 9 * cell_channels) * fine * fine);
        }
        total as u64
    }

    /// The smallest input side whose last feature map still has a pixel.
    pub fn smallest_input_px(&self) -> usize {
        4 << self.block_layers.len().saturating_sub(1)
    }
}

/// How the last feature map `[N, C, H, W]` becomes a feature vector `[N, F]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// The mean over all positions, as in the reference: `F = C`. What was seen is kept, where it
    /// was seen is lost.
    GlobalAverage,
    /// The global average, followed by a grid of cells, cell by cell: `F = C + P * channels` for
    /// `P` cells. The grid has the resolution of the last block but one: ReLU of a norm of a 1x1
    /// convolution of that block's normalised output plus a 1x1 convolution of the last map, scaled
    /// up bilinearly; then a 3x3 convolution, norm and ReLU (a feature pyramid of one step; Lin et
    /// al. 2017). The head looks at each cell by itself.
    AverageAndCells {
        /// Channels of each cell.
        channels: usize,
    },
}

/// What a feature vector is made up of: the averages of the last map's channels, then a square
/// grid of cells, row by row, the channels of a cell side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeatureLayout {
    /// Channels that are averaged.
    pub average: usize,
    /// Channels of each cell; 0 without such a grid.
    pub cell_channels: usize,
    /// Cells along each side of the grid.
    pub side: usize,
}

impl FeatureLayout {
    /// Length `F` of the vector.
    pub fn len(&self) -> usize {
        self.average + self.side * self.side * self.cell_channels
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Everything that decides the layers of a [`Network`](crate::Network).
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// The backbone.
    pub architecture: Architecture,
    /// Number of classes, at least 1.
    pub classes: usize,
    /// What stands on it.
    pub head: HeadConfig,
    /// Side of the square network input in pixels.
    pub input_px: usize,
    /// How pixels are scaled.
    pub normalization: Normalization,
}

/// What a network's head looks like.
#[derive(Debug, Clone, PartialEq)]
pub enum HeadConfig {
    /// One class and one box.
    Classifier {
        /// Units of each dense layer; empty for none between features and outputs.
        widths: Vec<usize>,
        /// Share of values that each dropout sets to zero while training, in 0..1.
        dropout: f64,
    },
    /// Any number of objects.
    Detector {
        /// Channels of the pyramid's maps, at least 1.
        channels: usize,
    },
}

/// Largest side of the network input that is understood, pixels.
const MAX_INPUT_PX: usize = 1 << 15;

impl ModelConfig {
    /// What the network says about an image.
    pub fn task(&self) -> Task {
        match self.head {
            HeadConfig::Classifier { .. } => Task::Classify,
            HeadConfig::Detector { .. } => Task::Detect,
        }
    }

    /// The backbone; a detector's has no grid of cells, since all its maps are read cell by cell.
    pub fn backbone(&self) -> BackboneShape {
        let shape = BackboneShape::of(self.architecture);
        match self.head {
            HeadConfig::Classifier { .. } => shape,
            HeadConfig::Detector { .. } => {
                BackboneShape { pooling: Pooling::GlobalAverage, ..shape }
            }
        }
    }

    /// Numbers in the head, statistics included; counted without making anything, so that a head of
    /// any size can be refused.
    pub fn head_numbers(&self) -> u128 {
        let size = |value: usize| value as u128;
        let dense = |inputs: u128, units: u128| inputs.saturating_add(1).saturating_mul(units);
        let shape = self.backbone();
        let widths = match &self.head {
            HeadConfig::Classifier { widths, .. } => widths,
            HeadConfig::Detector { channels } => {
                let maps = shape.pyramid_channels();
                return detector_numbers(&maps, *channels, self.classes);
            }
        };
        let FeatureLayout { average, cell_channels, .. } =
            shape.features(self.input_px.min(MAX_INPUT_PX));
        let mut inputs = size(average + cell_channels);
        let mut total = 0_u128;
        for units in widths.iter().map(|&units| size(units)) {
            let stage = dense(inputs, units).saturating_add(inputs.saturating_mul(4));
            total = total.saturating_add(stage);
            inputs = units;
        }
        let boxes =
            if cell_channels > 0 { dense(size(cell_channels), 5) } else { dense(inputs, 4) };
        total.saturating_add(dense(inputs, size(self.classes))).saturating_add(boxes)
    }

    /// Numbers in the maps of one image that a training step keeps for the gradients of dense block
    /// `first_block`, counted from 1, and of all that follows, at the least: the block's outputs. 0
    /// adds the output of the first convolution.
    pub fn map_numbers(&self, first_block: usize) -> u64 {
        let shape = BackboneShape::of(self.architecture);
        let numbers = |channels: usize, side: usize| {
            [channels, side, side].into_iter().fold(1_u64, |product, factor| {
                product.saturating_mul(factor.try_into().unwrap_or(u64::MAX))
            })
        };
        let after_stem = self.input_px.div_ceil(2);
        let stem = if first_block == 0 { numbers(shape.stem_channels, after_stem) } else { 0 };
        let sides = std::iter::successors(Some(after_stem.div_ceil(2)), |side| Some(side / 2));
        let blocks = shape.block_channels().zip(sides).skip(first_block.saturating_sub(1));
        blocks.fold(stem, |sum, (channels, side)| sum.saturating_add(numbers(channels, side)))
    }

    /// Checks that a network can be built.
    ///
    /// # Errors
    /// [`ConfigError`] with the value that does not fit.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let smallest = BackboneShape::of(self.architecture).smallest_input_px();
        self.head.validate()?;
        if self.classes == 0 {
            Err(ConfigError::NoClasses)
        } else if self.input_px < smallest {
            Err(ConfigError::InputTooSmall {
                input_px: self.input_px,
                smallest,
                architecture: self.architecture,
            })
        } else if self.input_px > MAX_INPUT_PX {
            Err(ConfigError::InputTooLarge { input_px: self.input_px, largest: MAX_INPUT_PX })
        } else {
            Ok(())
        }
    }
}

impl HeadConfig {
    fn validate(&self) -> Result<(), ConfigError> {
        match self {
            HeadConfig::Classifier { widths, dropout } => {
                if let Some(index) = widths.iter().position(|&width| width == 0) {
                    Err(ConfigError::EmptyLayer { index })
                } else if !(0.0..1.0).contains(dropout) {
                    Err(ConfigError::Dropout(*dropout))
                } else {
                    Ok(())
                }
            }
            HeadConfig::Detector { channels: 0 } => Err(ConfigError::NoChannels),
            HeadConfig::Detector { .. } => Ok(()),
        }
    }
}

/// Numbers of a detector's head on maps of so many channels, statistics included.
fn detector_numbers(maps: &[usize], channels: usize, classes: usize) -> u128 {
    let size = |value: usize| value as u128;
    let (width, norm) = (size(channels), 4);
    let square = width.saturating_mul(width);
    // Smoothing, and four norms.
    let of_level = square.saturating_mul(9).saturating_add(width.saturating_mul(4 * norm));
    let lateral = |of_map: &usize| size(*of_map).saturating_mul(width);
    let laterals = maps.iter().map(lateral).fold(0, u128::saturating_add);
    let norms: u128 = maps
        .split_last()
        .map_or(0, |(_, finer)| finer.iter().map(|of_map| size(*of_map) * norm).sum());
    let outputs = size(classes).saturating_add(4).saturating_mul(width.saturating_add(1));
    of_level
        .saturating_mul(size(maps.len()))
        .saturating_add(laterals)
        .saturating_add(norms)
        .saturating_add(square.saturating_mul(18))
        .saturating_add(outputs)
}

/// A configuration that describes no network.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// A network without classes.
    #[error("the network needs at least one class")]
    NoClasses,
    /// A head layer without units.
    #[error("head width number {} is 0; each width must be at least 1", index + 1)]
    EmptyLayer {
        /// Position in `head_widths`, from 0.
        index: usize,
    },
    /// A pyramid without channels.
    #[error("the pyramid needs at least one channel")]
    NoChannels,
    /// Dropout outside 0..1.
    #[error("dropout is {0}; it is a share from 0 to below 1")]
    Dropout(f64),
    /// Its maps would have more positions than can be counted.
    #[error("input_px is {input_px}; at most {largest} pixels are understood")]
    InputTooLarge {
        /// The side asked for.
        input_px: usize,
        /// The largest side that works.
        largest: usize,
    },
    /// The last feature map would be empty.
    #[error(
        "input_px is {input_px}, but {architecture} halves its input so often that it needs at \
            least {smallest} pixels"
    )]
    InputTooSmall {
        /// The side asked for.
        input_px: usize,
        /// The smallest side that works.
        smallest: usize,
        /// The backbone.
        architecture: Architecture,
    },
}
