// Softmax on the CPU, a row per step.
#include "ops/softmax.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/parallel.h"
#include "cpu/float_rows.h"
#include "cpu/simd.h"
#include "cpu/vector_math.h"

namespace native {
namespace {

SIMD_CLONES void forward_row(const float* x, float* y, int64_t dim, bool logarithm) {
  float largest = -std::numeric_limits<float>::infinity();
#pragma omp simd reduction(max : largest)
  for (int64_t i = 0; i < dim; ++i) largest = x[i] > largest ? x[i] : largest;
  float sum = 0;
  if (logarithm) {
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < dim; ++i) sum += vector_exp(x[i] - largest);
    const float log_sum = std::log(sum);
#pragma omp simd
    for (int64_t i = 0; i < dim; ++i) y[i] = x[i] - largest - log_sum;
    return;
  }
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < dim; ++i) {
    const float e = vector_exp(x[i] - largest);
    y[i] = e;
    sum += e;
  }
  const float scale = 1.0f / sum;
#pragma omp simd
  for (int64_t i = 0; i < dim; ++i) y[i] *= scale;
}

// dx = y (dy - sum(dy y)), or dy - exp(y) sum(dy) for the logarithm.
SIMD_CLONES void backward_row(const float* dy, const float* y, float* dx, int64_t dim, bool logarithm) {
  float sum = 0;
  if (logarithm) {
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < dim; ++i) sum += dy[i];
#pragma omp simd
    for (int64_t i = 0; i < dim; ++i) dx[i] = dy[i] - vector_exp(y[i]) * sum;
    return;
  }
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < dim; ++i) sum += dy[i] * y[i];
#pragma omp simd
  for (int64_t i = 0; i < dim; ++i) dx[i] = y[i] * (dy[i] - sum);
}

int64_t row_grain(int64_t dim) { return std::max<int64_t>(1, 8192 / dim); }

void forward(const SoftmaxArgs& a) {
  parallel_for(a.rows, row_grain(a.dim), [&](int64_t begin, int64_t end) {
    std::vector<float> buffer(a.dtype == DType::float32 ? 0 : 2 * a.dim);
    for (int64_t row = begin; row < end; ++row) {
      const float* x = read_floats(a.x, a.dtype, row * a.dim, a.dim, buffer.data());
      float* y = target_floats(a.y, a.dtype, row * a.dim, buffer.data() + a.dim);
      forward_row(x, y, a.dim, a.logarithm);
      write_floats(y, a.y, a.dtype, row * a.dim, a.dim);
    }
  });
}

void backward(const SoftmaxBackwardArgs& a) {
  parallel_for(a.rows, row_grain(a.dim), [&](int64_t begin, int64_t end) {
    std::vector<float> buffer(a.dtype == DType::float32 ? 0 : 3 * a.dim);
    for (int64_t row = begin; row < end; ++row) {
      const float* dy = read_floats(a.dy, a.dtype, row * a.dim, a.dim, buffer.data());
      const float* y = read_floats(a.y, a.dtype, row * a.dim, a.dim, buffer.data() + a.dim);
      float* dx = target_floats(a.dx, a.dtype, row * a.dim, buffer.data() + 2 * a.dim);
      backward_row(dy, y, dx, a.dim, a.logarithm);
      write_floats(dx, a.dx, a.dtype, row * a.dim, a.dim);
    }
  });
}

REGISTER_KERNEL(softmax_forward, cpu, forward);
REGISTER_KERNEL(softmax_backward, cpu, backward);

}  // namespace
}  // namespace native
