#include "optimiser.h"

#include <ATen/Parallel.h>

#include <algorithm>

namespace ossify {
namespace {

// Numbers that are added up by one thread. Fixed, and pieces are added in order, so that sums do
// not depend on the number of threads.
constexpr int64_t PIECE = 1 << 15;

double sum_of_squares(const float* values, int64_t count) {
  const int64_t pieces = (count + PIECE - 1) / PIECE;
  std::vector<double> sums(static_cast<size_t>(pieces), 0.0);
  at::parallel_for(0, pieces, 1, [&](int64_t begin, int64_t end) {
    for (int64_t piece = begin; piece < end; ++piece) {
      const int64_t last = std::min(count, (piece + 1) * PIECE);
      // Several sums side by side, which the compiler can keep in one register.
      double lanes[8] = {};
      int64_t i = piece * PIECE;
      for (; i + 8 <= last; i += 8) {
        for (int64_t lane = 0; lane < 8; ++lane)
          lanes[lane] += static_cast<double>(values[i + lane]) * values[i + lane];
      }
      for (; i < last; ++i) lanes[0] += static_cast<double>(values[i]) * values[i];
      for (const double lane : lanes) sums[piece] += lane;
    }
  });
  double total = 0.0;
  for (const double sum : sums) total += sum;
  return total;
}

// Of each tensor, as one tensor: on the host for tensors on the host, else on their device, which
// is not waited for.
at::Tensor sums_of_squares(const std::vector<at::Tensor>& tensors) {
  if (tensors.front().is_cpu()) {
    auto sums = at::empty({static_cast<int64_t>(tensors.size())}, at::kDouble);
    for (size_t i = 0; i < tensors.size(); ++i)
      sums.data_ptr<double>()[i] = sum_of_squares(tensors[i].data_ptr<float>(), tensors[i].numel());
    return sums;
  }
  return at::stack(at::_foreach_norm(tensors, 2)).to(at::kDouble).square();
}

}  // namespace

void OptimiserState::check() const {
  const size_t count = weights.size();
  TORCH_CHECK(gradients.size() == count && first.size() == count &&
                  (second.empty() || second.size() == count),
              "an optimiser got ", count, " parameters, ", gradients.size(),
              " gradients and a memory of ", first.size(), " and ", second.size(), " tensors");
  const auto device = count ? weights.front().device() : at::Device(at::kCPU);
  const auto check_list = [&](const std::vector<at::Tensor>& list) {
    for (size_t i = 0; i < list.size(); ++i) {
      TORCH_CHECK(list[i].scalar_type() == at::kFloat && list[i].device() == device &&
                      list[i].numel() == weights[i].numel() && list[i].is_contiguous(),
                  "an optimiser got a tensor of ", list[i].sizes(), " ", list[i].scalar_type(),
                  " for a parameter of ", weights[i].sizes());
    }
  };
  for (const auto* list : {&weights, &gradients, &first, &second}) check_list(*list);
}

std::optional<at::Tensor> clip(const OptimiserState& state, ClipScope scope, double limit) {
  if (scope == ClipScope::NONE || state.gradients.empty()) return std::nullopt;
  const auto squares = sums_of_squares(state.gradients);
  if (scope == ClipScope::GLOBAL)
    return (squares.sum().sqrt() / limit).clamp_min(1.0).to(at::kFloat);
  const auto factors = (squares.sqrt() / limit).clamp_min(1.0).reciprocal().to(at::kFloat);
  for (size_t i = 0; i < state.gradients.size(); ++i) {
    auto gradient = state.gradients[i];
    gradient.mul_(factors[static_cast<int64_t>(i)]);
  }
  return std::nullopt;
}

at::Tensor add_penalty(const OptimiserState& state, const std::vector<bool>& is_penalised,
                       double factor) {
  std::vector<at::Tensor> penalised;
  for (size_t i = 0; i < state.weights.size(); ++i) {
    if (!is_penalised[i]) continue;
    penalised.push_back(state.weights[i]);
    auto gradient = state.gradients[i];
    gradient.add_(state.weights[i].view_as(gradient), factor);
  }
  if (penalised.empty()) return at::zeros({1});
  return sums_of_squares(penalised).sum().to(at::kFloat).reshape({1});
}

void adam(const OptimiserState& state, const AdamStep& step,
          const std::optional<at::Tensor>& divisor) {
  // Those that decay, and the others.
  OptimiserState lists[2];
  for (size_t i = 0; i < state.weights.size(); ++i) {
    auto& list = lists[step.decay > 0.0 && state.weights[i].dim() > 1];
    list.weights.push_back(state.weights[i]);
    list.gradients.push_back(state.gradients[i].view_as(state.weights[i]));
    list.first.push_back(state.first[i].view_as(state.weights[i]));
    list.second.push_back(state.second[i].view_as(state.weights[i]));
  }
  for (auto& list : lists) {
    if (list.weights.empty()) continue;
    const auto number = at::full({}, step.number, list.weights.front().options());
    const std::vector<at::Tensor> numbers(list.weights.size(), number);
    const double decay = &list == &lists[1] ? step.decay : 0.0;
    at::_fused_adamw_(list.weights, list.gradients, list.first, list.second, {}, numbers, step.rate,
                      step.beta_1, step.beta_2, decay, step.epsilon,
                      /*amsgrad=*/false, /*maximize=*/false, divisor);
  }
}

void sgd(const OptimiserState& state, double rate, double momentum,
         const std::optional<at::Tensor>& divisor) {
  if (state.weights.empty()) return;
  OptimiserState list;
  for (size_t i = 0; i < state.weights.size(); ++i) {
    list.weights.push_back(state.weights[i]);
    list.gradients.push_back(state.gradients[i].view_as(state.weights[i]));
    // Without momentum there is nothing to remember, and ATen takes nothing.
    if (momentum != 0.0) list.first.push_back(state.first[i].view_as(state.weights[i]));
  }
  at::_fused_sgd_(list.weights, list.gradients, list.first, /*weight_decay=*/0.0, momentum, rate,
                  /*dampening=*/0.0, /*nesterov=*/false,
                  /*maximize=*/false, /*is_first_step=*/false, divisor);
}

void follow(const std::vector<at::Tensor>& averages, const std::vector<at::Tensor>& tensors,
            double share) {
  for (size_t i = 0; i < averages.size(); ++i) {
    // ATen would broadcast.
    TORCH_CHECK(averages[i].sizes() == tensors[i].sizes(), "an average of ", averages[i].sizes(),
                " got a tensor of ", tensors[i].sizes());
  }
  at::_foreach_lerp_(averages, tensors, share);
}

}  // namespace ossify
