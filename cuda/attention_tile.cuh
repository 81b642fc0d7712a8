// Tiles of 16-bit rows in shared memory and the tensor-core fragments read from and written to them, for
// attention. Heads have up to 64 columns; narrower ones are padded with zeros in shared memory, which changes
// neither logits nor sums.
#pragma once

#include <cmath>
#include <primitives/tensor_core.cuh>

#include "attention.h"
#include "common/swizzle.cuh"

namespace native::cuda::attention {

inline constexpr int kHeadColumns = 64, kColumnSteps = kHeadColumns / 16;
inline constexpr int kChunksPerRow = kHeadColumns / 8;  // of 16 bytes

// Where 16-byte chunk `chunk` of row `row` lies in a tile of `kColumns` elements per row. The same chunk of
// eight consecutive rows covers all banks once: fragments are read and written without conflicts.
template <int kColumns = kHeadColumns, class T>
__device__ __forceinline__ T* chunk_of(T* tile, int row, int chunk) {
  return tile + swizzle<2 * kColumns>(row * 2 * kColumns + chunk * 16) / 2;
}

// Starts copying rows 0 .. rows - 1 of a head into a tile and zeros into the rows up to `padded` and into
// columns that the head does not have. Thread t of `threads` takes chunks t, t + threads, ...
template <class T>
__device__ __forceinline__ void copy_rows_async(T* tile, const T* source, int64_t stride, int rows,
                                                int padded, int head_chunks, int thread, int threads) {
#pragma unroll 1
  for (int i = thread; i < padded * kChunksPerRow; i += threads) {
    const int row = i / kChunksPerRow, chunk = i % kChunksPerRow;
    const bool exists = row < rows && chunk < head_chunks;
    copy_async_16(chunk_of(tile, row, chunk), exists ? source + row * stride + chunk * 8 : source,
                  exists ? 16 : 0);
  }
}

// In what follows `row` is a multiple of 8, which the permutation of chunks does not see: a lane's place
// relative to it is the same everywhere, and 16 columns further on is one exclusive or in the address.
// (Written so, because the compiler would keep a register per step of every operand otherwise.)

// A lane's chunk when the lane gives row `lane_row` of 16 and half `half` of 16 columns to a matrix load.
template <class T>
__device__ __forceinline__ const T* lane_chunk(const T* tile, int row, int step, int lane_row, int half) {
  const T* first = chunk_of(tile + row * kHeadColumns, lane_row, half);
  return reinterpret_cast<const T*>(reinterpret_cast<uintptr_t>(first) ^ static_cast<uintptr_t>(step << 5));
}

// Fragment of a left operand: rows row .. row + 15 of the tile, columns 16 step .. 16 step + 15.
template <class T>
__device__ __forceinline__ void load_left(uint32_t (&a)[4], const T* tile, int row, int step) {
  const int lane = lane_index();
  load_matrix_x4(a, lane_chunk(tile, row, step, lane & 15, lane >> 4));
}

// A lane's chunk for a left operand tileᵀ, a tile of 32 columns: its columns column .. column + 15, of the
// first 16 rows.
template <class T>
__device__ __forceinline__ const T* left_transposed_chunk(const T* tile, int column) {
  const int lane = lane_index();
  return chunk_of<32>(tile, (lane & 7) + ((lane >> 4) << 3), column / 8 + ((lane >> 3) & 1));
}

// Fragments of two right operands of 8 columns, side by side.
struct RightPair {
  uint32_t first[2], second[2];
};

// Right operand = tileᵀ: its columns are rows row .. row + 15 of the tile, summed over are columns 16 step ..
template <class T>
__device__ __forceinline__ RightPair load_right_transposed(const T* tile, int row, int step) {
  const int lane = lane_index();
  uint32_t r[4];
  load_matrix_x4(r, lane_chunk(tile, row, step, (lane & 7) + ((lane >> 4) << 3), (lane >> 3) & 1));
  return {{r[0], r[1]}, {r[2], r[3]}};
}
// Right operand = tile: its columns are 16 step .. of the tile, summed over are rows row .. row + 15.
template <class T>
__device__ __forceinline__ const T* right_chunk(const T* tile, int row, int step) {
  const int lane = lane_index();
  return lane_chunk(tile, row, step, lane & 15, lane >> 4);
}
template <class T>
__device__ __forceinline__ RightPair load_right_chunk(const T* chunk) {
  uint32_t r[4];
  load_matrix_x4_transposed(r, chunk);
  return {{r[0], r[1]}, {r[2], r[3]}};
}
template <class T>
__device__ __forceinline__ RightPair load_right(const T* tile, int row, int step) {
  return load_right_chunk(right_chunk(tile, row, step));
}

// 16 columns of a product's result (two fragments) as the left operand of another product.
template <class T>
__device__ __forceinline__ void as_left(uint32_t (&a)[4], const float (&low)[4], const float (&high)[4]) {
  a[0] = pack2<T>(low[0], low[1]);
  a[1] = pack2<T>(low[2], low[3]);
  a[2] = pack2<T>(high[0], high[1]);
  a[3] = pack2<T>(high[2], high[3]);
}

// Among the four lanes 4 i .. 4 i + 3: word j of lane c goes to word c of lane j. Four fragments, of which
// every lane has one word each, become one fragment's 16 bytes of a row per lane.
__device__ __forceinline__ void transpose_quad(uint32_t (&w)[4]) {
  const bool odd = lane_index() & 1, high = lane_index() & 2;
#pragma unroll
  for (int j = 0; j < 4; j += 2) {
    const uint32_t other = shuffle_xor(odd ? w[j] : w[j + 1], 1);
    (odd ? w[j] : w[j + 1]) = other;
  }
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    const uint32_t other = shuffle_xor(high ? w[j] : w[j + 2], 2);
    (high ? w[j] : w[j + 2]) = other;
  }
}

// Stores 16 rows of a result [16, 64] times `scale[row half]`: row r at `target + r * stride` for the rows
// and chunks that exist.
template <class T>
__device__ __forceinline__ void store_result(T* target, int64_t stride, int rows, int head_chunks,
                                             const float (&result)[kChunksPerRow][4],
                                             const float (&scale)[2]) {
  const int lane = lane_index();
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = lane / 4 + 8 * half;
#pragma unroll
    for (int first = 0; first < kChunksPerRow; first += 4) {
      uint32_t words[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const float(&d)[4] = result[first + j];
        words[j] = pack2<T>(d[2 * half] * scale[half], d[2 * half + 1] * scale[half]);
      }
      transpose_quad(words);
      const int chunk = first + lane % 4;
      if (row < rows && chunk < head_chunks) {
        store_vector(reinterpret_cast<uint4*>(target + row * stride + chunk * 8),
                     uint4{words[0], words[1], words[2], words[3]});
      }
    }
  }
}

__host__ __device__ constexpr int smaller(int a, int b) { return a < b ? a : b; }

inline constexpr float kLog2E = 1.44269504088896340736f, kLn2 = 0.69314718055994530942f;

}  // namespace native::cuda::attention
