#include "core/allocator.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <vector>

namespace native {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kLarge = size_t{1} << 20;
constexpr size_t kAlignment = 64;  // a cache line, and the widest vector

// Small blocks are powers of two; large ones whole 128 KiB steps, so that repeated shapes meet their own
// block again.
size_t block_size(size_t bytes) {
  if (bytes >= kLarge) return (bytes + (size_t{128} << 10) - 1) & ~((size_t{128} << 10) - 1);
  size_t size = 256;
  while (size < bytes) size *= 2;
  return size;
}

void* take_from_system(size_t size) {
  const bool huge = size >= kHugePage;
  void* data = std::aligned_alloc(huge ? kHugePage : kAlignment,
                                  huge ? (size + kHugePage - 1) & ~(kHugePage - 1) : size);
  if (data && huge) madvise(data, size, MADV_HUGEPAGE);
  return data;
}

}  // namespace

CachingAllocator::CachingAllocator(std::function<uint64_t()> submitted, std::function<uint64_t()> completed)
    : submitted_(std::move(submitted)), completed_(std::move(completed)) {}

void* CachingAllocator::allocate(size_t bytes, bool must_be_idle) {
  const size_t size = block_size(bytes);
  std::lock_guard<std::mutex> lock(mutex_);
  void* data = nullptr;
  const uint64_t done = must_be_idle ? completed_() : 0;
  const auto end = free_.upper_bound(size);
  for (auto it = free_.lower_bound(size); it != end; ++it) {
    if (must_be_idle && it->second.ticket > done) continue;
    data = it->second.data;
    cached_bytes_ -= size;
    free_.erase(it);
    break;
  }
  if (!data) {
    data = take_from_system(size);
    if (!data) {
      trim(0);
      data = take_from_system(size);
    }
    CHECK(data, "ERR_OUT_OF_MEMORY", "cannot allocate ", bytes, " bytes (", stats_.live_bytes,
          " are in use)");
    stats_.reserved_bytes += size;
  }
  stats_.live_tensors += 1;
  stats_.live_bytes += size;
  stats_.peak_bytes = std::max(stats_.peak_bytes, stats_.live_bytes);
  return data;
}

void CachingAllocator::release(void* data, size_t bytes) {
  const size_t size = block_size(bytes);
  std::lock_guard<std::mutex> lock(mutex_);
  stats_.live_tensors -= 1;
  stats_.live_bytes -= size;
  free_.insert({size, {data, submitted_(), age_++}});
  cached_bytes_ += size;
  // Sizes that no longer occur must not pile up: keep at most a quarter of what is in use, or 64 MiB.
  const size_t limit = std::max<size_t>(stats_.live_bytes / 4, size_t{64} << 20);
  if (cached_bytes_ > limit + limit / 4) trim(limit);
}

void CachingAllocator::trim(size_t keep_bytes) {
  const uint64_t done = completed_();
  std::vector<FreeMap::iterator> idle;
  for (auto it = free_.begin(); it != free_.end(); ++it) {
    if (it->second.ticket <= done) idle.push_back(it);
  }
  std::sort(idle.begin(), idle.end(), [](auto a, auto b) { return a->second.age < b->second.age; });
  for (auto it : idle) {
    if (cached_bytes_ <= keep_bytes) break;
    std::free(it->second.data);
    cached_bytes_ -= it->first;
    stats_.reserved_bytes -= it->first;
    free_.erase(it);
  }
}

void CachingAllocator::empty_cache() {
  std::lock_guard<std::mutex> lock(mutex_);
  trim(0);
}

void CachingAllocator::reset_peak() {
  std::lock_guard<std::mutex> lock(mutex_);
  stats_.peak_bytes = stats_.live_bytes;
}

MemoryStats CachingAllocator::stats() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return stats_;
}

}  // namespace native
