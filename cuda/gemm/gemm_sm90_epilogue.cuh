// From the accumulators of gemm_sm90 to memory. A multiplying warp writes its 16 rows of a panel (64 rows of
// 128 bytes) into a slot of shared memory; a warp of the data warpgroup stores the slot by TMA, so that
// nobody who multiplies waits for memory. A matrix that the epilogue reads takes the same way in the other
// direction: it is loaded into the slot ahead of time and replaced there by the result.
#pragma once

#include <primitives/tensor_core.cuh>

#include "common/swizzle.cuh"
#include "gemm/epilogue.cuh"
#include "gemm/gemm_sm90.cuh"

namespace native::cuda {

// Columns and number of the panels of a tile.
template <class C>
inline constexpr int kPanelColumns = kRowBytes / static_cast<int>(sizeof(C));
template <class C, class Tile>
inline constexpr int kTilePanels = Tile::kN / kPanelColumns<C>;

__device__ __forceinline__ bool reads_aux(Sm90Aux aux) {
  return aux == Sm90Aux::multiplier || aux == Sm90Aux::residual;
}
// With a slope, a step fills two slots: the result's and the slope's.
__device__ __forceinline__ int slots_per_panel(Sm90Aux aux) { return aux == Sm90Aux::slope ? 2 : 1; }

// By one thread: loads the panels of `map` (multiplier or residual) into the slots as they become free. Those
// of a tile are in the cache by then: it has fewer slots than panels, and each would wait for memory.
template <class C, class Tile>
__device__ __forceinline__ void load_aux(Sm90Shared<Tile>& shared, const TensorMap& map,
                                         const Sm90Params& params) {
  Ring<Tile::kSlots> slot, other_slot;  // of the group whose tile this is; of the other (ping-pong)
  int owner = 0;
  Sm90Schedule<C, Tile> schedule(params, shared.tickets, Sm90Reader::thread);
  for (schedule.start(); schedule.valid(); schedule.advance()) {
    const Sm90Work work = schedule.work();
#pragma unroll 1
    for (int y = work.row; y < work.row + Tile::kM; y += 64) {
#pragma unroll 1
      for (int x = work.column; x < work.column + Tile::kN; x += kPanelColumns<C>) {
        tma_prefetch_box(map, x, y, work.batch);
      }
    }
    for (int block = 0; block < Tile::kBlocks; ++block) {
      for (int panel = 0; panel < kTilePanels<C, Tile>; ++panel, slot.advance()) {
        for (int member = 0; member < (Tile::kPingPong ? 1 : 2); ++member) {
          const int group = Tile::kPingPong ? owner : member;
          barrier_wait(shared.slot_free[group][slot.index], slot.phase ^ 1);
          Barrier& filled = shared.slot_filled[group][slot.index];
          barrier_arrive_expect(filled, kPanelBytes);
          tma_load(shared.slots[group][slot.index], map, filled, work.column + panel * kPanelColumns<C>,
                   work.row + 64 * (member * Tile::kBlocks + block), work.batch);
        }
      }
    }
    if (Tile::kPingPong) {
      const Ring<Tile::kSlots> swapped = slot;
      slot = other_slot;
      other_slot = swapped;
      owner ^= 1;
    }
  }
}

// By one thread: stores the panels of one tile of `group` as they are written. The engine takes longer to
// read a slot than a warpgroup to write one, so a panel that is there already is stored while the one before
// is being read. Where none is, whoever writes may be waiting for the slot that is being read.
template <class C, class Tile>
__device__ __forceinline__ void store_tile(Sm90Shared<Tile>& shared, Ring<Tile::kSlots>& slot,
                                           const TensorMap& c, const TensorMap& aux, const Sm90Params& params,
                                           const Sm90Work& work, int row, int group, bool add) {
  constexpr int kNone = -1;
  const int matrix = params.apart ? work.batch * params.slabs + work.slab : work.batch;
  int reading = kNone;  // the slot
  for (int block = 0; block < Tile::kBlocks; ++block) {
    for (int panel = 0; panel < kTilePanels<C, Tile>; ++panel, slot.advance(slots_per_panel(params.aux))) {
      const int x = work.column + panel * kPanelColumns<C>, y = row + 64 * block;
      const auto* source = shared.slots[group][slot.index];
      if (reading != kNone && !barrier_passed(shared.slot_written[group][slot.index], slot.phase)) {
        bulk_wait_read<0>();  // of a panel, before the next is there
        barrier_arrive(shared.slot_free[group][reading]);
        reading = kNone;
      }
      barrier_wait(shared.slot_written[group][slot.index], slot.phase);
      if (add) {
        tma_reduce_add(c, source, x, y, matrix);
      } else {
        tma_store(c, source, x, y, matrix);
      }
      if (params.aux == Sm90Aux::slope) tma_store(aux, source + kPanelBytes, x, y, work.batch);
      bulk_commit();
      if (reading != kNone) {
        bulk_wait_read<1>();
        barrier_arrive(shared.slot_free[group][reading]);
      }
      reading = slot.index;
    }
  }
  bulk_wait_read<0>();  // of the last
  barrier_arrive(shared.slot_free[group][reading]);
}

// By one warp: adds a tile's row sums to what `row_sum` holds, or writes them.
template <class Tile>
__device__ __forceinline__ void store_row_sum(const float* sums, float* row_sum, const Sm90Params& params,
                                              int row, bool add) {
  for (int i = lane_index(); i < 64 * Tile::kBlocks && row + i < params.m; i += kWarpSize) {
    row_sum[row + i] = add ? row_sum[row + i] + sums[i] : sums[i];
  }
}

// By one warp: all tiles of `group`. One lane does what one thread can. Slabs of a tile are added in
// their order, whichever is ready first, unless each has its own place.
template <class C, class Tile>
__device__ __forceinline__ void store_results(Sm90Shared<Tile>& shared, const TensorMap& c,
                                              const TensorMap& aux, const Sm90Params& params, int group) {
  constexpr bool kFloat = std::is_same_v<C, float>;
  const bool leader = elect_one();
  Ring<Tile::kSlots> slot;
  Sm90Schedule<C, Tile> schedule(params, shared.tickets, Sm90Reader::warp);
  schedule.start();
  if (Tile::kPingPong && group == 1) schedule.advance();
  for (; schedule.valid(); schedule.advance(Tile::kPingPong ? 2 : 1)) {
    const Sm90Work work = schedule.work();
    const int row = work.row + (Tile::kPingPong ? 0 : group * 64 * Tile::kBlocks);
    int* turn =
        kFloat && params.turns ? params.turns + 2 * work.tile + (Tile::kPingPong ? 0 : group) : nullptr;
    if (leader) {
      if (turn) {
        while (load_acquire(turn) != work.slab) {
        }
        fence_async_global();
      }
      store_tile<C>(shared, slot, c, aux, params, work, row, group,
                    kFloat && (params.accumulate || (turn && work.slab > 0)));
    }
    if constexpr (kFloat) {
      if (work.sums_rows) {
        warp_barrier();  // the leader has seen the tile's last panel, and with it the sums
        const int64_t first = params.apart ? static_cast<int64_t>(work.slab) * params.m : 0;
        store_row_sum<Tile>(shared.weight.row_sum[group], params.row_sum + first, params, row,
                            params.accumulate_row_sum || (turn && work.slab > 0));
        warp_barrier();  // the sums are written
      }
      if (turn && leader) {
        bulk_wait<0>();
        fence_async_global();
        store_release(turn, work.slab + 1);
      }
    }
  }
}

// Columns 8 j + 2 (l % 4) and + 1 of rows l / 4 and l / 4 + 8 for j = 0 .. 7: what a lane holds of a panel of
// 64 columns, as pairs of 16-bit numbers. ldmatrix and stmatrix move pairs of j with the same addresses.
struct PanelFragment {
  uint32_t pairs[4][4];
};
__device__ __forceinline__ unsigned char* fragment_address(unsigned char* slot, int warp, int pair) {
  const int row = 16 * warp + (lane_index() & 15), chunk = 2 * pair + (lane_index() >> 4);
  return slot + swizzle<kRowBytes>(row * kRowBytes + chunk * 16);
}

// By one warp: a panel of 16-bit results (ldmatrix and stmatrix are steps of the whole warp, so what one has
// read the other may overwrite) from the accumulators v; bias points at the panel's first column.
template <class C>
__device__ __forceinline__ void write_panel(unsigned char* slot, const Sm90Params& params, const float* bias,
                                            int warp, float* v) {
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    const float2 b = *reinterpret_cast<const float2*>(bias + 8 * j + 2 * (lane_index() & 3));
#pragma unroll
    for (int i = 0; i < 4; ++i) v[4 * j + i] = fmaf(params.alpha, v[4 * j + i], i % 2 ? b.y : b.x);
  }
  if (params.quick_gelu) {
    PanelFragment slope;
#pragma unroll
    for (int i = 0; i < 32; i += 2) {
      float low, high;
      v[i] = quick_gelu<C>(v[i], low);
      v[i + 1] = quick_gelu<C>(v[i + 1], high);
      slope.pairs[i / 8][i % 8 / 2] = pack2<C>(low, high);
    }
    if (params.aux == Sm90Aux::slope) {
#pragma unroll
      for (int pair = 0; pair < 4; ++pair) {
        store_matrix_x4(fragment_address(slot + kPanelBytes, warp, pair), slope.pairs[pair]);
      }
    }
  }
  if (reads_aux(params.aux)) {
    PanelFragment input;
#pragma unroll
    for (int pair = 0; pair < 4; ++pair)
      load_matrix_x4(input.pairs[pair], fragment_address(slot, warp, pair));
    const bool multiply = params.aux == Sm90Aux::multiplier;
#pragma unroll
    for (int i = 0; i < 32; i += 2) {
      const float2 other = unpack2<C>(input.pairs[i / 8][i % 8 / 2]);
      v[i] = multiply ? v[i] * other.x : v[i] + other.x;
      v[i + 1] = multiply ? v[i + 1] * other.y : v[i + 1] + other.y;
    }
  }
#pragma unroll
  for (int pair = 0; pair < 4; ++pair) {
    uint32_t packed[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) packed[i] = pack2<C>(v[8 * pair + 2 * i], v[8 * pair + 2 * i + 1]);
    store_matrix_x4(fragment_address(slot, warp, pair), packed);
  }
}

// By one warp: a panel of 32 float32 columns, 8 at a time. Two neighbouring rows have the same two chunks of
// 16 bytes at the same columns, so every other row writes other columns at the same time, in other banks.
__device__ __forceinline__ void write_panel_float(unsigned char* slot, float alpha, int warp,
                                                  const float* v) {
  const bool other = lane_index() & 4;  // an odd row
#pragma unroll
  for (int j = 0; j < 4; ++j) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float* even = v + 4 * j + 2 * half;
      const float* odd = v + 4 * (j ^ 2) + 2 * half;
      const int row = 16 * warp + lane_index() / 4 + 8 * half;
      const int column = 8 * (other ? j ^ 2 : j) + 2 * (lane_index() & 3);
      auto* target = reinterpret_cast<float2*>(slot + swizzle<kRowBytes>(row * kRowBytes + column * 4));
      store_shared(target, float2{alpha * (other ? odd[0] : even[0]), alpha * (other ? odd[1] : even[1])});
    }
  }
}

// Column 0 of the product with ones.
template <class Tile>
__device__ __forceinline__ void write_row_sum(Sm90Shared<Tile>& shared, int group, int warp,
                                              const float (&row_sum)[Tile::kBlocks][4]) {
  if (lane_index() & 3) return;
#pragma unroll
  for (int block = 0; block < Tile::kBlocks; ++block) {
    float* target = &shared.weight.row_sum[group][64 * block + 16 * warp + lane_index() / 4];
    target[0] = row_sum[block][0];
    target[8] = row_sum[block][2];
  }
}

// By the warps of a multiplying warpgroup, each for its 16 rows of every block: all panels of a tile.
template <class C, class Tile>
__device__ __forceinline__ void write_tile(Sm90Shared<Tile>& shared, Ring<Tile::kSlots>& slot,
                                           const Sm90Params& params, int group,
                                           float (&sum)[Tile::kBlocks][Tile::kN / 2], bool with_row_sum,
                                           const float (&row_sum)[Tile::kBlocks][4]) {
  constexpr int kPanels = kTilePanels<C, Tile>, kPanelRegisters = kPanelColumns<C> / 2;
  static_assert(sizeof(C) == 2 || Tile::kBlocks * kPanels > Tile::kSlots,
                "the last panel's slot was used by this tile before");
  const int warp = warp_index() & 3;
  const bool input = reads_aux(params.aux);
#pragma unroll
  for (int block = 0; block < Tile::kBlocks; ++block) {
#pragma unroll
    for (int panel = 0; panel < kPanels; ++panel) {
      if (input) {
        barrier_wait(shared.slot_filled[group][slot.index], slot.phase);
      } else {
        barrier_wait(shared.slot_free[group][slot.index], slot.phase ^ 1);
      }
      unsigned char* target = shared.slots[group][slot.index];
      float* v = &sum[block][panel * kPanelRegisters];
      if constexpr (std::is_same_v<C, float>) {
        // The slot was stored for this tile before, so the last tile's row sums have been taken.
        if (with_row_sum && block == Tile::kBlocks - 1 && panel == kPanels - 1) {
          write_row_sum<Tile>(shared, group, warp, row_sum);
        }
        write_panel_float(target, params.alpha, warp, v);
      } else {
        write_panel<C>(target, params, &shared.bias[group][panel * kPanelColumns<C>], warp, v);
      }
      fence_async_shared();
      warp_barrier();
      if (lane_index() == 0) barrier_arrive(shared.slot_written[group][slot.index]);
      slot.advance(slots_per_panel(params.aux));
    }
  }
}

}  // namespace native::cuda
