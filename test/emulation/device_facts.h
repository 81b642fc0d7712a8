// The emulated device: a small sm_90.
#pragma once

#include <cstddef>

namespace emulation {

inline constexpr char kDeviceName[] = "emulated device";
inline constexpr int kMajor = 9, kMinor = 0;
inline constexpr int kMultiprocessors = 4;
inline constexpr int kThreadsPerMultiprocessor = 2048, kBlocksPerMultiprocessor = 32, kThreadsPerBlock = 1024;
inline constexpr size_t kSharedDefaultLimit = 48 << 10;  // per block, unless the kernel's attribute says more
inline constexpr size_t kSharedLimit = 227 << 10;        // per block
inline constexpr size_t kSharedPerMultiprocessor = 228 << 10;
inline constexpr size_t kSharedReserved =
    1 << 10;  // of each block, by the system; shared addresses start behind it
inline constexpr int kCacheBytes = 256 << 10;  // of the second level, whatever reads it
inline constexpr int kClusterLimit = 8;        // portable

// How many blocks one multiprocessor holds (registers are not modelled).
inline int blocks_per_multiprocessor(int threads, size_t shared_bytes) {
  const int by_threads = kThreadsPerMultiprocessor / threads;
  const int by_shared = static_cast<int>(kSharedPerMultiprocessor / (shared_bytes + kSharedReserved));
  const int blocks = by_threads < by_shared ? by_threads : by_shared;
  return blocks < kBlocksPerMultiprocessor ? blocks : kBlocksPerMultiprocessor;
}

}  // namespace emulation
