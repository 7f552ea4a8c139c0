//! What several test files need.
#![allow(dead_code, clippy::unwrap_used)]

use burn::tensor::{Device, Tensor};
use ossify_model::weights::Metadata;
use ossify_model::{ClassifierOutput, HeadConfig, ModelConfig, Network, device};
use ossify_vocabulary::{Architecture, DeviceChoice, Normalization};

/// A configuration small enough for a test.
pub fn config(architecture: Architecture) -> ModelConfig {
    ModelConfig {
        architecture,
        classes: 6,
        head: head(&[32, 16], 0.5),
        input_px: 64,
        normalization: Normalization::ImageNet,
    }
}

pub fn metadata(config: &ModelConfig) -> Metadata {
    Metadata {
        config: config.clone(),
        class_names: (0..config.classes).map(|index| format!("class {index}")).collect(),
    }
}

/// Flex, and libtorch on the processor where the program has it.
pub fn devices() -> Vec<Device> {
    [DeviceChoice::Flex, DeviceChoice::Cpu]
        .into_iter()
        .filter_map(|request| device::choose(request).ok())
        .map(|device| device.inference())
        .collect()
}

pub fn flex() -> Device {
    device::choose(DeviceChoice::Flex).unwrap().inference()
}

/// Random bytes `[images, side, side, 3]`, always the same.
pub fn pixels(images: usize, side: usize) -> (Vec<u8>, [usize; 4]) {
    let mut state = 1_u32;
    let bytes = (0..images * side * side * 3).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    });
    (bytes.collect(), [images, side, side, 3])
}

pub fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().convert::<f32>().try_into_vec::<f32>().unwrap()
}

/// Asserts that two lists of values are equal within `tolerance` of the larger list's largest
/// magnitude (at least 1).
pub fn assert_close(left: &[f32], right: &[f32], tolerance: f32) {
    assert_eq!(left.len(), right.len());
    let scale = right.iter().fold(1.0_f32, |largest, value| largest.max(value.abs()));
    for (index, (left, right)) in left.iter().zip(right).enumerate() {
        assert!(
            (left - right).abs() <= tolerance * scale,
            "value {index}: {left} against {right}, scale {scale}"
        );
    }
}

/// A classifier's head.
pub fn head(widths: &[usize], dropout: f64) -> HeadConfig {
    HeadConfig::Classifier { widths: widths.to_vec(), dropout }
}

/// What a classifier says.
pub fn said(network: &Network, input: Tensor<4>) -> ClassifierOutput {
    network.forward(input).classifier().unwrap()
}
