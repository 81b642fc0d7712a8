// sm_90a: barriers in shared memory, the bulk tensor copy engine (TMA), clusters, and the warpgroup products'
// fences. The products themselves are in wgmma.cuh. Code that uses any of this compiles for sm_90a only; wrap
// kernel bodies in #if HOPPER_CODE ... #endif.
//
// Two proxies reach shared memory: ordinary accesses (stmatrix too) and the asynchronous one of TMA and
// wgmma. What ordinary stores wrote is seen by the asynchronous proxy only after fence_async_shared() in the
// writing threads and then a barrier. What TMA wrote is seen by everybody who waited on its barrier. Ordinary
// stores for the asynchronous proxy go through store_shared, so that tests can check the fences.
#pragma once

#include <cuda.h>

#include <primitives/device.cuh>

#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define HOPPER_CODE 1
#else
#define HOPPER_CODE 0
#endif

namespace native::cuda {

// A barrier in shared memory. A phase ends when `count` arrivals and all announced bytes are in; phases
// alternate in parity, starting with 0.
struct alignas(8) Barrier {
  uint64_t state;
};

// By one thread, before fence_barrier_init() and a block or cluster barrier.
__device__ __forceinline__ void barrier_init(Barrier& barrier, int count) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(&barrier)), "r"(count)
               : "memory");
}
__device__ __forceinline__ void fence_barrier_init() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
__device__ __forceinline__ void barrier_arrive(Barrier& barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(&barrier)) : "memory");
}
// Arrives and announces `bytes` that TMA will write (whole boxes, also where they leave the tensor).
__device__ __forceinline__ void barrier_arrive_expect(Barrier& barrier, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(&barrier)),
               "r"(bytes)
               : "memory");
}
// Arrives at the barrier at the same place in the shared memory of block `rank` of the cluster. It says that
// this thread, and asynchronous reads that it waited for, have done with some memory; what it wrote by
// ordinary stores is passed on by cluster_barrier() only.
__device__ __forceinline__ void barrier_arrive_cluster(Barrier& barrier, int rank) {
  asm volatile(
      "{\n\t.reg .b32 remote;\n\tmapa.shared::cluster.u32 remote, %0, %1;\n\t"
      "mbarrier.arrive.shared::cluster.b64 _, [remote];\n\t}" ::"r"(shared_address(&barrier)),
      "r"(rank)
      : "memory");
}
// Waits for the end of the phase of this parity. On a fresh barrier parity 1 passes at once.
__device__ __forceinline__ void barrier_wait(Barrier& barrier, uint32_t parity) {
  asm volatile(
      "{\n\t.reg .pred done;\n\twait:\n\t"
      "mbarrier.try_wait.parity.acquire.cta.shared::cta.b64 done, [%0], %1;\n\t"
      "@done bra ready;\n\tbra wait;\n\tready:\n\t}" ::"r"(shared_address(&barrier)),
      "r"(parity)
      : "memory");
}
// Whether that phase has ended, without waiting for it.
__device__ __forceinline__ bool barrier_passed(Barrier& barrier, uint32_t parity) {
  uint32_t passed;
  asm volatile(
      "{\n\t.reg .pred done;\n\t"
      "mbarrier.test_wait.parity.acquire.cta.shared::cta.b64 done, [%1], %2;\n\t"
      "selp.u32 %0, 1, 0, done;\n\t}"
      : "=r"(passed)
      : "r"(shared_address(&barrier)), "r"(parity)
      : "memory");
  return passed != 0;
}
// barrier_wait where arrivals came from another block of the cluster.
__device__ __forceinline__ void barrier_wait_cluster(Barrier& barrier, uint32_t parity) {
  asm volatile(
      "{\n\t.reg .pred done;\n\twait:\n\t"
      "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 done, [%0], %1;\n\t"
      "@done bra ready;\n\tbra wait;\n\tready:\n\t}" ::"r"(shared_address(&barrier)),
      "r"(parity)
      : "memory");
}

// Stores a word at the same place in the shared memory of block `rank` of the cluster, at some time, and
// completes its 4 bytes on the barrier there. Of clusters of two blocks or more: what it does in a block that
// is alone is written nowhere.
__device__ __forceinline__ void store_async(int* shared, int value, Barrier& barrier, int rank) {
  asm volatile(
      "{\n\t.reg .b32 place, remote;\n\tmapa.shared::cluster.u32 place, %0, %3;\n\t"
      "mapa.shared::cluster.u32 remote, %2, %3;\n\t"
      "st.async.shared::cluster.mbarrier::complete_tx::bytes.b32 [place], %1, [remote];\n\t}" ::"r"(
          shared_address(shared)),
      "r"(value), "r"(shared_address(&barrier)), "r"(rank)
      : "memory");
}

// How TMA and the descriptors of wgmma permute the 16-byte chunks of a row; the numbers are those of the
// descriptors (the tensor map has others).
enum class Swizzle : int { none = 0, bytes_128 = 1, bytes_64 = 2, bytes_32 = 3 };

// Where a tensor lies, its shape, box and swizzle; made on the host by encode_tensor_map
// (runtime/tensor_map.h) and passed by value: `const __grid_constant__ TensorMap`.
using TensorMap = CUtensorMap;

__device__ __forceinline__ void tma_prefetch(const TensorMap& map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
}
// Loads the map's box at element (x, y, z), x innermost, into shared memory and completes its bytes on the
// barrier. What lies outside the tensor is zero. By one thread.
__device__ __forceinline__ void tma_load(void* shared, const TensorMap& map, Barrier& barrier, int x, int y,
                                         int z) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5}], "
      "[%2];" ::"r"(shared_address(shared)),
      "l"(&map), "r"(shared_address(&barrier)), "r"(x), "r"(y), "r"(z)
      : "memory");
}
// The same into the shared memory of every block of the cluster in `mask`, completing on each one's barrier.
__device__ __forceinline__ void tma_load_multicast(void* shared, const TensorMap& map, Barrier& barrier,
                                                   int x, int y, int z, uint16_t mask) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], "
      "[%1, {%3, %4, %5}], [%2], %6;" ::"r"(shared_address(shared)),
      "l"(&map), "r"(shared_address(&barrier)), "r"(x), "r"(y), "r"(z), "h"(mask)
      : "memory");
}
// Has a box brought from memory into the second-level cache.
__device__ __forceinline__ void tma_prefetch_box(const TensorMap& map, int x, int y, int z) {
  asm volatile("cp.async.bulk.prefetch.tensor.3d.L2.global.tile [%0, {%1, %2, %3}];" ::"l"(&map), "r"(x),
               "r"(y), "r"(z)
               : "memory");
}
// Stores a box from shared memory; what lies outside the tensor is not written. Belongs to the issuing
// thread's current bulk group.
__device__ __forceinline__ void tma_store(const TensorMap& map, const void* shared, int x, int y, int z) {
  asm volatile("cp.async.bulk.tensor.3d.global.shared::cta.bulk_group [%0, {%2, %3, %4}], [%1];" ::"l"(&map),
               "r"(shared_address(shared)), "r"(x), "r"(y), "r"(z)
               : "memory");
}
// Adds a float32 box to global memory, element by element.
__device__ __forceinline__ void tma_reduce_add(const TensorMap& map, const void* shared, int x, int y,
                                               int z) {
  asm volatile(
      "cp.reduce.async.bulk.tensor.3d.global.shared::cta.add.bulk_group [%0, {%2, %3, %4}], [%1];" ::"l"(
          &map),
      "r"(shared_address(shared)), "r"(x), "r"(y), "r"(z)
      : "memory");
}
__device__ __forceinline__ void bulk_commit() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
// Waits until at most `kPending` of this thread's bulk groups are unfinished: still reading shared memory, or
// not yet complete in global memory.
template <int kPending>
__device__ __forceinline__ void bulk_wait_read() {
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(kPending) : "memory");
}
template <int kPending>
__device__ __forceinline__ void bulk_wait() {
  asm volatile("cp.async.bulk.wait_group %0;" ::"n"(kPending) : "memory");
}

__device__ __forceinline__ void fence_async_shared() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
// Orders this thread's ordinary accesses to global memory with those of the asynchronous proxy.
__device__ __forceinline__ void fence_async_global() {
  asm volatile("fence.proxy.async.global;" ::: "memory");
}

// An ordinary store of 4, 8 or 16 bytes that TMA or wgmma will read.
template <class V>
__device__ __forceinline__ void store_shared(V* shared, V value) {
  *shared = value;
}

// Stores four 8x8 matrices of 16-bit elements; the reverse of load_matrix_x4.
__device__ __forceinline__ void store_matrix_x4(void* row, const uint32_t (&r)[4]) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(shared_address(row)),
               "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3])
               : "memory");
}

// Registers per thread from here on, by all warps of a warpgroup. Takes effect only in a kernel with
// __launch_bounds__(threads, 1).
template <int kRegisters>
__device__ __forceinline__ void register_increase() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ __forceinline__ void register_decrease() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

// Blocks launched with LaunchShape::cluster > 1 run together and reach each other's shared memory.
__device__ __forceinline__ int cluster_rank() {
  uint32_t rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return static_cast<int>(rank);
}
__device__ __forceinline__ void cluster_barrier() {
  asm volatile("barrier.cluster.arrive.release.aligned;\n\tbarrier.cluster.wait.acquire.aligned;" ::
                   : "memory");
}

// True in one lane of the (converged) warp.
__device__ __forceinline__ bool elect_one() {
  uint32_t chosen;
  asm volatile("{\n\t.reg .pred p;\n\telect.sync _|p, 0xFFFFFFFF;\n\tselp.u32 %0, 1, 0, p;\n\t}"
               : "=r"(chosen));
  return chosen != 0;
}

// Before the first wgmma, and whenever anything else touched its accumulators or A registers.
__device__ __forceinline__ void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void wgmma_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
// Waits until at most `kPending` committed groups are unfinished; until then nothing may touch their
// registers.
template <int kPending>
__device__ __forceinline__ void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

// The 64-bit description of a wgmma operand in shared memory. `leading` and `stride` are byte distances whose
// meaning depends on the layout:
//   K-major, 128-byte swizzle: element (mn, k) at (mn / 8) stride + (mn % 8) 128 + 2 k before the swizzle;
//   stride 1024,
//     leading ignored (16); the next k16 is 32 bytes on.
//   MN-major, 128-byte swizzle: (mn / 64) leading + (mn % 64) 2 + (k / 8) stride + (k % 8) 128; stride 1024;
//   the next
//     k16 is 2048 bytes on.
// The tile starts on 1024 bytes; only the k16 steps move the start address.
__device__ __forceinline__ uint64_t shared_descriptor(const void* start, int leading, int stride,
                                                      Swizzle swizzle) {
  const uint64_t address = (shared_address(start) & 0x3FFFFu) >> 4;
  return address | static_cast<uint64_t>(leading >> 4) << 16 | static_cast<uint64_t>(stride >> 4) << 32 |
         static_cast<uint64_t>(swizzle) << 62;
}

}  // namespace native::cuda
