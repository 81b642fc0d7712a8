// The CUDA device as a queue: one stream for all work. An operation is launched at once by the thread that
// submits it, which never waits for the device (but where a thousand launches are pending already); what is
// read back arrives through the completion thread.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "core/device.h"
#include "runtime/completion.h"
#include "runtime/context.h"
#include "runtime/device_memory.h"
#include "runtime/pinned.h"
#include "runtime/upload.h"

namespace native::cuda {

class CudaBackend final : public DeviceBackend {
 public:
  explicit CudaBackend(int device);
  ~CudaBackend() override;

  bool computes(DType dtype) const override { return dtype <= DType::float16; }

  void* allocate(size_t bytes, bool host_writes) override;
  void release(void* data, size_t bytes) override;
  MemoryStats memory() const override;
  void reset_peak() override;
  void empty_cache() override;

  void submit(OpSite site, std::function<void()> work) override;
  void fence(std::function<void(std::optional<Error>)> done) override;
  void copy_to_host(void* host, const void* device, size_t bytes) override;
  void copy_from_host(void* device, const void* host, size_t bytes) override;

  void begin_recording(Recording* beside) override;
  std::unique_ptr<Recording> end_recording() override;

  void drain() override;
  void set_synchronous(bool on) override { synchronous_ = on; }
  void set_profiling(bool on) override { profiling_ = on; }
  std::vector<OpTime> take_profile() override { return completion_->take_profile(); }

  Context& context() { return context_; }
  // For queued work: whether it is being recorded, not run.
  bool recording() const { return recording_ != nullptr; }
  // From any thread: what went wrong beside the queue, for the next fence that ends.
  void report(Error error) { completion_->report(std::move(error)); }

 private:
  friend class CudaRecording;
  void use_device() const;
  // What fails is kept in `error`, unless something failed before.
  void run(const OpSite& site, const std::function<void()>& work, std::optional<Error>& error);
  std::optional<Error> wait();
  void discard_recording();
  void retire(const std::vector<PinnedMemory::Block>& staged);

  const int device_;
  // One thread at a time queues work.
  mutable std::recursive_mutex mutex_;
  Context context_;
  EventPool events_{false}, timing_{true};
  PinnedMemory pinned_;
  DeviceMemory memory_;
  std::unique_ptr<Uploads> uploads_;
  SiteTable sites_;
  std::unique_ptr<Completion> completion_;
  std::atomic<bool> synchronous_{false}, profiling_{false};
  bool poison_ = false;
  const bool exact_;
  std::unique_ptr<class CudaRecording> recording_;  // while work is being recorded
  std::vector<void*> released_meanwhile_;
  std::vector<PinnedMemory::Block> staged_meanwhile_;  // of recordings that went meanwhile
  // Since the last fence:
  std::optional<Error> error_, error_before_recording_;
  std::vector<TimedOp> timed_;
  // What a thread has asked to read since its own last fence, and why that could not be queued.
  struct Reads {
    std::vector<HostCopy> copies;
    std::optional<Error> error;
  };
  std::map<std::thread::id, Reads> reads_;
};

// The backend of this process, opened on first use. Throws ERR_DEVICE when no device can be used.
CudaBackend& cuda_backend();

}  // namespace native::cuda
