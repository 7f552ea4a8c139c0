//! A network layer by layer, from its configuration alone: no tensor is made.

use crate::config::{FeatureLayout, ModelConfig};

/// The part of the network that a layer belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// First convolution, its norm, and pooling.
    Stem,
    /// Dense block of this number, from 1, with the transition before it.
    Block(usize),
    /// Last norm and pooling, and the grid of cells where there is one.
    Neck,
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
    let shape = config.architecture.shape();
    let mut layers = Vec::new();
    let mut push = |name: String,
                    part: Part,
                    output: Vec<usize>,
                    kernels: usize,
                    norm_channels: usize,
                    positions: usize| {
        layers.push(LayerSummary {
            name,
            part,
            output,
            parameters: kernels + 2 * norm_channels,
            statistics: 2 * norm_channels,
            multiply_adds: (kernels * positions) as u64,
        });
    };
    let mut channels = shape.stem_channels;
    let mut side = config.input_px.div_ceil(2);
    push(
        "features.conv0, norm0".into(),
        Part::Stem,
        vec![channels, side, side],
        3 * 7 * 7 * channels,
        channels,
        side * side,
    );
    side = side.div_ceil(2);
    push("features.pool0".into(), Part::Stem, vec![channels, side, side], 0, 0, 0);
    for (index, &count) in shape.block_layers.iter().enumerate() {
        let part = Part::Block(index + 1);
        if index > 0 {
            let (halved, half) = (channels / 2, side / 2);
            push(
                format!("features.transition{index}"),
                part,
                vec![halved, half, half],
                channels * halved,
                channels,
                half * half,
            );
            (channels, side) = (halved, half);
        }
        for layer in 1..=count {
            let bottleneck = shape.bottleneck_factor * shape.growth_rate;
            let kernels = channels * bottleneck + 9 * bottleneck * shape.growth_rate;
            let norms = channels + bottleneck;
            channels += shape.growth_rate;
            push(
                format!("features.denseblock{}.denselayer{layer}", index + 1),
                part,
                vec![channels, side, side],
                kernels,
                norms,
                side * side,
            );
        }
    }
    push("features.norm5".into(), Part::Neck, vec![channels, side, side], 0, channels, 0);
    let features = shape.features(config.input_px);
    let FeatureLayout { cell_channels, side: fine, .. } = features;
    if cell_channels > 0 {
        push(
            "places.conv_coarse".into(),
            Part::Neck,
            vec![cell_channels, side, side],
            channels * cell_channels,
            0,
            side * side,
        );
        let of_fine = shape.fine_channels();
        push(
            "places.norm_fine, conv_fine".into(),
            Part::Neck,
            vec![cell_channels, fine, fine],
            of_fine * cell_channels,
            of_fine,
            fine * fine,
        );
        push(
            "places.norm1, conv1, norm2".into(),
            Part::Neck,
            vec![cell_channels, fine, fine],
            9 * cell_channels * cell_channels,
            2 * cell_channels,
            fine * fine,
        );
    }
    push("features".into(), Part::Neck, vec![features.len()], 0, 0, 0);
    let mut width = features.average + cell_channels;
    let mut dense =
        |name: String, inputs: usize, outputs: usize, norm_channels: usize, positions: usize| {
            layers.push(LayerSummary {
                name,
                part: Part::Head,
                output: if positions > 1 { vec![outputs, fine, fine] } else { vec![outputs] },
                parameters: inputs * outputs + outputs + 2 * norm_channels,
                statistics: 2 * norm_channels,
                multiply_adds: (inputs * outputs * positions) as u64,
            });
        };
    for (index, &units) in config.head_widths.iter().enumerate() {
        dense(format!("head.stages.{index}"), width, units, width, 1);
        width = units;
    }
    dense("head.classes".into(), width, config.classes, 0, 1);
    if cell_channels > 0 {
        dense("head.boxes".into(), cell_channels, 5, 0, fine * fine);
    } else {
        dense("head.boxes".into(), width, 4, 0, 1);
    }
    layers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Architecture, Normalization};
    use crate::{Classifier, device};

    #[test]
    fn the_sums_are_those_of_the_network() {
        for architecture in Architecture::ALL {
            for input_px in [64, 112, 224] {
                let config = ModelConfig {
                    architecture,
                    classes: 6,
                    head_widths: vec![32, 16],
                    dropout: 0.5,
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
                    architecture.shape().multiply_adds(input_px),
                    "{architecture} at {input_px}"
                );
                let counts =
                    Classifier::empty(&config, &device::choose("flex").unwrap().inference())
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
}
