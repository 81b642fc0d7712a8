// The tensor-core product for sm_80 and later, one block per tile of C: cp.async fills a ring of stages, one
// step of k each; ldmatrix reads the next fragments while mma.sync m16n8k16 multiplies the present ones; the
// epilogue turns the sums round in shared memory, so that C is read and written in rows of 16 bytes per lane.
// float32 operands are rounded to tf32 in registers, and multiplied by m16n8k8: as many bytes of k.
//
// Floor per tile: m n k / 1024 clocks of one A100 multiprocessor. A warp of 64 x 64 reads 4 KB of fragments
// from shared memory for 64 x 64 x 16 multiply-adds, half of what the products' time allows.
#pragma once

#include "gemm/gemm_sm80_operand.cuh"

namespace native::cuda {

// kDepthBytes: those of k in a step, 64 or 128.
template <int kTileM_, int kTileN_, int kDepthBytes_, int kStages_, int kWarpsM_, int kWarpsN_, int kBlocks_>
struct Sm80Shape {
  static constexpr int kTileM = kTileM_, kTileN = kTileN_, kDepthBytes = kDepthBytes_, kStages = kStages_;
  static constexpr int kWarpsM = kWarpsM_, kWarpsN = kWarpsN_, kThreads = 32 * kWarpsM * kWarpsN;
  static constexpr int kWarpM = kTileM / kWarpsM, kWarpN = kTileN / kWarpsN;
  static constexpr int kBlocks = kBlocks_;  // on a multiprocessor, which bounds the registers
  static constexpr int kStageBytes = (kTileM + kTileN) * kDepthBytes;
  static constexpr int kSharedBytes = kStages * kStageBytes;
  template <class T>
  static constexpr int kDepth = kDepthBytes / static_cast<int>(sizeof(T));  // elements of k in a step
};

// A warp's 16 rows of float32 sums on their way to rows of C. Rows are 8 words longer than the warp's
// columns, and the halves of a 32-byte pair of chunks change places where eight lanes would meet in one bank.
template <int kColumns>
struct SumRows {
  static constexpr int kPitch = kColumns + 8;
  float values[16 * kPitch];

  static __device__ __forceinline__ int offset(int row, int column) {
    const int turn = kColumns == 64 ? column / 32 : row % 2;
    return row * kPitch + (column ^ turn * 4);
  }
};

template <class T, class Shape, Major kMajorA, Major kMajorB, bool kRowSums>
class Sm80Block {
  static constexpr int kBlocksM = Shape::kWarpM / 16, kBlocksN = Shape::kWarpN / 8,
                       kParts = Shape::kDepthBytes / 32;  // products of 32 bytes of k
  static constexpr int kDepth = Shape::template kDepth<T>;
  using LayoutA = OperandLayout<T, kMajorA, Shape::kTileM, kDepth>;
  using LayoutB = OperandLayout<T, kMajorB, Shape::kTileN, kDepth>;
  using Rows = SumRows<Shape::kWarpN>;
  static constexpr int kPerLane = 8, kLanes = Shape::kWarpN / kPerLane;  // of a row, in the epilogue
  static constexpr int kRowsAtOnce = 32 / kLanes, kPasses = 16 / kRowsAtOnce;
  static constexpr bool kAhead = sizeof(T) == 2;  // float32 would take more registers than there are
  static_assert(kParts > 1, "the next fragments are read while the present ones are multiplied");
  static_assert(Shape::kThreads / 32 * sizeof(Rows) <= Shape::kSharedBytes, "the sums reuse the stages");

  struct Fragments {
    uint32_t a[kBlocksM][4], b[kBlocksN][2];
  };

 public:
  __device__ __forceinline__ explicit Sm80Block(const TiledGemm<T>& gemm)
      : gemm_(gemm),
        task_(block_task<Shape::kTileM, Shape::kTileN>(gemm)),
        stages_(&shared_memory<unsigned char>()),
        warp_m_(warp_index() / Shape::kWarpsN),
        warp_n_(warp_index() % Shape::kWarpsN),
        sum_rows_(kRowSums && task_.column == 0 && warp_n_ == 0) {}

  __device__ __forceinline__ void run() {
    multiply();
    copy_async_wait<0>();
    block_barrier();  // nobody touches the stages any more: the epilogue takes their place
    if (kRowSums && sum_rows_) write_row_sums();
    write();
  }

 private:
  __device__ __forceinline__ void multiply() {
    int matrix = 0, step = task_.first;  // the next to load
    if (gemm_.steps_per_matrix) {
      matrix = step / gemm_.steps_per_matrix;
      step -= matrix * gemm_.steps_per_matrix;
    }
    int k_left = gemm_.k - step * kDepth;
    OperandLoader<T, kMajorA, Shape::kTileM, kDepth, Shape::kThreads> a(gemm_.a, task_.batch + matrix,
                                                                        task_.row, gemm_.m, step * kDepth);
    OperandLoader<T, kMajorB, Shape::kTileN, kDepth, Shape::kThreads> b(gemm_.b, task_.batch + matrix,
                                                                        task_.column, gemm_.n, step * kDepth);
    int to_load = task_.last - task_.first;
    const auto load = [&](int stage) {
      const int present = to_load > 0 ? k_left : 0;  // behind the last step come zeros, without a branch
      a.load(stage_of_a(stage), present);
      b.load(stage_of_b(stage), present);
      copy_async_commit();
      --to_load;
      k_left -= kDepth;
      if (k_left <= 0) {
        k_left = gemm_.k;
        a.next_matrix(gemm_.a, gemm_.steps_per_matrix);
        b.next_matrix(gemm_.b, gemm_.steps_per_matrix);
      }
    };

    for (int stage = 0; stage < Shape::kStages - 1; ++stage) load(stage);
    copy_async_wait<Shape::kStages - 2>();
    block_barrier();
    Fragments fragments[2];
    int stage = 0, fill = Shape::kStages - 1;
    const int steps = task_.last - task_.first;
    if (steps > 0) read(stage, 0, fragments[0]);
    for (int i = 0; i < steps; ++i) {
#pragma unroll
      for (int part = 0; part < kParts; ++part) {
        // The next fragments, of the next stage after the last part. Behind its barrier every warp has read
        // what it needs of this stage, which is the next one to be filled.
        if (part == kParts - 1) {
          copy_async_wait<Shape::kStages - 2>();
          block_barrier();
          stage = stage + 1 == Shape::kStages ? 0 : stage + 1;
        }
        read(stage, (part + 1) % kParts, fragments[(part + 1) % 2]);
        if (part == 0) {
          load(fill);
          fill = fill + 1 == Shape::kStages ? 0 : fill + 1;
        }
        multiply(fragments[part % 2]);
      }
    }
  }

  __device__ __forceinline__ unsigned char* stage_of_a(int stage) const {
    return stages_ + stage * Shape::kStageBytes;
  }
  __device__ __forceinline__ unsigned char* stage_of_b(int stage) const {
    return stages_ + stage * Shape::kStageBytes + LayoutA::kBytes;
  }

  __device__ __forceinline__ void read(int stage, int part, Fragments& fragments) const {
    const FragmentReader<T, kMajorA, Shape::kTileM, kDepth, Shape::kWarpM, true> a(warp_m_);
    const FragmentReader<T, kMajorB, Shape::kTileN, kDepth, Shape::kWarpN, false> b(warp_n_);
#pragma unroll
    for (int i = 0; i < kBlocksM; ++i) a.load(stage_of_a(stage), i, part, fragments.a[i]);
#pragma unroll
    for (int j = 0; j < kBlocksN; j += 2) {
      uint32_t r[4];
      b.load(stage_of_b(stage), j / 2, part, r);
      fragments.b[j][0] = r[0];
      fragments.b[j][1] = r[1];
      fragments.b[j + 1][0] = r[2];
      fragments.b[j + 1][1] = r[3];
    }
  }

  __device__ __forceinline__ void multiply(Fragments& fragments) {
    if constexpr (std::is_same_v<T, float>) {
      if (kRowSums && sum_rows_) add_rows(fragments);
      round(fragments);
    }
#pragma unroll
    for (int i = 0; i < kBlocksM; ++i) {
#pragma unroll
      for (int j = 0; j < kBlocksN; ++j) mma<T>(sums_[i][j], fragments.a[i], fragments.b[j]);
    }
    if constexpr (!std::is_same_v<T, float>) {
      if (kRowSums && sum_rows_) {  // A times a column of ones, in the one block of each row of tiles
        const uint32_t ones[2] = {pack2<T>(1.0f, 1.0f), pack2<T>(1.0f, 1.0f)};
#pragma unroll
        for (int i = 0; i < kBlocksM; ++i) mma<T>(row_sums_[i], fragments.a[i], ones);
      }
    }
  }

  // The elements of A that this lane holds, as they are in memory: their sum needs no rounding to tf32.
  __device__ __forceinline__ void add_rows(const Fragments& fragments) {
#pragma unroll
    for (int i = 0; i < kBlocksM; ++i) {
      const uint32_t(&a)[4] = fragments.a[i];
      row_sums_[i][0] += float_of_bits(a[0]) + float_of_bits(a[2]);
      row_sums_[i][2] += float_of_bits(a[1]) + float_of_bits(a[3]);
    }
  }

  static __device__ __forceinline__ void round(Fragments& fragments) {
#pragma unroll
    for (int i = 0; i < kBlocksM; ++i) {
#pragma unroll
      for (int r = 0; r < 4; ++r) fragments.a[i][r] = to_tf32(fragments.a[i][r]);
    }
#pragma unroll
    for (int j = 0; j < kBlocksN; ++j) {
#pragma unroll
      for (int r = 0; r < 2; ++r) fragments.b[j][r] = to_tf32(fragments.b[j][r]);
    }
  }

  __device__ __forceinline__ void write_row_sums() {
    if constexpr (std::is_same_v<T, float>) {  // each of a row's four lanes has added a quarter of it
#pragma unroll
      for (int i = 0; i < kBlocksM; ++i) {
#pragma unroll
        for (int r = 0; r < 4; r += 2) {
          row_sums_[i][r] += shuffle_xor(row_sums_[i][r], 1);
          row_sums_[i][r] += shuffle_xor(row_sums_[i][r], 2);
        }
      }
    }
    if (lane_index() % 4) return;  // the four lanes of a row hold the same sum
    float* target = gemm_.sums.row_sums + static_cast<int64_t>(task_.slab) * gemm_.m;
#pragma unroll
    for (int i = 0; i < kBlocksM; ++i) {
      const int row = task_.row + warp_m_ * Shape::kWarpM + i * 16 + lane_index() / 4;
      if (row < gemm_.m) target[row] = row_sums_[i][0];
      if (row + 8 < gemm_.m) target[row + 8] = row_sums_[i][2];
    }
  }

  // Each warp turns 16 rows at a time round in its own part of shared memory; a lane then has 8 columns of
  // kPasses of them.
  __device__ __forceinline__ void write() {
    Rows& rows = shared_memory<Rows[Shape::kThreads / 32]>()[warp_index()];
    const int lane = lane_index(), lane_row = lane / kLanes, lane_column = lane % kLanes * kPerLane;
    const int first_row = task_.row + warp_m_ * Shape::kWarpM + lane_row;
    const int column = task_.column + warp_n_ * Shape::kWarpN + lane_column;
    const bool direct =
        !kRowSums && !gemm_.sums.data;  // row sums are of float32 results, which take the way round
    const bool vectors = direct && gemm_.epilogue.vectors && column + kPerLane <= gemm_.n;
    float bias[kPerLane] = {};
    if (direct) load_bias(gemm_.epilogue, column, gemm_.n, bias);
#pragma unroll
    for (int i = 0; i < kBlocksM; ++i) {
      const auto row_of = [&](int pass) { return first_row + i * 16 + pass * kRowsAtOnce; };
      EpilogueInputs<kPerLane, T> inputs[kPasses];  // on their way while the sums turn round
#pragma unroll
      for (int pass = 0; pass < kPasses; ++pass) {
        if (!kAhead || !vectors || row_of(pass) >= gemm_.m) continue;
        inputs[pass] = load_inputs<kPerLane>(gemm_.epilogue, at(row_of(pass), column));
      }
      put(rows, sums_[i]);
      warp_barrier();
#pragma unroll
      for (int pass = 0; pass < kPasses; ++pass) {
        if (row_of(pass) >= gemm_.m) continue;
        const int row = pass * kRowsAtOnce + lane_row;
        if (direct && !vectors) {
          write_elements(rows, row, lane_column, row_of(pass), column);
          continue;
        }
        float values[kPerLane];
        get(rows, row, lane_column, values);
        if (direct) {
          if (!kAhead) inputs[pass] = load_inputs<kPerLane>(gemm_.epilogue, at(row_of(pass), column));
          write_result(gemm_.epilogue, at(row_of(pass), column), bias, inputs[pass], values);
        } else {
          store_sums(gemm_, task_, row_of(pass), column, values);
        }
      }
      warp_barrier();
    }
  }

  __device__ __forceinline__ int64_t at(int row, int column) const {
    return element_of(gemm_.epilogue, task_.batch, row, column);
  }

  static __device__ __forceinline__ void put(Rows& rows, const float (&sums)[kBlocksN][4]) {
    const int row = lane_index() / 4, column = lane_index() % 4 * 2;
#pragma unroll
    for (int j = 0; j < kBlocksN; ++j) {
      *reinterpret_cast<float2*>(rows.values + Rows::offset(row, j * 8 + column)) = {sums[j][0], sums[j][1]};
      *reinterpret_cast<float2*>(rows.values + Rows::offset(row + 8, j * 8 + column)) = {sums[j][2],
                                                                                         sums[j][3]};
    }
  }

  static __device__ __forceinline__ void get(const Rows& rows, int row, int column,
                                             float (&values)[kPerLane]) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float four[4];
      load_floats(rows.values + Rows::offset(row, column + 4 * half), four);
#pragma unroll
      for (int c = 0; c < 4; ++c) values[4 * half + c] = four[c];
    }
  }

  // A lane's columns one by one, where C's rows do not start on 16 bytes or end within them.
  __device__ __forceinline__ void write_elements(const Rows& rows, int row, int column, int c_row,
                                                 int c_column) const {
#pragma unroll 1
    for (int c = 0; c < kPerLane && c_column + c < gemm_.n; ++c) {
      write_element(gemm_.epilogue, task_.batch, c_row, c_column + c,
                    rows.values[Rows::offset(row, column + c)]);
    }
  }

  const TiledGemm<T>& gemm_;
  const BlockTask task_;
  unsigned char* const stages_;
  const int warp_m_, warp_n_;
  const bool sum_rows_;
  float sums_[kBlocksM][kBlocksN][4] = {};
  float row_sums_[kRowSums ? kBlocksM : 1][4] = {};
};

template <class T, class Shape, Major kMajorA, Major kMajorB, bool kRowSums>
__global__ void __launch_bounds__(Shape::kThreads, Shape::kBlocks)
    gemm_sm80_kernel(const __grid_constant__ TiledGemm<T> gemm) {
  wait_for_previous_grid();
  Sm80Block<T, Shape, kMajorA, kMajorB, kRowSums>(gemm).run();
}

}  // namespace native::cuda
