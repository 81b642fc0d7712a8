#include "runtime/upload.h"

#include <algorithm>
#include <cstring>

#include "runtime/context.h"

namespace native::cuda {
namespace {

constexpr size_t kPiece = size_t{16} << 20;      // staged at once: copying to and from it overlap
constexpr size_t kUnderWay = size_t{128} << 20;  // most staged bytes that wait for their copy
constexpr size_t kIdleBlocks = 256;              // kept for later uploads: those of a large batch

}  // namespace

Uploads::Uploads(cudaStream_t compute, DeviceMemory& memory, PinnedMemory& pinned, EventPool& events,
                 size_t most_idle)
    : compute_(compute), memory_(memory), pinned_(pinned), events_(events), most_idle_(most_idle) {
  check_cuda(cudaStreamCreateWithFlags(&copies_, cudaStreamNonBlocking), "stream");
}

void* Uploads::allocate(size_t bytes) {
  // The smallest that is at most twice as large, and of equal ones that released first. A new block may be
  // one that queued work still uses, so a copy into it waits for all of that; an idle one was left a while
  // ago.
  auto found = idle_.end();
  for (auto block = idle_.begin(); block != idle_.end(); ++block) {
    if (block->bytes < bytes || block->bytes / 2 > bytes) continue;
    if (found == idle_.end() || block->bytes < found->bytes) found = block;
  }
  Target target{nullptr, bytes, nullptr, true};
  if (found != idle_.end()) {
    target = *found;
    idle_.erase(found);
    idle_bytes_ -= memory_.size_of(target.data);
  } else {
    target.data = memory_.allocate(bytes);
    target.ready = events_.take();
    check_cuda(cudaEventRecord(target.ready, compute_), "event");
  }
  target.fresh = true;
  live_[target.data] = target;
  return target.data;
}

bool Uploads::release(void* data) {
  const auto found = live_.find(data);
  if (found == live_.end()) return false;
  Target target = found->second;
  live_.erase(found);
  const cudaError_t status = cudaEventRecord(target.ready, compute_);
  idle_.push_back(target);  // on a lost device too: then nobody uses it any more
  idle_bytes_ += memory_.size_of(data);
  while (idle_.size() > kIdleBlocks || idle_bytes_ > most_idle_) give_back_oldest();
  check_cuda(status, "event");
  return true;
}

void Uploads::give_back_oldest() {
  const Target target = idle_.front();
  idle_.pop_front();
  idle_bytes_ -= memory_.size_of(target.data);
  events_.give(target.ready);
  memory_.release(target.data);
}

void Uploads::copy(void* device, const void* host, size_t bytes) {
  if (bytes == 0) return;  // nothing is staged, so there is no event to wait for
  const auto target = live_.find(device);
  if (target == live_.end() || !target->second.fresh) {
    stage(device, host, bytes, compute_);
    return;
  }
  target->second.fresh = false;
  const cudaEvent_t ready = target->second.ready;
  const auto wait = [](cudaStream_t stream, cudaEvent_t event) {
    check_cuda(cudaStreamWaitEvent(stream, event, 0), "copy to the device");
  };
  wait(copies_, ready);
  try {
    stage(device, host, bytes, copies_);
  } catch (const Error&) {
    check_cuda(cudaEventRecord(ready, copies_), "copy to the device");
    wait(compute_, ready);
    throw;
  }
  wait(compute_, staged_.back().copied);
}

void Uploads::stage(void* device, const void* host, size_t bytes, cudaStream_t stream) {
  for (size_t done = 0; done < bytes; done += kPiece) {
    const size_t piece = std::min(kPiece, bytes - done);
    retire(false);
    while (staged_bytes_ + piece > kUnderWay && !staged_.empty()) retire(true);
    const PinnedMemory::Block block = pinned_.take(piece);
    std::memcpy(block.data, static_cast<const char*>(host) + done, piece);
    staged_.push_back({block, events_.take()});
    staged_bytes_ += block.size;
    check_cuda(
        cudaMemcpyAsync(static_cast<char*>(device) + done, block.data, piece, cudaMemcpyHostToDevice, stream),
        "copy to the device");
    check_cuda(cudaEventRecord(staged_.back().copied, stream), "copy to the device");
  }
}

void Uploads::record(void* device, const void* host, size_t bytes, std::vector<PinnedMemory::Block>& kept) {
  if (bytes == 0) return;
  kept.push_back(pinned_.take(bytes));
  std::memcpy(kept.back().data, host, bytes);
  check_cuda(cudaMemcpyAsync(device, kept.back().data, bytes, cudaMemcpyHostToDevice, compute_),
             "copy to the device");
}

void Uploads::retire_later(const std::vector<PinnedMemory::Block>& blocks) {
  for (const PinnedMemory::Block& block : blocks) {
    staged_.push_back({block, events_.take()});
    staged_bytes_ += block.size;
    check_cuda(cudaEventRecord(staged_.back().copied, compute_), "event");
  }
}

// Takes back what has been copied; with `wait` at least the oldest.
void Uploads::retire(bool wait) {
  while (!staged_.empty()) {
    const Staged& oldest = staged_.front();
    const cudaError_t status = wait ? cudaEventSynchronize(oldest.copied) : cudaEventQuery(oldest.copied);
    if (status == cudaErrorNotReady) {
      cudaGetLastError();  // others in the process must not take it for an error
      return;
    }
    check_cuda(status, "copy to the device");
    pinned_.give(oldest.block);
    events_.give(oldest.copied);
    staged_bytes_ -= oldest.block.size;
    staged_.pop_front();
    wait = false;
  }
}

void Uploads::empty_cache() {
  while (!idle_.empty()) give_back_oldest();
}

}  // namespace native::cuda
