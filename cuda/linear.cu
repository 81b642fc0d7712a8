// Linear layers: matrix products with everything that follows in their epilogues. Two small kernels remain:
// the product with a slope that no matrix product takes along, and bias gradients of weights that take none.
#include <primitives/launch.h>

#include <algorithm>

#include "common/dtype.h"
#include "common/vector.cuh"
#include "gemm/epilogue.cuh"
#include "gemm/gemm.h"
#include "gemm/split_k.h"
#include "ops/linear.h"

namespace native {
namespace {

using namespace cuda;

constexpr int kThreads = 256, kWarps = kThreads / kWarpSize;
constexpr int kColumns = 8;                        // of du, per lane
constexpr int kSlabRows = 512, kMostSlabs = 4096;  // rows per block, but for more slabs than that

// du = dy slope. Floor: 3 elements of memory traffic for each.
template <class T, int width>
__global__ void __launch_bounds__(kThreads)
    linear_multiply_kernel(const T* dy, const T* slope, T* __restrict__ du, int64_t count) {
  wait_for_previous_grid();
  const int64_t at = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * width;
  if (at + width <= count) {
    float values[width], factors[width];
    load_floats(dy + at, values);
    load_floats(slope + at, factors);
#pragma unroll
    for (int i = 0; i < width; ++i) values[i] *= factors[i];
    store_floats(du + at, values);
  } else {
    for (int64_t i = at; i < count; ++i) du[i] = from_float<T>(to_float(dy[i]) * to_float(slope[i]));
  }
}

struct ColumnSums {
  float warps[kWarps][kWarpSize * kColumns];
};

// One slab of the sums of du's columns: slab_rows rows of 256 columns per block; warps take every kWarps'th
// row and are added in order. Floor: du once.
template <class T>
__global__ void __launch_bounds__(kThreads)
    linear_column_sum_kernel(const T* du, int64_t rows, int64_t slab_rows, int columns, bool vectors,
                             SlabSums sums) {
  wait_for_previous_grid();
  auto& shared = shared_memory<ColumnSums>();
  const int warp = warp_index(), local = lane_index() * kColumns;
  const int column = static_cast<int>(blockIdx.x) * kWarpSize * kColumns + local;
  const int64_t first = blockIdx.y * slab_rows;
  const int64_t last = first + slab_rows < rows ? first + slab_rows : rows;
  const bool whole = vectors && column + kColumns <= columns;
  float values[kColumns] = {};
#pragma unroll 4
  for (int64_t row = first + warp; row < last; row += kWarps) {
    float one[kColumns];
    load_elements(du + row * columns + column, whole, columns - column, one);
#pragma unroll
    for (int i = 0; i < kColumns; ++i) values[i] += one[i];
  }
  store_floats(&shared.warps[warp][local], values);
  block_barrier();
  const int thread = static_cast<int>(threadIdx.x), result = column - local + thread;
  if (result >= columns) return;
  float sum = 0;
#pragma unroll
  for (int w = 0; w < kWarps; ++w) sum += shared.warps[w][thread];
  sums.data[blockIdx.y * sums.pitch + result] = sum;
}

void forward(const LinearArgs& args) {
  GemmArgs product{};
  product.m = args.rows;
  product.n = args.out;
  product.k = args.in;
  product.batch = 1;
  product.dtype = args.dtype;
  product.a = {args.x, Major::k, args.in};
  product.b = {args.weight, Major::k, args.in};
  product.c = args.y;
  product.c_pitch = args.out;
  product.c_dtype = args.dtype;
  product.epilogue.bias = args.bias;
  product.epilogue.quick_gelu = args.quick_gelu;
  product.epilogue.slope = args.slope;
  product.epilogue.residual = args.residual;
  gemm(product);
}

void backward_slope(const LinearBackwardSlopeArgs& args) {
  visit_device_float(args.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    visit_width<T>(aligned({args.dy, args.slope, args.du}), [&](auto width) {
      LaunchShape shape;
      shape.grid = dim3(blocks_for(args.count, static_cast<int64_t>(kThreads) * width));
      shape.threads = kThreads;
      launch_kernel(linear_multiply_kernel<T, width>, shape, static_cast<const T*>(args.dy),
                    static_cast<const T*>(args.slope), static_cast<T*>(args.du), args.count);
    });
  });
}

void backward_input(const LinearBackwardInputArgs& args) {
  GemmArgs product{};
  product.m = args.rows;
  product.n = args.in;
  product.k = args.out;
  product.batch = 1;
  product.dtype = args.dtype;
  product.a = {args.du, Major::k, args.out};
  product.b = {args.weight, Major::mn, args.in};
  product.c = args.dx;
  product.c_pitch = args.in;
  product.c_dtype = args.dtype;
  product.epilogue.multiplier = args.slope;
  gemm(product);
}

void backward_bias(const LinearBackwardBiasArgs& args) {
  if (args.out == 0) return;
  // A grid ends at 65,535 blocks in this direction.
  const int64_t slab_rows = std::max<int64_t>(kSlabRows, (args.rows + kMostSlabs - 1) / kMostSlabs);
  const int64_t slabs = (args.rows + slab_rows - 1) / slab_rows;
  const SlabScratch scratch(1, static_cast<int>(slabs), 1, args.out, false);
  visit_device_float(args.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    LaunchShape shape;
    shape.grid = dim3(blocks_for(args.out, kWarpSize * kColumns), static_cast<unsigned>(slabs));
    shape.threads = kThreads;
    shape.shared_bytes = sizeof(ColumnSums);
    const bool vectors = aligned({args.du}) && args.out % kColumns == 0;
    launch_kernel(linear_column_sum_kernel<T>, shape, static_cast<const T*>(args.du), args.rows, slab_rows,
                  static_cast<int>(args.out), vectors, scratch.sums());
  });
  GemmArgs result{};
  result.m = 1;
  result.n = args.out;
  result.k = args.rows;
  result.batch = 1;
  result.dtype = args.dtype;
  result.c = args.dbias;
  result.c_pitch = args.out;
  result.c_dtype = DType::float32;
  result.epilogue.accumulate = args.accumulate;
  reduce_slabs(result, scratch.sums());
}

void backward_weight(const LinearBackwardWeightArgs& args) {
  if (args.in == 0 && args.dbias) {  // no product to take the bias along
    return backward_bias({args.du, args.dbias, args.rows, args.out, args.accumulate_bias, args.dtype});
  }
  GemmArgs product{};
  product.m = args.out;
  product.n = args.in;
  product.k = args.rows;
  product.batch = 1;
  product.dtype = args.dtype;
  product.a = {args.du, Major::mn, args.out};
  product.b = {args.x, Major::mn, args.in};
  product.c = args.dweight;
  product.c_pitch = args.in;
  product.c_dtype = DType::float32;
  product.epilogue.accumulate = args.accumulate;
  product.epilogue.row_sum = args.dbias;
  product.epilogue.accumulate_row_sum = args.accumulate_bias;
  gemm(product);
}

REGISTER_KERNEL(linear_forward, cuda, forward);
REGISTER_KERNEL(linear_backward_slope, cuda, backward_slope);
REGISTER_KERNEL(linear_backward_input, cuda, backward_input);
REGISTER_KERNEL(linear_backward_weight, cuda, backward_weight);
REGISTER_KERNEL(linear_backward_bias, cuda, backward_bias);

}  // namespace
}  // namespace native
