#include "runtime/completion.h"

#include <algorithm>
#include <cstring>

namespace native::cuda {

int SiteTable::add(OpSite site) {
  std::lock_guard<std::mutex> lock(mutex_);
  sites_.push_back(std::move(site));
  return first_ + static_cast<int>(sites_.size()) - 1;
}

OpSite SiteTable::find(int number) const {
  std::lock_guard<std::mutex> lock(mutex_);
  const int64_t index = int64_t{number} - first_;
  if (index >= 0 && index < static_cast<int64_t>(sites_.size())) return sites_[static_cast<size_t>(index)];
  const auto found = retained_.find(number);
  return found == retained_.end() ? OpSite{"an operation", {}} : found->second;
}

void SiteTable::retain(int first, int last) {
  for (int number = first; number < last; ++number) {
    OpSite site = find(number);
    std::lock_guard<std::mutex> lock(mutex_);
    retained_[number] = std::move(site);
  }
}

void SiteTable::drop(int first, int last) {
  std::lock_guard<std::mutex> lock(mutex_);
  retained_.erase(retained_.lower_bound(first), retained_.lower_bound(last));
}

void SiteTable::forget_before(int number) {
  std::lock_guard<std::mutex> lock(mutex_);
  for (; first_ < number && !sites_.empty(); ++first_) sites_.pop_front();
}

int SiteTable::next() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return first_ + static_cast<int>(sites_.size());
}

Completion::Completion(int device, SiteTable& sites, PinnedMemory& pinned, EventPool& events,
                       EventPool& timing)
    : device_(device), sites_(sites), pinned_(pinned), events_(events), timing_(timing), thread_([this] {
        run();
      }) {
  thread_.detach();  // like the backend it lives until the process ends
}

void Completion::push(PendingFence fence) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    fences_.push_back(std::move(fence));
    unfinished_ += 1;
  }
  wake_.notify_one();
}

void Completion::report(Error error) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (!reported_) reported_ = std::move(error);
}

void Completion::drain() {
  std::unique_lock<std::mutex> lock(mutex_);
  idle_.wait(lock, [this] { return unfinished_ == 0; });
}

void Completion::run() {
  cudaSetDevice(device_);
  for (;;) {
    PendingFence fence;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      wake_.wait(lock, [this] { return !fences_.empty(); });
      fence = std::move(fences_.front());
      fences_.pop_front();
    }
    const cudaError_t status = cudaEventSynchronize(fence.event);
    if (status == cudaErrorCudartUnloading) return;  // the process is ending
    if (status != cudaSuccess && !fence.error) {
      fence.error = Error("ERR_DEVICE", concat("the CUDA device stopped: ", cudaGetErrorString(status), " (",
                                               cudaGetErrorName(status),
                                               "); it works again in a new process. NATIVE_SYNC=1 shows "
                                               "which operation did it"));
    }
    finish(fence);
    {
      std::lock_guard<std::mutex> lock(mutex_);
      unfinished_ -= 1;
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
    fence.error = failure(sites_.find(fault.site), index ? "ERR_INDEX_RANGE" : "ERR_INTERNAL", reason(fault));
  }
  for (const HostCopy& copy : fence.copies) {
    std::memcpy(copy.host, copy.staged.data, copy.bytes);
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
