// Layer normalisation backward, with the gradient that a residual connection adds. A warp owns a row, which
// for D <= 1024 stays in registers between the passes over it, so that memory sees every tensor once.
//
// Floor, M rows of D elements of s bytes: 3 M D s bytes (dy, x, dx), 4 M D s with the residual gradient;
// about 14 operations per element, far from binding. What comes on top are the partial sums of the parameter
// gradients: written once by every block, and read by the second kernel, at 264 blocks of 132
// multiprocessors 1.6 MB of second-level cache at D = 768, two rounds of eight loads.
#include <primitives/launch.h>

#include <algorithm>
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
constexpr int kPersistentBlocks = 2;  // per multiprocessor, where threads hold rows and the sums over them
constexpr int kSlices = 32;           // shares of the last sum over blocks, and
constexpr int kSliceColumns = 16;     // the columns of its blocks

// Warps of such a block: what registers allow, for rows of T of up to `columns` elements. Few large blocks
// leave few partial sums, which the second kernel has to read.
template <class T>
constexpr int persistent_warps(int64_t columns) {
  return sizeof(T) == 2 ? (columns <= 768 ? 8 : 6) : (columns <= 512 ? 6 : 4);
}

template <class T>
struct BackwardOperands {
  const T* dy;
  RowMap<const T> x;
  RowMap<T> dx;
  const T* residual;  // laid out as x, or null
  const float *weight, *mean, *rstd;
  int64_t rows, dim;
};

// Persistent: a warp takes rows w, w + (warps of the grid), ... and keeps the sums of its columns' parameter
// gradients in registers. The block adds those of its warps in order and leaves one partial [2, D] (weight,
// bias). dx = rstd (w dy - mean(w dy) - n mean(w dy n)) + residual with n the normalised row.
template <class T, int width, int chunks>
__global__ void __launch_bounds__(persistent_warps<T>(chunks* width* kWarpSize) * kWarpSize,
                                  kPersistentBlocks)
    layer_norm_backward_rows_kernel(const BackwardOperands<T> a, float* __restrict__ partial) {
  wait_for_previous_grid();
  constexpr int kStep = kWarpSize * width, kColumns = chunks * kStep;
  constexpr int kWarpsHere = persistent_warps<T>(kColumns);
  struct Shared {
    float sums[kWarpsHere][2][kColumns];
  };
  const int dim = static_cast<int>(a.dim), first = lane_index() * width;
  const float scale = 1.0f / static_cast<float>(dim);
  float dweight[chunks][width] = {}, dbias[chunks][width] = {};
  for (int64_t row = static_cast<int64_t>(blockIdx.x) * kWarpsHere + warp_index(); row < a.rows;
       row += static_cast<int64_t>(gridDim.x) * kWarpsHere) {
    bool appended;
    const T* x = a.x.row(row, &appended);
    T* dx = a.dx.row(row, &appended);
    const T* residual = a.residual && !appended ? a.residual + (dx - a.dx.x) : nullptr;
    Packed<T, width> dy_raw[chunks], x_raw[chunks], residual_raw[chunks];
#pragma unroll
    for (int c = 0; c < chunks; ++c) {
      const int column = first + c * kStep;
      if (column >= dim) continue;
      dy_raw[c] = load_packed_streaming<width>(a.dy + row * dim + column);
      x_raw[c] = load_packed_streaming<width>(x + column);
      if (residual) residual_raw[c] = load_packed_streaming<width>(residual + column);
    }
    const float mean = a.mean[row], rstd = a.rstd[row];
    float sum = 0, dot = 0;
#pragma unroll
    for (int c = 0; c < chunks; ++c) {
      if (first + c * kStep >= dim) continue;
      float dy[width], normal[width], weight[width];
      unpack(dy_raw[c], dy);
      unpack(x_raw[c], normal);
      load_floats(a.weight + first + c * kStep, weight);
#pragma unroll
      for (int i = 0; i < width; ++i) {
        normal[i] = (normal[i] - mean) * rstd;
        dbias[c][i] += dy[i];
        dweight[c][i] = fmaf(dy[i], normal[i], dweight[c][i]);
        sum = fmaf(dy[i], weight[i], sum);
        dot = fmaf(dy[i] * weight[i], normal[i], dot);
      }
    }
    sum = warp_reduce(Add{}, sum) * scale;
    dot = warp_reduce(Add{}, dot) * scale;
#pragma unroll
    for (int c = 0; c < chunks; ++c) {
      if (first + c * kStep >= dim) continue;
      float dy[width], value[width], weight[width], added[width] = {};
      unpack(dy_raw[c], dy);
      unpack(x_raw[c], value);
      load_floats(a.weight + first + c * kStep, weight);
      if (residual) unpack(residual_raw[c], added);
#pragma unroll
      for (int i = 0; i < width; ++i) {
        const float normal = (value[i] - mean) * rstd;
        value[i] = fmaf(rstd, fmaf(dy[i], weight[i], -sum) - normal * dot, added[i]);
      }
      store_floats(dx + first + c * kStep, value);
    }
  }
  Shared& shared = shared_memory<Shared>();
  auto& own = shared.sums[warp_index()];
#pragma unroll
  for (int c = 0; c < chunks; ++c) {
#pragma unroll
    for (int i = 0; i < width; ++i) {
      own[0][first + c * kStep + i] = dweight[c][i];
      own[1][first + c * kStep + i] = dbias[c][i];
    }
  }
  block_barrier();
  for (int i = static_cast<int>(threadIdx.x); i < 2 * dim; i += kWarpsHere * kWarpSize) {
    const int which = i < dim ? 0 : 1, column = i < dim ? i : i - dim;
    float sum = shared.sums[0][which][column];
#pragma unroll
    for (int warp = 1; warp < kWarpsHere; ++warp) sum += shared.sums[warp][which][column];
    partial[static_cast<int64_t>(blockIdx.x) * 2 * dim + i] = sum;
  }
}

// Any D, in two kernels: dx by rows, and partial sums of the parameter gradients by columns.
template <class T, int width>
__global__ void __launch_bounds__(kThreads) layer_norm_backward_long_kernel(const BackwardOperands<T> a) {
  wait_for_previous_grid();
  constexpr int64_t kStep = kWarpSize * width;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kWarps + warp_index();
  if (row >= a.rows) return;
  bool appended;
  const T* x = a.x.row(row, &appended);
  T* dx = a.dx.row(row, &appended);
  const T* residual = a.residual && !appended ? a.residual + (dx - a.dx.x) : nullptr;
  const T* dy = a.dy + row * a.dim;
  const float mean = a.mean[row], rstd = a.rstd[row];
  float sum = 0, dot = 0, gradient[width], value[width], weight[width];
  for (int64_t column = lane_index() * width; column < a.dim; column += kStep) {
    load_floats(dy + column, gradient);
    load_floats(x + column, value);
    load_floats(a.weight + column, weight);
#pragma unroll
    for (int i = 0; i < width; ++i) {
      sum = fmaf(gradient[i], weight[i], sum);
      dot = fmaf(gradient[i] * weight[i], (value[i] - mean) * rstd, dot);
    }
  }
  sum = warp_reduce(Add{}, sum) / static_cast<float>(a.dim);
  dot = warp_reduce(Add{}, dot) / static_cast<float>(a.dim);
  for (int64_t column = lane_index() * width; column < a.dim; column += kStep) {
    float added[width] = {};
    load_floats(dy + column, gradient);
    load_floats(x + column, value);
    load_floats(a.weight + column, weight);
    if (residual) load_floats(residual + column, added);
#pragma unroll
    for (int i = 0; i < width; ++i) {
      const float normal = (value[i] - mean) * rstd;
      value[i] = fmaf(rstd, fmaf(gradient[i], weight[i], -sum) - normal * dot, added[i]);
    }
    store_floats(dx + column, value);
  }
}

// Block (c, p): columns 256 c + thread over rows p, p + parts, ...
template <class T>
__global__ void __launch_bounds__(kThreads)
    layer_norm_partial_kernel(const BackwardOperands<T> a, float* __restrict__ partial) {
  wait_for_previous_grid();
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (column >= a.dim) return;
  float dweight = 0, dbias = 0;
  for (int64_t row = blockIdx.y; row < a.rows; row += gridDim.y) {
    bool appended;
    const float dy = to_float(a.dy[row * a.dim + column]), x = to_float(a.x.row(row, &appended)[column]);
    dweight = fmaf(dy, (x - a.mean[row]) * a.rstd[row], dweight);
    dbias += dy;
  }
  partial[(static_cast<int64_t>(blockIdx.y) * 2) * a.dim + column] = dweight;
  partial[(static_cast<int64_t>(blockIdx.y) * 2 + 1) * a.dim + column] = dbias;
}

// dweight, dbias = the sum over `parts` of partial [parts, 2 D]: slice s adds parts s, s + kSlices, ..., then
// the slices are added in order.
__global__ void __launch_bounds__(kSlices* kSliceColumns)
    layer_norm_parameters_kernel(const float* partial, int64_t parts, int64_t dim,
                                 float* __restrict__ dweight, float* __restrict__ dbias) {
  wait_for_previous_grid();
  struct Shared {
    float sums[kSlices][kSliceColumns];
  };
  Shared& shared = shared_memory<Shared>();
  const int slice = static_cast<int>(threadIdx.x) / kSliceColumns;
  const int lane = static_cast<int>(threadIdx.x) % kSliceColumns;
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kSliceColumns + lane;
  float sum = 0;
  if (column < 2 * dim) {
#pragma unroll 8
    for (int64_t part = slice; part < parts; part += kSlices) sum += partial[part * 2 * dim + column];
  }
  shared.sums[slice][lane] = sum;
  block_barrier();
  if (slice > 0 || column >= 2 * dim) return;
#pragma unroll
  for (int s = 1; s < kSlices; ++s) sum += shared.sums[s][lane];
  (column < dim ? dweight[column] : dbias[column - dim]) = sum;
}

template <class T>
void backward_of(const LayerNormBackwardArgs& args, const BackwardOperands<T>& a) {
  const bool vectors = a.dim % kVectorWidth<T> == 0 && aligned({args.dy, args.x, args.append, args.weight,
                                                                args.residual, args.dx, args.dappend});
  const bool in_registers = vectors && a.dim <= kMaxColumns;
  const int warps = persistent_warps<T>(a.dim);
  const Context& context = current_context();
  const int64_t parts = in_registers
                            ? context.persistent_blocks((a.rows + warps - 1) / warps,
                                                        kPersistentBlocks * context.multiprocessors())
                            : std::min<int64_t>((a.rows + 63) / 64, 256);
  const Scratch partial(static_cast<size_t>(parts * 2 * a.dim) * sizeof(float));  // [parts, 2, dim]
  if (in_registers) {
    visit_chunks<T>(a.dim, [&](auto chunks) {
      const size_t shared = warps * 2 * sizeof(float) * chunks * kWarpSize * kVectorWidth<T>;
      launch_kernel(layer_norm_backward_rows_kernel<T, kVectorWidth<T>, chunks>,
                    LaunchShape{static_cast<unsigned>(parts), warps * kWarpSize, shared}, a,
                    partial.data<float>());
    });
  } else {
    visit_width<T>(vectors, [&](auto width) {
      launch_kernel(layer_norm_backward_long_kernel<T, width>,
                    LaunchShape{blocks_for(a.rows, kWarps), kThreads}, a);
    });
    launch_kernel(layer_norm_partial_kernel<T>,
                  LaunchShape{dim3(blocks_for(a.dim, kThreads), static_cast<unsigned>(parts)), kThreads}, a,
                  partial.data<float>());
  }
  launch_kernel(layer_norm_parameters_kernel,
                LaunchShape{blocks_for(2 * a.dim, kSliceColumns), kSlices * kSliceColumns,
                            sizeof(float) * kSlices * kSliceColumns},
                partial.data<float>(), parts, a.dim, args.dweight, args.dbias);
}

void backward(const LayerNormBackwardArgs& a) {
  visit_device_float(a.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    backward_of<T>(a, {static_cast<const T*>(a.dy),
                       row_map(static_cast<const T*>(a.x), static_cast<const T*>(a.append), a.length, a.dim),
                       row_map(static_cast<T*>(a.dx), static_cast<T*>(a.dappend), a.length, a.dim),
                       static_cast<const T*>(a.residual), a.weight, a.mean, a.rstd,
                       a.sequences * (a.length + (a.append ? 1 : 0)), a.dim});
  });
}

REGISTER_KERNEL(layer_norm_backward, cuda, backward);

}  // namespace
}  // namespace native
