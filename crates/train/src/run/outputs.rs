use anyhow::Result;
use burn::tensor::Tensor;
use ossify_model::ClassifierOutput;

use crate::host::numbers;
use crate::objective::scores::Outputs;

/// Reads a classifier's outputs of a batch from the device, and beside them one number where there
/// is one, else 0: all at once, since each read waits until the device has done its work.
pub fn read(output: ClassifierOutput, beside: Option<Tensor<1>>) -> Result<(Outputs, f32)> {
    let ClassifierOutput { logits, cell_scores, candidates } = output;
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
