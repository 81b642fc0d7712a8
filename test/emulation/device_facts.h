// The emulated device: a small sm_90, or with EMULATION_CAPABILITY=80, 86 or 89 one of those, which hold
// less.
#pragma once

#include <cstddef>

namespace emulation {

inline constexpr char kDeviceName[] = "emulated device";
inline constexpr int kMultiprocessors = 4;
inline constexpr int kThreadsPerBlock = 1024;
inline constexpr size_t kSharedDefaultLimit = 48 << 10;  // per block, unless the kernel's attribute says more
// Of each block, by the system; shared addresses start behind it.
inline constexpr size_t kSharedReserved = 1 << 10;

// What differs by compute capability (CUDA Programming Guide, technical specifications).
struct Capability {
  int number;                // 10 major + minor
  int threads, blocks;       // per multiprocessor
  size_t shared, per_block;  // bytes of shared memory per multiprocessor, and of them for one block
};
const Capability& capability();

inline constexpr int kCacheBytes = 256 << 10;  // of the second level, whatever reads it
inline constexpr int kClusterLimit = 8;        // portable

// How many blocks one multiprocessor holds (registers are not modelled).
inline int blocks_per_multiprocessor(int threads, size_t shared_bytes) {
  const int by_threads = capability().threads / threads;
  const int by_shared = static_cast<int>(capability().shared / (shared_bytes + kSharedReserved));
  const int blocks = by_threads < by_shared ? by_threads : by_shared;
  return blocks < capability().blocks ? blocks : capability().blocks;
}

}  // namespace emulation
