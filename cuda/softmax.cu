// Softmax and its logarithm, a team of threads per row. Floors for n elements of s bytes: 2 n s bytes
// forward, 3 n s backward; the further passes over a row are served by the caches. Two exponentials per
// element forward.
#include "common/dtype.h"
#include "common/team.cuh"
#include "ops/softmax.h"

namespace native {
namespace {

using namespace cuda;

template <class T, int warps, int width>
__global__ void __launch_bounds__(kTeamThreads, 4)
    softmax_rows_kernel(const T* x, T* __restrict__ y, int64_t rows, int64_t dim, bool logarithm) {
  wait_for_previous_grid();
  constexpr int64_t kStep = Team<warps>::kThreads * width;
  const int64_t row = Team<warps>::row(), first = Team<warps>::thread() * width;
  if (row >= rows) return;
  x += row * dim;
  y += row * dim;
  float values[width], largest = -INFINITY, sum = 0;
#pragma unroll 4
  for (int64_t column = first; column < dim; column += kStep) {
    load_floats(x + column, values);
#pragma unroll
    for (int i = 0; i < width; ++i) largest = fmaxf(largest, values[i]);
  }
  largest = Team<warps>::reduce(Largest{}, largest);
  for (int64_t column = first; column < dim; column += kStep) {
    load_floats(x + column, values);
#pragma unroll
    for (int i = 0; i < width; ++i) sum += expf(values[i] - largest);
  }
  sum = Team<warps>::reduce(Add{}, sum);
  const float log_sum = logf(sum), scale = 1.0f / sum;
  for (int64_t column = first; column < dim; column += kStep) {
    load_floats(x + column, values);
#pragma unroll
    for (int i = 0; i < width; ++i) {
      const float centred = values[i] - largest;
      values[i] = logarithm ? centred - log_sum : expf(centred) * scale;
    }
    store_floats(y + column, values);
  }
}

// dx = y (dy - sum(dy y)), or dy - exp(y) sum(dy) for the logarithm.
template <class T, int warps, int width>
__global__ void __launch_bounds__(kTeamThreads, 4)
    softmax_slope_kernel(const T* dy, const T* y, T* __restrict__ dx, int64_t rows, int64_t dim,
                         bool logarithm) {
  wait_for_previous_grid();
  constexpr int64_t kStep = Team<warps>::kThreads * width;
  const int64_t row = Team<warps>::row(), first = Team<warps>::thread() * width;
  if (row >= rows) return;
  dy += row * dim;
  y += row * dim;
  dx += row * dim;
  float gradient[width], result[width], sum = 0;
#pragma unroll 2
  for (int64_t column = first; column < dim; column += kStep) {
    load_floats(dy + column, gradient);
    load_floats(y + column, result);
#pragma unroll
    for (int i = 0; i < width; ++i) sum += logarithm ? gradient[i] : gradient[i] * result[i];
  }
  sum = Team<warps>::reduce(Add{}, sum);
  for (int64_t column = first; column < dim; column += kStep) {
    load_floats(dy + column, gradient);
    load_floats(y + column, result);
#pragma unroll
    for (int i = 0; i < width; ++i) {
      result[i] = logarithm ? gradient[i] - expf(result[i]) * sum : result[i] * (gradient[i] - sum);
    }
    store_floats(dx + column, result);
  }
}

void forward(const SoftmaxArgs& a) {
  visit_device_float(a.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    visit_team<T>(a.dim, {a.x, a.y}, [&](auto warps, auto width) {
      launch_kernel(softmax_rows_kernel<T, warps, width>, team_launch(a.rows, warps),
                    static_cast<const T*>(a.x), static_cast<T*>(a.y), a.rows, a.dim, a.logarithm);
    });
  });
}

void backward(const SoftmaxBackwardArgs& a) {
  visit_device_float(a.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    visit_team<T>(a.dim, {a.dy, a.y, a.dx}, [&](auto warps, auto width) {
      launch_kernel(softmax_slope_kernel<T, warps, width>, team_launch(a.rows, warps),
                    static_cast<const T*>(a.dy), static_cast<const T*>(a.y), static_cast<T*>(a.dx), a.rows,
                    a.dim, a.logarithm);
    });
  });
}

REGISTER_KERNEL(softmax_forward, cuda, forward);
REGISTER_KERNEL(softmax_backward, cuda, backward);

}  // namespace
}  // namespace native
