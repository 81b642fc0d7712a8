// The primitives of cuda/primitives/device.cuh for the host emulation: the same names and signatures, with
// the place of the call behind the arguments of all that waits.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "core/dtype.h"
#include "device_facts.h"
#include "scheduler.h"

namespace native::cuda {

using emulation::here;
using emulation::Site;

inline constexpr int kWarpSize = 32;
inline constexpr unsigned kFullWarp = 0xFFFFFFFFu;

template <class T>
inline T shuffle(T value, int lane, Site site = here());

inline int lane_index() { return static_cast<int>(threadIdx.x) & 31; }
inline int warp_index(Site site = here()) { return shuffle(static_cast<int>(threadIdx.x) >> 5, 0, site); }

template <class T = unsigned char>
inline T& shared_memory() {
  const emulation::Block& block = emulation::current_block();
  if (sizeof(T) > block.shared_bytes) {
    emulation::fail("shared_memory<T> of ", sizeof(T), " bytes, but the launch gives ", block.shared_bytes);
  }
  return *reinterpret_cast<T*>(block.shared);
}

inline uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(emulation::kSharedReserved) +
         emulation::shared_offset(pointer, 0, 1, "shared_address");
}

inline void block_barrier(Site site = here()) {
  if (emulation::skipped("block_barrier", site)) return;
  emulation::Block& block = emulation::current_block();
  emulation::meet(block.barriers[0], block.alive, "block_barrier", site);
}

inline void warp_barrier(Site site = here()) {
  if (emulation::skipped("warp_barrier", site)) return;
  int nothing = 0;
  emulation::exchange_warp("warp_barrier", site, nothing, [](auto) {});
}

inline emulation::Barrier& named_barrier_of(const char* what, int id, int threads, Site site) {
  emulation::Block& block = emulation::current_block();
  if (id < 1 || id > 15 || threads < 32 || threads % 32 || threads > block.threads) {
    emulation::fail(what, "(", id, ", ", threads, ") at ", site.file, ":", site.line);
  }
  emulation::Barrier& barrier = block.barriers[id];
  if (barrier.arrived && barrier.total != threads) {
    emulation::fail(what, "(", id, ", ", threads, ") at ", site.file, ":", site.line,
                    " while others arrived there for ", barrier.total, " threads");
  }
  barrier.total = threads;
  return barrier;
}
inline void named_barrier(int id, int threads, Site site = here()) {
  if (emulation::skipped("named_barrier", site)) return;
  emulation::meet(named_barrier_of("named_barrier", id, threads, site), threads, "named_barrier", site);
}
// The lanes of a warp arrive as one.
inline void named_barrier_arrive(int id, int threads, Site site = here()) {
  if (emulation::skipped("named_barrier_arrive", site)) return;
  int nothing = 0;
  emulation::exchange_warp("named_barrier_arrive", site, nothing, [&](auto) {
    for (int lane = 0; lane < 32; ++lane) {
      emulation::arrive(named_barrier_of("named_barrier_arrive", id, threads, site), threads,
                        "named_barrier_arrive", site);
    }
  });
}

template <class T>
struct ShuffleOperand {
  T value, result;
  int lane;
};
template <class T>
inline T exchange_shuffle(const char* what, T value, int lane, Site site) {
  static_assert(sizeof(T) == 4, "shuffles move 32-bit values");
  ShuffleOperand<T> operand{value, value, lane & 31};
  emulation::exchange_warp(what, site, operand, [](ShuffleOperand<T>* const* lanes) {
    for (int l = 0; l < 32; ++l) lanes[l]->result = lanes[lanes[l]->lane]->value;
  });
  return operand.result;
}
template <class T>
inline T shuffle(T value, int lane, Site site) {
  return exchange_shuffle("shuffle", value, lane, site);
}
template <class T>
inline T shuffle_xor(T value, int mask, Site site = here()) {
  return exchange_shuffle("shuffle_xor", value, lane_index() ^ mask, site);
}
inline unsigned ballot(bool predicate, Site site = here()) {
  unsigned operand = predicate;
  emulation::exchange_warp("ballot", site, operand, [](unsigned* const* lanes) {
    unsigned bits = 0;
    for (int l = 0; l < 32; ++l) bits |= *lanes[l] << l;
    for (int l = 0; l < 32; ++l) *lanes[l] = bits;
  });
  return operand;
}
inline bool any_lane(bool predicate, Site site = here()) { return ballot(predicate, site) != 0; }

inline float exp2_approx(float x) { return exp2f(x); }
inline float reciprocal_approx(float x) { return 1.0f / x; }
inline float reciprocal_sqrt(float x) { return 1.0f / sqrtf(x); }
// Rounded to the 11 bits that the instruction is good for.
inline float tanh_approx(float x) {
  const uint32_t word = __builtin_bit_cast(uint32_t, tanhf(x));
  return __builtin_bit_cast(float, (word + 0x800u) & ~0xFFFu);
}

inline double rounded_product(double a, double b) {
  double product = a * b;
#ifdef __FMA__
  asm("" : "+x"(product));  // or the compiler fuses it with what follows, as the device's does elsewhere
#endif
  return product;
}

inline uint32_t bits_of(float x) { return __builtin_bit_cast(uint32_t, x); }
inline float float_of_bits(uint32_t bits) { return __builtin_bit_cast(float, bits); }

// Of the next two: exact where double holds the sum, which those of kernels are.
inline float rounded_down(double exact) {
  const float nearest = static_cast<float>(exact);
  return nearest > exact ? nextafterf(nearest, -INFINITY) : nearest;
}
inline float fused_down(float a, float b, float c) {
  return rounded_down(static_cast<double>(a) * b + static_cast<double>(c));
}
inline float sum_down(float a, float b) { return rounded_down(static_cast<double>(a) + b); }

inline uint32_t pick_bytes(uint32_t low, uint32_t high, uint32_t selector) {
  const uint64_t both = static_cast<uint64_t>(high) << 32 | low;
  uint32_t picked = 0;
  for (int i = 0; i < 4; ++i)
    picked |= static_cast<uint32_t>(both >> (8 * (selector >> (4 * i) & 7)) & 0xFF) << (8 * i);
  return picked;
}
inline uint32_t shifted_pair(uint32_t low, uint32_t high, uint32_t bits) {
  return static_cast<uint32_t>((static_cast<uint64_t>(high) << 32 | low) >> (bits & 31));
}
inline uint32_t dot_low(uint32_t weights, uint32_t bytes, uint32_t sum) {
  return sum + (weights & 0xFFFF) * (bytes & 0xFF) + (weights >> 16) * (bytes >> 8 & 0xFF);
}
inline uint32_t dot_high(uint32_t weights, uint32_t bytes, uint32_t sum) {
  return dot_low(weights, bytes >> 16, sum);
}

template <class T>
inline float to_float(T value) {
  return static_cast<float>(value);
}
template <class T>
inline T from_float(float value) {
  return static_cast<T>(value);
}

template <class T>
inline uint32_t pack2(float low, float high) {
  return from_float<T>(low).bits | static_cast<uint32_t>(from_float<T>(high).bits) << 16;
}
template <class T>
inline float2 unpack2(uint32_t pair) {
  T low, high;
  low.bits = static_cast<uint16_t>(pair);
  high.bits = static_cast<uint16_t>(pair >> 16);
  return {to_float(low), to_float(high)};
}

template <class T>
inline T* global_pointer(T* pointer) {
  return pointer;
}

template <class V>
inline V load_streaming(const V* pointer) {
  return *pointer;
}
template <class V>
inline void store_streaming(V* pointer, V value) {
  *pointer = value;
}

template <class V>
inline void store_vector(V* pointer, V value) {
  *pointer = value;
}

// Grids run on one thread of the host, so that plain accesses are atomic. Each look at a flag lets others
// run.
inline int load_acquire(const int* pointer, Site site = here()) {
  emulation::poll("load_acquire", site);
  emulation::thread_state<emulation::GlobalProxies>().acquired = true;
  return *pointer;
}
inline void store_release(int* pointer, int value, Site site = here()) {
  if (emulation::thread_state<emulation::GlobalProxies>().wrote_in_bulk) {
    emulation::fail("store_release at ", site.file, ":", site.line,
                    " after bulk copies to global memory without fence_async_global");
  }
  emulation::note_progress();
  *pointer = value;
}
template <class T>
inline T fetch_and_add(T* pointer, T value, Site site) {
  if (value == T{}) {
    emulation::poll("atomic_add", site);
  } else {
    emulation::note_progress();
  }
  const T old = *pointer;
  *pointer += value;
  return old;
}
inline int atomic_add(int* pointer, int value, Site site = here()) {
  return fetch_and_add(pointer, value, site);
}
inline unsigned long long atomic_add(unsigned long long* pointer, unsigned long long value,
                                     Site site = here()) {
  return fetch_and_add(pointer, value, site);
}
inline int atomic_compare_swap(int* pointer, int expected, int value, Site site = here()) {
  const int old = *pointer;
  if (old == expected) {
    emulation::note_progress();
    *pointer = value;
  } else {
    emulation::poll("atomic_compare_swap", site);
  }
  return old;
}
// The emulated memory is sequentially consistent: leaving a fence out changes nothing here.
inline void global_fence() {}

inline void wait_for_previous_grid(Site site = here()) {
  if (!emulation::skipped("wait_for_previous_grid", site)) emulation::wait_for_previous_grid(site);
}

}  // namespace native::cuda
