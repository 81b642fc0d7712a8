// Zeros, the one content that the backend writes by itself.
#pragma once

#include <cstddef>

namespace native::cuda {

// Queues `bytes` zero bytes at `data` on the current stream. A kernel and no memset: that would keep the
// grids before and behind it apart.
void clear_memory(void* data, size_t bytes);

}  // namespace native::cuda
