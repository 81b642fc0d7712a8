// Rows scaled to unit length, a team of threads per row. Floors for n elements of s bytes: 2 n s bytes
// forward, 3 n s backward; the second pass over a row is served by the caches.
#include "common/dtype.h"
#include "common/team.cuh"
#include "ops/l2_normalize.h"

namespace native {
namespace {

using namespace cuda;

template <class T, int warps, int width>
__global__ void __launch_bounds__(kTeamThreads, 4)
    l2_normalize_rows_kernel(const T* x, T* __restrict__ y, float* __restrict__ norm_out, int64_t rows,
                             int64_t dim, float eps) {
  wait_for_previous_grid();
  constexpr int64_t kStep = Team<warps>::kThreads * width;
  const int64_t row = Team<warps>::row(), first = Team<warps>::thread() * width;
  if (row >= rows) return;
  x += row * dim;
  y += row * dim;
  float values[width], squares = 0;
#pragma unroll 4
  for (int64_t column = first; column < dim; column += kStep) {
    load_floats(x + column, values);
#pragma unroll
    for (int i = 0; i < width; ++i) squares = fmaf(values[i], values[i], squares);
  }
  const float length = sqrtf(Team<warps>::reduce(Add{}, squares));
  const float norm = length < eps ? eps : length;  // NaN stays
  const float scale = 1.0f / norm;
  for (int64_t column = first; column < dim; column += kStep) {
    load_floats(x + column, values);
#pragma unroll
    for (int i = 0; i < width; ++i) values[i] *= scale;
    store_floats(y + column, values);
  }
  if (Team<warps>::thread() == 0) norm_out[row] = norm;
}

// dx = (dy - n sum(dy n)) / |x| with n = x / |x|; where the norm is eps it is a constant, and the second term
// is gone.
template <class T, int warps, int width>
__global__ void __launch_bounds__(kTeamThreads, 4)
    l2_normalize_slope_kernel(const T* dy, const T* x, const float* norms, T* __restrict__ dx, int64_t rows,
                              int64_t dim, float eps) {
  wait_for_previous_grid();
  constexpr int64_t kStep = Team<warps>::kThreads * width;
  const int64_t row = Team<warps>::row(), first = Team<warps>::thread() * width;
  if (row >= rows) return;
  dy += row * dim;
  x += row * dim;
  dx += row * dim;
  const float norm = norms[row], scale = 1.0f / norm;
  float gradient[width], values[width], dot = 0;
#pragma unroll 2
  for (int64_t column = first; column < dim; column += kStep) {
    load_floats(dy + column, gradient);
    load_floats(x + column, values);
#pragma unroll
    for (int i = 0; i < width; ++i) dot = fmaf(gradient[i], values[i], dot);
  }
  dot = Team<warps>::reduce(Add{}, dot);
  dot = norm > eps ? dot * scale * scale : 0.0f;
  for (int64_t column = first; column < dim; column += kStep) {
    load_floats(dy + column, gradient);
    load_floats(x + column, values);
#pragma unroll
    for (int i = 0; i < width; ++i) values[i] = (gradient[i] - values[i] * dot) * scale;
    store_floats(dx + column, values);
  }
}

void forward(const L2NormalizeArgs& a) {
  visit_device_float(a.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    visit_team<T>(a.dim, {a.x, a.y}, [&](auto warps, auto width) {
      launch_kernel(l2_normalize_rows_kernel<T, warps, width>, team_launch(a.rows, warps),
                    static_cast<const T*>(a.x), static_cast<T*>(a.y), a.norm, a.rows, a.dim, a.eps);
    });
  });
}

void backward(const L2NormalizeBackwardArgs& a) {
  visit_device_float(a.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    visit_team<T>(a.dim, {a.dy, a.x, a.dx}, [&](auto warps, auto width) {
      launch_kernel(l2_normalize_slope_kernel<T, warps, width>, team_launch(a.rows, warps),
                    static_cast<const T*>(a.dy), static_cast<const T*>(a.x), a.norm, static_cast<T*>(a.dx),
                    a.rows, a.dim, a.eps);
    });
  });
}

REGISTER_KERNEL(l2_normalize_forward, cuda, forward);
REGISTER_KERNEL(l2_normalize_backward, cuda, backward);

}  // namespace
}  // namespace native
