// From host memory to the device without waiting: bytes are taken into page-locked memory at once and copied
// from there. A tensor that the host fills gets its block from here; its copy runs on a stream of its own,
// beside the work that is queued, and only later work waits for it. Not thread-safe; the backend holds its
// lock.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <deque>
#include <unordered_map>
#include <vector>

#include "runtime/device_memory.h"
#include "runtime/pinned.h"

namespace native::cuda {

class Uploads {
 public:
  // `compute`: the stream of all work. Blocks that lie idle have at most `most_idle` bytes.
  Uploads(cudaStream_t compute, DeviceMemory& memory, PinnedMemory& pinned, EventPool& events,
          size_t most_idle = size_t{1} << 30);

  // A block that the next `copy` into it fills.
  void* allocate(size_t bytes);
  bool owns(void* data) const { return live_.count(data) > 0; }
  // False when the block is not from here.
  bool release(void* data);
  // Copies `bytes` to any device address, in stream order; beside queued work when it is the first copy into
  // a block from `allocate`. Blocks only while more than 128 MiB are under way. Later work waits for what was
  // queued of a copy that fails half-way too.
  void copy(void* device, const void* host, size_t bytes);
  // The same as part of what `compute` is recording: the staged bytes stay in `kept`, which must outlive it.
  void record(void* device, const void* host, size_t bytes, std::vector<PinnedMemory::Block>& kept);

  // Takes back staged bytes once everything queued so far has run.
  void retire_later(const std::vector<PinnedMemory::Block>& blocks);

  void empty_cache();  // gives idle blocks back to the device memory
  size_t idle_blocks() const { return idle_.size(); }
  size_t idle_bytes() const { return idle_bytes_; }

 private:
  struct Target {
    void* data;
    size_t bytes;
    cudaEvent_t ready;  // on the compute stream: nothing queued before this event's record touches it later
    bool fresh;         // nothing has been copied into it yet
  };
  struct Staged {
    PinnedMemory::Block block;
    cudaEvent_t copied;
  };
  void give_back_oldest();
  void stage(void* device, const void* host, size_t bytes, cudaStream_t stream);
  void retire(bool wait);

  const cudaStream_t compute_;
  cudaStream_t copies_ = nullptr;
  DeviceMemory& memory_;
  PinnedMemory& pinned_;
  EventPool& events_;
  std::unordered_map<void*, Target> live_;
  const size_t most_idle_;
  std::deque<Target> idle_;  // released longest ago first
  size_t idle_bytes_ = 0;
  std::deque<Staged> staged_;
  size_t staged_bytes_ = 0;
};

}  // namespace native::cuda
