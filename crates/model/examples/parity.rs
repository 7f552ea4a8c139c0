//! The Rust side of `pipelines/parity/densenet_logits.py`.
//!
//! `parity WEIGHTS PIXELS IMAGES SIDE OUT ARCHITECTURE DEVICE` loads torchvision weights, reads raw
//! u8 pixels `[IMAGES, SIDE, SIDE, 3]`, and writes to the folder OUT: `features.f32`, `logits.f32`
//! and `boxes.f32` (little-endian rows) and `model.safetensors`.

use std::path::Path;

use anyhow::{Context, Result, bail};
use burn::tensor::Tensor;
use ossify_model::weights::{self, Metadata};
use ossify_model::{HeadConfig, ModelConfig, Network, device, pixels};
use ossify_vocabulary::Normalization;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [weights_path, pixels_path, images, side, out, architecture, device] = arguments.as_slice()
    else {
        bail!("usage: parity WEIGHTS PIXELS IMAGES SIDE OUT ARCHITECTURE DEVICE");
    };
    let (images, side): (usize, usize) = (images.parse()?, side.parse()?);
    let compute = device::choose(device.parse()?)?;
    let config = ModelConfig {
        architecture: architecture.parse()?,
        classes: 6,
        head: HeadConfig::Classifier { widths: vec![64, 32], dropout: 0.5 },
        input_px: side,
        normalization: Normalization::ImageNet,
    };
    let mut classifier = Network::new(&config, 3, &compute.inference())?;
    let report = weights::load_torchvision(Path::new(weights_path), &mut classifier.backbone)?;
    println!(
        "loaded {}, missing {}, unused {}",
        report.loaded.len(),
        report.missing.len(),
        report.unused.len()
    );

    let bytes = std::fs::read(pixels_path).context(pixels_path.clone())?;
    let input = pixels::to_input(
        bytes,
        [images, side, side, 3],
        &compute.inference(),
        config.normalization,
        config.input_px,
    )?;
    let features = classifier.backbone.forward(input);
    let output = classifier.head.of_features(features.clone()).context("a detector")?;
    let boxes = output.boxes();

    let out = Path::new(out);
    std::fs::create_dir_all(out)?;
    for (name, tensor) in
        [("features.f32", features), ("logits.f32", output.logits), ("boxes.f32", boxes)]
    {
        write_floats(&out.join(name), tensor)?;
    }
    let class_names = (0..config.classes).map(|index| format!("class {index}")).collect();
    weights::save(&out.join("model.safetensors"), &classifier, &Metadata { config, class_names })?;
    Ok(())
}

fn write_floats(path: &Path, tensor: Tensor<2>) -> Result<()> {
    let values = tensor
        .into_data()
        .convert::<f32>()
        .try_into_vec::<f32>()
        .map_err(|error| anyhow::anyhow!("{error:?}"))?;
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    std::fs::write(path, bytes).with_context(|| path.display().to_string())
}
