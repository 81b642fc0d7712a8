#include "core/allocator.h"

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <vector>

namespace native {
namespace {

constexpr size_t kMiB = size_t{1} << 20;
constexpr size_t kLarge = kMiB;
constexpr size_t kAlignment = 64;        // a cache line, and the widest vector
constexpr size_t kBinBytes = 64 * kMiB;  // always allowed to lie in bins
constexpr int kWindow = 16384;           // allocations; training steps take some thousand

// Small blocks are powers of two, so that other shapes meet in one bin.
size_t block_size(size_t bytes) {
  if (bytes >= kLarge) return Arena::block_size(bytes);
  size_t size = 256;
  while (size < bytes) size *= 2;
  return size;
}

}  // namespace

CachingAllocator::CachingAllocator(std::function<uint64_t()> submitted, std::function<uint64_t()> completed)
    : submitted_(std::move(submitted)), completed_(std::move(completed)) {}

void* CachingAllocator::allocate(size_t bytes, bool must_be_idle) {
  const size_t size = block_size(bytes);
  std::lock_guard<std::mutex> lock(mutex_);
  void* data = nullptr;
  if (size < kLarge || must_be_idle) data = take_from_bin(size, must_be_idle);
  if (!data) data = take(size, must_be_idle);
  if (!data) {
    trim_bins(0);
    trim_arena(0);
    data = take(size, must_be_idle);
  }
  CHECK(data, "ERR_OUT_OF_MEMORY", "cannot allocate ", bytes, " bytes (", stats_.live_bytes, " are in use)");
  if (size >= kLarge && must_be_idle) written_by_host_.insert(data);
  stats_.live_tensors += 1;
  stats_.live_bytes += size;
  note_live_bytes();
  return data;
}

void* CachingAllocator::take_from_bin(size_t size, bool must_be_idle) {
  const uint64_t done = must_be_idle ? completed_() : std::numeric_limits<uint64_t>::max();
  const auto end = bins_.upper_bound(size);
  for (auto it = bins_.lower_bound(size); it != end; ++it) {
    if (it->second.ticket > done) continue;
    void* data = it->second.data;
    bin_bytes_ -= size;
    bins_.erase(it);
    return data;
  }
  return nullptr;
}

void* CachingAllocator::take(size_t size, bool must_be_idle) {
  if (size >= kLarge) {
    void* data = arena_.allocate(size, must_be_idle ? completed_() : std::numeric_limits<uint64_t>::max());
    if (data) large_live_bytes_ += size;
    return data;
  }
  void* data = std::aligned_alloc(kAlignment, size);
  if (data) small_bytes_ += size;
  return data;
}

void CachingAllocator::release(void* data, size_t bytes) {
  const size_t size = block_size(bytes);
  std::lock_guard<std::mutex> lock(mutex_);
  stats_.live_tensors -= 1;
  stats_.live_bytes -= size;
  if (size < kLarge || written_by_host_.erase(data) > 0) {
    bins_.insert({size, {data, submitted_(), age_++}});
    bin_bytes_ += size;
    if (bin_bytes_ > kBinBytes + kBinBytes / 4) trim_bins(kBinBytes);
  } else {
    arena_.release(data, submitted_());
    large_live_bytes_ -= size;
  }
  const size_t most = large_live_bytes_ + most_cached_bytes();
  if (arena_.resident_bytes() > most + most / 16) trim_arena(most);
}

void CachingAllocator::note_live_bytes() {
  stats_.peak_bytes = std::max(stats_.peak_bytes, stats_.live_bytes);
  if (++allocations_ == kWindow) {
    allocations_ = 0;
    most_live_before_ = most_live_;
    most_live_ = 0;
  }
  most_live_ = std::max<size_t>(most_live_, stats_.live_bytes);
}

// Work that repeats finds its memory again: what was in use of late may lie in the cache, for to take it from
// the system anew costs more than to write it.
size_t CachingAllocator::most_cached_bytes() const {
  const size_t most = std::max(most_live_, most_live_before_);
  return std::max<size_t>(most - std::min<size_t>(most, stats_.live_bytes), kBinBytes);
}

void CachingAllocator::trim_bins(size_t keep_bytes) {
  const uint64_t done = completed_();
  std::vector<FreeMap::iterator> idle;
  for (auto it = bins_.begin(); it != bins_.end(); ++it) {
    if (it->second.ticket <= done) idle.push_back(it);
  }
  std::sort(idle.begin(), idle.end(), [](auto a, auto b) { return a->second.age < b->second.age; });
  for (auto it : idle) {
    if (bin_bytes_ <= keep_bytes) break;
    const auto& [size, block] = *it;
    if (size >= kLarge) {
      arena_.release(block.data, block.ticket);
      large_live_bytes_ -= size;
    } else {
      std::free(block.data);
      small_bytes_ -= size;
    }
    bin_bytes_ -= size;
    bins_.erase(it);
  }
}

void CachingAllocator::trim_arena(size_t keep_bytes) { arena_.trim(keep_bytes, completed_()); }

void CachingAllocator::empty_cache() {
  std::lock_guard<std::mutex> lock(mutex_);
  trim_bins(0);
  trim_arena(0);
}

void CachingAllocator::reset_peak() {
  std::lock_guard<std::mutex> lock(mutex_);
  stats_.peak_bytes = stats_.live_bytes;
}

MemoryStats CachingAllocator::stats() const {
  std::lock_guard<std::mutex> lock(mutex_);
  MemoryStats stats = stats_;
  stats.reserved_bytes = small_bytes_ + arena_.resident_bytes();
  return stats;
}

}  // namespace native
