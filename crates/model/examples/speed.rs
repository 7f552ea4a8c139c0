//! Measures a network: images per second forward, and forward with backward, on a device.
//!
//! `speed [device] [architecture] [input_px] [batch] [threads] [seconds] [keep|recompute]
//! [forward|both] [float32|tf32|bf16] [classify|detect]`: `keep` or `recompute` is what becomes of
//! activations in training.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use burn::module::Module;
use burn::tensor::Device;
use ossify_model::{HeadConfig, ModelConfig, Network, Output, device, pixels, summary};
use ossify_vocabulary::{Architecture, DeviceChoice, Normalization, Precision};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let text = |index: usize, default: &str| {
        arguments.get(index).cloned().unwrap_or_else(|| default.to_owned())
    };
    let number = |index: usize, default: &str| {
        text(index, default)
            .parse::<usize>()
            .with_context(|| format!("argument {} is not a number", index + 1))
    };
    let (batch, threads, seconds) = (number(3, "16")?, number(4, "0")?, number(5, "5")?);

    let compute = device::choose(text(0, "auto").parse::<DeviceChoice>()?)?;
    let config = ModelConfig {
        architecture: text(1, "densenet-compact").parse::<Architecture>()?,
        classes: 6,
        head: if text(9, "classify") == "detect" {
            HeadConfig::Detector { channels: 64 }
        } else {
            HeadConfig::Classifier { widths: vec![256], dropout: 0.5 }
        },
        input_px: number(2, "112")?,
        normalization: Normalization::ImageNet,
    };
    let precision: Precision = text(8, "float32").parse()?;
    compute.prepare(threads, precision, false)?;
    let network = |device: &Device| -> Result<Network> {
        let Network { backbone, head } = Network::new(&config, 1, device)?;
        Ok(Network { backbone: backbone.in_half_precision(precision == Precision::Bfloat16), head })
    };
    let side = 224.max(config.input_px);
    let bytes: Vec<u8> =
        (0..batch * side * side * 3).map(|index| ((index * 2_654_435_761) >> 7) as u8).collect();
    let counts = Network::new(&config, 1, &compute.inference())?.parameter_counts();
    println!(
        "{} on {} with {} threads: {} weights, {:.1} MMAC at {} px, {} features, batch {batch}",
        config.architecture,
        compute.name(),
        compute.threads(),
        counts.trainable,
        summary::layers(&config).iter().map(|layer| layer.multiply_adds).sum::<u64>() as f64 / 1e6,
        config.input_px,
        config.backbone().features(config.input_px).len(),
    );

    let classifier = network(&compute.inference())?;
    let input = || {
        pixels::to_input(
            bytes.clone(),
            [batch, side, side, 3],
            &compute.inference(),
            config.normalization,
            config.input_px,
        )
    };
    let rate = images_per_second(batch, seconds, || {
        match classifier.forward(input()?) {
            Output::Classifier(output) => drop(output.logits.into_data()),
            Output::Detector(output) => drop(output.logits.into_data()),
        }
        Ok(())
    })?;
    println!("forward            {rate:8.1} images/s");
    if text(7, "both") == "forward" {
        return Ok(());
    }

    let Network { backbone, head } = network(&compute.training())?.train();
    let classifier =
        Network { backbone: backbone.keeping_activations(text(6, "recompute") == "keep"), head };
    let input = || {
        pixels::to_input(
            bytes.clone(),
            [batch, side, side, 3],
            &compute.training(),
            config.normalization,
            config.input_px,
        )
    };
    let rate = images_per_second(batch, seconds, || {
        let loss = match classifier.forward(input()?) {
            Output::Classifier(output) => {
                output.logits.square().mean() + output.candidates.square().mean()
            }
            Output::Detector(output) => {
                output.logits.square().mean() + output.boxes.square().mean()
            }
        };
        drop(loss.backward());
        compute.wait().map_err(anyhow::Error::msg)
    })?;
    println!("forward + backward {rate:8.1} images/s");
    Ok(())
}

fn images_per_second(
    batch: usize,
    seconds: usize,
    mut step: impl FnMut() -> Result<()>,
) -> Result<f64> {
    step()?;
    let start = Instant::now();
    let mut steps = 0;
    while start.elapsed() < Duration::from_secs(seconds as u64) || steps < 2 {
        step()?;
        steps += 1;
    }
    Ok((steps * batch) as f64 / start.elapsed().as_secs_f64())
}
