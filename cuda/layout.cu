// Strided copies. Elements are moved as plain words. Rows that are contiguous on both sides are copied in the
// widest words (up to 16 bytes) that their addresses allow, transpositions go through square tiles in shared
// memory. Floor: every byte read once and written once.
#include <primitives/launch.h>

#include <algorithm>
#include <primitives/device.cuh>

#include "common/clear.h"
#include "common/strided.cuh"
#include "common/strided_copy.h"
#include "common/vector.cuh"
#include "common/words.h"
#include "ops/layout.h"

namespace native {
namespace {

using namespace cuda;

constexpr int kThreads = 256;
constexpr int kItems = 4;  // words in flight per thread
constexpr int kTile = 64;

// Word w of row r, at x[.. + w x_step], for `items` words in all; block b takes kThreads kItems of them.
template <class Word>
__global__ void __launch_bounds__(kThreads)
    copy_rows_kernel(const Word* x, Word* __restrict__ y, const __grid_constant__ StridedRows rows,
                     Divisor row_words, int64_t x_step, int64_t y_step, int64_t items) {
  wait_for_previous_grid();
  const int64_t start = static_cast<int64_t>(blockIdx.x) * kThreads * kItems + threadIdx.x;
  Word words[kItems];
  int64_t target[kItems];
#pragma unroll
  for (int k = 0; k < kItems; ++k) {
    const int64_t item = start + k * kThreads;
    if (item >= items) continue;
    int64_t position, source;
    const int64_t row = row_words.divide(item, &position);
    rows.offsets(row, &source, &target[k]);
    words[k] = x[source + position * x_step];
    target[k] += position * y_step;
  }
#pragma unroll
  for (int k = 0; k < kItems; ++k) {
    if (start + k * kThreads < items) y[target[k]] = words[k];
  }
}

// y[row][column] = x[column][row] for matrices that `matrices` enumerates: x is contiguous along rows (step
// of a column: x_step), y along columns (step of a row: y_step). The pitch keeps columns of the tile in
// different banks.
template <class Word>
__global__ void __launch_bounds__(kThreads)
    copy_tiles_kernel(const Word* x, Word* __restrict__ y, const __grid_constant__ StridedRows matrices,
                      Divisor row_tiles, Divisor column_tiles, int64_t height, int64_t width, int64_t x_step,
                      int64_t y_step) {
  wait_for_previous_grid();
  constexpr int kPitch = kTile + (sizeof(Word) < 4 ? 4 / static_cast<int>(sizeof(Word)) : 1);
  constexpr int kWarps = kThreads / kWarpSize;
  struct Shared {
    Word tile[kTile][kPitch];  // [row][column]
  };
  Shared& shared = shared_memory<Shared>();
  int64_t column, row, x_offset, y_offset;
  const int64_t matrix = row_tiles.divide(column_tiles.divide(blockIdx.x, &column), &row);
  matrices.offsets(matrix, &x_offset, &y_offset);
  row *= kTile;
  column *= kTile;
  x += x_offset + row + column * x_step;
  y += y_offset + row * y_step + column;
#pragma unroll 4
  for (int c = warp_index(); c < kTile; c += kWarps) {
#pragma unroll
    for (int r = lane_index(); r < kTile; r += kWarpSize) {
      if (column + c < width && row + r < height) shared.tile[r][c] = x[c * x_step + r];
    }
  }
  block_barrier();
#pragma unroll 4
  for (int r = warp_index(); r < kTile; r += kWarps) {
#pragma unroll
    for (int c = lane_index(); c < kTile; c += kWarpSize) {
      if (column + c < width && row + r < height) y[r * y_step + c] = shared.tile[r][c];
    }
  }
}

// The dimension along which x is contiguous when its innermost is not but y's is: a transposition; else -1.
int transposed_dimension(const StridedLoop& loop) {
  if (loop.ndim < 2 || loop.stride[0][loop.ndim - 1] <= 1 || loop.stride[1][loop.ndim - 1] != 1) return -1;
  for (int d = 0; d < loop.ndim - 1; ++d) {
    if (loop.stride[0][d] == 1) return d;
  }
  return -1;
}

template <class Word>
void copy_tiles(const StridedCopyArgs& a, int across) {
  StridedLoop loop = a.loop;  // [matrices ..., height, width]
  for (int d = across; d + 2 < loop.ndim; ++d) {
    std::swap(loop.size[d], loop.size[d + 1]);
    for (auto& stride : loop.stride) std::swap(stride[d], stride[d + 1]);
  }
  const int row_dim = loop.ndim - 2, column_dim = loop.ndim - 1;
  const int64_t height = loop.size[row_dim], width = loop.size[column_dim];
  StridedLoop matrices = loop;
  matrices.ndim -= 1;
  const int64_t row_tiles = (height + kTile - 1) / kTile, column_tiles = (width + kTile - 1) / kTile;
  constexpr size_t kShared = kTile * (kTile + (sizeof(Word) < 4 ? 4 / sizeof(Word) : 1)) * sizeof(Word);
  launch_kernel(copy_tiles_kernel<Word>,
                LaunchShape{blocks_for(matrices.rows() * row_tiles * column_tiles, 1), kThreads, kShared},
                static_cast<const Word*>(a.x), static_cast<Word*>(a.y), StridedRows(matrices),
                Divisor(row_tiles), Divisor(column_tiles), height, width, loop.stride[0][column_dim],
                loop.stride[1][row_dim]);
}

template <class Word>
void copy_rows(const void* x, void* y, const StridedLoop& loop) {
  const int64_t inner = loop.inner(), items = loop.rows() * inner;
  const int last = loop.ndim - 1;
  launch_kernel(copy_rows_kernel<Word>, LaunchShape{blocks_for(items, kThreads * kItems), kThreads},
                static_cast<const Word*>(x), static_cast<Word*>(y), StridedRows(loop), Divisor(inner),
                last < 0 ? 0 : loop.stride[0][last], last < 0 ? 0 : loop.stride[1][last], items);
}

// Contiguous rows in the widest words that divide their length, strides and addresses: the same loop with
// other elements. Returns the size of a word.
int widen(const StridedCopyArgs& a, StridedLoop* loop) {
  const int last = loop->ndim - 1;
  if (last < 0 || loop->stride[0][last] != 1 || loop->stride[1][last] != 1) return a.element_size;
  uint64_t all = reinterpret_cast<uintptr_t>(a.x) | reinterpret_cast<uintptr_t>(a.y);
  all |= static_cast<uint64_t>(loop->size[last] * a.element_size);
  for (int d = 0; d < last; ++d) {
    all |= static_cast<uint64_t>((loop->stride[0][d] | loop->stride[1][d]) * a.element_size);
  }
  const int word = widest_word(all), factor = word / a.element_size;
  loop->size[last] /= factor;
  for (int d = 0; d < last; ++d) {
    loop->stride[0][d] /= factor;
    loop->stride[1][d] /= factor;
  }
  return word;
}

REGISTER_KERNEL(strided_copy, cuda, copy_strided);

}  // namespace

void cuda::copy_strided(const StridedCopyArgs& a) {
  if (a.clear) clear_memory(a.y_base, static_cast<size_t>(a.clear));
  if (a.numel == 0) return;
  const int across = transposed_dimension(a.loop);
  if (across >= 0) {
    visit_element(a.element_size, [&](auto tag) { copy_tiles<typename decltype(tag)::type>(a, across); });
    return;
  }
  StridedLoop loop = a.loop;
  visit_word(widen(a, &loop), [&](auto tag) { copy_rows<typename decltype(tag)::type>(a.x, a.y, loop); });
}

}  // namespace native
