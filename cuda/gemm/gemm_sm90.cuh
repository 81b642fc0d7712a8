// The matrix product of sm_90a: wgmma fed by TMA. A block is three warpgroups and stays on its multiprocessor
// for all its tiles. Warpgroup 0 moves data: warp 0 loads operands into a ring of stages of 64 k, warps 1 and
// 2 store the results of warpgroups 1 and 2 (gemm_sm90_epilogue.cuh). Those multiply: together on one tile
// (cooperative), or each on its own tiles in turn, so that one's epilogue runs under the other's products
// (ping-pong), which pays when k is short.
//
// Floors of a product [m, n, k] in 16 bits: 2 m n k operations at 989 TFLOP/s, 2 (m k + n k + m n) bytes. Per
// clock and multiprocessor a tile 128 x N needs 64 (128 + N) / (N / 2) bytes from L2: 53 at N = 192, 48 at
// 256, against about 46 on offer; a cluster of two blocks that share B brings it to 37 and 32.
#pragma once

#include <primitives/wgmma.cuh>

#include "common/ring.cuh"
#include "gemm/gemm_sm90_schedule.cuh"

namespace native::cuda {

// A tile of kM x kN. Each multiplying warpgroup holds kBlocks blocks of 64 rows; its results pass through
// kSlots slots of 8 KB. kTickets: clusters take their work as they become free.
template <bool kPingPong_, int kBlocks_, int kN_, int kStages_, int kSlots_, bool kTickets_ = false>
struct Sm90Tile {
  static constexpr bool kPingPong = kPingPong_;
  static constexpr int kBlocks = kBlocks_, kN = kN_, kStages = kStages_, kSlots = kSlots_;
  static constexpr int kM = 64 * kBlocks * (kPingPong ? 1 : 2);
  static constexpr bool kTickets = kTickets_;
  using ByTickets = Sm90Tile<kPingPong, kBlocks, kN, kStages, kSlots, true>;
};

inline constexpr int kSm90Threads = 384, kStepK = 64;
inline constexpr int kRowBytes = 128;  // of operands and slots: 64 elements of 16 bits or 32 floats
inline constexpr int kPanelBytes = 64 * kRowBytes;  // 64 rows

template <class Tile>
struct alignas(1024) Sm90Shared {
  unsigned char a[Tile::kStages][Tile::kM * kRowBytes];
  unsigned char b[Tile::kStages][Tile::kN * kRowBytes];
  unsigned char slots[2][Tile::kSlots][kPanelBytes];
  union {
    float bias[2][Tile::kN];  // 16-bit results
    struct {                  // float32 results: ones is B of row_sum
      unsigned char ones[1024];
      float row_sum[2][64 * Tile::kBlocks];
    } weight;
  };
  Barrier full[Tile::kStages], empty[Tile::kStages];
  Barrier slot_free[2][Tile::kSlots], slot_filled[2][Tile::kSlots], slot_written[2][Tile::kSlots];
  Sm90Tickets tickets;
};

// Loads kRows x 64 k of an operand: [row, k] in one box, or [k, row] in panels of 64 rows.
template <int kRows, Major kMajor>
__device__ __forceinline__ void load_operand(unsigned char* shared, const TensorMap& map, Barrier& full,
                                             int row, int k, int batch) {
  if (kMajor == Major::k) {
    tma_load(shared, map, full, k, row, batch);
  } else {
#pragma unroll 1  // the loading thread has few registers, and time
    for (int panel = 0; panel < kRows / 64; ++panel) {
      tma_load(shared + panel * kPanelBytes, map, full, row + 64 * panel, k, batch);
    }
  }
}

// The same for both blocks of a cluster: each loads one half, of the rows or of each panel's k.
template <int kRows, Major kMajor>
__device__ __forceinline__ void load_operand_half(unsigned char* shared, const TensorMap& map, Barrier& full,
                                                  int row, int k, int batch, int rank) {
  constexpr uint16_t kBoth = 3;
  if (kMajor == Major::k) {
    tma_load_multicast(shared + rank * (kRows / 2) * kRowBytes, map, full, k, row + rank * (kRows / 2), batch,
                       kBoth);
  } else {
#pragma unroll 1  // the loading thread has few registers, and time
    for (int panel = 0; panel < kRows / 64; ++panel) {
      tma_load_multicast(shared + panel * kPanelBytes + rank * (kPanelBytes / 2), map, full, row + 64 * panel,
                         k + rank * (kStepK / 2), batch, kBoth);
    }
  }
}

// By one thread: fills stages as they become empty, and hands out the work before it is due.
template <class C, class Tile, Major kA, Major kB>
__device__ __forceinline__ void load_operands(Sm90Shared<Tile>& shared, const TensorMap& a,
                                              const TensorMap& b, const Sm90Params& params) {
  constexpr int kStageBytes = (Tile::kM + Tile::kN) * kRowBytes;
  Ring<Tile::kStages> stage;
  Sm90Draw<C, Tile> schedule(params, shared.tickets);
  for (schedule.start(); schedule.valid(); schedule.advance()) {
    const int next = schedule.draw();
    const Sm90Work work = schedule.work();
    int matrix = work.begin / params.steps;
    int k = (work.begin - matrix * params.steps) * kStepK;
    matrix += work.batch;  // one of them is 0
    for (int left = work.end - work.begin; left > 0; --left, stage.advance()) {
      barrier_wait_cluster(shared.empty[stage.index], stage.phase ^ 1);
      Barrier& full = shared.full[stage.index];
      barrier_arrive_expect(full, kStageBytes);
      load_operand<Tile::kM, kA>(shared.a[stage.index], a, full, work.row, k, matrix * params.batched_a);
      if (params.cluster > 1) {
        load_operand_half<Tile::kN, kB>(shared.b[stage.index], b, full, work.column, k,
                                        matrix * params.batched_b, schedule.rank);
      } else {
        load_operand<Tile::kN, kB>(shared.b[stage.index], b, full, work.column, k, matrix * params.batched_b);
      }
      k += kStepK;
      if (k == params.steps * kStepK) k = 0, ++matrix;
    }
    schedule.announce(next);
  }
  // The other block of the cluster may still arrive here: stay until it has left all stages and tickets.
  if (params.cluster > 1) {
    schedule.wait_for_readers();
    for (int i = 0; i < Tile::kStages; ++i, stage.advance()) {
      barrier_wait_cluster(shared.empty[stage.index], stage.phase ^ 1);
    }
  }
}

// The descriptor of 64 rows (A) or kN rows (B) of a stage, and its step from one k16 to the next.
template <Major kMajor>
__device__ __forceinline__ uint64_t operand_descriptor(const unsigned char* start) {
  return shared_descriptor(start, kMajor == Major::k ? 16 : kPanelBytes, 8 * kRowBytes, Swizzle::bytes_128);
}
template <Major kMajor>
inline constexpr uint64_t kDescriptorStep = (kMajor == Major::k ? 32 : 16 * kRowBytes) >> 4;

// By all lanes of a multiplying warp, which has done with a stage: tells the loaders, of both blocks when
// they share it.
__device__ __forceinline__ void release_stage(Barrier& empty, int cluster) {
  if (cluster > 1) {
    if (lane_index() < cluster) barrier_arrive_cluster(empty, lane_index());
  } else if (lane_index() == 0) {
    barrier_arrive(empty);
  }
}

// By all threads of a warpgroup: sum = the product over `steps` steps of its rows, whose first block is
// `first_block` of the tile. With kRowSum also row_sum = the product of the same rows of A with ones, in
// every column. At the end the last step's products are still running; returns their stage.
template <class T, class Tile, Major kA, Major kB, bool kRowSum>
__device__ __forceinline__ int multiply(Sm90Shared<Tile>& shared, Ring<Tile::kStages>& stage, int steps,
                                        int first_block, int cluster,
                                        float (&sum)[Tile::kBlocks][Tile::kN / 2],
                                        float (&row_sum)[Tile::kBlocks][4]) {
  int previous = 0;
#pragma unroll 1
  for (int step = 0; step < steps; ++step) {
    barrier_wait(shared.full[stage.index], stage.phase);
    const uint64_t a = operand_descriptor<kA>(shared.a[stage.index] + first_block * kPanelBytes);
    const uint64_t b = operand_descriptor<kB>(shared.b[stage.index]);
    wgmma_fence();
#pragma unroll
    for (int k16 = 0; k16 < kStepK / 16; ++k16) {
      const bool accumulate = k16 > 0 || step > 0;
#pragma unroll
      for (int block = 0; block < Tile::kBlocks; ++block) {
        const uint64_t a16 = a + block * (kPanelBytes >> 4) + k16 * kDescriptorStep<kA>;
        wgmma<T, Tile::kN, kA == Major::mn, kB == Major::mn>(sum[block], a16, b + k16 * kDescriptorStep<kB>,
                                                             accumulate);
        if constexpr (kRowSum) {
          wgmma<T, 8, kA == Major::mn, false>(row_sum[block], a16,
                                              operand_descriptor<Major::k>(shared.weight.ones), accumulate);
        }
      }
    }
    wgmma_commit();
    wgmma_wait<1>();
    if (step > 0) release_stage(shared.empty[previous], cluster);
    previous = stage.index;
    stage.advance();
  }
  return previous;
}

}  // namespace native::cuda
