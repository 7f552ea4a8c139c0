use ossify_vocabulary::{Architecture, Normalization};

use crate::ranges::between;
use crate::schema::table;

/// Layers that a head may have.
const MAX_HEAD_LAYERS: usize = 16;
/// Activations of one head layer.
const MAX_HEAD_WIDTH: usize = 65_536;
/// Weights between the head's layers: 1 GiB of float32, of which Adam keeps two more copies.
const MAX_HEAD_WEIGHTS: usize = 1 << 28;

table! {
    /// The network and its input.
    ModelSettings {
        /// "densenet121", "densenet161", "densenet169", "densenet201" or "densenet-compact".
        architecture: Architecture [Output] = Architecture::DenseNet121;
        /// The backbone's first weights: "imagenet" (torchvision's, fetched), "none" (random), or
        /// a file.
        weights: String [Output] = "imagenet".into();
        /// Widths of the head's dense layers.
        head_widths: Vec<usize> [Output] = vec![1024, 1024, 512] => |v| head_widths(v);
        /// Share of the head's activations that are dropped in training.
        dropout: f64 [Output] = 0.5 => |v| between(v, 0.0, 0.99);
        /// Side that tensors are averaged down to before the network, pixels.
        input_px: u32 [Output] = 224 => |v| between(v, 8, 4096);
        /// "imagenet" or "none".
        normalization: Normalization [Output] = Normalization::ImageNet;
    }
}

fn head_widths(widths: &[usize]) -> Result<(), String> {
    if widths.len() > MAX_HEAD_LAYERS {
        return Err(format!(
            "it should list {MAX_HEAD_LAYERS} layers at most, but lists {}",
            widths.len()
        ));
    }
    widths.iter().try_for_each(|width| between(width, 1, MAX_HEAD_WIDTH))?;
    let weights: usize = widths.windows(2).map(|pair| pair[0] * pair[1]).sum();
    if weights > MAX_HEAD_WEIGHTS {
        return Err(format!(
            "it should have {MAX_HEAD_WEIGHTS} weights between its layers at most (1 GiB), \
             but has {weights}"
        ));
    }
    Ok(())
}
