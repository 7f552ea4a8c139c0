// BatchNorm with the batch's statistics, followed by ReLU, on tensors [N, C, H, W].
#pragma once

#include <ATen/ATen.h>

namespace ossify {

// Mean and biased variance of each channel: two tensors [C].
struct Statistics {
  at::Tensor mean;
  at::Tensor variance;
};

// The type of statistics and parameters for maps of a type: half-precision ones are summed up in
// float32.
at::ScalarType type_of_sums(const at::Tensor& map);

Statistics statistics_of(const at::Tensor& input);

// What a normalisation does to a channel: y = max(0, x * scale + shift).
struct Affine {
  at::Tensor scale;
  at::Tensor shift;
};

Affine affine_of(const Statistics& statistics, const at::Tensor& gamma, const at::Tensor& beta,
                 double epsilon);

// Writes max(0, x * scale + shift) to `output`, which has the input's sizes and may be the input.
// Both are [N, C, H, W], or rows of positions [P, C].
void scale_shift_relu(const at::Tensor& input, const Affine& affine, at::Tensor& output);

// As scale_shift_relu, from one picture [H, W, C] of side by side numbers into one with a border of
// one position: [H + 2, W + 2, C]. On the calling thread.
void scale_shift_relu_into_border(const float* picture, int64_t height, int64_t width,
                                  int64_t channels, const float* scale, const float* shift,
                                  float* bordered);

// How an activated map is pooled: not at all, by the maximum of 3x3 windows around every other
// position, or by the mean of 2x2 windows.
enum class Pool : int64_t { None, Largest, Mean };

// max(0, x * scale + shift) of [N, C, H, W], pooled.
at::Tensor activated_and_pooled(const at::Tensor& input, const Affine& affine, Pool pool);

// The gradient of the activated map from that of the pooled one.
at::Tensor unpooled(const at::Tensor& pooled_gradient, const at::Tensor& input,
                    const Affine& affine, Pool pool);

// The gradient through ReLU and normalisation, in two passes over outputs' gradients and inputs,
// which are [N, C, H, W] or rows [P, C]: `add` takes all of them, in parts if need be; after
// `finish`, `write` gives the inputs' gradients.
class NormReluBackward {
 public:
  NormReluBackward(const Statistics& statistics, const at::Tensor& gamma, const at::Tensor& beta,
                   double epsilon);

  // Whether `add` takes such an input, or parts of it, in several calls; ATen wants all positions
  // at once.
  static bool takes_parts(const at::Tensor& input);

  void add(const at::Tensor& output_gradient, const at::Tensor& input);

  // Gradients of gamma and beta, [C] each, which are overwritten.
  void finish(at::Tensor& gamma_gradient, at::Tensor& beta_gradient);

  // `input_gradient` has the input's sizes, may be `output_gradient`, and is added to where
  // `accumulate` is set.
  void write(const at::Tensor& output_gradient, const at::Tensor& input, at::Tensor& input_gradient,
             bool accumulate) const;

 private:
  Statistics statistics_;
  at::Tensor gamma_;
  Affine affine_;
  at::Tensor inverse_deviation_;
  double epsilon_;
  // The input's gradient, where ATen made it.
  at::Tensor by_aten_;
  int64_t count_ = 0;
  // Sums over all positions of m, and of m (x - mean): doubles [C]; see `add`.
  at::Tensor sum_;
  at::Tensor product_;
  // The input's gradient is scale m - (constant + slope x).
  at::Tensor constant_;
  at::Tensor slope_;
};

}  // namespace ossify
