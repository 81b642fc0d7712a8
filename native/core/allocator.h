// Caching allocator of host memory with queue-ordered reuse. Blocks of 1 MiB and more are aligned to huge
// pages.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>

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

  void trim(size_t keep_bytes);

  std::function<uint64_t()> submitted_, completed_;
  mutable std::mutex mutex_;
  FreeMap free_;
  uint64_t age_ = 0;
  size_t cached_bytes_ = 0;
  MemoryStats stats_;
};

}  // namespace native
