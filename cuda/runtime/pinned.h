// Page-locked host memory and events, kept for reuse: both are slow to make. Thread-safe.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <map>
#include <mutex>
#include <vector>

namespace native::cuda {

// Blocks of host memory that the device copies from and to by itself.
class PinnedMemory {
 public:
  struct Block {
    void* data = nullptr;
    size_t size = 0;
  };
  Block take(size_t bytes);  // throws ERR_OUT_OF_MEMORY, after it gave back what lies idle
  void give(Block block);    // no copy from or to it may be pending
  void empty_cache();

 private:
  std::mutex mutex_;
  std::multimap<size_t, void*> free_;
  size_t cached_ = 0;
};

class EventPool {
 public:
  // With `timing` its time can be read; without, a thread that waits for it sleeps.
  explicit EventPool(bool timing) : timing_(timing) {}
  cudaEvent_t take();
  void give(cudaEvent_t event);

 private:
  const bool timing_;
  std::mutex mutex_;
  std::vector<cudaEvent_t> free_;
};

}  // namespace native::cuda
