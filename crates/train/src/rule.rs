use burn::tensor::Tensor;
use ossify_settings::{Epsilon, OptimizerKind, TrainSettings};
use rayon::prelude::*;

const BETA_1: f64 = 0.9;
const BETA_2: f64 = 0.999;
/// Numbers that one thread works on; fixed, so that sums do not depend on the number of threads.
const CHUNK: usize = 1 << 16;

/// How weights follow their gradients.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// Adam, AdamW or SGD.
    pub kind: OptimizerKind,
    /// Adam's epsilon and its place.
    pub epsilon: Epsilon,
    /// AdamW's decay of kernels.
    pub weight_decay: f64,
    /// SGD's momentum.
    pub momentum: f64,
}

impl Rule {
    /// What the settings ask for.
    pub fn new(settings: &TrainSettings) -> Self {
        Rule { kind: settings.optimizer, epsilon: settings.epsilon, weight_decay: settings.weight_decay, momentum: settings.momentum }
    }

    /// Whether it remembers a second tensor for each parameter.
    pub fn has_second(&self) -> bool {
        self.kind != OptimizerKind::Sgd
    }

    /// The numbers of step `number`, from 1, with this learning rate; `is_kernel` of what decays: biases, factors and offsets do not.
    pub fn step(&self, number: u64, learning_rate: f64, is_kernel: bool) -> Step {
        let number = i32::try_from(number).unwrap_or(i32::MAX);
        let (bias_1, bias_2) = (1.0 - BETA_1.powi(number), 1.0 - BETA_2.powi(number));
        let decays = self.kind == OptimizerKind::AdamW && is_kernel;
        let kept = if decays { 1.0 - learning_rate * self.weight_decay } else { 1.0 };
        match (self.kind, self.epsilon) {
            (OptimizerKind::Sgd, _) => Step::Sgd { momentum: self.momentum, rate: learning_rate },
            // Kingma and Ba 2015: PyTorch follows algorithm 1, Keras the "epsilon hat" of section 2.
            (_, Epsilon::Keras) => Step::Adam { kept, rate: learning_rate * bias_2.sqrt() / bias_1, root_scale: 1.0, epsilon: 1e-7 },
            (_, Epsilon::Torch) => Step::Adam { kept, rate: learning_rate / bias_1, root_scale: 1.0 / bias_2.sqrt(), epsilon: 1e-8 },
        }
    }
}

/// The numbers of one step of a parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// `w = kept w - rate m / (root_scale sqrt(v) + epsilon)`, with the running means `m` of the gradient and `v` of its square.
    Adam {
        /// Share of the weight that decay leaves.
        kept: f64,
        /// Learning rate with the correction of the first mean's bias, and for Keras of the second's.
        rate: f64,
        /// Correction of the second mean's bias where it comes before epsilon.
        root_scale: f64,
        /// Keeps the quotient finite.
        epsilon: f64,
    },
    /// `w = w - rate m`, where `m` gathers gradients (PyTorch's form).
    Sgd {
        /// Share of `m` that stays.
        momentum: f64,
        /// Learning rate.
        rate: f64,
    },
}

impl Step {
    /// Moves `weights` by their `gradient` times `factor`, in one pass over memory on all threads. `first` and `second` are what
    /// is remembered; zeros at the first step; `second` is empty for SGD.
    pub fn apply(&self, weights: &mut [f32], gradient: &[f32], factor: f32, first: &mut [f32], second: &mut [f32]) {
        let chunks = weights.par_chunks_mut(CHUNK).zip(gradient.par_chunks(CHUNK)).zip(first.par_chunks_mut(CHUNK));
        match *self {
            Step::Sgd { momentum, rate } => {
                let (momentum, rate) = (momentum as f32, rate as f32);
                chunks.for_each(|((weights, gradient), first)| {
                    for ((weight, gradient), first) in weights.iter_mut().zip(gradient).zip(first) {
                        *first = momentum * *first + factor * gradient;
                        *weight -= rate * *first;
                    }
                });
            }
            Step::Adam { kept, rate, root_scale, epsilon } => {
                let [kept, rate, root_scale, epsilon] = [kept, rate, root_scale, epsilon].map(|value| value as f32);
                let [keep_1, take_1, keep_2, take_2] = [BETA_1, 1.0 - BETA_1, BETA_2, 1.0 - BETA_2].map(|value| value as f32);
                chunks.zip(second.par_chunks_mut(CHUNK)).for_each(|(((weights, gradient), first), second)| {
                    for (((weight, gradient), first), second) in weights.iter_mut().zip(gradient).zip(first).zip(second) {
                        let gradient = factor * gradient;
                        *first = keep_1 * *first + take_1 * gradient;
                        *second = keep_2 * *second + take_2 * gradient * gradient;
                        *weight = kept * *weight - rate * *first / (root_scale * second.sqrt() + epsilon);
                    }
                });
            }
        }
    }

    /// The same on the device, operation by operation; `memory` is `None` at the first step. Returns the weights and what is remembered.
    pub fn apply_on_device(&self, weights: Tensor<1>, gradient: Tensor<1>, memory: Option<Remembered>) -> (Tensor<1>, Tensor<1>, Option<Tensor<1>>) {
        match *self {
            Step::Sgd { momentum, rate } => {
                let first = match memory {
                    Some((first, _)) => first * momentum + gradient,
                    None => gradient,
                };
                (weights - first.clone() * rate, first, None)
            }
            Step::Adam { kept, rate, root_scale, epsilon } => {
                let square = gradient.clone().square() * (1.0 - BETA_2);
                let gradient = gradient * (1.0 - BETA_1);
                let (first, second) = match memory {
                    Some((first, Some(second))) => (first * BETA_1 + gradient, second * BETA_2 + square),
                    _ => (gradient, square),
                };
                let change = first.clone() * rate / (second.clone().sqrt() * root_scale + epsilon);
                (weights * kept - change, first, Some(second))
            }
        }
    }
}

/// What is remembered of a parameter on the device.
pub type Remembered = (Tensor<1>, Option<Tensor<1>>);

/// The norm of all values; the same whatever the threads.
pub fn norm(values: &[f32]) -> f64 {
    let squares = |chunk: &[f32]| chunk.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>();
    let sums: Vec<f64> = values.par_chunks(CHUNK).map(squares).collect();
    sums.iter().sum::<f64>().sqrt()
}

/// Adds `factor` times each weight to its gradient, and returns the sum of the weights' squares.
pub fn add_penalty(gradient: &mut [f32], weights: &[f32], factor: f64) -> f64 {
    let factor = factor as f32;
    let add = |(gradient, weights): (&mut [f32], &[f32])| {
        gradient.iter_mut().zip(weights).for_each(|(gradient, weight)| *gradient += factor * weight);
        weights.iter().map(|weight| f64::from(*weight).powi(2)).sum::<f64>()
    };
    let sums: Vec<f64> = gradient.par_chunks_mut(CHUNK).zip(weights.par_chunks(CHUNK)).map(add).collect();
    sums.iter().sum()
}

/// What brings `norm` down to at most `limit`.
pub fn clip_factor(norm: f64, limit: f64) -> f32 {
    if norm > limit { (limit / norm) as f32 } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn norms_add_up_over_chunks() {
        let values: Vec<f32> = (0..3 * CHUNK + 17).map(|i| (i % 7) as f32).collect();
        let expected = values.iter().map(|value| f64::from(value * value)).sum::<f64>().sqrt();
        assert!((norm(&values) / expected - 1.0).abs() < 1e-12);
        assert_eq!((clip_factor(4.0, 1.0), clip_factor(0.5, 1.0), clip_factor(0.0, 1.0)), (0.25, 1.0, 1.0));
    }

    #[test]
    fn every_number_of_a_large_parameter_moves() {
        let count = 2 * CHUNK + 5;
        let rule = Rule { kind: OptimizerKind::Adam, epsilon: Epsilon::Keras, weight_decay: 0.0, momentum: 0.0 };
        let (mut weights, mut first, mut second) = (vec![1.0; count], vec![0.0; count], vec![0.0; count]);
        rule.step(1, 0.01, true).apply(&mut weights, &vec![0.5; count], 1.0, &mut first, &mut second);
        // Adam's first step is the learning rate, whatever the gradient.
        assert!(weights.iter().all(|weight| (weight - 0.99).abs() < 1e-5));
    }
}
