// The kernel of gemm_sm90, what each warp does, and its launch. Included by the files that instantiate it.
#pragma once

#include "gemm/gemm_sm90_epilogue.cuh"

namespace native::cuda {

using PingPong128x192 = Sm90Tile<true, 2, 192, 4, 4>;
using Cooperative128x256 = Sm90Tile<false, 1, 256, 4, 2>;
using Cooperative256x192 = Sm90Tile<false, 2, 192, 3, 2>;
using Cooperative128x128 = Sm90Tile<false, 1, 128, 6, 2>;

// The named barriers of warpgroup 0; the next number is that of warpgroup 1.
inline constexpr int kTurnBarrier = 1, kTileBarrier = 3, kBiasBarrier = 5;

// By a multiplying warpgroup: all its tiles.
template <class T, class C, class Tile, Major kA, Major kB>
__device__ __forceinline__ void multiply_tiles(Sm90Shared<Tile>& shared, const Sm90Params& params,
                                               int group) {
  constexpr bool kFloat = std::is_same_v<C, float>;
  constexpr int kBiasParts = kFloat ? 0 : (Tile::kN + 127) / 128;
  const int thread = static_cast<int>(threadIdx.x) & 127;
  const int first_block = Tile::kPingPong ? 0 : group * Tile::kBlocks;
  float sum[Tile::kBlocks][Tile::kN / 2], row_sum[Tile::kBlocks][4];
  Ring<Tile::kStages> stage;
  Ring<Tile::kSlots> slot;
  Sm90Schedule<C, Tile> schedule(params, shared.tickets, Sm90Reader::warp);
  schedule.start();
  if (Tile::kPingPong && group == 1) {
    stage.skip(schedule.step_count());
    schedule.advance();
  }
  // Behind the epilogue of a cooperative tile the tensor cores would wait for the next one's numbers, so
  // these are found while its last products run, if registers are left.
  constexpr bool kEarly = !Tile::kPingPong && Tile::kBlocks == 1;
  Sm90Work work{};
  for (bool first = true; schedule.valid(); first = false) {
    if (!kEarly || first) work = schedule.work();
    float bias[kBiasParts + 1];
#pragma unroll
    for (int part = 0; part < kBiasParts; ++part) {
      const int column = 128 * part + thread;
      const bool present = params.bias && column < Tile::kN && work.column + column < params.n;
      bias[part] = present ? params.bias[work.column + column] : 0.0f;
    }
    // The group's warps have left its last tile; ping-pong: the other group has issued its products.
    if (!Tile::kPingPong) {
      named_barrier(kTileBarrier + group, 128);
    } else if (group == 1 || !first) {
      named_barrier(kTurnBarrier + group, 256);
    }
    bool with_row_sum = false;
    if constexpr (kFloat) with_row_sum = work.sums_rows;
    const int steps = work.end - work.begin;
    const int last = with_row_sum ? multiply<T, Tile, kA, kB, kFloat>(shared, stage, steps, first_block,
                                                                      params.cluster, sum, row_sum)
                                  : multiply<T, Tile, kA, kB, false>(shared, stage, steps, first_block,
                                                                     params.cluster, sum, row_sum);
    schedule.advance();
    if (Tile::kPingPong && schedule.valid()) {
      named_barrier_arrive(kTurnBarrier + 1 - group, 256);
      stage.skip(schedule.step_count());
    }
    if (kEarly && schedule.valid()) work = schedule.work();
    wgmma_wait<0>();
#pragma unroll
    for (int block = 0; block < Tile::kBlocks; ++block) {
      wgmma_settle(sum[block]);
      if constexpr (kFloat) wgmma_settle(row_sum[block]);
    }
    release_stage(shared.empty[last], params.cluster);
    if constexpr (!kFloat) {
#pragma unroll
      for (int part = 0; part < kBiasParts; ++part) {
        if (128 * part + thread < Tile::kN) shared.bias[group][128 * part + thread] = bias[part];
      }
      named_barrier(kBiasBarrier + group, 128);
    }
    write_tile<C>(shared, slot, params, group, sum, with_row_sum, row_sum);
    // Not sooner: a ticket is drawn while the tile before is loaded, into stages that this one has left.
    if (Tile::kPingPong) schedule.advance();
  }
}

template <class Tile>
__device__ __forceinline__ void initialize(Sm90Shared<Tile>& shared, const Sm90Params& params, bool ones) {
  if (threadIdx.x == 0) {
    const int warps = Tile::kPingPong ? 4 : 8;  // that use a stage, in each block
    for (int i = 0; i < Tile::kStages; ++i) {
      barrier_init(shared.full[i], 1);
      barrier_init(shared.empty[i], warps * params.cluster);
    }
    for (int group = 0; group < 2; ++group) {
      for (int i = 0; i < Tile::kSlots; ++i) {
        barrier_init(shared.slot_free[group][i], 1);
        barrier_init(shared.slot_filled[group][i], 1);
        barrier_init(shared.slot_written[group][i], 4);
      }
    }
    // Two warpgroups that multiply, two warps that store, one thread that loads operands, perhaps another.
    const int readers = 8 + 2 + 1 + (reads_aux(params.aux) ? 1 : 0);
    for (uint32_t i = 0; Tile::kTickets && i < kSm90Tickets; ++i) {
      barrier_init(shared.tickets.drawn[i], 1);
      barrier_init(shared.tickets.read[i], readers * params.cluster);
    }
    fence_barrier_init();
  }
  if (ones) fence_async_shared();
  if (params.cluster > 1) {
    cluster_barrier();
  } else {
    block_barrier();
  }
}

// T: the operands; C: the result, T or float. Of the 3 x 168 registers per lane, those that move data keep
// few: storing float32 results takes more of them than 24, writing 16-bit results more than 232 in the
// others.
template <class T, class C, class Tile, Major kA, Major kB>
__global__ void __launch_bounds__(kSm90Threads, 1)
    gemm_sm90_kernel(const __grid_constant__ TensorMap a, const __grid_constant__ TensorMap b,
                     const __grid_constant__ TensorMap c, const __grid_constant__ TensorMap aux,
                     const __grid_constant__ Sm90Params params) {
#if HOPPER_CODE
  constexpr bool kFloat = std::is_same_v<C, float>;
  constexpr int kMoveRegisters = kFloat ? 40 : 24, kMultiplyRegisters = kFloat ? 232 : 240;
  auto& shared = shared_memory<Sm90Shared<Tile>>();
  const int warp = warp_index();
  if constexpr (kFloat) {
    for (int i = static_cast<int>(threadIdx.x); i < 256; i += kSm90Threads) {
      store_shared(reinterpret_cast<uint32_t*>(shared.weight.ones) + i, pack2<T>(1.0f, 1.0f));
    }
  }
  // The maps are parameters, which the grid in front does not write.
  if (warp == 1 && elect_one()) {
    tma_prefetch(a);
    tma_prefetch(b);
    tma_prefetch(c);
    tma_prefetch(aux);
  }
  initialize(shared, params, kFloat);
  wait_for_previous_grid();
  if (warp < 4) {
    register_decrease<kMoveRegisters>();
    if (warp == 0) {
      if (elect_one()) load_operands<C, Tile, kA, kB>(shared, a, b, params);
    } else if (warp == 3) {
      if (reads_aux(params.aux) && elect_one()) load_aux<C>(shared, aux, params);
    } else {
      store_results<C>(shared, c, aux, params, warp - 1);
    }
  } else {
    register_increase<kMultiplyRegisters>();
    multiply_tiles<T, C, Tile, kA, kB>(shared, params, warp / 4 - 1);
  }
#endif
}

template <class T, class C, class Tile, Major kA, Major kB>
void launch_tile(const Sm90Launch& launch) {
  if constexpr (!Tile::kTickets) {
    if (launch.params.tickets) return launch_tile<T, C, typename Tile::ByTickets, kA, kB>(launch);
  }
  const auto kernel = gemm_sm90_kernel<T, C, Tile, kA, kB>;
  const Sm90Params& params = launch.params;
  LaunchShape shape;
  shape.threads = kSm90Threads;
  shape.shared_bytes = sizeof(Sm90Shared<Tile>);
  shape.cluster = params.cluster;
  const int most = resident_clusters(reinterpret_cast<const void*>(kernel), shape);
  const int works = work_count(params);
  shape.grid = dim3(static_cast<unsigned>((works < most ? works : most) * params.cluster));
  launch_kernel(kernel, shape, launch.a, launch.b, launch.c, launch.aux, params);
}

// Calls f(TypeTag<T>{}) for bfloat16 or float16.
template <class F>
void visit_half(DType dtype, F&& f) {
  if (dtype == DType::bfloat16) {
    f(TypeTag<bfloat16>{});
  } else {
    f(TypeTag<float16>{});
  }
}

}  // namespace native::cuda
