//! A network layer by layer, from its configuration alone: no tensor is made.

use crate::config::{BackboneShape, FeatureLayout, HeadConfig, ModelConfig};

/// The part of the network that a layer belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// First convolution, its norm, and pooling.
    Stem,
    /// Dense block of this number, from 1, with the transition before it.
    Block(usize),
    /// Last norm and pooling, and the grid of cells where there is one.
    Neck,
    /// A detector's pyramid, which is trained with its head.
    Pyramid,
    /// Dense layers and outputs.
    Head,
}

/// One line of a summary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerSummary {
    /// Name as in weight files.
    pub name: String,
    /// Where it belongs.
    pub part: Part,
    /// Shape of its output for one image: `[channels, height, width]` or `[values]`.
    pub output: Vec<usize>,
    /// Weights and biases.
    pub parameters: usize,
    /// Running means and variances.
    pub statistics: usize,
    /// Multiply-adds of its convolutions and dense layers for one image.
    pub multiply_adds: u64,
}

/// The layers of a network in the order in which an image passes them.
pub fn layers(config: &ModelConfig) -> Vec<LayerSummary> {
    let shape = config.backbone();
    let mut layers = Vec::new();
    let maps = push_blocks(&shape, config.input_px, &mut layers);
    let Some(last) = maps.last().copied() else { return layers };
    match &config.head {
        HeadConfig::Classifier { widths, .. } => {
            push_neck(&shape, config.input_px, last, &mut layers);
            push_head(config, widths, &shape, &mut layers);
        }
        HeadConfig::Detector { channels } => {
            layers.push(last.layer("features.norm5", Part::Neck, 0, last.channels));
            push_detector(config.classes, *channels, &maps[1..], &mut layers);
        }
    }
    layers
}

/// Channels and side of a square map.
#[derive(Clone, Copy)]
struct Map {
    channels: usize,
    side: usize,
}

impl Map {
    /// A layer with kernels of so many numbers that gives this map, and norms of so many channels.
    fn layer(
        self,
        name: impl Into<String>,
        part: Part,
        kernels: usize,
        norm_channels: usize,
    ) -> LayerSummary {
        let Map { channels, side } = self;
        LayerSummary {
            name: name.into(),
            part,
            output: vec![channels, side, side],
            parameters: kernels + 2 * norm_channels,
            statistics: 2 * norm_channels,
            multiply_adds: (kernels * side * side) as u64,
        }
    }
}

/// Stem, dense blocks and transitions; returns the map of each block.
fn push_blocks(shape: &BackboneShape, input_px: usize, layers: &mut Vec<LayerSummary>) -> Vec<Map> {
    let mut maps = Vec::new();
    let mut map = Map { channels: shape.stem_channels, side: input_px.div_ceil(2) };
    let kernels = 3 * 7 * 7 * map.channels;
    layers.push(map.layer("features.conv0, norm0", Part::Stem, kernels, map.channels));
    map.side = map.side.div_ceil(2);
    layers.push(map.layer("features.pool0", Part::Stem, 0, 0));
    for (index, &count) in shape.block_layers.iter().enumerate() {
        let part = Part::Block(index + 1);
        if index > 0 {
            let half = Map { channels: map.channels / 2, side: map.side / 2 };
            let name = format!("features.transition{index}");
            layers.push(half.layer(name, part, map.channels * half.channels, map.channels));
            map = half;
        }
        for layer in 1..=count {
            let bottleneck = shape.bottleneck_factor * shape.growth_rate;
            let kernels = map.channels * bottleneck + 9 * bottleneck * shape.growth_rate;
            let norms = map.channels + bottleneck;
            map.channels += shape.growth_rate;
            let name = format!("features.denseblock{}.denselayer{layer}", index + 1);
            layers.push(map.layer(name, part, kernels, norms));
        }
        maps.push(map);
    }
    maps
}

/// The last norm, the grid of cells where there is one, and the feature vector.
fn push_neck(shape: &BackboneShape, input_px: usize, last: Map, layers: &mut Vec<LayerSummary>) {
    layers.push(last.layer("features.norm5", Part::Neck, 0, last.channels));
    let features = shape.features(input_px);
    let cells = features.cell_channels;
    if cells > 0 {
        let coarse = Map { channels: cells, ..last };
        let kernels = last.channels * cells;
        layers.push(coarse.layer("places.conv_coarse", Part::Neck, kernels, 0));
        let (fine, of_fine) = (Map { channels: cells, side: features.side }, shape.fine_channels());
        let kernels = of_fine * cells;
        layers.push(fine.layer("places.norm_fine, conv_fine", Part::Neck, kernels, of_fine));
        let kernels = 9 * cells * cells;
        layers.push(fine.layer("places.norm1, conv1, norm2", Part::Neck, kernels, 2 * cells));
    }
    layers.push(LayerSummary {
        name: "features".into(),
        part: Part::Neck,
        output: vec![features.len()],
        parameters: 0,
        statistics: 0,
        multiply_adds: 0,
    });
}

/// Dense layers and outputs.
fn push_head(
    config: &ModelConfig,
    widths: &[usize],
    shape: &BackboneShape,
    layers: &mut Vec<LayerSummary>,
) {
    let FeatureLayout { average, cell_channels, side } = shape.features(config.input_px);
    // A dense layer, at each cell of a grid where there is one of this side, and with a norm of its
    // inputs where it is hidden.
    let mut dense =
        |name: String, inputs: usize, outputs: usize, norm_channels: usize, side: usize| {
            layers.push(LayerSummary {
                name,
                part: Part::Head,
                output: if side > 1 { vec![outputs, side, side] } else { vec![outputs] },
                parameters: inputs * outputs + outputs + 2 * norm_channels,
                statistics: 2 * norm_channels,
                multiply_adds: (inputs * outputs * side * side) as u64,
            });
        };
    let mut width = average + cell_channels;
    for (index, &units) in widths.iter().enumerate() {
        dense(format!("head.stages.{index}"), width, units, width, 1);
        width = units;
    }
    dense("head.classes".into(), width, config.classes, 0, 1);
    if cell_channels > 0 {
        dense("head.boxes".into(), cell_channels, 5, 0, side);
    } else {
        dense("head.boxes".into(), width, 4, 0, 1);
    }
}

/// The pyramid on these maps, from fine to coarse, and the outputs. What maps share is listed with
/// each, and its weights with the first.
fn push_detector(classes: usize, channels: usize, maps: &[Map], layers: &mut Vec<LayerSummary>) {
    for (index, map) in maps.iter().enumerate() {
        let of_pyramid = Map { channels, side: map.side };
        let norm_channels = if index + 1 < maps.len() { map.channels } else { 0 };
        let name = format!("head.levels.{index}.conv_map");
        layers.push(of_pyramid.layer(name, Part::Pyramid, map.channels * channels, norm_channels));
        let name = format!("head.levels.{index}.conv1");
        let square = 9 * channels * channels;
        layers.push(of_pyramid.layer(name, Part::Pyramid, square, 2 * channels));
    }
    for (index, map) in maps.iter().enumerate() {
        for (name, outputs) in [("scores", classes), ("distances", 4)] {
            let of_tower = Map { channels, side: map.side };
            let square = 9 * channels * channels;
            let mut tower = of_tower.layer(
                format!("head.conv_{name}, map {}", index + 1),
                Part::Head,
                square,
                channels,
            );
            let of_outputs = Map { channels: outputs, side: map.side };
            let mut output = of_outputs.layer(
                format!("head.{name}, map {}", index + 1),
                Part::Head,
                channels * outputs,
                0,
            );
            output.parameters += outputs;
            if index > 0 {
                tower.parameters -= square;
                output.parameters = 0;
            }
            layers.extend([tower, output]);
        }
    }
}

#[cfg(test)]
mod tests {
    use ossify_vocabulary::{Architecture, DeviceChoice, Normalization};

    use super::*;

    use crate::{Network, device};

    #[test]
    fn the_sums_are_those_of_the_network() {
        for architecture in Architecture::ALL {
            for input_px in [64, 112, 224] {
                let config = ModelConfig {
                    architecture,
                    classes: 6,
                    head: HeadConfig::Classifier { widths: vec![32, 16], dropout: 0.5 },
                    input_px,
                    normalization: Normalization::ImageNet,
                };
                let layers = layers(&config);
                let convolutions: u64 = layers
                    .iter()
                    .filter(|layer| layer.part != Part::Head)
                    .map(|layer| layer.multiply_adds)
                    .sum();
                assert_eq!(
                    convolutions,
                    BackboneShape::of(architecture).multiply_adds(input_px),
                    "{architecture} at {input_px}"
                );
                let counts = Network::empty(
                    &config,
                    &device::choose(DeviceChoice::Flex).unwrap().inference(),
                )
                .unwrap()
                .parameter_counts();
                assert_eq!(
                    layers.iter().map(|layer| layer.parameters).sum::<usize>(),
                    counts.trainable
                );
                let of_head = layers.iter().filter(|layer| layer.part == Part::Head);
                assert_eq!(
                    config.head_numbers(),
                    of_head.map(|layer| (layer.parameters + layer.statistics) as u128).sum()
                );
                assert_eq!(
                    layers.iter().map(|layer| layer.statistics).sum::<usize>(),
                    counts.statistics
                );
            }
        }
    }

    #[test]
    fn the_sums_are_those_of_a_detector() {
        for architecture in Architecture::ALL {
            let config = ModelConfig {
                architecture,
                classes: 6,
                head: HeadConfig::Detector { channels: 24 },
                input_px: 96,
                normalization: Normalization::ImageNet,
            };
            let layers = layers(&config);
            let network =
                Network::empty(&config, &device::choose(DeviceChoice::Flex).unwrap().inference())
                    .unwrap();
            let counts = network.parameter_counts();
            let sum = |of: fn(&LayerSummary) -> usize| layers.iter().map(of).sum::<usize>();
            assert_eq!(sum(|layer| layer.parameters), counts.trainable, "{architecture}");
            assert_eq!(sum(|layer| layer.statistics), counts.statistics, "{architecture}");
            let of_head = layers.iter().filter(|layer| layer.name.starts_with("head."));
            assert_eq!(
                config.head_numbers(),
                of_head.map(|layer| (layer.parameters + layer.statistics) as u128).sum(),
                "{architecture}"
            );
        }
    }
}
