#include "runtime/pinned.h"

#include "runtime/context.h"

namespace native::cuda {
namespace {

constexpr size_t kSmallest = 4096;             // a page
constexpr size_t kCached = size_t{512} << 20;  // most bytes that lie idle

}  // namespace

PinnedMemory::Block PinnedMemory::take(size_t bytes) {
  size_t size = kSmallest;
  while (size < bytes) size *= 2;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto found = free_.find(size);
    if (found != free_.end()) {
      const Block block{found->second, size};
      free_.erase(found);
      cached_ -= size;
      return block;
    }
  }
  void* data = nullptr;
  cudaError_t status = cudaMallocHost(&data, size);
  if (status == cudaErrorMemoryAllocation) {  // blocks of other sizes may lie idle
    cudaGetLastError();
    empty_cache();
    status = cudaMallocHost(&data, size);
  }
  check_cuda(status, "page-locked host memory");
  return {data, size};
}

void PinnedMemory::give(Block block) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (cached_ + block.size <= kCached) {
      free_.insert({block.size, block.data});
      cached_ += block.size;
      return;
    }
  }
  cudaFreeHost(block.data);
}

void PinnedMemory::empty_cache() {
  std::multimap<size_t, void*> idle;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    idle.swap(free_);
    cached_ = 0;
  }
  for (const auto& block : idle) cudaFreeHost(block.second);
}

cudaEvent_t EventPool::take() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!free_.empty()) {
      const cudaEvent_t event = free_.back();
      free_.pop_back();
      return event;
    }
  }
  cudaEvent_t event = nullptr;
  const unsigned flags = timing_ ? cudaEventDefault : cudaEventDisableTiming | cudaEventBlockingSync;
  check_cuda(cudaEventCreateWithFlags(&event, flags), "event");
  return event;
}

void EventPool::give(cudaEvent_t event) {
  std::lock_guard<std::mutex> lock(mutex_);
  free_.push_back(event);
}

}  // namespace native::cuda
