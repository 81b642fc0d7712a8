// Layer normalisation forward. A warp owns a row. For D <= 1024 the row stays in registers between the passes
// over it, so that memory sees every tensor once.
//
// Floor, M rows of D elements of s bytes: 2 M D s bytes (x, y) and 8 M (statistics); about 8 operations per
// element, far from binding.
#include <primitives/launch.h>

#include <primitives/device.cuh>

#include "common/dtype.h"
#include "common/reduce.cuh"
#include "layer_norm_rows.cuh"
#include "ops/layer_norm.h"

namespace native {
namespace {

using namespace cuda;

constexpr int kWarps = 8;  // rows that a block has in hand
constexpr int kThreads = kWarps * kWarpSize;

// The row in registers: chunk c of lane l holds elements (32 c + l) width and following.
template <class T, int width, int chunks>
__global__ void __launch_bounds__(kThreads, 4)
    layer_norm_forward_rows_kernel(const RowMap<const T> input, const float* weight, const float* bias,
                                   T* __restrict__ y, float* __restrict__ mean_out,
                                   float* __restrict__ rstd_out, int64_t rows, int dim, float eps) {
  wait_for_previous_grid();
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kWarps + warp_index();
  if (row >= rows) return;
  bool appended;
  const T* x = input.row(row, &appended);
  const int first = lane_index() * width;
  float values[chunks][width] = {};
#pragma unroll
  for (int c = 0; c < chunks; ++c) {
    const int column = first + c * kWarpSize * width;
    if (column < dim) load_floats(x + column, values[c]);
  }
  float sum = 0;
#pragma unroll
  for (int c = 0; c < chunks; ++c) {
#pragma unroll
    for (int i = 0; i < width; ++i) sum += values[c][i];
  }
  const float mean = warp_reduce(Add{}, sum) / static_cast<float>(dim);
  float squares = 0;
#pragma unroll
  for (int c = 0; c < chunks; ++c) {
    if (first + c * kWarpSize * width >= dim) continue;
#pragma unroll
    for (int i = 0; i < width; ++i) {
      values[c][i] -= mean;
      squares = fmaf(values[c][i], values[c][i], squares);
    }
  }
  const float rstd = 1.0f / sqrtf(warp_reduce(Add{}, squares) / static_cast<float>(dim) + eps);
#pragma unroll
  for (int c = 0; c < chunks; ++c) {
    const int column = first + c * kWarpSize * width;
    if (column >= dim) continue;
    float w[width], b[width];
    load_floats(weight + column, w);
    load_floats(bias + column, b);
#pragma unroll
    for (int i = 0; i < width; ++i) values[c][i] = fmaf(values[c][i] * rstd, w[i], b[i]);
    store_floats(y + row * dim + column, values[c]);
  }
  if (lane_index() == 0) {
    mean_out[row] = mean;
    rstd_out[row] = rstd;
  }
}

// Any D: the row is read once from memory and twice more from the first-level cache.
template <class T, int width>
__global__ void __launch_bounds__(kThreads)
    layer_norm_forward_long_kernel(const RowMap<const T> input, const float* weight, const float* bias,
                                   T* __restrict__ y, float* __restrict__ mean_out,
                                   float* __restrict__ rstd_out, int64_t rows, int64_t dim, float eps) {
  wait_for_previous_grid();
  constexpr int64_t kStep = kWarpSize * width;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kWarps + warp_index();
  if (row >= rows) return;
  bool appended;
  const T* x = input.row(row, &appended);
  const int64_t first = lane_index() * width;
  float values[width], sum = 0, squares = 0;
  for (int64_t column = first; column < dim; column += kStep) {
    load_floats(x + column, values);
#pragma unroll
    for (int i = 0; i < width; ++i) sum += values[i];
  }
  const float mean = warp_reduce(Add{}, sum) / static_cast<float>(dim);
  for (int64_t column = first; column < dim; column += kStep) {
    load_floats(x + column, values);
#pragma unroll
    for (int i = 0; i < width; ++i) squares = fmaf(values[i] - mean, values[i] - mean, squares);
  }
  const float rstd = 1.0f / sqrtf(warp_reduce(Add{}, squares) / static_cast<float>(dim) + eps);
  for (int64_t column = first; column < dim; column += kStep) {
    float w[width], b[width];
    load_floats(x + column, values);
    load_floats(weight + column, w);
    load_floats(bias + column, b);
#pragma unroll
    for (int i = 0; i < width; ++i) values[i] = fmaf((values[i] - mean) * rstd, w[i], b[i]);
    store_floats(y + row * dim + column, values);
  }
  if (lane_index() == 0) {
    mean_out[row] = mean;
    rstd_out[row] = rstd;
  }
}

void forward(const LayerNormArgs& a) {
  visit_device_float(a.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const int64_t rows = a.sequences * (a.length + (a.append ? 1 : 0));
    const LaunchShape shape{blocks_for(rows, kWarps), kThreads};
    const auto input = row_map(static_cast<const T*>(a.x), static_cast<const T*>(a.append), a.length, a.dim);
    const bool vectors = a.dim % kVectorWidth<T> == 0 && aligned({a.x, a.append, a.weight, a.bias, a.y});
    T* y = static_cast<T*>(a.y);
    if (vectors && a.dim <= kMaxColumns) {
      visit_chunks<T>(a.dim, [&](auto chunks) {
        launch_kernel(layer_norm_forward_rows_kernel<T, kVectorWidth<T>, chunks>, shape, input, a.weight,
                      a.bias, y, a.mean, a.rstd, rows, static_cast<int>(a.dim), a.eps);
      });
      return;
    }
    visit_width<T>(vectors, [&](auto width) {
      launch_kernel(layer_norm_forward_long_kernel<T, width>, shape, input, a.weight, a.bias, y, a.mean,
                    a.rstd, rows, a.dim, a.eps);
    });
  });
}

REGISTER_KERNEL(layer_norm_forward, cuda, forward);

}  // namespace
}  // namespace native
