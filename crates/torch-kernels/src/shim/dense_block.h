// A dense block (Huang et al. 2017) as one operation over one channels-last buffer.
#pragma once

#include <ATen/ATen.h>

#include <vector>

namespace ossify {

// Each of `layers` takes all channels so far through BatchNorm, ReLU, 1x1 convolution to
// `bottleneck` channels, BatchNorm, ReLU and 3x3 convolution to `growth` channels, which are
// appended.
struct BlockShape {
  int64_t layers;
  int64_t channels;
  int64_t growth;
  int64_t bottleneck;
  double epsilon;

  int64_t channels_before(int64_t layer) const { return channels + layer * growth; }
  int64_t channels_out() const { return channels_before(layers); }
  // Whether a layer's bottleneck takes fewer multiplications than its 3x3 convolution: then it is
  // recomputed in backward rather than kept.
  bool is_bottleneck_cheap(int64_t layer) const { return channels_before(layer) < 9 * growth; }
};

// Parameters of each layer in turn: gamma and beta of the first norm, weight [bottleneck, c, 1, 1],
// gamma and beta of the second norm, weight [growth, bottleneck, 3, 3].
constexpr size_t PARAMETERS_PER_LAYER = 6;
// Statistics of each layer in turn: mean and variance of the first norm's input, then of the
// second's.
constexpr size_t STATISTICS_PER_LAYER = 4;

struct BlockForward {
  // [N, channels_out, H, W]: the input's channels, then what each layer appended.
  at::Tensor output;
  // Of the batch, STATISTICS_PER_LAYER a layer.
  std::vector<at::Tensor> statistics;
  // What backward needs beside the output. Where activations are kept, three a layer: the
  // bottleneck and the two normalised inputs; else the bottlenecks of the last layers, which are
  // not cheap.
  std::vector<at::Tensor> kept;
};

BlockForward dense_block(const BlockShape& shape, const at::Tensor& input,
                         const std::vector<at::Tensor>& parameters, bool keep_activations);

// With given statistics instead of the batch's.
at::Tensor dense_block_inference(const BlockShape& shape, const at::Tensor& input,
                                 const std::vector<at::Tensor>& parameters,
                                 const std::vector<at::Tensor>& statistics);

struct BlockBackward {
  at::Tensor input_gradient;
  // Of each parameter, in order.
  std::vector<at::Tensor> parameter_gradients;
};

// Overwrites `output_gradient`.
BlockBackward dense_block_backward(const BlockShape& shape, at::Tensor& output_gradient,
                                   const BlockForward& forward,
                                   const std::vector<at::Tensor>& parameters);

}  // namespace ossify
