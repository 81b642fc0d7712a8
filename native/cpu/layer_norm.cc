// Layer normalisation on the CPU: a row per step, float32 statistics. Parameter gradients are summed over
// fixed blocks of rows and the blocks in order, so the result does not depend on the number of threads.
#include "ops/layer_norm.h"

#include <cmath>
#include <vector>

#include "core/parallel.h"
#include "cpu/simd.h"
#include "cpu/vector_math.h"

namespace native {
namespace {

constexpr int64_t kRowBlock = 64;

// Row `row` of the (virtual) concatenation of x and append.
template <class T>
const T* input_row(const void* x, const void* append, int64_t row, int64_t length, int64_t dim) {
  if (!append) return static_cast<const T*>(x) + row * dim;
  const int64_t sequence = row / (length + 1), position = row % (length + 1);
  return position < length ? static_cast<const T*>(x) + (sequence * length + position) * dim
                           : static_cast<const T*>(append) + sequence * dim;
}

template <class T>
SIMD_CLONES void forward_row(const T* x, const float* weight, const float* bias, T* y, int64_t dim, float eps,
                             float* mean_out, float* rstd_out) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < dim; ++i) sum += static_cast<float>(x[i]);
  const float mean = sum / static_cast<float>(dim);
  float squares = 0;
#pragma omp simd reduction(+ : squares)
  for (int64_t i = 0; i < dim; ++i) {
    const float centred = static_cast<float>(x[i]) - mean;
    squares += centred * centred;
  }
  const float rstd = 1.0f / std::sqrt(squares / static_cast<float>(dim) + eps);
#pragma omp simd
  for (int64_t i = 0; i < dim; ++i)
    store(y + i, (static_cast<float>(x[i]) - mean) * rstd * weight[i] + bias[i]);
  *mean_out = mean;
  *rstd_out = rstd;
}

// dx = rstd (w dy - mean(w dy) - n mean(w dy n)) with n the normalised row.
template <class T>
SIMD_CLONES void backward_row(const T* dy, const T* x, const float* weight, float mean, float rstd,
                              const T* residual, T* dx, float* dweight, float* dbias, int64_t dim) {
  float sum = 0, dot = 0;
#pragma omp simd reduction(+ : sum, dot)
  for (int64_t i = 0; i < dim; ++i) {
    const float gradient = static_cast<float>(dy[i]), normal = (static_cast<float>(x[i]) - mean) * rstd;
    dbias[i] += gradient;
    dweight[i] += gradient * normal;
    sum += gradient * weight[i];
    dot += gradient * weight[i] * normal;
  }
  sum /= static_cast<float>(dim);
  dot /= static_cast<float>(dim);
#pragma omp simd
  for (int64_t i = 0; i < dim; ++i) {
    const float normal = (static_cast<float>(x[i]) - mean) * rstd;
    const float value = rstd * (static_cast<float>(dy[i]) * weight[i] - sum - normal * dot);
    store(dx + i, residual ? value + static_cast<float>(residual[i]) : value);
  }
}

void forward(const LayerNormArgs& a) {
  visit_float(a.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const int64_t rows = a.sequences * (a.length + (a.append ? 1 : 0));
    parallel_for(rows, 16, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        forward_row(input_row<T>(a.x, a.append, row, a.length, a.dim), a.weight, a.bias,
                    static_cast<T*>(a.y) + row * a.dim, a.dim, a.eps, a.mean + row, a.rstd + row);
      }
    });
  });
}

void backward(const LayerNormBackwardArgs& a) {
  visit_float(a.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const int64_t rows = a.sequences * (a.length + (a.append ? 1 : 0));
    const int64_t blocks = (rows + kRowBlock - 1) / kRowBlock;
    std::vector<float> partial(static_cast<size_t>(blocks * 2 * a.dim));  // [blocks, {dweight, dbias}, dim]
    parallel_for(blocks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin * kRowBlock; row < std::min(end * kRowBlock, rows); ++row) {
        float* dweight = partial.data() + row / kRowBlock * 2 * a.dim;
        const T* x = input_row<T>(a.x, a.append, row, a.length, a.dim);
        const bool appended = a.append && row % (a.length + 1) == a.length;
        const int64_t compact = a.append ? row - row / (a.length + 1) : row;
        T* dx = appended ? static_cast<T*>(a.dappend) + row / (a.length + 1) * a.dim
                         : static_cast<T*>(a.dx) + compact * a.dim;
        const T* residual =
            a.residual && !appended ? static_cast<const T*>(a.residual) + compact * a.dim : nullptr;
        backward_row(static_cast<const T*>(a.dy) + row * a.dim, x, a.weight, a.mean[row], a.rstd[row],
                     residual, dx, dweight, dweight + a.dim, a.dim);
      }
    });
    parallel_for(a.dim, 256, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        float dweight = 0, dbias = 0;
        for (int64_t block = 0; block < blocks; ++block) {
          dweight += partial[(block * 2) * a.dim + i];
          dbias += partial[(block * 2 + 1) * a.dim + i];
        }
        a.dweight[i] = dweight;
        a.dbias[i] = dbias;
      }
    });
  });
}

REGISTER_KERNEL(layer_norm_forward, cpu, forward);
REGISTER_KERNEL(layer_norm_backward, cpu, backward);

}  // namespace
}  // namespace native
