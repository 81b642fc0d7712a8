// What a kernel may use of the machine: indices, shared memory, barriers, warp exchange, conversions, memory
// operations. Kernels reach the hardware through these headers only, so that the tests can run the same
// kernels on the host (test/emulation/primitives holds the other half). Blocks are one-dimensional and made
// of whole warps.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "core/dtype.h"

namespace native::cuda {

inline constexpr int kWarpSize = 32;
inline constexpr unsigned kFullWarp = 0xFFFFFFFFu;

__device__ __forceinline__ int lane_index() { return static_cast<int>(threadIdx.x) & 31; }
// The warp's index in its block, known to the compiler to be the same in all lanes.
__device__ __forceinline__ int warp_index() {
  return __shfl_sync(kFullWarp, static_cast<int>(threadIdx.x) >> 5, 0);
}

// The block's shared memory, of the size given at launch and aligned to 1024 bytes. There is no other: a
// kernel lays out a struct and takes shared_memory<Struct>().
template <class T = unsigned char>
__device__ __forceinline__ T& shared_memory() {
  extern __shared__ __align__(1024) unsigned char g_shared_memory[];
  return *reinterpret_cast<T*>(g_shared_memory);
}

// The address that shared-memory instructions and descriptors take.
__device__ __forceinline__ uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// Execution barriers that also order the shared and global memory accesses of the threads that meet.
__device__ __forceinline__ void block_barrier() { __syncthreads(); }
__device__ __forceinline__ void warp_barrier() { __syncwarp(); }
// Of `threads` threads (whole warps) that all name `id`, 1 .. 15.
__device__ __forceinline__ void named_barrier(int id, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
// Arrives without waiting; the waiting threads call named_barrier with the same id and total.
__device__ __forceinline__ void named_barrier_arrive(int id, int threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

// Exchange among all 32 lanes of a warp, of 32-bit values.
template <class T>
__device__ __forceinline__ T shuffle(T value, int lane) {
  return __shfl_sync(kFullWarp, value, lane);
}
template <class T>
__device__ __forceinline__ T shuffle_xor(T value, int mask) {
  return __shfl_xor_sync(kFullWarp, value, mask);
}
__device__ __forceinline__ bool any_lane(bool predicate) { return __any_sync(kFullWarp, predicate); }
__device__ __forceinline__ unsigned ballot(bool predicate) { return __ballot_sync(kFullWarp, predicate); }

// One hardware instruction each, exact to about 2^-22 (exp2, reciprocal, reciprocal_sqrt) and 2^-11 (tanh).
__device__ __forceinline__ float exp2_approx(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
__device__ __forceinline__ float reciprocal_approx(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
__device__ __forceinline__ float reciprocal_sqrt(float x) { return rsqrtf(x); }
__device__ __forceinline__ float tanh_approx(float x) {
  float y;
  asm("tanh.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// a b rounded for itself: the compiler does not fuse it with a sum that follows.
__device__ __forceinline__ double rounded_product(double a, double b) { return __dmul_rn(a, b); }

// a b + c and a + b, rounded once, downwards.
__device__ __forceinline__ float fused_down(float a, float b, float c) { return __fmaf_rd(a, b, c); }
__device__ __forceinline__ float sum_down(float a, float b) { return __fadd_rd(a, b); }

// Of the eight bytes of `low` and `high` those that the four digits of `selector` number, the lowest first.
__device__ __forceinline__ uint32_t pick_bytes(uint32_t low, uint32_t high, uint32_t selector) {
  return __byte_perm(low, high, selector);
}
// The four bytes from `bits` % 32 on of the eight of `low` and `high`.
__device__ __forceinline__ uint32_t shifted_pair(uint32_t low, uint32_t high, uint32_t bits) {
  return __funnelshift_r(low, high, bits);
}
// sum + the lower half of `weights` times a byte + the upper half times the next one: bytes 0 and 1 or 2
// and 3.
__device__ __forceinline__ uint32_t dot_low(uint32_t weights, uint32_t bytes, uint32_t sum) {
  return __dp2a_lo(weights, bytes, sum);
}
__device__ __forceinline__ uint32_t dot_high(uint32_t weights, uint32_t bytes, uint32_t sum) {
  return __dp2a_hi(weights, bytes, sum);
}
__device__ __forceinline__ uint32_t bits_of(float x) { return __float_as_uint(x); }
__device__ __forceinline__ float float_of_bits(uint32_t bits) { return __uint_as_float(bits); }

// Conversions between float and the storage types; they round to nearest even.
template <class T>
__device__ __forceinline__ float to_float(T value) {
  return static_cast<float>(value);
}
template <>
__device__ __forceinline__ float to_float(bfloat16 value) {
  return __uint_as_float(static_cast<uint32_t>(value.bits) << 16);
}
template <>
__device__ __forceinline__ float to_float(float16 value) {
  float result;
  asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(value.bits));
  return result;
}
template <class T>
__device__ __forceinline__ T from_float(float value) {
  return static_cast<T>(value);
}
template <>
__device__ __forceinline__ bfloat16 from_float<bfloat16>(float value) {
  bfloat16 result;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(result.bits) : "f"(value));
  return result;
}
template <>
__device__ __forceinline__ float16 from_float<float16>(float value) {
  float16 result;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(result.bits) : "f"(value));
  return result;
}

// Two 16-bit numbers in one register, `low` in the lower half: the form in which tensor-core fragments hold
// them.
template <class T>
__device__ __forceinline__ uint32_t pack2(float low, float high);
template <>
__device__ __forceinline__ uint32_t pack2<bfloat16>(float low, float high) {
  uint32_t result;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(result) : "f"(high), "f"(low));
  return result;
}
template <>
__device__ __forceinline__ uint32_t pack2<float16>(float low, float high) {
  uint32_t result;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(result) : "f"(high), "f"(low));
  return result;
}
template <class T>
__device__ __forceinline__ float2 unpack2(uint32_t pair) {
  T low, high;
  low.bits = static_cast<uint16_t>(pair);
  high.bits = static_cast<uint16_t>(pair >> 16);
  return {to_float(low), to_float(high)};
}

// The same pointer, known to the compiler to be of global memory. Kernels' own pointer parameters are; one
// that a kernel reads from a table is not, and would be accessed through the slower generic instructions.
template <class T>
__device__ __forceinline__ T* global_pointer(T* pointer) {
  __builtin_assume(__isGlobal(pointer));
  return pointer;
}

// Accesses of 4, 8 or 16 bytes to data that is used once: they pass by the caches' reserved part.
template <class V>
__device__ __forceinline__ V load_streaming(const V* pointer) {
  return __ldcs(pointer);
}
template <class V>
__device__ __forceinline__ void store_streaming(V* pointer, V value) {
  __stcs(pointer, value);
}

// One store of 4, 8 or 16 bytes. A plain assignment of a vector in global memory may become four stores.
template <class V>
__device__ __forceinline__ void store_vector(V* pointer, V value) {
  __stwb(pointer, value);
}

// Flags and counters in global memory through which blocks wait for each other. A block may wait only for one
// that is sure to run: any of a grid no larger than resident_clusters() on a device that is not shared, or
// one that took its work before this one.
__device__ __forceinline__ int load_acquire(const int* pointer) {
  int value;
  asm volatile("ld.acquire.gpu.global.s32 %0, [%1];" : "=r"(value) : "l"(pointer) : "memory");
  return value;
}
__device__ __forceinline__ void store_release(int* pointer, int value) {
  asm volatile("st.release.gpu.global.s32 [%0], %1;" ::"l"(pointer), "r"(value) : "memory");
}
__device__ __forceinline__ int atomic_add(int* pointer, int value) { return atomicAdd(pointer, value); }
__device__ __forceinline__ unsigned long long atomic_add(unsigned long long* pointer,
                                                         unsigned long long value) {
  return atomicAdd(pointer, value);
}
__device__ __forceinline__ int atomic_compare_swap(int* pointer, int expected, int value) {
  return atomicCAS(pointer, expected, value);
}
__device__ __forceinline__ void global_fence() { __threadfence(); }

// Programmatic dependent launch (sm_90): a grid may start while the last blocks of the one in front still run
// (LaunchShape::overlap). All threads of every kernel call this before they touch global memory, whatever the
// access: the grid in front, and those before it, which it has waited for, have ended then. From here on the
// next grid may start in its turn. Its blocks come in only when all of this grid have, so they take nothing
// but idle places. No pointer that a kernel only reads is __restrict__: it would be read through a cache that
// takes the memory for constant since the kernel began. Nothing on older devices.
__device__ __forceinline__ void wait_for_previous_grid() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

}  // namespace native::cuda
