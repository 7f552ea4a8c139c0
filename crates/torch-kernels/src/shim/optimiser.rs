//! A step of an optimiser, and averages that follow.

use tch::Tensor;

use crate::optimiser::{BETA_1, BETA_2, Clip, Rule, StepOptions};
use crate::shim::call::{Input, KernelError, Outputs, Text, all, pointers, take};

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

unsafe extern "C" {
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
