// Caching allocator of host memory with queue-ordered reuse. Blocks of 1 MiB and more come out of an arena
// that joins what was released. Small blocks, and those that the host writes, wait in bins for a block of
// their own size: joined with others, memory to be written at once would hardly ever be idle.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <unordered_set>

#include "core/arena.h"
#include "core/device.h"

namespace native {

class CachingAllocator {
 public:
  // `submitted` counts the tasks queued so far and `completed` those that have run; a block released now is
  // idle once completed reaches submitted.
  CachingAllocator(std::function<uint64_t()> submitted, std::function<uint64_t()> completed);

  void* allocate(size_t bytes, bool must_be_idle);
  void release(void* data, size_t bytes);
  void empty_cache();
  void reset_peak();
  MemoryStats stats() const;

 private:
  struct FreeBlock {
    void* data;
    uint64_t ticket;  // idle once this many tasks have completed
    uint64_t age;     // order of release, for trimming
  };
  using FreeMap = std::multimap<size_t, FreeBlock>;

  void* take_from_bin(size_t size, bool must_be_idle);
  void* take(size_t size, bool must_be_idle);
  void note_live_bytes();
  size_t most_cached_bytes() const;
  void trim_bins(size_t keep_bytes);
  void trim_arena(size_t keep_bytes);

  std::function<uint64_t()> submitted_, completed_;
  mutable std::mutex mutex_;
  Arena arena_;
  FreeMap bins_;
  std::unordered_set<void*> written_by_host_;  // large blocks in use
  uint64_t age_ = 0;
  size_t bin_bytes_ = 0;         // free in bins
  size_t small_bytes_ = 0;       // of small blocks, in use or in bins
  size_t large_live_bytes_ = 0;  // of large blocks, in use or in bins
  // The most that was in use in this and the last run of kWindow allocations.
  size_t most_live_ = 0, most_live_before_ = 0;
  int allocations_ = 0;
  MemoryStats stats_;
};

}  // namespace native
