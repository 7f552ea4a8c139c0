#include "dense_block.h"

#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cstdlib>

#include "norm_relu.h"

namespace ossify {
namespace {

struct Layer {
  const at::Tensor &gamma1, &beta1, &weight1, &gamma2, &beta2, &weight2;

  Layer(const std::vector<at::Tensor>& parameters, int64_t layer)
      : Layer(parameters.data() + layer * PARAMETERS_PER_LAYER) {}
  explicit Layer(const at::Tensor* p)
      : gamma1(p[0]), beta1(p[1]), weight1(p[2]), gamma2(p[3]), beta2(p[4]), weight2(p[5]) {}
};

void check(const BlockShape& shape, const at::Tensor& input,
           const std::vector<at::Tensor>& parameters) {
  TORCH_CHECK(input.dim() == 4 && input.size(1) == shape.channels, "a dense block of ",
              shape.channels, " channels got ", input.sizes());
  TORCH_CHECK(parameters.size() == shape.layers * PARAMETERS_PER_LAYER, "a dense block of ",
              shape.layers, " layers got ", parameters.size(), " parameters");
  for (int64_t l = 0; l < shape.layers; ++l) {
    const Layer layer(parameters, l);
    const int64_t channels = shape.channels_before(l);
    TORCH_CHECK(
        layer.gamma1.numel() == channels && layer.beta1.numel() == channels &&
            layer.weight1.numel() == shape.bottleneck * channels &&
            layer.gamma2.numel() == shape.bottleneck && layer.beta2.numel() == shape.bottleneck &&
            layer.weight2.sizes() == at::IntArrayRef({shape.growth, shape.bottleneck, 3, 3}),
        "layer ", l + 1, " of a dense block has parameters of another shape");
  }
}

at::Tensor channels_last(at::IntArrayRef sizes, const at::Tensor& like) {
  return at::empty(sizes, like.options().memory_format(at::MemoryFormat::ChannelsLast));
}

at::Tensor like_with(const at::Tensor& map, int64_t channels) {
  return channels_last({map.size(0), channels, map.size(2), map.size(3)}, map);
}

// [N, C, H, W] with channels side by side as a matrix [N H W, C], a row for each position; a view.
at::Tensor position_rows(const at::Tensor& map) {
  return map.permute({0, 2, 3, 1}).reshape({-1, map.size(1)});
}

// Weights are float32 where maps are of half precision.
at::Tensor matrix(const at::Tensor& weight1, const at::Tensor& map) {
  return weight1.reshape({weight1.size(0), -1}).to(map.scalar_type());
}

at::Tensor convolved(const at::Tensor& map, const at::Tensor& weight2) {
  return at::conv2d(map, weight2.to(map.scalar_type()), {}, 1, 1);
}

// The buffer, which begins with the input's channels.
at::Tensor buffer_of(const BlockShape& shape, const at::Tensor& input) {
  auto buffer = like_with(input, shape.channels_out());
  buffer.narrow(1, 0, shape.channels).copy_(input);
  return buffer;
}

at::Tensor normalised(const at::Tensor& input, const Statistics& statistics,
                      const at::Tensor& gamma, const at::Tensor& beta, double epsilon) {
  auto output = like_with(input, input.size(1));
  scale_shift_relu(input, affine_of(statistics, gamma, beta, epsilon), output);
  return output;
}

// A 1x1 convolution is a product of matrices.
at::Tensor mixed(const at::Tensor& map, const at::Tensor& weight1) {
  auto output = like_with(map, weight1.size(0));
  auto rows = position_rows(output);
  at::mm_out(rows, position_rows(map), matrix(weight1, map).t());
  return output;
}

// What is normalised only to be multiplied is made in parts of so many bytes, which are still in
// the cache when they are read.
constexpr int64_t PART_BYTES = 1 << 21;

// Calls work(first row, number of rows, scratch [number, channels]) until all rows are covered.
template <typename Work>
void in_parts(const at::Tensor& rows, const Work& work) {
  const int64_t step =
      NormReluBackward::takes_parts(rows)
          ? std::max<int64_t>(256, PART_BYTES / (rows.element_size() * rows.size(1)))
          : rows.size(0);
  const auto scratch = at::empty({std::min(step, rows.size(0)), rows.size(1)}, rows.options());
  for (int64_t first = 0; first < rows.size(0); first += step) {
    const int64_t count = std::min(step, rows.size(0) - first);
    work(first, count, scratch.narrow(0, 0, count));
  }
}

// The 1x1 convolution of the normalised input, without the normalised input.
at::Tensor normalised_and_mixed(const at::Tensor& input, const Affine& affine,
                                const at::Tensor& weight1) {
  auto output = like_with(input, weight1.size(0));
  const auto from = position_rows(input), to = position_rows(output),
             weights = matrix(weight1, input).t();
  in_parts(from, [&](int64_t first, int64_t count, at::Tensor activated) {
    scale_shift_relu(from.narrow(0, first, count), affine, activated);
    auto part = to.narrow(0, first, count);
    at::mm_out(part, activated, weights);
  });
  return output;
}

// Numbers in one tap of the weight from which products of matrices are faster than oneDNN.
constexpr int64_t MIN_TAP_SIZE_OF_OURS = 2048;

// The gradient [K, C, 3, 3] of a 3x3 convolution's weight. Its input is ReLU of the normalised
// `map` [N, C, H, W]; `gradient` is that of its output, [N, K, H, W]. Both lie channel by channel
// side by side.
//
// With a border of zeros around each picture, the input that the weight's tap (ky, kx) reads lies a
// fixed number of rows from the output that it contributes to: the gradient of that tap is one
// product of matrices, to which the borders add nothing. oneDNN takes half as long again with AVX2.
at::Tensor weight_gradient(const at::Tensor& map, const Affine& affine, const at::Tensor& gradient,
                           const at::Tensor& weight) {
  const int64_t batch = map.size(0), channels = map.size(1), height = map.size(2),
                width = map.size(3), kernels = gradient.size(1);
  const int64_t rows = (height + 2) * (width + 2);
  // Pictures that are worked on together; fixed, and parts are added in order, so that the sum does
  // not depend on the number of threads.
  const int64_t step = std::clamp<int64_t>(PART_BYTES / 2 / (rows * channels * 4), 1, batch),
                parts = (batch + step - 1) / step;
  auto partial = at::empty({parts, 9, kernels, channels}, map.options());
  const float *map_data = map.data_ptr<float>(), *gradient_data = gradient.data_ptr<float>();
  const float *scale = affine.scale.data_ptr<float>(), *shift = affine.shift.data_ptr<float>();
  at::parallel_for(0, parts, 1, [&](int64_t begin, int64_t end) {
    const c10::NoGradGuard no_gradients;
    const auto inputs = at::zeros({step * rows, channels}, map.options()),
               outputs = at::zeros({step * rows, kernels}, map.options());
    for (int64_t part = begin; part < end; ++part) {
      const int64_t pictures = std::min(step, batch - part * step), count = pictures * rows;
      for (int64_t i = 0; i < pictures; ++i) {
        const int64_t picture = part * step + i;
        scale_shift_relu_into_border(map_data + picture * height * width * channels, height, width,
                                     channels, scale, shift,
                                     inputs.data_ptr<float>() + i * rows * channels);
        for (int64_t y = 0; y < height; ++y) {
          std::copy_n(gradient_data + (picture * height + y) * width * kernels, width * kernels,
                      outputs.data_ptr<float>() + (i * rows + (y + 1) * (width + 2) + 1) * kernels);
        }
      }
      for (int64_t tap = 0; tap < 9; ++tap) {
        const int64_t offset = (tap / 3 - 1) * (width + 2) + tap % 3 - 1,
                      from = std::max<int64_t>(0, -offset);
        const int64_t together = count - std::abs(offset);
        auto tap_gradient = partial[part][tap];
        at::mm_out(tap_gradient, outputs.narrow(0, from, together).t(),
                   inputs.narrow(0, from + offset, together));
      }
    }
  });
  auto sum = partial[0].clone();
  for (int64_t part = 1; part < parts; ++part) sum += partial[part];
  return sum.permute({1, 2, 0}).reshape(weight.sizes()).contiguous();
}

bool is_weight_gradient_ours(const BlockShape& shape, const at::Tensor& bottleneck) {
  return NormReluBackward::takes_parts(bottleneck) &&
         shape.growth * shape.bottleneck >= MIN_TAP_SIZE_OF_OURS;
}

Statistics first(const std::vector<at::Tensor>& statistics, int64_t layer) {
  return {statistics[layer * STATISTICS_PER_LAYER], statistics[layer * STATISTICS_PER_LAYER + 1]};
}

Statistics second(const std::vector<at::Tensor>& statistics, int64_t layer) {
  return {statistics[layer * STATISTICS_PER_LAYER + 2],
          statistics[layer * STATISTICS_PER_LAYER + 3]};
}

}  // namespace

BlockForward dense_block(const BlockShape& shape, const at::Tensor& input,
                         const std::vector<at::Tensor>& parameters, bool keep_activations) {
  check(shape, input, parameters);
  BlockForward forward;
  auto& buffer = forward.output;
  buffer = buffer_of(shape, input);
  // A channel's statistics do not depend on who reads it: they are taken once, when it is written.
  const auto options = input.options().dtype(type_of_sums(input));
  auto mean = at::empty({shape.channels_out()}, options),
       variance = at::empty({shape.channels_out()}, options);
  const auto measure = [&](int64_t from, int64_t count) {
    const auto statistics = statistics_of(buffer.narrow(1, from, count));
    mean.narrow(0, from, count).copy_(statistics.mean);
    variance.narrow(0, from, count).copy_(statistics.variance);
  };
  measure(0, shape.channels);
  for (int64_t l = 0; l < shape.layers; ++l) {
    const Layer layer(parameters, l);
    const int64_t channels = shape.channels_before(l);
    const Statistics of_input{mean.narrow(0, 0, channels), variance.narrow(0, 0, channels)};
    const auto so_far = buffer.narrow(1, 0, channels);
    at::Tensor activated, bottleneck;
    if (keep_activations) {
      activated = normalised(so_far, of_input, layer.gamma1, layer.beta1, shape.epsilon);
      bottleneck = mixed(activated, layer.weight1);
    } else {
      bottleneck = normalised_and_mixed(
          so_far, affine_of(of_input, layer.gamma1, layer.beta1, shape.epsilon), layer.weight1);
    }
    const auto of_bottleneck = statistics_of(bottleneck);
    const auto activated_bottleneck =
        normalised(bottleneck, of_bottleneck, layer.gamma2, layer.beta2, shape.epsilon);
    buffer.narrow(1, channels, shape.growth).copy_(convolved(activated_bottleneck, layer.weight2));
    measure(channels, shape.growth);
    forward.statistics.insert(
        forward.statistics.end(),
        {of_input.mean, of_input.variance, of_bottleneck.mean, of_bottleneck.variance});
    if (keep_activations) {
      // What our weight gradient does not read need not stay in memory.
      forward.kept.insert(
          forward.kept.end(),
          {bottleneck, activated,
           is_weight_gradient_ours(shape, bottleneck) ? bottleneck : activated_bottleneck});
    } else if (!shape.is_bottleneck_cheap(l)) {
      forward.kept.push_back(bottleneck);
    }
  }
  return forward;
}

at::Tensor dense_block_inference(const BlockShape& shape, const at::Tensor& input,
                                 const std::vector<at::Tensor>& parameters,
                                 const std::vector<at::Tensor>& statistics) {
  check(shape, input, parameters);
  auto buffer = buffer_of(shape, input);
  for (int64_t l = 0; l < shape.layers; ++l) {
    const Layer layer(parameters, l);
    const int64_t channels = shape.channels_before(l);
    const auto affine = affine_of(first(statistics, l), layer.gamma1, layer.beta1, shape.epsilon);
    auto bottleneck = normalised_and_mixed(buffer.narrow(1, 0, channels), affine, layer.weight1);
    scale_shift_relu(bottleneck,
                     affine_of(second(statistics, l), layer.gamma2, layer.beta2, shape.epsilon),
                     bottleneck);
    buffer.narrow(1, channels, shape.growth).copy_(convolved(bottleneck, layer.weight2));
  }
  return buffer;
}

BlockBackward dense_block_backward(const BlockShape& shape, at::Tensor& output_gradient,
                                   const BlockForward& forward,
                                   const std::vector<at::Tensor>& parameters) {
  const int64_t kept_count = static_cast<int64_t>(forward.kept.size());
  const bool are_activations_kept = kept_count == 3 * shape.layers;
  BlockBackward backward;
  backward.parameter_gradients.resize(parameters.size());
  // Gradients of all channels; each layer adds to those that it read.
  const auto gradient = output_gradient.contiguous(at::MemoryFormat::ChannelsLast);
  // One for all layers: memory of another size for each would leave gaps that nothing fits into.
  const int64_t position_count = gradient.numel() / std::max<int64_t>(shape.channels_out(), 1);
  const auto scratch =
      at::empty({position_count * shape.channels_before(std::max<int64_t>(shape.layers - 1, 0))},
                forward.output.options());
  for (int64_t l = shape.layers - 1; l >= 0; --l) {
    const Layer layer(parameters, l);
    const int64_t channels = shape.channels_before(l);
    const auto input = forward.output.narrow(1, 0, channels);
    const auto of_input = first(forward.statistics, l),
               of_bottleneck = second(forward.statistics, l);
    const auto affine = affine_of(of_input, layer.gamma1, layer.beta1, shape.epsilon);
    const int64_t kept = are_activations_kept ? 3 * l : kept_count - (shape.layers - l);
    const auto bottleneck =
        kept >= 0 ? forward.kept[kept] : normalised_and_mixed(input, affine, layer.weight1);
    auto* gradients = backward.parameter_gradients.data() + l * PARAMETERS_PER_LAYER;
    for (size_t i : {0, 1, 3, 4})
      gradients[i] = at::empty_like(parameters[l * PARAMETERS_PER_LAYER + i]);

    const auto grown =
        gradient.narrow(1, channels, shape.growth).contiguous(at::MemoryFormat::ChannelsLast);
    const bool is_ours = is_weight_gradient_ours(shape, bottleneck);
    const auto activated_bottleneck =
        is_ours ? bottleneck  // Its numbers are not looked at.
        : are_activations_kept
            ? forward.kept[kept + 2]
            : normalised(bottleneck, of_bottleneck, layer.gamma2, layer.beta2, shape.epsilon);
    auto [bottleneck_gradient, weight2_gradient, none] = at::convolution_backward(
        grown, activated_bottleneck, layer.weight2.to(grown.scalar_type()), c10::nullopt, {1, 1},
        {1, 1}, {1, 1}, false, {0, 0}, 1, {true, !is_ours, false});
    gradients[5] = is_ours ? weight_gradient(
                                 bottleneck,
                                 affine_of(of_bottleneck, layer.gamma2, layer.beta2, shape.epsilon),
                                 grown, layer.weight2)
                           : weight2_gradient.to(layer.weight2.scalar_type()).contiguous();
    bottleneck_gradient = bottleneck_gradient.contiguous(at::MemoryFormat::ChannelsLast);
    NormReluBackward norm2(of_bottleneck, layer.gamma2, layer.beta2, shape.epsilon);
    norm2.add(bottleneck_gradient, bottleneck);
    norm2.finish(gradients[3], gradients[4]);
    norm2.write(bottleneck_gradient, bottleneck, bottleneck_gradient, false);

    const auto weights = matrix(layer.weight1, input), rows = position_rows(bottleneck_gradient),
               input_rows = position_rows(input);
    const auto kept_rows =
        are_activations_kept ? position_rows(forward.kept[kept + 1]) : at::Tensor();
    auto weight1_gradient = at::zeros_like(weights);
    const auto activated_gradient =
        scratch.narrow(0, 0, position_count * channels).view({position_count, channels});
    NormReluBackward norm1(of_input, layer.gamma1, layer.beta1, shape.epsilon);
    in_parts(input_rows, [&](int64_t first, int64_t count, at::Tensor activated) {
      const auto part = input_rows.narrow(0, first, count),
                 mixed_gradient = rows.narrow(0, first, count);
      if (are_activations_kept) {
        activated = kept_rows.narrow(0, first, count);
      } else {
        scale_shift_relu(part, affine, activated);
      }
      weight1_gradient.addmm_(mixed_gradient.t(), activated);
      auto part_gradient = activated_gradient.narrow(0, first, count);
      at::mm_out(part_gradient, mixed_gradient, weights);
      norm1.add(part_gradient, part);
    });
    gradients[2] = weight1_gradient.to(layer.weight1.scalar_type()).view_as(layer.weight1);
    norm1.finish(gradients[0], gradients[1]);
    auto into = position_rows(gradient).narrow(1, 0, channels);
    norm1.write(activated_gradient, input_rows, into, true);
  }
  backward.input_gradient =
      gradient.narrow(1, 0, shape.channels).contiguous(at::MemoryFormat::ChannelsLast);
  return backward;
}

}  // namespace ossify
