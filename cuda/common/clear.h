// Zeros, the one content that the runtime writes by itself.
#pragma once

#include "runtime/context.h"

namespace native::cuda {

// Queues `bytes` zero bytes at `data` on the current stream.
inline void clear_memory(void* data, size_t bytes) {
  if (bytes) check_cuda(cudaMemsetAsync(data, 0, bytes, current_context().stream()), "clearing memory");
}

}  // namespace native::cuda
