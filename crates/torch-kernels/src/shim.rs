//! The C++ functions of `shim/`, each behind a safe one.

use std::ffi::{CStr, c_char};

use tch::{Kind, Tensor};
use torch_sys::C_tensor;

use crate::ops::{NormOptions, Pool};
use crate::optimiser::{BETA_1, BETA_2, Clip, Rule, StepOptions};

/// What libtorch said when an operation failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KernelError(String);

impl From<String> for KernelError {
    fn from(words: String) -> Self {
        Self(words)
    }
}

impl std::fmt::Display for KernelError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.0)
    }
}

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
            layers: (parameters.len() / crate::ops::PARAMETERS_PER_LAYER) as i64,
            channels,
            growth,
            bottleneck,
            epsilon,
        })
    }
}

/// A step of an optimiser, as `shim/ffi.cpp` has it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct OptimiserStep {
    is_adam: bool,
    /// 0 off, 1 each parameter, 2 all together.
    clip_scope: i64,
    clip_limit: f64,
    penalty: f64,
    number: f64,
    rate: f64,
    beta_1: f64,
    beta_2: f64,
    epsilon: f64,
    decay: f64,
    momentum: f64,
}

impl From<StepOptions> for OptimiserStep {
    fn from(options: StepOptions) -> Self {
        let (clip_scope, clip_limit) = match options.clip {
            Clip::Off => (0, 0.0),
            Clip::Parameter(limit) => (1, limit),
            Clip::Global(limit) => (2, limit),
        };
        let none = OptimiserStep {
            is_adam: false,
            clip_scope,
            clip_limit,
            penalty: options.penalty,
            number: 0.0,
            rate: 0.0,
            beta_1: BETA_1,
            beta_2: BETA_2,
            epsilon: 0.0,
            decay: 0.0,
            momentum: 0.0,
        };
        match options.rule {
            Rule::Adam { number, rate, epsilon, decay } => {
                OptimiserStep { is_adam: true, number, rate, epsilon, decay, ..none }
            }
            Rule::Sgd { rate, momentum } => OptimiserStep { rate, momentum, ..none },
        }
    }
}

type Text = *mut c_char;
type Input = *const C_tensor;
type Outputs = *mut *mut C_tensor;

unsafe extern "C" {
    fn ossify_free_text(text: Text);
    fn ossify_take_plain_memory() -> Text;
    fn ossify_set_numerics(tf32: bool, deterministic: bool) -> Text;
    fn ossify_optimiser_step(
        step: *const OptimiserStep,
        count: usize,
        is_penalised: *const u8,
        weights: *const Input,
        gradients: *const Input,
        first: *const Input,
        second: *const Input,
        outputs: Outputs,
    ) -> Text;
    fn ossify_follow(
        count: usize,
        averages: *const Input,
        tensors: *const Input,
        share: f64,
    ) -> Text;
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
        gradient: *mut C_tensor,
        forward: *const Input,
        forward_count: usize,
        parameters: *const Input,
        outputs: Outputs,
    ) -> Text;
}

/// Takes over what a function put out, or what it said went wrong.
///
/// # Safety
/// `call` must fill the `N` outputs with null or with tensors that nobody else owns, and return
/// null or a text for `ossify_free_text`.
unsafe fn take(
    count: usize,
    call: impl FnOnce(Outputs) -> Text,
) -> Result<Vec<Option<Tensor>>, KernelError> {
    let mut outputs = vec![std::ptr::null_mut(); count];
    let text = call(outputs.as_mut_ptr());
    // SAFETY: by this function's contract each pointer that is not null is a tensor of our own.
    let outputs = outputs
        .into_iter()
        .map(|tensor| (!tensor.is_null()).then(|| unsafe { Tensor::from_ptr(tensor) }))
        .collect();
    if text.is_null() {
        return Ok(outputs);
    }
    // SAFETY: a text that is not null is a string with an end, which stays until it is freed here,
    // once.
    let said = unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned();
    // SAFETY: as above; nothing refers to it any more.
    unsafe { ossify_free_text(text) };
    Err(KernelError(said))
}

fn all<const N: usize>(outputs: Vec<Option<Tensor>>) -> Result<[Tensor; N], KernelError> {
    let found: Option<Vec<Tensor>> = outputs.into_iter().collect();
    found.and_then(|outputs| outputs.try_into().ok()).ok_or_else(missing)
}

fn missing() -> KernelError {
    KernelError("a kernel left out one of its outputs; this is a defect of ossify".into())
}

fn pointers(tensors: &[&Tensor]) -> Vec<Input> {
    tensors.iter().map(|tensor| tensor.as_ptr()).collect()
}

/// See [`crate::runtime::keep_freed_memory`].
pub(crate) fn take_plain_memory() -> Result<(), KernelError> {
    // SAFETY: it takes no tensor and has no output. Tensors that exist keep the allocator that they
    // came from.
    unsafe { take(0, |_| ossify_take_plain_memory()) }.map(|_| ())
}

/// See [`crate::runtime::set_numerics`].
pub(crate) fn set_numerics(tf32: bool, deterministic: bool) -> Result<(), KernelError> {
    // SAFETY: it takes no tensor and has no output.
    unsafe { take(0, |_| ossify_set_numerics(tf32, deterministic)) }.map(|_| ())
}

/// A step of the optimiser in place. The lists are weights, gradients, first and second memory, all
/// of which are overwritten; the last is empty for SGD. Returns the sum of squares of the penalised
/// weights.
pub(crate) fn optimiser_step(
    lists: [Vec<&mut Tensor>; 4],
    is_penalised: &[bool],
    options: StepOptions,
) -> Result<Tensor, KernelError> {
    let step = OptimiserStep::from(options);
    let count = is_penalised.len();
    if lists.each_ref().map(Vec::len) != [count, count, count, if step.is_adam { count } else { 0 }]
    {
        return Err(KernelError(format!(
            "an optimiser got {count} parameters and lists of another length; this is a defect of \
                ossify"
        )));
    }
    let is_penalised: Vec<u8> = is_penalised.iter().map(|flag| u8::from(*flag)).collect();
    let pointers = lists
        .each_ref()
        .map(|list| list.iter().map(|tensor| tensor.as_ptr()).collect::<Vec<Input>>());
    let [weights, gradients, first, second] = pointers.each_ref().map(Vec::as_ptr);
    // SAFETY: `lists` keeps the tensors alive over the call and nobody else refers to them, as the
    // call writes to them; each list has `count` entries, or, for SGD, the second none, which is
    // then not read. One output is filled.
    let outputs = unsafe {
        take(1, |outputs| {
            ossify_optimiser_step(
                &raw const step,
                count,
                is_penalised.as_ptr(),
                weights,
                gradients,
                first,
                second,
                outputs,
            )
        })
    };
    drop(lists);
    let [squares] = all(outputs?)?;
    Ok(squares)
}

/// Moves averages towards tensors in place; see [`crate::optimiser::follow`].
pub(crate) fn follow(
    averages: Vec<&mut Tensor>,
    tensors: &[&Tensor],
    share: f64,
) -> Result<(), KernelError> {
    if averages.len() != tensors.len() {
        return Err(KernelError(format!(
            "{} averages got {} tensors; this is a defect of ossify",
            averages.len(),
            tensors.len()
        )));
    }
    let followers: Vec<Input> = averages.iter().map(|tensor| tensor.as_ptr()).collect();
    let tensors = pointers(tensors);
    // SAFETY: the references keep the tensors alive over the call, nobody else refers to the
    // averages, which the call writes to, and both lists have `count` entries. There is no output.
    let outputs = unsafe {
        take(0, |_| ossify_follow(followers.len(), followers.as_ptr(), tensors.as_ptr(), share))
    };
    drop(averages);
    outputs.map(|_| ())
}

/// Gradients of input and weight, each where it is wanted.
pub(crate) fn convolution_backward(
    gradient: &Tensor,
    input: &Tensor,
    weight: &Tensor,
    (stride, padding): (usize, usize),
    wanted: [bool; 2],
) -> Result<[Option<Tensor>; 2], KernelError> {
    // SAFETY: the references keep the tensors alive over the call, which fills two outputs; sizes
    // that do not fit are libtorch's to refuse.
    let outputs = unsafe {
        take(2, |outputs| {
            ossify_convolution_backward(
                gradient.as_ptr(),
                input.as_ptr(),
                weight.as_ptr(),
                stride as i64,
                padding as i64,
                wanted[0],
                wanted[1],
                outputs,
            )
        })
    }?;
    outputs.try_into().map_err(|_| missing())
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
                pool as i64,
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
                pool as i64,
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
                pool as i64,
                outputs,
            )
        })
    }?)
}

/// The type of weights and norms for maps of a type: half-precision maps have float32 ones.
fn parameters_kind(map: &Tensor) -> Kind {
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
    let count = 1 + shape.layers as usize
        * (crate::ops::STATISTICS_PER_LAYER + if keep_activations { 3 } else { 1 });
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
    let layers = parameters.as_chunks::<{ crate::ops::PARAMETERS_PER_LAYER }>().0.iter();
    let given = statistics.as_chunks::<{ crate::ops::STATISTICS_PER_LAYER }>().0;
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

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    const PLAIN: NormOptions = NormOptions { epsilon: 1e-5, pool: Pool::None };

    fn is_channels_last(tensor: &Tensor) -> bool {
        let [batch, channels, height, width] = tensor.size()[..] else { return false };
        batch > 0 && tensor.stride() == [height * width * channels, 1, width * channels, channels]
    }

    fn random(sizes: &[i64]) -> Tensor {
        Tensor::randn(sizes, (Kind::Float, Device::Cpu))
    }

    fn layer(channels: i64) -> [Tensor; 6] {
        [
            random(&[channels]),
            random(&[channels]),
            random(&[8, channels, 1, 1]),
            random(&[8]),
            random(&[8]),
            random(&[4, 8, 3, 3]),
        ]
    }

    /// Channels lie side by side all the way through, whatever the input's layout: a network that
    /// permutes in between would be correct and slow.
    #[test]
    fn everything_that_comes_out_is_channels_last() {
        let parameters: Vec<Tensor> = (0..3).flat_map(|index| layer(6 + 4 * index)).collect();
        let parameters: Vec<&Tensor> = parameters.iter().collect();
        for input in [random(&[2, 6, 5, 7]), random(&[2, 5, 7, 6]).permute([0, 3, 1, 2])] {
            for keep_activations in [true, false] {
                let forward = dense_block(&input, &parameters, 1e-5, keep_activations).unwrap();
                let maps: Vec<&Tensor> =
                    forward.iter().filter(|tensor| tensor.dim() == 4).collect();
                // Bottlenecks of so few channels are recomputed.
                assert_eq!(maps.len(), if keep_activations { 1 + 3 * 3 } else { 1 });
                assert!(maps.iter().all(|map| is_channels_last(map)));
                let shape = BlockShape::of(&input, &parameters, 1e-5).unwrap();
                // A gradient in the other layout, as a linear layer's would be.
                let mut gradient = random(&[2, 18, 5, 7]);
                let backward = dense_block_backward(
                    &shape,
                    &mut gradient,
                    &forward.iter().collect::<Vec<_>>(),
                    &parameters,
                )
                .unwrap();
                assert!(is_channels_last(&backward[0]));
            }
            let [output, mean, variance] =
                norm_relu(&input, &random(&[6]), &random(&[6]), PLAIN).unwrap();
            assert!(is_channels_last(&output));
            let norm = [&random(&[6]), &random(&[6]), &mean, &variance];
            assert!(is_channels_last(
                &norm_relu_backward(&random(&[2, 6, 5, 7]), &input, norm, PLAIN).unwrap()[0]
            ));
            let weight = random(&[4, 6, 3, 3]);
            let [gradient, _] =
                convolution_backward(&random(&[2, 4, 5, 7]), &input, &weight, (1, 1), [true, true])
                    .unwrap();
            assert!(is_channels_last(&gradient.unwrap()));
        }
    }

    /// Our own gradient of the 3x3 convolution's weight against libtorch's, of the same
    /// activations: over several parts, and with pictures of one place.
    #[test]
    fn the_second_weights_gradient_is_that_of_the_convolution() {
        for (batch, height, width) in [(5, 9, 7), (3, 1, 1), (2, 1, 6), (9, 40, 40), (1, 64, 64)] {
            let input = random(&[batch, 6, height, width]);
            // As wide as those of DenseNet121, for which ours is taken.
            let [bottleneck, growth] = [128, 32];
            let parameters = [
                random(&[6]),
                random(&[6]),
                random(&[bottleneck, 6, 1, 1]),
                random(&[bottleneck]),
                random(&[bottleneck]),
                random(&[growth, bottleneck, 3, 3]),
            ];
            let parameters: Vec<&Tensor> = parameters.iter().collect();
            let forward = dense_block(&input, &parameters, 1e-5, true).unwrap();
            let before_norm = forward
                .iter()
                .rfind(|tensor| tensor.size()[..] == [batch, bottleneck, height, width])
                .unwrap();
            let [activated, ..] =
                norm_relu(before_norm, parameters[3], parameters[4], PLAIN).unwrap();
            let gradient = random(&[batch, 6 + growth, height, width]);
            let shape = BlockShape::of(&input, &parameters, 1e-5).unwrap();
            let found = dense_block_backward(
                &shape,
                &mut gradient.copy(),
                &forward.iter().collect::<Vec<_>>(),
                &parameters,
            )
            .unwrap();
            let [_, right] = convolution_backward(
                &gradient.narrow(1, 6, growth),
                &activated,
                parameters[5],
                (1, 1),
                [false, true],
            )
            .unwrap();
            let right = right.unwrap();
            let off = (&found[6] - &right).abs().max().double_value(&[])
                / right.abs().max().double_value(&[]);
            assert!(off < 1e-4, "{batch} x {height} x {width}: {off}");
        }
    }

    #[test]
    fn only_wanted_gradients_are_made() {
        let (input, weight, gradient) =
            (random(&[1, 2, 4, 4]), random(&[3, 2, 1, 1]), random(&[1, 3, 4, 4]));
        let found =
            convolution_backward(&gradient, &input, &weight, (1, 0), [false, true]).unwrap();
        assert_eq!(found.map(|gradient| gradient.is_some()), [false, true]);
    }

    /// Sums over many places are taken in pieces, whose order must not depend on who adds them up.
    #[test]
    fn norms_do_not_depend_on_the_number_of_threads() {
        let (input, gradient) = (random(&[8, 48, 40, 40]), random(&[8, 48, 40, 40]));
        let (gamma, beta) = (random(&[48]), random(&[48]));
        let run = |threads| {
            tch::set_num_threads(threads);
            let [output, mean, variance] = norm_relu(&input, &gamma, &beta, PLAIN).unwrap();
            let backward =
                norm_relu_backward(&gradient, &input, [&gamma, &beta, &mean, &variance], PLAIN)
                    .unwrap();
            [output, mean, variance].into_iter().chain(backward).collect::<Vec<_>>()
        };
        let (one, four) = (run(1), run(4));
        assert!(one.iter().zip(&four).all(|(a, b)| a.equal(b)));
    }

    #[test]
    fn a_large_mean_does_not_drown_a_small_variance() {
        let input = random(&[4, 3, 32, 32]) * 0.01 + 1000.0;
        let [_, mean, variance] = norm_relu(&input, &random(&[3]), &random(&[3]), PLAIN).unwrap();
        let double = input.to_kind(Kind::Double);
        let right = double.var_dim([0_i64, 2, 3].as_slice(), false, false);
        let off = (variance.to_kind(Kind::Double) / right - 1.0).abs().max().double_value(&[]);
        assert!(off < 1e-3, "{off}");
        assert!((mean.double_value(&[0]) - 1000.0).abs() < 0.01);
    }

    #[test]
    fn what_libtorch_says_becomes_an_error() {
        let error = convolution_backward(
            &random(&[1, 3, 4, 4]),
            &random(&[1, 2, 9, 9]),
            &random(&[3, 2, 3, 3]),
            (1, 1),
            [true, true],
        )
        .unwrap_err();
        assert!(!error.to_string().is_empty() && !error.to_string().contains("frame #"), "{error}");
        let error =
            norm_relu(&random(&[2, 3, 4, 4]), &random(&[4]), &random(&[4]), PLAIN).unwrap_err();
        assert_eq!(error.to_string(), "a norm of [4] Float for an input of [2, 3, 4, 4] Float");
    }
}
