// Rows picked by index, and their gradients added back. Floors: gather moves every picked row once each way;
// scatter_add reads every gradient row once and reads and writes the rows of the table that are hit. No order
// of threads shows in the result: a row of the table belongs to the warp of the first index that names it,
// which adds the gradients in the order of the indices. To find them it looks through all indices: count^2 /
// 64 comparisons per 32 lanes, small beside the rows for the tens of thousands of indices of a text batch.
#include <primitives/launch.h>

#include <primitives/device.cuh>

#include "common/clear.h"
#include "common/dtype.h"
#include "common/fault.cuh"
#include "common/vector.cuh"
#include "common/words.h"
#include "ops/gather.h"

namespace native {
namespace {

using namespace cuda;

constexpr int kWarps = 8;
constexpr int kThreads = kWarps * kWarpSize;
constexpr int kRows = 4;  // gradient rows in flight per warp

__device__ __forceinline__ int64_t index_at(const void* index, DType dtype, int64_t i) {
  return dtype == DType::int64 ? static_cast<const int64_t*>(index)[i]
                               : static_cast<const int32_t*>(index)[i];
}

// A warp per index; `row_words` words of a row.
template <class Word>
__global__ void __launch_bounds__(kThreads)
    gather_rows_kernel(const Word* table, const void* index, DType index_dtype, Word* __restrict__ y,
                       int64_t count, int64_t rows, int64_t row_words, int64_t block_rows,
                       FaultReport report) {
  wait_for_previous_grid();
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kWarps + warp_index();
  if (i >= count) return;
  const int64_t picked = index_at(index, index_dtype, i);
  if (picked < 0 || picked >= rows) {
    if (lane_index() == 0) report.index_range(picked, rows);
    return;
  }
  table += (i * block_rows + picked) * row_words;
  y += i * row_words;
#pragma unroll 4
  for (int64_t w = lane_index(); w < row_words; w += kWarpSize) y[w] = table[w];
}

// rows[i] = the row of the table that index i hits, -1 where there is none.
__global__ void __launch_bounds__(kThreads)
    hit_rows_kernel(const void* index, DType index_dtype, int32_t* __restrict__ hit, int64_t count,
                    int64_t rows, int64_t block_rows, FaultReport report) {
  wait_for_previous_grid();
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= count) return;
  const int64_t picked = index_at(index, index_dtype, i);
  const bool valid = picked >= 0 && picked < rows;
  if (!valid) report.index_range(picked, rows);
  hit[i] = valid ? static_cast<int32_t>(i * block_rows + picked) : -1;
}

// table[hit[i]] += dy[i] in the order of i. Warp i works if no earlier index hits its row. Every `row_blocks`
// blocks have 32 width columns. `unique`: no row is hit twice, there is nothing to look for.
template <class Y, class X, int width>
__global__ void __launch_bounds__(kThreads)
    scatter_rows_kernel(const X* dy, const int32_t* hit, Y* __restrict__ table, int64_t count, int64_t dim,
                        unsigned row_blocks, bool unique) {
  wait_for_previous_grid();
  const unsigned columns = blockIdx.x / row_blocks;
  const int64_t own = static_cast<int64_t>(blockIdx.x - columns * row_blocks) * kWarps + warp_index();
  if (own >= count) return;
  const int lane = lane_index(), row = hit[own];
  if (row < 0) return;
  for (int64_t start = 0; !unique && start < own; start += kWarpSize) {
    const int64_t i = start + lane;
    if (any_lane(i < own && hit[i] == row)) return;
  }
  const int64_t column = (static_cast<int64_t>(columns) * kWarpSize + lane) * width;
  const bool active = column < dim;
  Y* target = table + row * dim + column;
  dy += column;
  float sum[width] = {};
  if (active) load_floats(target, sum);
  const int64_t end = unique ? own + 1 : count;
  for (int64_t start = own; start < end; start += kWarpSize) {
    const int64_t i = start + lane;
    const unsigned hits = ballot(i < end && hit[i] == row);
    if (!active) continue;
    for (int first = 0; hits >> first; first += kRows) {
      Packed<X, width> rows[kRows];
#pragma unroll
      for (int k = 0; k < kRows; ++k) {
        if (hits >> (first + k) & 1) rows[k] = load_packed<width>(dy + (start + first + k) * dim);
      }
#pragma unroll
      for (int k = 0; k < kRows; ++k) {
        if (!(hits >> (first + k) & 1)) continue;
        float values[width];
        unpack(rows[k], values);
#pragma unroll
        for (int c = 0; c < width; ++c) sum[c] += values[c];
      }
      if (first + kRows >= kWarpSize) break;
    }
  }
  if (active) store_floats(target, sum);
}

void gather(const GatherArgs& a) {
  const uint64_t all = reinterpret_cast<uintptr_t>(a.table) | reinterpret_cast<uintptr_t>(a.y) |
                       static_cast<uint64_t>(a.row_bytes);
  visit_word(widest_word(all), [&](auto tag) {
    using Word = typename decltype(tag)::type;
    launch_kernel(gather_rows_kernel<Word>, LaunchShape{blocks_for(a.count, kWarps), kThreads},
                  static_cast<const Word*>(a.table), a.index, a.index_dtype, static_cast<Word*>(a.y), a.count,
                  a.rows, a.row_bytes / static_cast<int64_t>(sizeof(Word)), a.block_rows, fault_report());
  });
}

void scatter_add(const ScatterAddArgs& a) {
  if (!a.accumulate) {
    clear_memory(a.dtable, static_cast<size_t>(a.table_rows * a.dim) * dtype_size(a.table_dtype));
  }
  if (a.count == 0) return;
  CHECK(a.table_rows <= INT32_MAX, "ERR_SHAPE", "scatter_add: ", a.table_rows, " rows are more than ",
        INT32_MAX);
  const Scratch hit(static_cast<size_t>(a.count) * sizeof(int32_t));
  launch_kernel(hit_rows_kernel, LaunchShape{blocks_for(a.count, kThreads), kThreads}, a.index, a.index_dtype,
                hit.data<int32_t>(), a.count, a.rows, a.block_rows, fault_report());
  visit_device_float(a.table_dtype, [&](auto table_tag) {
    visit_device_float(a.dtype, [&](auto tag) {
      using Y = typename decltype(table_tag)::type;
      using X = typename decltype(tag)::type;
      constexpr int kWidest = sizeof(X) < sizeof(Y) ? kVectorWidth<Y> : kVectorWidth<X>;
      const auto run = [&](auto width) {
        const unsigned row_blocks = blocks_for(a.count, kWarps);
        const int64_t blocks = int64_t{row_blocks} * blocks_for(a.dim, kWarpSize * width);
        launch_kernel(scatter_rows_kernel<Y, X, width>, LaunchShape{blocks_for(blocks, 1), kThreads},
                      static_cast<const X*>(a.dy), hit.data<int32_t>(), static_cast<Y*>(a.dtable), a.count,
                      a.dim, row_blocks, a.block_rows > 0);
      };
      if (a.dim % kWidest == 0 && aligned({a.dy, a.dtable})) {
        run(std::integral_constant<int, kWidest>{});
      } else {
        run(std::integral_constant<int, 1>{});
      }
    });
  });
}

REGISTER_KERNEL(gather, cuda, gather);
REGISTER_KERNEL(scatter_add, cuda, scatter_add);

}  // namespace
}  // namespace native
