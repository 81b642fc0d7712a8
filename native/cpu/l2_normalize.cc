// L2 normalisation on the CPU, a row per step.
#include "ops/l2_normalize.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/parallel.h"
#include "cpu/float_rows.h"
#include "cpu/simd.h"

namespace native {
namespace {

SIMD_CLONES float forward_row(const float* x, float* y, int64_t dim, float eps) {
  float squares = 0;
#pragma omp simd reduction(+ : squares)
  for (int64_t i = 0; i < dim; ++i) squares += x[i] * x[i];
  const float norm = std::max(std::sqrt(squares), eps);
  const float scale = 1.0f / norm;
#pragma omp simd
  for (int64_t i = 0; i < dim; ++i) y[i] = x[i] * scale;
  return norm;
}

// dx = (dy - n sum(dy n)) / |x| with n = x / |x|; below eps the norm is a constant and the second term is
// gone.
SIMD_CLONES void backward_row(const float* dy, const float* x, float norm, float* dx, int64_t dim,
                              float eps) {
  const float scale = 1.0f / norm;
  float dot = 0;
#pragma omp simd reduction(+ : dot)
  for (int64_t i = 0; i < dim; ++i) dot += dy[i] * x[i];
  dot = norm > eps ? dot * scale * scale : 0.0f;
#pragma omp simd
  for (int64_t i = 0; i < dim; ++i) dx[i] = (dy[i] - x[i] * dot) * scale;
}

int64_t row_grain(int64_t dim) { return std::max<int64_t>(1, 16384 / dim); }

void forward(const L2NormalizeArgs& a) {
  parallel_for(a.rows, row_grain(a.dim), [&](int64_t begin, int64_t end) {
    std::vector<float> buffer(a.dtype == DType::float32 ? 0 : 2 * a.dim);
    for (int64_t row = begin; row < end; ++row) {
      const float* x = read_floats(a.x, a.dtype, row * a.dim, a.dim, buffer.data());
      float* y = target_floats(a.y, a.dtype, row * a.dim, buffer.data() + a.dim);
      a.norm[row] = forward_row(x, y, a.dim, a.eps);
      write_floats(y, a.y, a.dtype, row * a.dim, a.dim);
    }
  });
}

void backward(const L2NormalizeBackwardArgs& a) {
  parallel_for(a.rows, row_grain(a.dim), [&](int64_t begin, int64_t end) {
    std::vector<float> buffer(a.dtype == DType::float32 ? 0 : 3 * a.dim);
    for (int64_t row = begin; row < end; ++row) {
      const float* dy = read_floats(a.dy, a.dtype, row * a.dim, a.dim, buffer.data());
      const float* x = read_floats(a.x, a.dtype, row * a.dim, a.dim, buffer.data() + a.dim);
      float* dx = target_floats(a.dx, a.dtype, row * a.dim, buffer.data() + 2 * a.dim);
      backward_row(dy, x, a.norm[row], dx, a.dim, a.eps);
      write_floats(dx, a.dx, a.dtype, row * a.dim, a.dim);
    }
  });
}

REGISTER_KERNEL(l2_normalize_forward, cpu, forward);
REGISTER_KERNEL(l2_normalize_backward, cpu, backward);

}  // namespace
}  // namespace native
