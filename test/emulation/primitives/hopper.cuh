// The primitives of cuda/primitives/hopper.cuh for the host emulation.
#pragma once

#include <cuda.h>

#include <primitives/tensor_core.cuh>

#include "async.h"
#include "tensor_map.h"
#include "wgmma.h"

#define HOPPER_CODE 1

namespace native::cuda {

struct alignas(8) Barrier {
  uint64_t state;
};

inline void barrier_init(Barrier& barrier, int count) { emulation::shared_barrier_init(&barrier, count); }
inline void fence_barrier_init(Site site = here()) {
  if (!emulation::skipped("fence_barrier_init", site)) emulation::shared_barrier_fence();
}
inline void barrier_arrive(Barrier& barrier, Site site = here()) {
  if (emulation::skipped("barrier_arrive", site)) return;
  emulation::shared_barrier_arrive(emulation::current_block(),
                                   emulation::shared_barrier_offset(&barrier, "barrier_arrive"), false);
}
inline void barrier_arrive_expect(Barrier& barrier, uint32_t bytes, Site site = here()) {
  if (emulation::skipped("barrier_arrive_expect", site)) return;
  const uint32_t offset = emulation::shared_barrier_offset(&barrier, "barrier_arrive_expect");
  emulation::shared_barrier_expect(emulation::current_block(), offset, bytes);
  emulation::shared_barrier_arrive(emulation::current_block(), offset, false);
}
inline void barrier_arrive_cluster(Barrier& barrier, int rank, Site site = here()) {
  if (emulation::skipped("barrier_arrive_cluster", site)) return;
  emulation::Block& block = emulation::cluster_block(rank, "barrier_arrive_cluster");
  emulation::shared_barrier_arrive(
      block, emulation::shared_barrier_offset(&barrier, "barrier_arrive_cluster"), true);
}
inline void barrier_wait(Barrier& barrier, uint32_t parity, Site site = here()) {
  if (emulation::skipped("barrier_wait", site)) return;
  emulation::shared_barrier_wait(&barrier, parity, "barrier_wait", site);
}
inline bool barrier_passed(Barrier& barrier, uint32_t parity) {
  return emulation::shared_barrier_passed(&barrier, parity, "barrier_passed");
}
inline void barrier_wait_cluster(Barrier& barrier, uint32_t parity, Site site = here()) {
  if (emulation::skipped("barrier_wait_cluster", site)) return;
  emulation::shared_barrier_wait(&barrier, parity, "barrier_wait_cluster", site);
}

inline void store_async(int* shared, int value, Barrier& barrier, int rank) {
  emulation::Block& block = emulation::cluster_block(rank, "store_async");
  if (block.cluster->blocks.size() == 1) emulation::fail("store_async in a block that is alone");
  emulation::store_word(block, emulation::shared_offset(shared, 4, 4, "store_async"), value,
                        emulation::shared_barrier_offset(&barrier, "store_async"));
}

enum class Swizzle : int { none = 0, bytes_128 = 1, bytes_64 = 2, bytes_32 = 3 };

using TensorMap = CUtensorMap;

inline void tma_prefetch(const TensorMap& map) { emulation::tensor_map_fields(map, "tma_prefetch"); }
inline void tma_load(void* shared, const TensorMap& map, Barrier& barrier, int x, int y, int z) {
  emulation::bulk_load(shared, map, &barrier, {x, y, z}, 1u << emulation::current_block().rank, "tma_load");
}
inline void tma_load_multicast(void* shared, const TensorMap& map, Barrier& barrier, int x, int y, int z,
                               uint16_t mask) {
  emulation::bulk_load(shared, map, &barrier, {x, y, z}, mask, "tma_load_multicast");
}
inline void tma_prefetch_box(const TensorMap& map, int, int, int) {
  emulation::check_previous_grid("tma_prefetch_box");
  emulation::tensor_map_fields(map, "tma_prefetch_box");
}
inline void tma_store(const TensorMap& map, const void* shared, int x, int y, int z) {
  emulation::bulk_store(map, shared, {x, y, z}, emulation::BulkStore::write, "tma_store");
}
inline void tma_reduce_add(const TensorMap& map, const void* shared, int x, int y, int z) {
  emulation::bulk_store(map, shared, {x, y, z}, emulation::BulkStore::add, "tma_reduce_add");
}
inline void bulk_commit(Site site = here()) {
  if (!emulation::skipped("bulk_commit", site)) emulation::bulk_commit_group();
}
template <int kPending>
inline void bulk_wait_read(Site site = here()) {
  if (!emulation::skipped("bulk_wait_read", site))
    emulation::bulk_wait_groups(kPending, true, "bulk_wait_read", site);
}
template <int kPending>
inline void bulk_wait(Site site = here()) {
  if (!emulation::skipped("bulk_wait", site)) emulation::bulk_wait_groups(kPending, false, "bulk_wait", site);
}

inline void fence_async_shared(Site site = here()) {
  if (!emulation::skipped("fence_async_shared", site)) emulation::fence_async_view();
}
inline void fence_async_global(Site site = here()) {
  if (!emulation::skipped("fence_async_global", site))
    emulation::thread_state<emulation::GlobalProxies>() = {};
}

template <class V>
inline void store_shared(V* shared, V value) {
  emulation::note_shared_store(shared, sizeof(V));
  *shared = value;
}

inline void store_matrix_x4(void* row, const uint32_t (&r)[4], Site site = here()) {
  emulation::shared_offset(row, 16, 16, "store_matrix_x4");
  emulation::note_shared_store(row, 16);
  struct Operand {
    const uint32_t* registers;
    unsigned char* row;
  } operand{r, static_cast<unsigned char*>(row)};
  emulation::exchange_warp("store_matrix_x4", site, operand, [](Operand* const* lanes) {
    for (int m = 0; m < 4; ++m) {
      const unsigned char* rows[8];
      for (int i = 0; i < 8; ++i) rows[i] = lanes[8 * m + i]->row;
      count_row_conflicts(rows);
      for (int l = 0; l < 32; ++l)
        std::memcpy(lanes[8 * m + l / 4]->row + 4 * (l % 4), &lanes[l]->registers[m], 4);
    }
  });
}

template <int kRegisters>
inline void register_increase(Site site = here()) {
  emulation::set_registers(kRegisters, true, site);
}
template <int kRegisters>
inline void register_decrease(Site site = here()) {
  emulation::set_registers(kRegisters, false, site);
}

inline int cluster_rank() { return emulation::current_block().rank; }
inline void cluster_barrier(Site site = here()) {
  if (emulation::skipped("cluster_barrier", site)) return;
  emulation::Cluster& cluster = *emulation::current_block().cluster;
  emulation::meet(cluster.barrier, cluster.alive, "cluster_barrier", site);
}

// Which lane is chosen is not promised: here a random one.
inline bool elect_one(Site site = here()) {
  int lane = lane_index();
  emulation::exchange_warp("elect_one", site, lane, [](int* const* lanes) {
    const int chosen = static_cast<int>(emulation::random_word() % 32);
    for (int l = 0; l < 32; ++l) *lanes[l] = l == chosen;
  });
  return lane != 0;
}

inline void wgmma_fence(Site site = here()) {
  if (!emulation::skipped("wgmma_fence", site)) emulation::wgmma_note_fence();
}
inline void wgmma_commit(Site site = here()) {
  if (!emulation::skipped("wgmma_commit", site)) emulation::wgmma_commit_group();
}
template <int kPending>
inline void wgmma_wait(Site site = here()) {
  if (!emulation::skipped("wgmma_wait", site)) emulation::wgmma_wait_groups(kPending, site);
}

inline uint64_t shared_descriptor(const void* start, int leading, int stride, Swizzle swizzle) {
  emulation::shared_offset(start, 16, 16, "shared_descriptor");
  for (const int distance : {leading, stride}) {  // 14 bits of 16 bytes
    if (distance < 0 || distance % 16 || distance >= 1 << 18)
      emulation::fail("shared_descriptor with a distance of ", distance, " bytes");
  }
  const uint64_t address = (shared_address(start) & 0x3FFFFu) >> 4;
  return address | static_cast<uint64_t>(leading >> 4) << 16 | static_cast<uint64_t>(stride >> 4) << 32 |
         static_cast<uint64_t>(swizzle) << 62;
}

}  // namespace native::cuda
