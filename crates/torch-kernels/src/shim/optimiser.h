// One step of an optimiser over all parameters of a network, in place.
#pragma once

#include <ATen/ATen.h>

#include <optional>
#include <vector>

namespace ossify {

// Parameters, their gradients and what is remembered of them, one entry a parameter. All are
// contiguous float32 tensors on one device, and those of one parameter have as many numbers.
// Gradients are overwritten. `second` is empty for SGD.
struct OptimiserState {
  std::vector<at::Tensor> weights;
  std::vector<at::Tensor> gradients;
  std::vector<at::Tensor> first;
  std::vector<at::Tensor> second;

  void check() const;
};

enum class ClipScope : int64_t { NONE = 0, PARAMETER = 1, GLOBAL = 2 };

// Norms, each of a parameter's gradient or of all together, that are above `limit` are brought down
// to it. For GLOBAL the factor is not applied here but returned as what gradients are to be divided
// by, so that no pass over memory is spent on it.
std::optional<at::Tensor> clip(const OptimiserState& state, ClipScope scope, double limit);

// Adds `factor` times the weights to the gradients of those parameters, and returns the sum of
// these weights' squares, [1].
at::Tensor add_penalty(const OptimiserState& state, const std::vector<bool>& is_penalised,
                       double factor);

struct AdamStep {
  double number;
  double rate;
  double beta_1;
  double beta_2;
  double epsilon;
  // AdamW's, of parameters with two dimensions or more: biases, factors and offsets do not decay.
  double decay;
};

void adam(const OptimiserState& state, const AdamStep& step,
          const std::optional<at::Tensor>& divisor);

void sgd(const OptimiserState& state, double rate, double momentum,
         const std::optional<at::Tensor>& divisor);

// Moves each average by this share of the way towards the tensor of the same sizes, type and
// device.
void follow(const std::vector<at::Tensor>& averages, const std::vector<at::Tensor>& tensors,
            double share);

}  // namespace ossify
