// What works beside the threads of a block on sm_90: barriers in shared memory that count bytes, the bulk
// copy engine, and its view of shared memory. For the emulated primitives of hopper.cuh.
//
// Two proxies: ordinary stores go to the block's shared memory, the engine and wgmma read a copy of it (the
// asynchronous view). fence_async_view() carries over what the calling thread stored by primitives. What the
// engine writes appears in both, at a random time between the start of a copy and the end of its barrier's
// phase; until then the bytes are NaN.
#pragma once

#include <cuda.h>

#include "scheduler.h"

namespace emulation {

// A barrier, by its address in the shared memory of `block`.
void shared_barrier_init(void* barrier, int count);
void shared_barrier_fence();  // what this thread initialised may be used from outside the block's threads
void shared_barrier_arrive(Block& block, uint32_t offset, bool remote);
void shared_barrier_expect(Block& block, uint32_t offset, uint32_t bytes);
void shared_barrier_wait(void* barrier, uint32_t parity, const char* what, Site site);
bool shared_barrier_passed(const void* barrier, uint32_t parity, const char* what);
uint32_t shared_barrier_offset(const void* barrier, const char* what);

// The block of this rank in the running block's cluster; fails when it has ended.
Block& cluster_block(int rank, const char* what);

// A word into the shared memory of `block`, at a random time; until then it is poison.
void store_word(Block& block, uint32_t offset, int value, uint32_t barrier_offset);

// The asynchronous view of a block's shared memory.
unsigned char* async_view(Block& block);
// Bytes that the running thread stores; its next fence carries them over.
void note_shared_store(const void* pointer, size_t bytes);
void fence_async_view();

// A box into the shared memory of every block of the cluster in `mask`.
void bulk_load(void* shared, const CUtensorMap& map, const void* barrier, const int (&at)[3], uint32_t mask,
               const char* what);
enum class BulkStore { write, add };
void bulk_store(const CUtensorMap& map, const void* shared, const int (&at)[3], BulkStore kind,
                const char* what);
void bulk_commit_group();
// Until at most `pending` of the thread's groups are still reading shared memory, or not complete.
void bulk_wait_groups(size_t pending, bool read_only, const char* what, Site site);

// Moves registers of a warpgroup to or from the block's pool; waits until there are enough.
void set_registers(int count, bool increase, Site site);

}  // namespace emulation
