//! A dense block as one operation.

use tch::Tensor;

use crate::ops::{PARAMETERS_PER_LAYER, STATISTICS_PER_LAYER};
use crate::shim::call::{Input, KernelError, Outputs, Text, all, missing, number, pointers, take};
use crate::shim::norm_relu::parameters_kind;

/// A dense block's sizes, as `shim/ffi.cpp` has them.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockShape {
    layers: i64,
    channels: i64,
    growth: i64,
    bottleneck: i64,
    epsilon: f64,
}

impl BlockShape {
    /// Of a block with these parameters, six a layer.
    pub(crate) fn of(
        input: &Tensor,
        parameters: &[&Tensor],
        epsilon: f64,
    ) -> Result<Self, KernelError> {
        let channels =
            input.size().get(1).copied().ok_or_else(|| {
                KernelError("a dense block got a tensor that is not an image".into())
            })?;
        let (growth, bottleneck) = match parameters {
            [_, _, _, _, _, weight2, ..] => match weight2.size()[..] {
                [growth, bottleneck, 3, 3] => (growth, bottleneck),
                ref other => {
                    return Err(KernelError(format!(
                        "the second weight of a dense layer has sizes {other:?}"
                    )));
                }
            },
            _ => (0, 0),
        };
        Ok(BlockShape {
            layers: number(parameters.len() / PARAMETERS_PER_LAYER)?,
            channels,
            growth,
            bottleneck,
            epsilon,
        })
    }
}

unsafe extern "C" {
    fn ossify_dense_block(
        shape: *const BlockShape,
        input: Input,
        parameters: *const Input,
        keep_activations: bool,
        outputs: Outputs,
    ) -> Text;
    fn ossify_dense_block_inference(
        shape: *const BlockShape,
        input: Input,
        parameters: *const Input,
        statistics: *const Input,
        outputs: Outputs,
    ) -> Text;
    fn ossify_dense_block_backward(
        shape: *const BlockShape,
        gradient: *mut torch_sys::C_tensor,
        forward: *const Input,
        forward_count: usize,
        parameters: *const Input,
        outputs: Outputs,
    ) -> Text;
}

fn check_block(input: &Tensor, parameters: &[&Tensor]) -> Result<(), KernelError> {
    match parameters
        .iter()
        .find(|values| values.kind() != parameters_kind(input) || !values.is_contiguous())
    {
        None => Ok(()),
        Some(values) => Err(KernelError(format!(
            "a dense block got a parameter of {:?} {:?} for an input of {:?}",
            values.size(),
            values.kind(),
            input.kind()
        ))),
    }
}

/// Output, then four statistics a layer, then what [`dense_block_backward`] needs beside.
pub(crate) fn dense_block(
    input: &Tensor,
    parameters: &[&Tensor],
    epsilon: f64,
    keep_activations: bool,
) -> Result<Vec<Tensor>, KernelError> {
    check_block(input, parameters)?;
    let shape = BlockShape::of(input, parameters, epsilon)?;
    let layers = parameters.len() / PARAMETERS_PER_LAYER;
    let count = 1 + layers * (STATISTICS_PER_LAYER + if keep_activations { 3 } else { 1 });
    let pointers = pointers(parameters);
    // SAFETY: the references keep the tensors alive over the call, which reads six parameters a
    // layer, checks their sizes and fills `count` outputs at most.
    let outputs = unsafe {
        take(count, |outputs| {
            ossify_dense_block(
                &raw const shape,
                input.as_ptr(),
                pointers.as_ptr(),
                keep_activations,
                outputs,
            )
        })
    }?;
    // Those that are left out are the last ones.
    Ok(outputs.into_iter().flatten().collect())
}

/// The block's output, with given statistics.
pub(crate) fn dense_block_inference(
    input: &Tensor,
    parameters: &[&Tensor],
    statistics: &[&Tensor],
    epsilon: f64,
) -> Result<Tensor, KernelError> {
    check_block(input, parameters)?;
    check_block(input, statistics)?;
    let shape = BlockShape::of(input, parameters, epsilon)?;
    let layers = parameters.as_chunks::<{ PARAMETERS_PER_LAYER }>().0.iter();
    let given = statistics.as_chunks::<{ STATISTICS_PER_LAYER }>().0;
    if given.len() != layers.len()
        || layers.zip(given).any(|(layer, given)| {
            [0, 0, 3, 3].iter().zip(given).any(|(norm, given)| layer[*norm].size() != given.size())
        })
    {
        return Err(KernelError(
            "a dense block got statistics of other sizes than its norms".into(),
        ));
    }
    let (parameters, statistics) = (pointers(parameters), pointers(statistics));
    // SAFETY: the references keep the tensors alive over the call, which reads six parameters and
    // four statistics a layer and fills one output.
    let outputs = unsafe {
        take(1, |outputs| {
            ossify_dense_block_inference(
                &raw const shape,
                input.as_ptr(),
                parameters.as_ptr(),
                statistics.as_ptr(),
                outputs,
            )
        })
    }?;
    let [output] = all(outputs)?;
    Ok(output)
}

/// Gradient of the input, then of each parameter. `forward` is what [`dense_block`] gave.
/// Overwrites the output's gradient.
pub(crate) fn dense_block_backward(
    shape: &BlockShape,
    gradient: &mut Tensor,
    forward: &[&Tensor],
    parameters: &[&Tensor],
) -> Result<Vec<Tensor>, KernelError> {
    if forward.first().is_none_or(|output| output.size() != gradient.size()) {
        return Err(KernelError(format!("a dense block got a gradient of {:?}", gradient.size())));
    }
    let (kept, pointers) = (pointers(forward), pointers(parameters));
    // SAFETY: the references keep the tensors alive over the call, which reads as many tensors of
    // `forward` as it has, six parameters a layer, and fills one output more than there are
    // parameters.
    let outputs = unsafe {
        take(1 + parameters.len(), |outputs| {
            ossify_dense_block_backward(
                shape,
                gradient.as_mut_ptr(),
                kept.as_ptr(),
                kept.len(),
                pointers.as_ptr(),
                outputs,
            )
        })
    }?;
    outputs.into_iter().collect::<Option<_>>().ok_or_else(missing)
}
