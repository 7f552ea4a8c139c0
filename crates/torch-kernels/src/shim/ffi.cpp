// What Rust calls. Tensors come and go as pointers to at::Tensor, which is how torch-sys holds
// them; outputs are new ones that the caller owns. A function returns null, or what went wrong as a
// string that the caller gives back to ossify_free_text.

#include <ATen/Context.h>
#include <c10/core/GradMode.h>

#include <cstdlib>
#include <cstring>

#include "dense_block.h"
#include "memory.h"
#include "norm_relu.h"
#include "optimiser.h"

namespace {

template <typename Work>
char* caught(const Work& work) {
  try {
    const c10::NoGradGuard no_gradients;
    work();
    return nullptr;
  } catch (const c10::Error& error) {
    return strdup(error.what_without_backtrace());
  } catch (const std::exception& error) {
    return strdup(error.what());
  } catch (...) {
    return strdup("libtorch threw something other than an exception");
  }
}

std::vector<at::Tensor> tensors(const at::Tensor* const* pointers, size_t count) {
  std::vector<at::Tensor> result;
  result.reserve(count);
  for (size_t i = 0; i < count; ++i) result.push_back(*pointers[i]);
  return result;
}

void give(at::Tensor** outputs, std::initializer_list<at::Tensor> values) {
  size_t i = 0;
  for (const auto& value : values) outputs[i++] = value.defined() ? new at::Tensor(value) : nullptr;
}

void give(at::Tensor** outputs, const std::vector<at::Tensor>& values) {
  for (size_t i = 0; i < values.size(); ++i) outputs[i] = new at::Tensor(values[i]);
}

ossify::Pool pool_of(int64_t pool) {
  TORCH_CHECK(pool >= 0 && pool <= static_cast<int64_t>(ossify::Pool::Mean), "there is no pooling ",
              pool);
  return static_cast<ossify::Pool>(pool);
}

at::Tensor channels_last(const at::Tensor& tensor) {
  return tensor.contiguous(at::MemoryFormat::ChannelsLast);
}

}  // namespace

extern "C" {

struct OssifyBlockShape {
  int64_t layers;
  int64_t channels;
  int64_t growth;
  int64_t bottleneck;
  double epsilon;
};

struct OssifyOptimiserStep {
  bool is_adam;
  int64_t clip_scope;
  double clip_limit;
  double penalty;
  double number;
  double rate;
  double beta_1;
  double beta_2;
  double epsilon;
  double decay;
  double momentum;
};

void ossify_free_text(char* text) { std::free(text); }

void ossify_explain_lack_of_memory() { ossify::explain_lack_of_memory(); }

char* ossify_take_plain_memory() { return caught(ossify::take_plain_memory); }

// How a CUDA device computes; of no effect elsewhere.
char* ossify_set_numerics(bool tf32, bool deterministic) {
  return caught([&] {
    auto& context = at::globalContext();
    context.setAllowTF32CuBLAS(tf32);
    context.setAllowTF32CuDNN(tf32);
    context.setDeterministicCuDNN(deterministic);
    // An operation without a deterministic form warns and goes on.
    context.setDeterministicAlgorithms(deterministic, /*warn_only=*/true);
    context.setBenchmarkCuDNN(!deterministic);
  });
}

// outputs: input's gradient (null unless wanted), weight's gradient (null unless wanted).
char* ossify_convolution_backward(const at::Tensor* gradient, const at::Tensor* input,
                                  const at::Tensor* weight, int64_t stride, int64_t padding,
                                  bool wants_input, bool wants_weight, at::Tensor** outputs) {
  return caught([&] {
    auto [input_gradient, weight_gradient, none] = at::convolution_backward(
        channels_last(*gradient), channels_last(*input), weight->to(input->scalar_type()),
        c10::nullopt, {stride, stride}, {padding, padding}, {1, 1}, false, {0, 0}, 1,
        {wants_input, wants_weight, false});
    if (weight_gradient.defined())
      weight_gradient = weight_gradient.to(weight->scalar_type()).contiguous();
    give(outputs, {input_gradient, weight_gradient});
  });
}

// outputs: activated and pooled, mean, variance.
char* ossify_norm_relu(const at::Tensor* input, const at::Tensor* gamma, const at::Tensor* beta,
                       double epsilon, int64_t pool, at::Tensor** outputs) {
  return caught([&] {
    const auto map = channels_last(*input);
    const auto statistics = ossify::statistics_of(map);
    const auto output = ossify::activated_and_pooled(
        map, ossify::affine_of(statistics, *gamma, *beta, epsilon), pool_of(pool));
    give(outputs, {output, statistics.mean, statistics.variance});
  });
}

// outputs: activated and pooled.
char* ossify_norm_relu_inference(const at::Tensor* input, const at::Tensor* gamma,
                                 const at::Tensor* beta, const at::Tensor* mean,
                                 const at::Tensor* variance, double epsilon, int64_t pool,
                                 at::Tensor** outputs) {
  return caught([&] {
    const auto affine = ossify::affine_of({*mean, *variance}, *gamma, *beta, epsilon);
    give(outputs, {ossify::activated_and_pooled(channels_last(*input), affine, pool_of(pool))});
  });
}

// outputs: gradients of input, gamma, beta.
char* ossify_norm_relu_backward(const at::Tensor* gradient, const at::Tensor* input,
                                const at::Tensor* gamma, const at::Tensor* beta,
                                const at::Tensor* mean, const at::Tensor* variance, double epsilon,
                                int64_t pool, at::Tensor** outputs) {
  return caught([&] {
    const auto map = channels_last(*input);
    auto gamma_gradient = at::empty_like(*gamma), beta_gradient = at::empty_like(*beta);
    const ossify::Statistics statistics{*mean, *variance};
    const auto output_gradient =
        ossify::unpooled(channels_last(*gradient), map,
                         ossify::affine_of(statistics, *gamma, *beta, epsilon), pool_of(pool));
    // Nothing else refers to what was unpooled: it can become the input's gradient.
    auto input_gradient =
        pool_of(pool) == ossify::Pool::None ? at::empty_like(map) : output_gradient;
    ossify::NormReluBackward backward(statistics, *gamma, *beta, epsilon);
    backward.add(output_gradient, map);
    backward.finish(gamma_gradient, beta_gradient);
    backward.write(output_gradient, map, input_gradient, false);
    give(outputs, {input_gradient, gamma_gradient, beta_gradient});
  });
}

// outputs: the block's output, 4 statistics a layer, then what is kept: 3 tensors a layer, or where
// activations are not kept, up to 1.
char* ossify_dense_block(const OssifyBlockShape* shape, const at::Tensor* input,
                         const at::Tensor* const* parameters, bool keep_activations,
                         at::Tensor** outputs) {
  return caught([&] {
    const ossify::BlockShape block{shape->layers, shape->channels, shape->growth, shape->bottleneck,
                                   shape->epsilon};
    const auto forward = ossify::dense_block(
        block, *input, tensors(parameters, block.layers * ossify::PARAMETERS_PER_LAYER),
        keep_activations);
    give(outputs, {forward.output});
    give(outputs + 1, forward.statistics);
    give(outputs + 1 + forward.statistics.size(), forward.kept);
  });
}

// outputs: the block's output.
char* ossify_dense_block_inference(const OssifyBlockShape* shape, const at::Tensor* input,
                                   const at::Tensor* const* parameters,
                                   const at::Tensor* const* statistics, at::Tensor** outputs) {
  return caught([&] {
    const ossify::BlockShape block{shape->layers, shape->channels, shape->growth, shape->bottleneck,
                                   shape->epsilon};
    give(outputs,
         {ossify::dense_block_inference(
             block, *input, tensors(parameters, block.layers * ossify::PARAMETERS_PER_LAYER),
             tensors(statistics, block.layers * ossify::STATISTICS_PER_LAYER))});
  });
}

// gradient: overwritten. forward: what ossify_dense_block put out. outputs: the input's gradient,
// then that of each parameter.
char* ossify_dense_block_backward(const OssifyBlockShape* shape, at::Tensor* gradient,
                                  const at::Tensor* const* forward, size_t forward_count,
                                  const at::Tensor* const* parameters, at::Tensor** outputs) {
  return caught([&] {
    const ossify::BlockShape block{shape->layers, shape->channels, shape->growth, shape->bottleneck,
                                   shape->epsilon};
    const size_t statistics = block.layers * ossify::STATISTICS_PER_LAYER;
    TORCH_CHECK(
        forward_count >= 1 + statistics && (forward_count <= 1 + statistics + block.layers ||
                                            forward_count == 1 + statistics + 3 * block.layers),
        "backward of a dense block got ", forward_count, " tensors");
    const ossify::BlockForward kept{
        *forward[0], tensors(forward + 1, statistics),
        tensors(forward + 1 + statistics, forward_count - 1 - statistics)};
    const auto backward = ossify::dense_block_backward(
        block, *gradient, kept, tensors(parameters, block.layers * ossify::PARAMETERS_PER_LAYER));
    give(outputs, {backward.input_gradient});
    give(outputs + 1, backward.parameter_gradients);
  });
}

// Everything but is_penalised is written to; second is read for Adam alone. outputs: the sum of
// squares of the penalised weights.
char* ossify_optimiser_step(const OssifyOptimiserStep* step, size_t count,
                            const uint8_t* is_penalised, const at::Tensor* const* weights,
                            const at::Tensor* const* gradients, const at::Tensor* const* first,
                            const at::Tensor* const* second, at::Tensor** outputs) {
  return caught([&] {
    const ossify::OptimiserState state{tensors(weights, count), tensors(gradients, count),
                                       tensors(first, count),
                                       tensors(second, step->is_adam ? count : 0)};
    state.check();
    const auto squares = ossify::add_penalty(
        state, std::vector<bool>(is_penalised, is_penalised + count), step->penalty);
    const auto divisor =
        ossify::clip(state, static_cast<ossify::ClipScope>(step->clip_scope), step->clip_limit);
    if (step->is_adam) {
      ossify::adam(
          state, {step->number, step->rate, step->beta_1, step->beta_2, step->epsilon, step->decay},
          divisor);
    } else {
      ossify::sgd(state, step->rate, step->momentum, divisor);
    }
    give(outputs, {squares});
  });
}

// The averages are written to.
char* ossify_follow(size_t count, const at::Tensor* const* averages,
                    const at::Tensor* const* followed, double share) {
  return caught([&] { ossify::follow(tensors(averages, count), tensors(followed, count), share); });
}

}  // extern "C"
