// The CPU device: an ordered queue with one thread of its own. Kernels inside it use all cores.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "core/allocator.h"
#include "core/device.h"

namespace native {

class CpuQueue final : public DeviceBackend {
 public:
  CpuQueue();
  ~CpuQueue() override;

  bool computes(DType dtype) const override { return dtype == DType::float32 || dtype == DType::bfloat16; }

  void* allocate(size_t bytes, bool host_writes) override { return allocator_.allocate(bytes, host_writes); }
  void release(void* data, size_t bytes) override { allocator_.release(data, bytes); }
  MemoryStats memory() const override { return allocator_.stats(); }
  void reset_peak() override { allocator_.reset_peak(); }
  void empty_cache() override { allocator_.empty_cache(); }

  void submit(OpSite site, std::function<void()> work) override;
  void fence(std::function<void(std::optional<Error>)> done) override;
  void copy_to_host(void* host, const void* device, size_t bytes) override;
  void copy_from_host(void* device, const void* host, size_t bytes) override;

  void drain() override;
  void set_synchronous(bool on) override { synchronous_ = on; }
  void set_profiling(bool on) override { profiling_ = on; }
  std::vector<OpTime> take_profile() override;

 private:
  struct Task {
    OpSite site;
    std::function<void()> work;
    std::function<void(std::optional<Error>)> done;  // a fence when set
  };
  void push(Task task);
  void run();
  void execute(Task& task);

  std::mutex mutex_;
  std::condition_variable wake_, idle_;
  std::deque<Task> tasks_;
  std::atomic<uint64_t> submitted_{0}, completed_{0};
  std::atomic<bool> synchronous_{false}, profiling_{false};
  std::map<std::string, OpTime> profile_;  // under mutex_
  bool stop_ = false;
  std::optional<Error> error_;  // first failure since the last fence; touched by the queue's thread only
  CachingAllocator allocator_;
  std::thread thread_;
};

CpuQueue& cpu_queue();

}  // namespace native
