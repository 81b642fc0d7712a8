#include "runtime/device_memory.h"

#include <algorithm>
#include <tuple>
#include <vector>

#include "runtime/context.h"

namespace native::cuda {
namespace {

constexpr size_t kMiB = size_t{1} << 20;
constexpr size_t kStep = 512;               // sizes and addresses of blocks
constexpr size_t kSmall = kMiB;             // up to here blocks share small segments
constexpr size_t kSmallSegment = 2 * kMiB;  // what the driver hands out at least
constexpr size_t kMedium = 10 * kMiB;       // up to here blocks share segments of 20 MiB
constexpr size_t kMediumSegment = 20 * kMiB;
constexpr size_t kLooseBytes = 256 * kMiB;  // always allowed to lie in the cache

size_t rounded(size_t bytes, size_t step) { return (bytes + step - 1) / step * step; }

size_t segment_size(size_t size) {
  if (size <= kSmall) return kSmallSegment;
  return size <= kMedium ? kMediumSegment : rounded(size, kSmallSegment);
}

}  // namespace

bool DeviceMemory::BySize::operator()(const Block* a, const Block* b) const {
  return std::tie(a->pool, a->small, a->size, a->data) < std::tie(b->pool, b->small, b->size, b->data);
}

DeviceMemory::DeviceMemory(std::function<void()> before_free, bool exact)
    : before_free_(std::move(before_free)), exact_(exact) {}

DeviceMemory::~DeviceMemory() {
  for (int pool = 1; pool <= pools_; ++pool) dissolve_pool(pool);
  empty_cache();
}

void* DeviceMemory::allocate(size_t bytes) {
  const size_t size = rounded(std::max<size_t>(bytes, 1), exact_ ? 1 : kStep);
  Block* block = take_free(size);
  if (!block) block = take_segment(size);
  const size_t rest = block->size - size;
  if (block->small ? rest > 0 : rest > kSmall) split(block, size);
  block->free = false;
  live_[block->data] = block;
  stats_.live_tensors += 1;
  stats_.live_bytes += block->size;
  stats_.peak_bytes = std::max(stats_.peak_bytes, stats_.live_bytes);
  most_live_ = std::max(most_live_, stats_.peak_bytes);
  return block->data;
}

DeviceMemory::Block* DeviceMemory::take_free(size_t size) {
  Block key{nullptr, size, pool_, size <= kSmall, true, 0, nullptr, nullptr};
  const auto found = free_.lower_bound(&key);
  if (found == free_.end() || (*found)->pool != pool_ || (*found)->small != key.small) return nullptr;
  Block* block = *found;
  if (exact_ && block->size != size) return nullptr;
  free_.erase(found);
  return block;
}

DeviceMemory::Block* DeviceMemory::take_segment(size_t size) {
  const size_t bytes = exact_ ? size : segment_size(size);
  if (pool_ == 0) {
    // Sizes that no longer occur must not pile up: hold at most one and a half times what was in use.
    const size_t limit = most_live_ + most_live_ / 2 + kLooseBytes;
    if (stats_.reserved_bytes + bytes > limit) trim(limit - std::min(limit, bytes));
  }
  void* data = nullptr;
  cudaError_t status = cudaMalloc(&data, bytes);
  if (status == cudaErrorMemoryAllocation && pool_ == 0) {
    cudaGetLastError();
    empty_cache();
    status = cudaMalloc(&data, bytes);
  }
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    size_t left = 0, total = 0;
    cudaMemGetInfo(&left, &total);
    fail("ERR_OUT_OF_MEMORY", "cannot allocate ", size / kMiB,
         " MiB on the CUDA device: ", stats_.live_bytes / kMiB, " MiB are in use here, ",
         (stats_.reserved_bytes - stats_.live_bytes) / kMiB, " MiB cached, ", left / kMiB, " of ",
         total / kMiB, " MiB free; use a smaller batch, or stop other programs on the device");
  }
  check_cuda(status, "device memory");
  stats_.reserved_bytes += bytes;
  return new Block{static_cast<char*>(data), bytes, pool_, size <= kSmall, false, 0, nullptr, nullptr};
}

// Leaves `size` bytes in the block; the rest becomes a free block of its own.
void DeviceMemory::split(Block* block, size_t size) {
  Block* rest =
      new Block{block->data + size, block->size - size, block->pool, block->small, true, releases_, block,
                block->after};
  if (rest->after) rest->after->before = rest;
  block->after = rest;
  block->size = size;
  free_.insert(rest);
}

void DeviceMemory::release(void* data) {
  const auto found = live_.find(data);
  CHECK(found != live_.end(), "ERR_INTERNAL", "released device memory that is not in use");
  Block* block = found->second;
  live_.erase(found);
  stats_.live_tensors -= 1;
  stats_.live_bytes -= block->size;
  block->free = true;
  block->released = ++releases_;
  if (block->after && block->after->free) {
    free_.erase(block->after);
    join(block, block->after);
  }
  if (block->before && block->before->free) {
    Block* before = block->before;
    free_.erase(before);
    before->released = block->released;
    join(before, block);
    block = before;
  }
  free_.insert(block);
  if (exact_ && pool_ == 0 && block->pool == 0) {
    before_free_();
    free_segment(block);
  }
}

void DeviceMemory::join(Block* block, Block* next) {
  block->size += next->size;
  block->after = next->after;
  if (next->after) next->after->before = block;
  delete next;
}

void DeviceMemory::free_segment(Block* block) {
  free_.erase(block);
  check_cuda(cudaFree(block->data), "giving back device memory");
  stats_.reserved_bytes -= block->size;
  delete block;
}

// Gives whole segments of the common pool back, those released longest ago first, until at most `keep_bytes`
// are reserved.
void DeviceMemory::trim(size_t keep_bytes) {
  if (pool_ != 0 || stats_.reserved_bytes <= keep_bytes) return;
  std::vector<Block*> whole;
  for (Block* block : free_) {
    if (block->pool == 0 && !block->before && !block->after) whole.push_back(block);
  }
  if (whole.empty()) return;
  std::sort(whole.begin(), whole.end(),
            [](const Block* a, const Block* b) { return a->released < b->released; });
  before_free_();
  for (Block* block : whole) {
    if (stats_.reserved_bytes <= keep_bytes) break;
    free_segment(block);
  }
}

void DeviceMemory::empty_cache() { trim(0); }

void DeviceMemory::end_pool() { pool_ = 0; }

void DeviceMemory::dissolve_pool(int pool) {
  std::vector<Block*> blocks;
  for (Block* block : free_) {
    if (block->pool == pool) blocks.push_back(block);
  }
  for (Block* block : blocks) free_.erase(block);
  for (auto& [data, block] : live_) {
    if (block->pool == pool) block->pool = 0;
  }
  for (Block* block : blocks) {
    block->pool = 0;
    free_.insert(block);
  }
}

}  // namespace native::cuda
