#include "runtime/completion.h"

#include <algorithm>
#include <cstring>

namespace native::cuda {

static uint32_t low_half(int64_t number) { return static_cast<uint32_t>(number); }

int64_t SiteTable::add(OpSite site) {
  std::lock_guard<std::mutex> lock(mutex_);
  sites_.push_back(std::move(site));
  return first_ + static_cast<int64_t>(sites_.size()) - 1;
}

OpSite SiteTable::find(uint32_t low) const {
  std::lock_guard<std::mutex> lock(mutex_);
  const uint32_t index = low - low_half(first_);
  if (index < sites_.size()) return sites_[index];
  const auto found = retained_.find(low);
  return found == retained_.end() ? OpSite{"an operation", {}} : found->second;
}

void SiteTable::retain(int64_t first, int64_t last) {
  for (int64_t number = first; number < last; ++number) {
    OpSite site = find(low_half(number));
    std::lock_guard<std::mutex> lock(mutex_);
    retained_[low_half(number)] = std::move(site);
  }
}

void SiteTable::drop(int64_t first, int64_t last) {
  std::lock_guard<std::mutex> lock(mutex_);
  for (int64_t number = first; number < last; ++number) retained_.erase(low_half(number));
}

void SiteTable::forget_before(int64_t number) {
  std::lock_guard<std::mutex> lock(mutex_);
  for (; first_ < number && !sites_.empty(); ++first_) sites_.pop_front();
}

int64_t SiteTable::next() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return first_ + static_cast<int64_t>(sites_.size());
}

Completion::Completion(int device, SiteTable& sites, PinnedMemory& pinned, EventPool& events,
                       EventPool& timing)
    : device_(device), sites_(sites), pinned_(pinned), events_(events), timing_(timing), thread_([this] {
        run();
      }) {
  thread_.detach();  // like the backend it lives until the process ends
}

void Completion::push(PendingFence fence) {
  fence.thread = std::this_thread::get_id();
  {
    std::lock_guard<std::mutex> lock(mutex_);
    fences_.push_back(std::move(fence));
    pushed_ += 1;
  }
  wake_.notify_one();
}

void Completion::report(Error error) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (!reported_) reported_ = std::move(error);
}

void Completion::drain(std::chrono::milliseconds limit) {
  std::unique_lock<std::mutex> lock(mutex_);
  const uint64_t last = pushed_;
  if (idle_.wait_for(lock, limit, [&] { return finished_ >= last; })) return;
  for (PendingFence& fence : fences_) {
    if (fence.thread != std::this_thread::get_id()) continue;
    for (HostCopy& copy : fence.copies) copy.host = nullptr;
    fence.done = [](std::optional<Error>) {};
  }
  idle_.wait(lock, [this] { return pushed_ - finished_ == fences_.size(); });  // none is being finished
}

void Completion::run() {
  cudaSetDevice(device_);
  for (;;) {
    cudaEvent_t event = nullptr;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      wake_.wait(lock, [this] { return !fences_.empty(); });
      event = fences_.front().event;
    }
    const cudaError_t status = cudaEventSynchronize(event);
    if (status == cudaErrorCudartUnloading) return;  // the process is ending
    PendingFence fence;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      fence = std::move(fences_.front());
      fences_.pop_front();
    }
    if (status != cudaSuccess && !fence.error) {
      fence.error = Error("ERR_DEVICE", concat("the CUDA device stopped: ", cudaGetErrorString(status), " (",
                                               cudaGetErrorName(status),
                                               "); it works again in a new process. NATIVE_SYNC=1 shows "
                                               "which operation did it"));
    }
    finish(fence);
    {
      std::lock_guard<std::mutex> lock(mutex_);
      finished_ += 1;
    }
    idle_.notify_all();
  }
}

// What a kernel found, in words.
static std::string reason(const Fault& fault) {
  if (fault.code == static_cast<int>(FaultCode::index_range)) {
    return concat("index ", fault.value, " is outside 0 .. ", fault.bound - 1);
  }
  return concat("fault ", fault.code, " (value ", fault.value, ", bound ", fault.bound, ")");
}

void Completion::finish(PendingFence& fence) {
  Fault fault;
  std::memcpy(&fault, fence.fault.data, sizeof fault);
  if (fault.code && !fence.error) {
    const bool index = fault.code == static_cast<int>(FaultCode::index_range);
    fence.error = failure(sites_.find(static_cast<uint32_t>(fault.site)),
                          index ? "ERR_INDEX_RANGE" : "ERR_INTERNAL", reason(fault));
  }
  for (const HostCopy& copy : fence.copies) {
    if (copy.host) std::memcpy(copy.host, copy.staged.data, copy.bytes);
    pinned_.give(copy.staged);
  }
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!fence.error) fence.error = std::move(reported_);
    reported_.reset();
    for (const TimedOp& op : fence.timed) {
      float milliseconds = 0;
      cudaEventElapsedTime(&milliseconds, op.start, op.end);
      OpTime& time = profile_[op.name];
      time.calls += 1;
      time.seconds += 1e-3 * milliseconds;
    }
  }
  for (const TimedOp& op : fence.timed) {
    timing_.give(op.start);
    timing_.give(op.end);
  }
  sites_.forget_before(fence.next_site);
  pinned_.give(fence.fault);
  events_.give(fence.event);
  fence.done(std::move(fence.error));
}

std::vector<OpTime> Completion::take_profile() {
  std::lock_guard<std::mutex> lock(mutex_);
  std::vector<OpTime> times;
  for (const auto& [name, time] : profile_) times.push_back({name, time.calls, time.seconds});
  profile_.clear();
  return times;
}

}  // namespace native::cuda
