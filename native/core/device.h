// Devices. Every device is an ordered queue with its own memory; a backend fills this interface from its own
// file and nothing above it names one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "core/error.h"

namespace native {

enum class DeviceType : uint8_t { cpu, cuda };
inline constexpr int kDeviceTypeCount = 2;

inline const char* device_name(DeviceType device) { return device == DeviceType::cpu ? "cpu" : "cuda"; }

// What a queued operation says about itself when it fails.
struct OpSite {
  const char* name;
  std::vector<std::string> operands;  // "float32[8, 77]"
};

struct MemoryStats {
  uint64_t live_tensors = 0;  // storages that something still refers to
  uint64_t live_bytes = 0;
  uint64_t peak_bytes = 0;      // highest live_bytes since reset_peak
  uint64_t reserved_bytes = 0;  // taken from the system, live or cached
};

// Memory is reused in queue order: a block released after an operation was queued may be handed at once to
// one queued later.
class DeviceBackend {
 public:
  virtual ~DeviceBackend() = default;

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
  // Queues a copy to host memory that stays valid until a later fence is done.
  virtual void copy_to_host(void* host, const void* device, size_t bytes) = 0;
  virtual void copy_from_host(void* device, const void* host, size_t bytes) = 0;
};

void register_backend(DeviceType device, DeviceBackend* backend);
bool has_backend(DeviceType device);
DeviceBackend& backend(DeviceType device);  // throws ERR_DEVICE when this build has none

}  // namespace native
