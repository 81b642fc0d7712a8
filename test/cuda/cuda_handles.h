// A stream and an event of a test's own.
#pragma once

#include <cuda_runtime.h>

namespace check {

struct Stream {
  cudaStream_t stream = nullptr;
  explicit Stream(unsigned flags = cudaStreamNonBlocking) { cudaStreamCreateWithFlags(&stream, flags); }
  ~Stream() { cudaStreamDestroy(stream); }
  operator cudaStream_t() const { return stream; }
};
struct Event {
  cudaEvent_t event = nullptr;
  explicit Event(unsigned flags = cudaEventDisableTiming) { cudaEventCreateWithFlags(&event, flags); }
  ~Event() { cudaEventDestroy(event); }
  operator cudaEvent_t() const { return event; }
};

}  // namespace check
