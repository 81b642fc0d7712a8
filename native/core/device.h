// Devices. Every device is an ordered queue with its own memory; a backend fills this interface from its own
// file and nothing above it names one. A backend is opened on first use, so that a machine without its
// hardware pays nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/device_type.h"
#include "core/dtype.h"
#include "core/error.h"

namespace native {

// What a queued operation says about itself when it fails.
struct OpSite {
  const char* name;
  std::vector<std::string> operands;  // "float32[8, 77]"
};

// The error of an operation that failed in the queue: "name: reason (operands float32[8, 77])".
Error failure(const OpSite& site, const std::string& code, const std::string& reason);

struct MemoryStats {
  uint64_t live_tensors = 0;  // storages that something still refers to
  uint64_t live_bytes = 0;
  uint64_t peak_bytes = 0;      // highest live_bytes since reset_peak
  uint64_t reserved_bytes = 0;  // taken from the system, live or cached
};

// Time that an operation took on a device, added up by name.
struct OpTime {
  std::string name;
  int64_t calls = 0;
  double seconds = 0;
};

// Work that was recorded instead of run, to be queued again as a whole; see DeviceBackend::begin_recording.
class Recording {
 public:
  virtual ~Recording() = default;
  virtual void replay() = 0;
};

// Memory is reused in queue order: a block released after an operation was queued may be handed at once to
// one queued later.
class DeviceBackend {
 public:
  virtual ~DeviceBackend() = default;

  // Whether kernels of this device compute in `dtype`: the floating types that its operations take.
  virtual bool computes(DType dtype) const = 0;

  // `host_writes`: the caller fills the block from the host at once, so no queued work may still touch it.
  virtual void* allocate(size_t bytes, bool host_writes) = 0;
  virtual void release(void* data, size_t bytes) = 0;
  virtual MemoryStats memory() const = 0;
  virtual void reset_peak() = 0;
  virtual void empty_cache() = 0;

  // Runs `work` after everything submitted before. An error is kept and delivered by the next `fence`.
  virtual void submit(OpSite site, std::function<void()> work) = 0;
  // Calls `done` on the queue's thread once everything before has run, with the first error since the last
  // fence.
  virtual void fence(std::function<void(std::optional<Error>)> done) = 0;
  // Queues a copy to host memory that stays valid until the calling thread's next fence is done, which tells
  // what went wrong with it.
  virtual void copy_to_host(void* host, const void* device, size_t bytes) = 0;
  // Queues a copy from host memory, whose bytes are taken before this returns. Into a block allocated with
  // `host_writes`, and before anything else uses that block.
  virtual void copy_from_host(void* device, const void* host, size_t bytes) = 0;

  // From here to end_recording, on this thread, what is submitted is recorded and not run; other threads
  // wait. Recorded work keeps its addresses: tensors made meanwhile get memory that only the recording uses,
  // and those from before must live as long as it does. Nothing can be read meanwhile. `beside`, an earlier
  // recording of this device, shares its memory with the new one: what either leaves for the other must be
  // held by a tensor until both are recorded, all else may be overwritten. Throws ERR_DEVICE where the device
  // does not record.
  virtual void begin_recording(Recording* beside) {
    (void)beside;
    fail("ERR_DEVICE", "this device does not record work; cuda does");
  }
  // Throws the first error of what was submitted meanwhile.
  virtual std::unique_ptr<Recording> end_recording() { return nullptr; }

  // Waits until everything queued so far has run (blocks the caller, an environment that ends). A device that
  // may hang is waited for some seconds; what this thread has asked to read is then not written any more.
  virtual void drain() = 0;
  // In synchronous mode each op runs to its end before submit returns, and throws from there, so that a fault
  // shows with the caller's stack. Set from the environment variable NATIVE_SYNC=1 too.
  virtual void set_synchronous(bool on) = 0;
  // While profiling, the time of every op is added up under its name; taking the profile starts it anew. It
  // holds what ran before the last fence that is done.
  virtual void set_profiling(bool on) = 0;
  virtual std::vector<OpTime> take_profile() = 0;
};

// What a backend says of itself, also on a machine where it cannot be used.
struct DeviceReport {
  bool built = false;                                      // this build has the backend
  std::string unavailable;                                 // empty: it can be used; else why not, in one line
  std::vector<std::pair<std::string, std::string>> facts;  // for people: {"driver", "13.0"}
};

struct BackendProvider {
  DeviceBackend* (*open)();  // called once, on first use; the backend is never destroyed
  DeviceReport (*report)();  // cheap when called again
};

// Which of several devices of one kind to use (default 0), before the backend is opened. Throws ERR_DEVICE
// when another one is open already.
void select_device(DeviceType device, int64_t index);
int selected_device(DeviceType device);

void register_backend(DeviceType device, BackendProvider provider);
DeviceReport device_report(DeviceType device);
DeviceBackend& backend(DeviceType device);  // throws ERR_DEVICE with the reason when it cannot be used
void for_each_open_backend(const std::function<void(DeviceBackend&)>& visit);

}  // namespace native
