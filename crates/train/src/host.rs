use anyhow::{Result, anyhow};
use burn::tensor::Tensor;

use crate::optimise::parameters;

/// The numbers of a tensor, read from the device.
///
/// # Errors
/// Fails with the device's words.
pub fn numbers<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>> {
    parameters::values(tensor).map_err(|reason| anyhow!("cannot read from the device: {reason}"))
}
