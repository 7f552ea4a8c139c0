use anyhow::{Result, anyhow};
use burn::tensor::Tensor;
use ossify_model::HeadOutput;

use crate::objective::scores::Outputs;
use crate::optimise::parameters;

/// Reads a batch's outputs from the device, and beside them one number where there is one, else 0:
/// all at once, since each read waits until the device has done its work.
pub fn read(output: HeadOutput, beside: Option<Tensor<1>>) -> Result<(Outputs, f32)> {
    let HeadOutput { logits, cell_scores, candidates } = output;
    let [rows, classes] = logits.dims();
    let [_, cells] = cell_scores.dims();
    let parts = [
        Some(logits.without_autodiff().reshape([rows * classes])),
        Some(cell_scores.without_autodiff().reshape([rows * cells])),
        Some(candidates.without_autodiff().reshape([rows * cells * 4])),
        beside,
    ];
    let mut values = numbers(Tensor::cat(parts.into_iter().flatten().collect(), 0))?;
    let beside = values.get(rows * (classes + cells * 5)).copied().unwrap_or_default();
    values.truncate(rows * (classes + cells * 5));
    let candidates = values.split_off(rows * (classes + cells));
    let cell_scores = values.split_off(rows * classes);
    Ok((Outputs { logits: values, cell_scores, candidates }, beside))
}

/// The numbers of a tensor, read from the device.
///
/// # Errors
/// Fails with the device's words.
pub fn numbers<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>> {
    parameters::values(tensor).map_err(|reason| anyhow!("cannot read from the device: {reason}"))
}
