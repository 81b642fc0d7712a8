// Adds the slabs of a split product and applies its epilogue.
//
// Floor: 4 (slabs + 1) bytes for each element of C and what the epilogue reads; slabs are written just
// before, so much of it comes from the L2 cache.
#include <primitives/launch.h>

#include "common/dtype.h"
#include "common/vector.cuh"
#include "gemm/epilogue.cuh"
#include "gemm/split_k.h"

namespace native::cuda {
namespace {

constexpr int kThreads = 256, kColumns = 8;  // columns of one thread

struct SlabReduction {
  SlabSums sums;
  int64_t m, n, rows;  // rows of the whole batch
  float* row_sum;
  bool accumulate_row_sum;
};

__device__ __forceinline__ void reduce_row_sum(const SlabReduction& r, int64_t row) {
  float sum = 0;
  for (int slab = 0; slab < r.sums.slabs; ++slab) sum += r.sums.row_sums[slab * r.m + row];
  r.row_sum[row] = r.accumulate_row_sum ? r.row_sum[row] + sum : sum;
}

template <class C>
__global__ void __launch_bounds__(kThreads)
    split_k_reduce_kernel(const __grid_constant__ SlabReduction r,
                          const __grid_constant__ Epilogue<C> epilogue) {
  wait_for_previous_grid();
  const int64_t chunks = r.sums.pitch / kColumns;
  const int64_t index = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const int64_t row = index / chunks;  // of the batch
  if (row >= r.rows) return;
  const int64_t batch = row / r.m, row_in_matrix = row - batch * r.m;
  const int column = static_cast<int>(index - row * chunks) * kColumns;
  const float* source = r.sums.data + (batch * r.sums.slabs * r.m + row_in_matrix) * r.sums.pitch + column;
  const int64_t slab_stride = r.m * r.sums.pitch;
  if (column == 0 && r.row_sum) reduce_row_sum(r, row);
  const int columns = static_cast<int>(r.n), row_of_c = static_cast<int>(row_in_matrix);
  if (!epilogue.vectors || column + kColumns > columns) {
    for (int c = 0; c < kColumns && column + c < columns; ++c) {
      float sum = 0;
      for (int slab = 0; slab < r.sums.slabs; ++slab) sum += source[slab * slab_stride + c];
      write_element(epilogue, batch, row_of_c, column + c, sum);
    }
    return;
  }
  const int64_t at = element_of(epilogue, batch, row_of_c, column);
  const auto inputs = load_inputs<kColumns>(epilogue, at);
  float values[kColumns] = {}, bias[kColumns];
  load_bias(epilogue, column, columns, bias);
#pragma unroll 4
  for (int slab = 0; slab < r.sums.slabs; ++slab) {
    float part[kColumns];
    load_floats(source + slab * slab_stride, part);
#pragma unroll
    for (int i = 0; i < kColumns; ++i) values[i] += part[i];
  }
  write_result(epilogue, at, bias, inputs, values);
}

}  // namespace

void reduce_slabs(const GemmArgs& args, const SlabSums& sums) {
  const int64_t rows = args.m * (args.sum_batch ? 1 : args.batch);
  const SlabReduction reduction{
      sums, args.m, args.n, rows, args.epilogue.row_sum, args.epilogue.accumulate_row_sum};
  visit_device_float(args.c_dtype, [&](auto tag) {
    using C = typename decltype(tag)::type;
    LaunchShape shape;
    shape.grid = dim3(blocks_for(rows * (sums.pitch / kColumns), kThreads));
    shape.threads = kThreads;
    launch_kernel(split_k_reduce_kernel<C>, shape, reduction, make_epilogue<C>(args));
  });
}

}  // namespace native::cuda
