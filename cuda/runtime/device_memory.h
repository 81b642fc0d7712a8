// Device memory: segments taken from the driver, cut into blocks that are handed out best fit, and joined
// with their free neighbours when they come back. All work is on one stream, so a block that was released may
// be handed out at once: what is queued later runs later. Not thread-safe; the backend holds its lock.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <unordered_map>

#include "core/device.h"

namespace native::cuda {

class DeviceMemory {
 public:
  // `before_free` waits for all queued work: segments go back to the driver only then.
  // `exact`: each block is what the driver hands out for its very size, and goes back as soon as it is
  // released, so that tools know where tensors end.
  explicit DeviceMemory(std::function<void()> before_free, bool exact = false);
  ~DeviceMemory();

  // At least `bytes`, aligned to 512. Throws ERR_OUT_OF_MEMORY with the sizes when the device is full, after
  // it gave back what is cached.
  void* allocate(size_t bytes);
  void release(void* data);

  // From begin to end all blocks come from a pool of their own; nothing else is handed out of it until it is
  // dissolved, even where its blocks are free. For work that is replayed: its addresses must stay. While a
  // pool is open nothing waits and nothing goes back to the driver.
  int new_pool() { return ++pools_; }
  void begin_pool(int pool) { pool_ = pool; }
  void end_pool();
  void dissolve_pool(int pool);

  size_t size_of(void* data) const { return live_.at(data)->size; }  // of a block in use

  void empty_cache();
  void reset_peak() { stats_.peak_bytes = stats_.live_bytes; }
  MemoryStats stats() const { return stats_; }

 private:
  struct Block {
    char* data;
    size_t size;
    int pool;
    bool small, free;
    uint64_t released;      // order of release, for trimming
    Block *before, *after;  // neighbours in the segment
  };
  struct BySize {
    bool operator()(const Block* a, const Block* b) const;
  };

  Block* take_free(size_t size);
  Block* take_segment(size_t size);
  void split(Block* block, size_t size);
  void join(Block* block, Block* next);
  void free_segment(Block* block);
  void trim(size_t keep_bytes);

  std::function<void()> before_free_;
  const bool exact_;
  std::set<Block*, BySize> free_;  // by pool, kind, size
  std::unordered_map<void*, Block*> live_;
  int pool_ = 0, pools_ = 0;  // 0: the common pool
  uint64_t releases_ = 0;
  size_t most_live_ = 0;  // since the start
  MemoryStats stats_;
};

}  // namespace native::cuda
