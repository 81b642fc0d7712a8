// One operand of the tensor-core product of sm_80: its steps come from global to shared memory in the
// background, 16 bytes at a time, and from there into the registers of the products. Both majors, without a
// transposition in memory: ldmatrix reads rows of k, or turns columns round.
//
// A step of an operand, kExtent of its own index by kDepth of k, lies in shared memory in rows as it does in
// global memory: by k, rows of kDepth elements (64 or 128 bytes); by its own index, panels of 64 of it, in
// which every k has a row of 128 bytes. The chunks of a row are swizzled, so that ldmatrix's eight rows never
// share a bank.
#pragma once

#include <primitives/tensor_core.cuh>

#include "common/swizzle.cuh"
#include "gemm/tiled_gemm.cuh"

namespace native::cuda {

template <Major kMajor, int kExtent, int kDepth>
struct OperandLayout {
  static constexpr int kBytes = 2 * kExtent * kDepth;
  static constexpr int kRowBytes = kMajor == Major::k ? 2 * kDepth : 128;
  static_assert(kExtent % 64 == 0 && (kDepth == 32 || kDepth == 64),
                "whole panels, rows of one swizzle span");

  // The byte at which element (mn, k) lies.
  static __device__ __forceinline__ int offset(int mn, int k) {
    if constexpr (kMajor == Major::k) return swizzle<kRowBytes>(mn * kRowBytes + 2 * k);
    return mn / 64 * (kDepth * 128) + swizzle<128>(k * 128 + mn % 64 * 2);
  }
};

// Copies the steps of a block's rows (A) or columns (B). All threads of the block together.
template <class T, Major kMajor, int kExtent, int kDepth, int kThreads>
class OperandLoader {
  using Layout = OperandLayout<kMajor, kExtent, kDepth>;
  static constexpr bool kByK = kMajor == Major::k;
  static constexpr int kChunks = (kByK ? kDepth : kExtent) / 8;  // in a row of global memory
  static constexpr int kRowStep = kThreads / kChunks, kRows = kByK ? kExtent : kDepth;
  static constexpr int kCopies = kRows / kRowStep;
  static_assert(kThreads % kChunks == 0 && kRows % kRowStep == 0 && kRowStep % 8 == 0,
                "same swizzle in all copies");

 public:
  // Starts at element `first` of `extent` of matrix `batch`, at k = `depth`.
  __device__ __forceinline__ OperandLoader(const TiledOperand<T>& operand, int64_t batch, int first,
                                           int extent, int depth) {
    const int thread = static_cast<int>(threadIdx.x), row = thread / kChunks, chunk = thread % kChunks * 8;
    row_ = row;
    chunk_ = chunk;
    left_ = extent - first - (kByK ? row : chunk);
    target_ = kByK ? Layout::offset(row, chunk) : Layout::offset(chunk, row);
    row_step_ = 2 * kRowStep * operand.pitch;
    const int64_t mn = first + (kByK ? row : chunk), k = depth + (kByK ? chunk : row);
    source_ =
        reinterpret_cast<const unsigned char*>(operand.data + batch * operand.batch_stride +
                                               (kByK ? mn * operand.pitch + k : k * operand.pitch + mn));
  }

  // Issues the copies of the next step, which has `k_left` of k, into `stage`. Elements outside are zeros.
  __device__ __forceinline__ void load(unsigned char* stage, int k_left) {
    const int along =
        kByK ? k_left - chunk_ : left_;  // elements from the chunk's first to the end of its row
    const int bytes = along >= 8 ? 16 : along > 0 ? 2 * along : 0;
    const int across = kByK ? left_ : k_left - row_;  // rows from the thread's first to the last
    const unsigned char* source = source_;
#pragma unroll
    for (int i = 0; i < kCopies; ++i) {
      copy_async_16(stage + target_ + i * kRowStep * Layout::kRowBytes, source,
                    i * kRowStep < across ? bytes : 0);
      source += row_step_;
    }
    source_ = kByK ? source_ + 2 * kDepth : source;
  }

  // From the end of one matrix to the start of the next.
  __device__ __forceinline__ void next_matrix(const TiledOperand<T>& operand, int steps_per_matrix) {
    const int64_t walked = static_cast<int64_t>(steps_per_matrix) * kDepth;
    source_ += 2 * (operand.batch_stride - (kByK ? walked : walked * operand.pitch));
  }

 private:
  const unsigned char* source_;
  int64_t row_step_;  // bytes between the rows of a thread's copies
  int target_, row_, chunk_, left_;
};

// Reads the fragments of a warp's kWarpExtent rows (A) or columns (B), 16 of them by 16 of k at a time.
template <Major kMajor, int kExtent, int kDepth, int kWarpExtent, bool kIsA>
class FragmentReader {
  using Layout = OperandLayout<kMajor, kExtent, kDepth>;
  static_assert(64 % kWarpExtent == 0, "a warp stays within a panel");

 public:
  // ldmatrix takes the row addresses of four 8 x 8 matrices from lanes 0-7, 8-15, 16-23 and 24-31. A's
  // registers are rows 0-7 and 8-15 of the first 8 k, then of the second; B's are both halves of k of columns
  // 0-7, then of columns 8-15.
  __device__ __forceinline__ explicit FragmentReader(int warp) {
    const int lane = lane_index(), matrix = lane / 8, row = lane % 8;
    const int half_mn = kIsA ? matrix % 2 : matrix / 2, half_k = kIsA ? matrix / 2 : matrix % 2;
    const int mn = warp * kWarpExtent + half_mn * 8, k = half_k * 8;
    lane_ = kMajor == Major::k ? Layout::offset(mn + row, k) : Layout::offset(mn, k + row);
  }

  // Block `block` of 16 of the warp's rows or columns, 16 `part` .. 16 `part` + 15 of the step's k.
  __device__ __forceinline__ void load(const unsigned char* stage, int block, int part,
                                       uint32_t (&r)[4]) const {
    // Steps along a row change only bits of the chunk number, and commute with the swizzle as an XOR.
    if constexpr (kMajor == Major::k) {
      load_matrix_x4(r, stage + (lane_ ^ part * 32) + block * 16 * Layout::kRowBytes);
    } else {
      load_matrix_x4_transposed(r, stage + (lane_ ^ block * 32) + part * 16 * Layout::kRowBytes);
    }
  }

 private:
  int lane_;
};

}  // namespace native::cuda
