// Float32 tensors on the processor whose channels lie side by side take the kernels below; every
// other type, layout and device goes through ATen, whose normalisation takes half-precision maps
// with float32 parameters.

#include "norm_relu.h"

#include <ATen/OpMathType.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#define FOR_EACH_PROCESSOR __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define FOR_EACH_PROCESSOR
#endif

namespace ossify {
namespace {

// Positions of a channels-last tensor, or of some of its channels: `count` rows of `channels`
// numbers, `stride` numbers apart.
struct Rows {
  float* data;
  int64_t count;
  int64_t channels;
  int64_t stride;

  float* row(int64_t index) const { return data + index * stride; }
};

bool rows_of(const at::Tensor& tensor, Rows& rows) {
  if (!tensor.device().is_cpu() || tensor.scalar_type() != at::kFloat || tensor.numel() == 0)
    return false;
  if (tensor.dim() == 2) {
    if (tensor.size(1) > 1 && tensor.stride(1) != 1) return false;
    rows = Rows{tensor.data_ptr<float>(), tensor.size(0), tensor.size(1),
                tensor.size(0) > 1 ? tensor.stride(0) : tensor.size(1)};
    return rows.stride >= rows.channels;
  }
  if (tensor.dim() != 4) return false;
  const int64_t batch = tensor.size(0), channels = tensor.size(1), height = tensor.size(2),
                width = tensor.size(3);
  if (channels > 1 && tensor.stride(1) != 1) return false;
  int64_t stride = channels;
  if (width > 1) {
    stride = tensor.stride(3);
  } else if (height > 1) {
    stride = tensor.stride(2);
  } else if (batch > 1) {
    stride = tensor.stride(0);
  }
  if (stride < channels) return false;
  if (height > 1 && tensor.stride(2) != width * stride) return false;
  if (batch > 1 && tensor.stride(0) != height * width * stride) return false;
  rows = Rows{tensor.data_ptr<float>(), batch * height * width, channels, stride};
  return true;
}

// Rows are worked on in pieces whose size does not depend on the number of threads, and sums over
// pieces are taken in order: so results do not depend on it either.
int64_t rows_per_piece(int64_t channels) {
  return std::clamp<int64_t>(32768 / std::max<int64_t>(channels, 1), 16, 2048);
}

template <typename Work>
void for_each_piece(int64_t count, int64_t channels, const Work& work) {
  const int64_t step = rows_per_piece(channels);
  const int64_t pieces = (count + step - 1) / step;
  at::parallel_for(0, pieces, 1, [&](int64_t begin, int64_t end) {
    for (int64_t piece = begin; piece < end; ++piece)
      work(piece, piece * step, std::min(count, (piece + 1) * step));
  });
}

int64_t pieces_of(int64_t count, int64_t channels) {
  const int64_t step = rows_per_piece(channels);
  return (count + step - 1) / step;
}

FOR_EACH_PROCESSOR void add_deviations(const float* x, int64_t stride, int64_t rows,
                                       int64_t channels, const float* __restrict__ origin,
                                       float* __restrict__ sum, float* __restrict__ squares) {
  int64_t row = 0;
  for (; row + 4 <= rows; row += 4) {
    const float *a = x + row * stride, *b = a + stride, *c = b + stride, *d = c + stride;
    for (int64_t i = 0; i < channels; ++i) {
      const float o = origin[i], p = a[i] - o, q = b[i] - o, r = c[i] - o, s = d[i] - o;
      sum[i] += (p + q) + (r + s);
      squares[i] += (p * p + q * q) + (r * r + s * s);
    }
  }
  for (; row < rows; ++row) {
    const float* a = x + row * stride;
    for (int64_t i = 0; i < channels; ++i) {
      const float p = a[i] - origin[i];
      sum[i] += p;
      squares[i] += p * p;
    }
  }
}

FOR_EACH_PROCESSOR void apply(const float* x, int64_t x_stride, float* y, int64_t y_stride,
                              int64_t rows, int64_t channels, const float* __restrict__ scale,
                              const float* __restrict__ shift) {
  for (int64_t row = 0; row < rows; ++row) {
    const float* a = x + row * x_stride;
    float* b = y + row * y_stride;
#pragma GCC ivdep
    for (int64_t i = 0; i < channels; ++i) {
      const float value = a[i] * scale[i] + shift[i];
      b[i] = value > 0.0f ? value : 0.0f;
    }
  }
}

// Sums of the gradient where ReLU let the value pass, and of its product with the deviation from
// the mean.
FOR_EACH_PROCESSOR void add_gradients(const float* g, int64_t g_stride, const float* x,
                                      int64_t x_stride, int64_t rows, int64_t channels,
                                      const float* __restrict__ scale,
                                      const float* __restrict__ shift,
                                      const float* __restrict__ mean, float* __restrict__ sum,
                                      float* __restrict__ products) {
  for (int64_t row = 0; row < rows; ++row) {
    const float *a = x + row * x_stride, *b = g + row * g_stride;
    for (int64_t i = 0; i < channels; ++i) {
      const float passed = a[i] * scale[i] + shift[i] > 0.0f ? b[i] : 0.0f;
      sum[i] += passed;
      products[i] += passed * (a[i] - mean[i]);
    }
  }
}

template <bool ACCUMULATE>
inline __attribute__((always_inline)) void gradient_rows(
    const float* g, int64_t g_stride, const float* x, int64_t x_stride, float* dx,
    int64_t dx_stride, int64_t rows, int64_t channels, const float* __restrict__ scale,
    const float* __restrict__ shift, const float* __restrict__ constant,
    const float* __restrict__ slope) {
  for (int64_t row = 0; row < rows; ++row) {
    const float *a = x + row * x_stride, *b = g + row * g_stride;
    float* c = dx + row * dx_stride;
#pragma GCC ivdep
    for (int64_t i = 0; i < channels; ++i) {
      const float passed = a[i] * scale[i] + shift[i] > 0.0f ? b[i] : 0.0f;
      const float value = scale[i] * passed - (constant[i] + slope[i] * a[i]);
      c[i] = ACCUMULATE ? c[i] + value : value;
    }
  }
}

FOR_EACH_PROCESSOR void set_gradient(const float* g, int64_t g_stride, const float* x,
                                     int64_t x_stride, float* dx, int64_t dx_stride, int64_t rows,
                                     int64_t channels, const float* scale, const float* shift,
                                     const float* constant, const float* slope) {
  gradient_rows<false>(g, g_stride, x, x_stride, dx, dx_stride, rows, channels, scale, shift,
                       constant, slope);
}

FOR_EACH_PROCESSOR void add_gradient(const float* g, int64_t g_stride, const float* x,
                                     int64_t x_stride, float* dx, int64_t dx_stride, int64_t rows,
                                     int64_t channels, const float* scale, const float* shift,
                                     const float* constant, const float* slope) {
  gradient_rows<true>(g, g_stride, x, x_stride, dx, dx_stride, rows, channels, scale, shift,
                      constant, slope);
}

// Adds up two numbers a channel over all pieces. `sums` takes the first for every channel, then the
// second.
template <typename Work>
std::vector<double> sums_over_pieces(const Rows& rows, const Work& work) {
  const int64_t width = 2 * rows.channels;
  const int64_t pieces = pieces_of(rows.count, rows.channels);
  std::vector<float> partial(static_cast<size_t>(pieces * width), 0.0f);
  for_each_piece(rows.count, rows.channels, [&](int64_t piece, int64_t begin, int64_t end) {
    float* sums = partial.data() + piece * width;
    work(begin, end, sums, sums + rows.channels);
  });
  std::vector<double> total(static_cast<size_t>(width), 0.0);
  for (int64_t piece = 0; piece < pieces; ++piece) {
    for (int64_t i = 0; i < width; ++i) total[i] += partial[piece * width + i];
  }
  return total;
}

// max(0, x * scale + shift) by ATen.
at::Tensor activated_by_aten(const at::Tensor& input, const Affine& affine) {
  const auto zeros = at::zeros_like(affine.scale), ones = at::ones_like(affine.scale);
  return std::get<0>(at::native_batch_norm(input, affine.scale, affine.shift, zeros, ones,
                                           /*training=*/false, /*momentum=*/0.0, /*eps=*/0.0))
      .relu_();
}

at::Tensor pooled(const at::Tensor& map, Pool pool) {
  return pool == Pool::Mean ? at::avg_pool2d(map, {2, 2}, {2, 2})
                            : std::get<0>(at::max_pool2d_with_indices(map, {3, 3}, {2, 2}, {1, 1}));
}

// Calls work(first picture, number of pictures): picture by picture where our kernels work, so that
// what is made of one is small and stays in the cache.
template <typename Work>
void for_pictures(const at::Tensor& map, const Work& work) {
  Rows rows;
  if (!rows_of(map, rows)) return work(0, map.size(0));
  at::parallel_for(0, map.size(0), 1, [&](int64_t begin, int64_t end) {
    const c10::NoGradGuard no_gradients;
    for (int64_t picture = begin; picture < end; ++picture) work(picture, 1);
  });
}

at::Tensor activated(const at::Tensor& input, const Affine& affine) {
  auto output = at::empty_like(input);
  scale_shift_relu(input, affine, output);
  return output;
}

}  // namespace

at::ScalarType type_of_sums(const at::Tensor& map) { return at::toOpMathType(map.scalar_type()); }

Statistics statistics_of(const at::Tensor& input) {
  Rows rows;
  if (!rows_of(input, rows)) {
    auto [variance, mean] =
        at::var_mean(input.to(type_of_sums(input)), at::IntArrayRef({0, 2, 3}), /*unbiased=*/false);
    return {mean, variance};
  }
  // Deviations are taken from the values at the first position: sums of squares of values with a
  // large mean would lose the variance.
  const float* origin = rows.row(0);
  const auto sums = sums_over_pieces(rows, [&](int64_t begin, int64_t end, float* sum,
                                               float* squares) {
    add_deviations(rows.row(begin), rows.stride, end - begin, rows.channels, origin, sum, squares);
  });
  auto mean = at::empty({rows.channels}, input.options());
  auto variance = at::empty({rows.channels}, input.options());
  for (int64_t i = 0; i < rows.channels; ++i) {
    const double deviation = sums[i] / rows.count;
    mean.data_ptr<float>()[i] = static_cast<float>(origin[i] + deviation);
    variance.data_ptr<float>()[i] = static_cast<float>(
        std::max(0.0, sums[rows.channels + i] / rows.count - deviation * deviation));
  }
  return {mean, variance};
}

Affine affine_of(const Statistics& statistics, const at::Tensor& gamma, const at::Tensor& beta,
                 double epsilon) {
  auto scale = gamma * at::rsqrt(statistics.variance + epsilon);
  auto shift = beta - statistics.mean * scale;
  return {scale, shift};
}

void scale_shift_relu(const at::Tensor& input, const Affine& affine, at::Tensor& output) {
  Rows from, to;
  if (!rows_of(input, from) || !rows_of(output, to)) {
    output.copy_(activated_by_aten(input, affine));
    return;
  }
  const float *scale = affine.scale.data_ptr<float>(), *shift = affine.shift.data_ptr<float>();
  for_each_piece(from.count, from.channels, [&](int64_t, int64_t begin, int64_t end) {
    apply(from.row(begin), from.stride, to.row(begin), to.stride, end - begin, from.channels, scale,
          shift);
  });
}

void scale_shift_relu_into_border(const float* picture, int64_t height, int64_t width,
                                  int64_t channels, const float* scale, const float* shift,
                                  float* bordered) {
  for (int64_t y = 0; y < height; ++y) {
    apply(picture + y * width * channels, channels,
          bordered + ((y + 1) * (width + 2) + 1) * channels, channels, width, channels, scale,
          shift);
  }
}

at::Tensor activated_and_pooled(const at::Tensor& input, const Affine& affine, Pool pool) {
  if (pool == Pool::None) return activated(input, affine);
  const int64_t height = input.size(2), width = input.size(3), odd = pool == Pool::Mean ? 0 : 1;
  const auto format = input.options().memory_format(at::MemoryFormat::ChannelsLast);
  const auto output =
      at::empty({input.size(0), input.size(1), (height + odd) / 2, (width + odd) / 2}, format);
  for_pictures(input, [&](int64_t first, int64_t count) {
    output.narrow(0, first, count)
        .copy_(pooled(activated(input.narrow(0, first, count), affine), pool));
  });
  return output;
}

at::Tensor unpooled(const at::Tensor& pooled_gradient, const at::Tensor& input,
                    const Affine& affine, Pool pool) {
  if (pool == Pool::None) return pooled_gradient;
  const auto output = at::empty_like(input);
  for_pictures(input, [&](int64_t first, int64_t count) {
    const auto part = input.narrow(0, first, count),
               gradient = pooled_gradient.narrow(0, first, count);
    auto into = output.narrow(0, first, count);
    if (pool == Pool::Mean) {
      into.copy_(at::avg_pool2d_backward(gradient, part, {2, 2}, {2, 2}, {0, 0}, false, true,
                                         c10::nullopt));
      return;
    }
    const auto map = activated(part, affine);
    const auto indices = std::get<1>(at::max_pool2d_with_indices(map, {3, 3}, {2, 2}, {1, 1}));
    into.copy_(at::max_pool2d_with_indices_backward(gradient, map, {3, 3}, {2, 2}, {1, 1}, {1, 1},
                                                    false, indices));
  });
  return output;
}

// With m the output's gradient where ReLU let the value pass, s = gamma / sqrt(variance + epsilon)
// and n positions: dbeta = sum(m), dgamma = sum(m (x - mean)) / sqrt(variance + epsilon), dx = s m
// - s / n (dbeta + (x - mean) / (variance + epsilon) sum(m (x - mean))) (Ioffe and Szegedy 2015,
// section 3).
NormReluBackward::NormReluBackward(const Statistics& statistics, const at::Tensor& gamma,
                                   const at::Tensor& beta, double epsilon)
    : statistics_(statistics),
      gamma_(gamma),
      affine_(affine_of(statistics, gamma, beta, epsilon)),
      inverse_deviation_(at::rsqrt(statistics.variance + epsilon)),
      epsilon_(epsilon) {
  const auto options = gamma.options().dtype(at::kDouble);
  sum_ = at::zeros(gamma.sizes(), options);
  product_ = at::zeros(gamma.sizes(), options);
}

bool NormReluBackward::takes_parts(const at::Tensor& input) {
  Rows rows;
  return rows_of(input, rows);
}

void NormReluBackward::add(const at::Tensor& output_gradient, const at::Tensor& input) {
  count_ += input.numel() / std::max<int64_t>(input.size(1), 1);
  Rows g, x;
  if (!rows_of(output_gradient, g) || !rows_of(input, x)) {
    TORCH_CHECK(
        !by_aten_.defined() && count_ == input.numel() / std::max<int64_t>(input.size(1), 1),
        "ATen takes no gradients in parts");
    const auto passed =
        at::threshold_backward(output_gradient, activated_by_aten(input, affine_), 0);
    std::tie(by_aten_, product_, sum_) = at::native_batch_norm_backward(
        passed, input, gamma_, {}, {}, statistics_.mean, inverse_deviation_,
        /*train=*/true, epsilon_, {true, true, true});
    return;
  }
  const float *scale = affine_.scale.data_ptr<float>(), *shift = affine_.shift.data_ptr<float>(),
              *mean = statistics_.mean.data_ptr<float>();
  const auto sums =
      sums_over_pieces(x, [&](int64_t begin, int64_t end, float* sum, float* products) {
        add_gradients(g.row(begin), g.stride, x.row(begin), x.stride, end - begin, x.channels,
                      scale, shift, mean, sum, products);
      });
  double *sum = sum_.data_ptr<double>(), *product = product_.data_ptr<double>();
  for (int64_t i = 0; i < x.channels; ++i) {
    sum[i] += sums[i];
    product[i] += sums[x.channels + i];
  }
}

void NormReluBackward::finish(at::Tensor& gamma_gradient, at::Tensor& beta_gradient) {
  beta_gradient.copy_(sum_);
  if (by_aten_.defined()) {
    gamma_gradient.copy_(product_);
    return;
  }
  gamma_gradient.copy_(product_ * inverse_deviation_);
  const auto scale =
      affine_.scale.to(at::kDouble) / static_cast<double>(std::max<int64_t>(count_, 1));
  const auto slope = scale * inverse_deviation_.to(at::kDouble).square() * product_;
  slope_ = slope.to(affine_.scale.scalar_type());
  constant_ = (scale * sum_ - slope * statistics_.mean).to(affine_.scale.scalar_type());
}

void NormReluBackward::write(const at::Tensor& output_gradient, const at::Tensor& input,
                             at::Tensor& input_gradient, bool accumulate) const {
  if (by_aten_.defined()) {
    accumulate ? input_gradient.add_(by_aten_) : input_gradient.copy_(by_aten_);
    return;
  }
  Rows g, x, dx;
  TORCH_CHECK(rows_of(output_gradient, g) && rows_of(input, x) && rows_of(input_gradient, dx),
              "gradients of a norm lie otherwise than its input");
  const float *scale = affine_.scale.data_ptr<float>(), *shift = affine_.shift.data_ptr<float>();
  const float *constant = constant_.data_ptr<float>(), *slope = slope_.data_ptr<float>();
  const auto write_rows = accumulate ? add_gradient : set_gradient;
  for_each_piece(x.count, x.channels, [&](int64_t, int64_t begin, int64_t end) {
    write_rows(g.row(begin), g.stride, x.row(begin), x.stride, dx.row(begin), dx.stride,
               end - begin, x.channels, scale, shift, constant, slope);
  });
}

}  // namespace ossify
