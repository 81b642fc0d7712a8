// The thread that waits for the device, so that no other has to: for each fence, in order, it waits for its
// event, hands over what was copied to the host, looks whether a kernel reported a fault, and tells the
// caller.
#pragma once

#include <cuda_runtime.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "core/device.h"
#include "runtime/context.h"
#include "runtime/pinned.h"

namespace native::cuda {

// The operations queued lately, by number, for the message of a fault that one of their kernels reports.
// Kernels carry the low half of a number, which tells apart all that are known at a time.
class SiteTable {
 public:
  explicit SiteTable(int64_t first = 1) : first_(first) {}
  int64_t add(OpSite site);  // numbers count up
  OpSite find(uint32_t low) const;
  void forget_before(int64_t number);
  // Operations first .. last - 1 are recorded and may run again: they stay known until dropped.
  void retain(int64_t first, int64_t last);
  void drop(int64_t first, int64_t last);
  int64_t next() const;

 private:
  mutable std::mutex mutex_;
  int64_t first_;
  std::deque<OpSite> sites_;
  std::unordered_map<uint32_t, OpSite> retained_;
};

// A copy from the device that lies in page-locked memory once its fence is reached.
struct HostCopy {
  PinnedMemory::Block staged;
  void* host;
  size_t bytes;
};

// An operation between two events, while profiling.
struct TimedOp {
  std::string name;
  cudaEvent_t start, end;
};

struct PendingFence {
  cudaEvent_t event = nullptr;
  PinnedMemory::Block fault;  // a Fault, copied from the device
  std::optional<Error> error;
  std::vector<HostCopy> copies;
  std::vector<TimedOp> timed;
  int64_t next_site = 0;  // all operations of this fence have smaller numbers
  std::function<void(std::optional<Error>)> done;
  std::thread::id thread;  // that pushed it
};

class Completion {
 public:
  Completion(int device, SiteTable& sites, PinnedMemory& pinned, EventPool& events, EventPool& timing);

  void push(PendingFence fence);
  // What went wrong elsewhere. The next fence that ends tells it; one with an error of its own tells that
  // only.
  void report(Error error);
  // Waits until every fence pushed so far is done, but no longer than `limit`: then those of the calling
  // thread write to the host no more, and tell nobody.
  void drain(std::chrono::milliseconds limit);
  std::vector<OpTime> take_profile();

 private:
  void run();
  void finish(PendingFence& fence);

  const int device_;
  SiteTable& sites_;
  PinnedMemory& pinned_;
  EventPool &events_, &timing_;
  std::mutex mutex_;
  std::condition_variable wake_, idle_;
  std::deque<PendingFence> fences_;  // whose events are not reached
  uint64_t pushed_ = 0, finished_ = 0;
  std::optional<Error> reported_;
  std::map<std::string, OpTime> profile_;
  std::thread thread_;
};

}  // namespace native::cuda
