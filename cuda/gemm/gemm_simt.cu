// The matrix product in plain float32 arithmetic: exact for float32 operands, and for 16-bit ones whose
// addresses the tensor-core kernels cannot take.
//
// A block computes a tile of C, a thread 2 x 2 groups of 4 x 4 (or one) of its elements. Both operands' steps
// lie in shared memory with the summed index outermost, so that a thread reads its rows and columns as
// float4; the next step is on its way from global memory, in registers, while this one is multiplied.
//
// Floor: 2 m n k operations at the float32 rate; the loop does 64 multiply-adds for 4 reads of 16 bytes.
#include <primitives/launch.h>

#include "common/dtype.h"
#include "gemm/gemm_simt.h"
#include "gemm/tiled_gemm.cuh"

namespace native::cuda {
namespace {

// Eight warps, 2 x 4; lanes 8 x 4; a thread has kThread rows and columns, in groups of 4.
template <int kTile_, int kDepth_, int kThread_>
struct SimtShape {
  static constexpr int kThreads = 256, kTile = kTile_, kDepth = kDepth_, kThread = kThread_;
  static constexpr int kPitch = kTile + 4;  // floats; spreads the columns of an operand that is read by k
  static_assert(kTile == 16 * kThread && kTile * kDepth == 4 * kThreads,
                "four elements of a step per thread");
};
using LargeShape = SimtShape<128, 8, 8>;
using SmallShape = SimtShape<64, 16, 4>;

template <class Shape>
struct SimtShared {
  float a[2][Shape::kDepth][Shape::kPitch], b[2][Shape::kDepth][Shape::kPitch];
};

// Brings one operand's steps from global to shared memory, four neighbouring elements per thread.
template <class T, class Shape>
class SimtLoader {
 public:
  __device__ SimtLoader(const TiledOperand<T>& operand, int64_t matrix, int first, int extent)
      : operand_(operand), by_k_(operand.major == Major::k) {
    const int chunk = static_cast<int>(threadIdx.x);
    constexpr int kChunksByK = Shape::kDepth / 4, kChunks = Shape::kTile / 4;
    mn_ = by_k_ ? chunk / kChunksByK : chunk % kChunks * 4;
    k_ = by_k_ ? chunk % kChunksByK * 4 : chunk / kChunks;
    left_ = extent - first - mn_;
    matrix_ = operand.data + matrix * operand.batch_stride +
              (by_k_ ? (first + mn_) * operand.pitch : static_cast<int64_t>(first + mn_));
  }

  // Reads step `step` of matrix `batch`, zeros beyond the `k` of the product.
  __device__ void load(int64_t batch, int step, int k) {
    const int at = step * Shape::kDepth + k_;
    const T* source = matrix_ + batch * operand_.batch_stride + (by_k_ ? at : at * operand_.pitch);
    const int along = by_k_ ? k - at : left_, across = by_k_ ? left_ : k - at;
    load_elements(source, operand_.vectors && along >= 4 && across > 0, across > 0 ? along : 0, values_);
  }

  __device__ void store(float (&tile)[Shape::kDepth][Shape::kPitch]) const {
    if (by_k_) {
#pragma unroll
      for (int i = 0; i < 4; ++i) tile[k_ + i][mn_] = values_[i];
    } else {
      store_floats(&tile[k_][mn_], values_);
    }
  }

 private:
  const TiledOperand<T>& operand_;
  const T* matrix_;
  float values_[4];
  bool by_k_;
  int mn_, k_, left_;
};

template <int kThread, int kPitch>
__device__ __forceinline__ void load_thread_values(const float (&row)[kPitch], int first, int stride,
                                                   float (&values)[kThread]) {
#pragma unroll
  for (int group = 0; group < kThread / 4; ++group) {
    float four[4];
    load_floats(&row[first + group * stride], four);
#pragma unroll
    for (int i = 0; i < 4; ++i) values[4 * group + i] = four[i];
  }
}

// Four neighbouring sums of a row: to the slab's scratch, or through the epilogue to C.
template <class T>
__device__ __forceinline__ void write_four(const TiledGemm<T>& gemm, const BlockTask& task, int row,
                                           int column, const float (&bias)[4], float (&values)[4]) {
  if (gemm.sums.data) return store_sums(gemm, task, row, column, values);
  if constexpr (std::is_same_v<T, float>) {
    if (gemm.epilogue.vectors && column + 4 <= gemm.n) {
      const int64_t at = element_of(gemm.epilogue, task.batch, row, column);
      return write_result(gemm.epilogue, at, bias, load_inputs<4>(gemm.epilogue, at), values);
    }
  }
#pragma unroll
  for (int c = 0; c < 4; ++c) {
    if (column + c < gemm.n) write_element(gemm.epilogue, task.batch, row, column + c, values[c]);
  }
}

template <class T, class Shape>
__global__ void __launch_bounds__(Shape::kThreads, 2)
    gemm_simt_kernel(const __grid_constant__ TiledGemm<T> gemm) {
  wait_for_previous_grid();
  constexpr int kThread = Shape::kThread, kRowStride = 32, kColumnStride = 16;
  auto& shared = shared_memory<SimtShared<Shape>>();
  const BlockTask task = block_task<Shape::kTile, Shape::kTile>(gemm);
  const int warp = warp_index(), lane = lane_index();
  const int row = warp / 4 * (Shape::kTile / 2) + lane / 4 * 4;  // of the thread's first element in the tile
  const int column = warp % 4 * (Shape::kTile / 4) + lane % 4 * 4;

  SimtLoader<T, Shape> a(gemm.a, task.batch, task.row, gemm.m);
  SimtLoader<T, Shape> b(gemm.b, task.batch, task.column, gemm.n);
  int matrix = 0, step = task.first;  // the next to load
  if (gemm.steps_per_matrix) {
    matrix = task.first / gemm.steps_per_matrix;
    step = task.first - matrix * gemm.steps_per_matrix;
  }
  const auto load = [&] {
    a.load(matrix, step, gemm.k);
    b.load(matrix, step, gemm.k);
    if (++step == gemm.steps_per_matrix) {
      step = 0;
      ++matrix;
    }
  };
  const auto store = [&](int buffer) {
    a.store(shared.a[buffer]);
    b.store(shared.b[buffer]);
  };

  float sums[kThread][kThread] = {}, row_sum = 0;
  const int summed_row = static_cast<int>(threadIdx.x);  // by this thread, for row_sums
  const bool sum_rows = gemm.sums.row_sums && task.column == 0 && summed_row < Shape::kTile;
  if (task.first < task.last) {
    load();
    store(0);
    block_barrier();
  }
  for (int i = task.first; i < task.last; ++i) {
    const int buffer = (i - task.first) & 1;
    const bool more = i + 1 < task.last;
    if (more) load();
#pragma unroll 2  // more would keep more values than there are registers
    for (int k = 0; k < Shape::kDepth; ++k) {
      float x[kThread], y[kThread];
      load_thread_values(shared.a[buffer][k], row, kRowStride, x);
      load_thread_values(shared.b[buffer][k], column, kColumnStride, y);
#pragma unroll
      for (int r = 0; r < kThread; ++r) {
#pragma unroll
        for (int c = 0; c < kThread; ++c) sums[r][c] = fmaf(x[r], y[c], sums[r][c]);
      }
    }
    if (sum_rows) {
#pragma unroll
      for (int k = 0; k < Shape::kDepth; ++k) row_sum += shared.a[buffer][k][summed_row];
    }
    if (more) {  // the other buffer was read before the last barrier
      store(buffer ^ 1);
      block_barrier();
    }
  }

#pragma unroll
  for (int group = 0; group < kThread / 4; ++group) {
    const int first = task.column + column + group * kColumnStride;
    float bias[4] = {};
    if (!gemm.sums.data) load_bias(gemm.epilogue, first, gemm.n, bias);
#pragma unroll
    for (int r = 0; r < kThread; ++r) {
      const int at_row = task.row + row + r / 4 * kRowStride + r % 4;
      if (at_row >= gemm.m) continue;
      float values[4];
#pragma unroll
      for (int c = 0; c < 4; ++c) values[c] = sums[r][4 * group + c];
      write_four(gemm, task, at_row, first, bias, values);
    }
  }
  if (sum_rows && task.row + summed_row < gemm.m) {
    gemm.sums.row_sums[static_cast<int64_t>(task.slab) * gemm.m + task.row + summed_row] = row_sum;
  }
}

constexpr TileKind kTiles[] = {{128, 128, 8, 0.9f}, {64, 64, 16, 0.6f}};

template <class T, class Shape>
void run(const GemmArgs& args, int slabs) {
  run_tiled<T>(args, Shape::kTile, Shape::kTile, Shape::kDepth, slabs,
               [](const TiledGemm<T>& gemm, unsigned blocks) {
                 LaunchShape shape;
                 shape.grid = dim3(blocks);
                 shape.threads = Shape::kThreads;
                 shape.shared_bytes = sizeof(SimtShared<Shape>);
                 launch_kernel(gemm_simt_kernel<T, Shape>, shape, gemm);
               });
}

}  // namespace

void gemm_simt(const GemmArgs& args, const Tiling& tiling) {
  visit_device_float(args.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    tiling.kind == 0 ? run<T, LargeShape>(args, tiling.slabs) : run<T, SmallShape>(args, tiling.slabs);
  });
}

void gemm_simt(const GemmArgs& args) { gemm_simt(args, remembered_tiling(kTiles, product_shape(args))); }

}  // namespace native::cuda
