//! Gradients of a convolution.

use tch::Tensor;

use crate::shim::call::{Input, KernelError, Outputs, Text, missing, number, take};

unsafe extern "C" {
    fn ossify_convolution_backward(
        gradient: Input,
        input: Input,
        weight: Input,
        stride: i64,
        padding: i64,
        wants_input: bool,
        wants_weight: bool,
        outputs: Outputs,
    ) -> Text;
}

/// Gradients of input and weight, each where it is wanted.
pub(crate) fn convolution_backward(
    gradient: &Tensor,
    input: &Tensor,
    weight: &Tensor,
    (stride, padding): (usize, usize),
    wanted: [bool; 2],
) -> Result<[Option<Tensor>; 2], KernelError> {
    let (stride, padding) = (number(stride)?, number(padding)?);
    // SAFETY: the references keep the tensors alive over the call, which fills two outputs; sizes
    // that do not fit are libtorch's to refuse.
    let outputs = unsafe {
        take(2, |outputs| {
            ossify_convolution_backward(
                gradient.as_ptr(),
                input.as_ptr(),
                weight.as_ptr(),
                stride,
                padding,
                wanted[0],
                wanted[1],
                outputs,
            )
        })
    }?;
    outputs.try_into().map_err(|_| missing())
}
