//! BatchNorm with ReLU and pooling.

use tch::{Kind, Tensor};

use crate::ops::{NormOptions, Pool};
use crate::shim::call::{Input, KernelError, Outputs, Text, all, take};

unsafe extern "C" {
    fn ossify_norm_relu(
        input: Input,
        gamma: Input,
        beta: Input,
        epsilon: f64,
        pool: i64,
        outputs: Outputs,
    ) -> Text;
    fn ossify_norm_relu_inference(
        input: Input,
        gamma: Input,
        beta: Input,
        mean: Input,
        variance: Input,
        epsilon: f64,
        pool: i64,
        outputs: Outputs,
    ) -> Text;
    fn ossify_norm_relu_backward(
        gradient: Input,
        input: Input,
        gamma: Input,
        beta: Input,
        mean: Input,
        variance: Input,
        epsilon: f64,
        pool: i64,
        outputs: Outputs,
    ) -> Text;
}

/// `[activated, mean, variance]`.
pub(crate) fn norm_relu(
    input: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    NormOptions { epsilon, pool }: NormOptions,
) -> Result<[Tensor; 3], KernelError> {
    check_norm(input, &[gamma, beta])?;
    // SAFETY: the references keep the tensors alive over the call, which fills three outputs; sizes
    // were checked.
    all(unsafe {
        take(3, |outputs| {
            ossify_norm_relu(
                input.as_ptr(),
                gamma.as_ptr(),
                beta.as_ptr(),
                epsilon,
                code(pool),
                outputs,
            )
        })
    }?)
}

/// `[gamma, beta, mean, variance]`.
pub(crate) fn norm_relu_inference(
    input: &Tensor,
    norm: [&Tensor; 4],
    NormOptions { epsilon, pool }: NormOptions,
) -> Result<Tensor, KernelError> {
    check_norm(input, &norm)?;
    let [gamma, beta, mean, variance] = norm.map(Tensor::as_ptr);
    // SAFETY: the references keep the tensors alive over the call, which fills one output; sizes
    // were checked.
    let outputs = unsafe {
        take(1, |outputs| {
            ossify_norm_relu_inference(
                input.as_ptr(),
                gamma,
                beta,
                mean,
                variance,
                epsilon,
                code(pool),
                outputs,
            )
        })
    }?;
    let [output] = all(outputs)?;
    Ok(output)
}

/// Gradients of input, gamma and beta. `norm` is gamma, beta, mean and variance.
pub(crate) fn norm_relu_backward(
    gradient: &Tensor,
    input: &Tensor,
    norm: [&Tensor; 4],
    NormOptions { epsilon, pool }: NormOptions,
) -> Result<[Tensor; 3], KernelError> {
    let [batch, channels, sides @ ..] = check_norm(input, &norm)?;
    let [height, width] = sides.map(|side| match pool {
        Pool::None => side,
        Pool::Largest => (side + 1) / 2,
        Pool::Mean => side / 2,
    });
    if gradient.size() != [batch, channels, height, width] {
        return Err(KernelError(format!(
            "a gradient of {:?} for an input of {:?}",
            gradient.size(),
            input.size()
        )));
    }
    let [gamma, beta, mean, variance] = norm.map(Tensor::as_ptr);
    // SAFETY: the references keep the tensors alive over the call, which fills three outputs; sizes
    // were checked.
    all(unsafe {
        take(3, |outputs| {
            ossify_norm_relu_backward(
                gradient.as_ptr(),
                input.as_ptr(),
                gamma,
                beta,
                mean,
                variance,
                epsilon,
                code(pool),
                outputs,
            )
        })
    }?)
}

/// The number of a kind of pooling in `shim/norm_relu.h`.
fn code(pool: Pool) -> i64 {
    match pool {
        Pool::None => 0,
        Pool::Largest => 1,
        Pool::Mean => 2,
    }
}

/// The type of weights and norms for maps of a type: half-precision maps have float32 ones.
pub(super) fn parameters_kind(map: &Tensor) -> Kind {
    match map.kind() {
        Kind::BFloat16 | Kind::Half => Kind::Float,
        other => other,
    }
}

/// The input's sizes. The kernels read the norm's numbers by position, so there must be one a
/// channel, of the input's type.
fn check_norm(input: &Tensor, norm: &[&Tensor]) -> Result<[i64; 4], KernelError> {
    let sizes: [i64; 4] = input
        .size()
        .try_into()
        .map_err(|sizes| KernelError(format!("a norm got a tensor of {sizes:?}")))?;
    let channels = sizes[1];
    let fits = |values: &&&Tensor| {
        values.size() == [channels]
            && values.kind() == parameters_kind(input)
            && values.is_contiguous()
    };
    match norm.iter().find(|values| !fits(values)) {
        None => Ok(sizes),
        Some(values) => Err(KernelError(format!(
            "a norm of {:?} {:?} for an input of {:?} {:?}",
            values.size(),
            values.kind(),
            input.size(),
            input.kind()
        ))),
    }
}
