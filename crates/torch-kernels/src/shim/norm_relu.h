// BatchNorm with the batch's statistics, followed by ReLU, on tensors [N, C, H, W].
#pragma once

#include <ATen/ATen.h>

namespace ossify {

// Mean and biased variance of each channel: two tensors [C].
struct Statistics {
  at::Tensor mean;
  at::Tensor variance;
};

Statistics statistics_of(const at::Tensor& input);

// What a normalisation does to a channel: y = max(0, x * scale + shift).
struct Affine {
  at::Tensor scale;
  at::Tensor shift;
};

Affine affine_of(const Statistics& statistics, const at::Tensor& gamma, const at::Tensor& beta, double epsilon);

// Writes max(0, x * scale + shift) to `output`, which has the input's sizes and may be the input.
void scale_shift_relu(const at::Tensor& input, const Affine& affine, at::Tensor& output);

// The gradient through ReLU and normalisation. `input_gradient` has the input's sizes, may be `output_gradient`, and is added to where
// `accumulate` is set. `gamma_gradient` and `beta_gradient`, both [C], are overwritten.
void norm_relu_backward(const at::Tensor& output_gradient, const at::Tensor& input, const Statistics& statistics, const at::Tensor& gamma,
                        const at::Tensor& beta, double epsilon, at::Tensor& input_gradient, bool accumulate, at::Tensor& gamma_gradient,
                        at::Tensor& beta_gradient);

}  // namespace ossify
