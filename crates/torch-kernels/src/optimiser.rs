//! One step of an optimiser over all parameters of a network, and of their running averages: on
//! libtorch its fused kernels, in place; on every other backend, Burn's primitives.

#![cfg_attr(
    feature = "libtorch",
    expect(
        deprecated,
        reason = "0.22.1 is the last Burn with libtorch, which this crate is built on"
    )
)]

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, DispatchTensor, TensorMetadata, backend_extension};
use burn::tensor::{Scalar, Tensor};

use crate::ops::Tensors;

/// Adam's decay of the gradient's running mean (Kingma and Ba 2015).
pub const BETA_1: f64 = 0.9;
/// Adam's decay of the running mean of the gradient's square.
pub const BETA_2: f64 = 0.999;

/// How parameters follow their gradients.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// `w = (1 - rate decay) w - rate / (1 - b1^number) m / (sqrt(v / (1 - b2^number)) + epsilon)`,
    /// with the running means `m` of the gradient and `v` of its square. Only parameters of two
    /// dimensions or more decay.
    Adam {
        /// Number of the step, from 1.
        number: f64,
        /// Learning rate.
        rate: f64,
        /// Keeps the quotient finite.
        epsilon: f64,
        /// AdamW's; 0 is off.
        decay: f64,
    },
    /// `w = w - rate m`, where `m = momentum m + gradient`.
    Sgd {
        /// Learning rate.
        rate: f64,
        /// Share of `m` that stays.
        momentum: f64,
    },
}

/// Whose norm a limit is for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Clip {
    /// No limit.
    Off,
    /// Each gradient is brought down to this norm on its own, as Keras' `clipnorm` does.
    Parameter(f64),
    /// All gradients by one factor, so that their norm together is at most this, as PyTorch's
    /// `clip_grad_norm_` does.
    Global(f64),
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepOptions {
    /// How parameters follow.
    pub rule: Rule,
    /// Limit of gradients' norms; comes after the penalty.
    pub clip: Clip,
    /// Times the penalised weights is added to their gradients: the gradient of half as much times
    /// the sum of their squares.
    pub penalty: f64,
}

/// A tensor of any rank.
#[derive(Clone, Debug)]
pub struct AnyTensor(DispatchTensor);

impl AnyTensor {
    /// The tensor, which has to be of rank `D`.
    pub fn into_tensor<const D: usize>(self) -> Tensor<D> {
        Tensor::from_dispatch(self.0)
    }
}

impl<const D: usize> From<Tensor<D>> for AnyTensor {
    fn from(tensor: Tensor<D>) -> Self {
        Self(tensor.into_dispatch())
    }
}

/// A parameter before or after a step. Everything is float32 and without a graph.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Its numbers.
    pub weights: AnyTensor,
    /// Adam's running mean of the gradient or SGD's `m`, one number a weight; `None` before the
    /// first step, zeros where SGD has no momentum.
    pub first: Option<Tensor<1>>,
    /// Adam's running mean of the gradient's square; `None` before the first step, and for SGD.
    pub second: Option<Tensor<1>>,
}

/// Moves each parameter by its gradient. `is_penalised` has one entry a parameter. Memory that
/// nobody else holds is reused.
///
/// Returns the parameters, and the sum of squares of the penalised weights before the step, `[1]`;
/// `None` without parameters.
///
/// # Panics
/// As Burn's own operations do: if shapes do not fit, or the device fails.
pub fn step(
    parameters: Vec<Parameter>,
    gradients: Vec<AnyTensor>,
    is_penalised: Vec<bool>,
    options: StepOptions,
) -> Option<(Vec<Parameter>, Tensor<1>)> {
    if parameters.is_empty() {
        return None;
    }
    let count = parameters.len();
    let (mut weights, mut first, mut second) =
        (Vec::with_capacity(count), Vec::with_capacity(count), Vec::with_capacity(count));
    let has_second = matches!(options.rule, Rule::Adam { .. });
    for parameter in parameters {
        let weight = parameter.weights.0;
        let zeros = || {
            let like = Tensor::<1>::from_dispatch(weight.clone());
            Tensor::<1>::zeros([weight.shape().num_elements()], (&like.device(), like.dtype()))
        };
        first.push(parameter.first.unwrap_or_else(zeros).into_dispatch());
        if has_second {
            second.push(parameter.second.unwrap_or_else(zeros).into_dispatch());
        }
        weights.push(weight);
    }
    let gradients = gradients.into_iter().map(|gradient| gradient.0).collect();
    let moved = Dispatch::optimiser_step(
        Tensors(weights),
        Tensors(gradients),
        Tensors(first),
        Tensors(second),
        is_penalised,
        options,
    );
    let mut moved = moved.into_iter();
    let weights: Vec<AnyTensor> = moved.by_ref().take(count).map(AnyTensor).collect();
    let mut moved = moved.map(Tensor::from_dispatch);
    let first: Vec<Tensor<1>> = moved.by_ref().take(count).collect();
    let second: Vec<Tensor<1>> = moved.by_ref().take(if has_second { count } else { 0 }).collect();
    let penalty = moved.next()?;
    let second = second.into_iter().map(Some).chain(std::iter::repeat(None));
    let parameters = weights.into_iter().zip(first).zip(second);
    Some((
        parameters
            .map(|((weights, first), second)| Parameter { weights, first: Some(first), second })
            .collect(),
        penalty,
    ))
}

/// Moves averages towards tensors of the same shapes: `a = a + share (x - a)`, everything float32
/// and without a graph. Memory of the averages that nobody else holds is reused.
///
/// # Panics
/// As [`step`].
pub fn follow(averages: Vec<AnyTensor>, tensors: Vec<AnyTensor>, share: f64) -> Vec<AnyTensor> {
    if averages.is_empty() {
        return averages;
    }
    let [averages, tensors] =
        [averages, tensors].map(|list| Tensors(list.into_iter().map(|tensor| tensor.0).collect()));
    Dispatch::follow(averages, tensors, share).into_iter().map(AnyTensor).collect()
}

/// The steps on tensors of a backend; the bodies here are Burn's primitives.
#[backend_extension(LibTorch: cfg(feature = "libtorch"), Flex)]
pub trait OptimiserOps: Backend {
    /// See [`step`]. Returns weights, first and second memory, then the sum of squares.
    fn optimiser_step(
        #[extension_type] weights: Tensors<Self>,
        #[extension_type] gradients: Tensors<Self>,
        #[extension_type] first: Tensors<Self>,
        #[extension_type] second: Tensors<Self>,
        is_penalised: Vec<bool>,
        options: StepOptions,
    ) -> Vec<FloatTensor<Self>> {
        composed_step::<Self>(weights.0, gradients.0, first.0, second.0, &is_penalised, options)
    }

    /// See [`follow`].
    fn follow(
        #[extension_type] averages: Tensors<Self>,
        #[extension_type] tensors: Tensors<Self>,
        share: f64,
    ) -> Vec<FloatTensor<Self>> {
        let pairs = averages.0.into_iter().zip(tensors.0);
        pairs
            .map(|(average, tensor)| {
                Self::float_add(
                    average.clone(),
                    Self::float_mul_scalar(Self::float_sub(tensor, average), Scalar::from(share)),
                )
            })
            .collect()
    }
}

impl OptimiserOps for burn::backend::Flex {}

fn times<B: Backend>(tensor: FloatTensor<B>, factor: f64) -> FloatTensor<B> {
    B::float_mul_scalar(tensor, Scalar::from(factor))
}

/// The sum of squares, `[1]`.
fn squares<B: Backend>(tensor: &FloatTensor<B>) -> FloatTensor<B> {
    B::float_sum(B::float_mul(tensor.clone(), tensor.clone()))
}

/// Brings the norms of gradients down to a limit.
fn clip_norms<B: Backend>(gradients: &mut [FloatTensor<B>], clip: Clip) {
    let factor = |squares: FloatTensor<B>, limit: f64| {
        let norm = B::float_clamp_min(B::float_sqrt(squares), Scalar::from(limit));
        times::<B>(B::float_recip(norm), limit)
    };
    let factors: Vec<Option<FloatTensor<B>>> = match clip {
        Clip::Off => return,
        Clip::Parameter(limit) => {
            gradients.iter().map(|gradient| Some(factor(squares::<B>(gradient), limit))).collect()
        }
        Clip::Global(limit) => vec![
            gradients
                .iter()
                .map(squares::<B>)
                .reduce(B::float_add)
                .map(|all| factor(all, limit));
            gradients.len()
        ],
    };
    for (gradient, factor) in gradients.iter_mut().zip(factors) {
        if let Some(factor) = factor {
            *gradient = B::float_mul(gradient.clone(), factor);
        }
    }
}

fn composed_step<B: Backend>(
    mut weights: Vec<FloatTensor<B>>,
    mut gradients: Vec<FloatTensor<B>>,
    mut first: Vec<FloatTensor<B>>,
    mut second: Vec<FloatTensor<B>>,
    is_penalised: &[bool],
    options: StepOptions,
) -> Vec<FloatTensor<B>> {
    let times = times::<B>;
    let shapes: Vec<_> = weights.iter().map(TensorMetadata::shape).collect();
    for list in [&mut weights, &mut gradients, &mut first, &mut second] {
        let flattened = list.drain(..).map(|tensor| {
            let count = tensor.shape().num_elements();
            B::float_reshape(tensor, [count].into())
        });
        *list = flattened.collect();
    }

    let penalised: Vec<usize> = (0..weights.len()).filter(|&i| is_penalised[i]).collect();
    let penalty = penalised
        .iter()
        .map(|&i| squares::<B>(&weights[i]))
        .reduce(B::float_add)
        .unwrap_or_else(|| times(squares::<B>(&weights[0]), 0.0));
    for &i in &penalised {
        gradients[i] =
            B::float_add(gradients[i].clone(), times(weights[i].clone(), options.penalty));
    }
    clip_norms::<B>(&mut gradients, options.clip);
    for i in 0..weights.len() {
        let (weight, gradient) = (weights[i].clone(), gradients[i].clone());
        let (kept, change) = match options.rule {
            Rule::Sgd { rate, momentum: 0.0 } => (1.0, times(gradient, rate)),
            Rule::Sgd { rate, momentum } => {
                first[i] = B::float_add(times(first[i].clone(), momentum), gradient);
                (1.0, times(first[i].clone(), rate))
            }
            Rule::Adam { number, rate, epsilon, decay } => {
                first[i] = B::float_add(
                    times(first[i].clone(), BETA_1),
                    times(gradient.clone(), 1.0 - BETA_1),
                );
                second[i] = B::float_add(
                    times(second[i].clone(), BETA_2),
                    times(B::float_mul(gradient.clone(), gradient), 1.0 - BETA_2),
                );
                let root = times(
                    B::float_sqrt(second[i].clone()),
                    1.0 / (1.0 - BETA_2.powf(number)).sqrt(),
                );
                let quotient = B::float_div(
                    first[i].clone(),
                    B::float_add_scalar(root, Scalar::from(epsilon)),
                );
                let kept = if shapes[i].num_dims() > 1 { 1.0 - rate * decay } else { 1.0 };
                (kept, times(quotient, rate / (1.0 - BETA_1.powf(number))))
            }
        };
        weights[i] = B::float_reshape(B::float_sub(times(weight, kept), change), shapes[i].clone());
    }
    weights.into_iter().chain(first).chain(second).chain([penalty]).collect()
}
