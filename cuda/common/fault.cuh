// How a kernel says that its data is wrong: the first report since the last fence is delivered there as a
// coded error. The kernel goes on without the bad element; what it writes for it is undefined.
#pragma once

#include <primitives/device.cuh>

#include "runtime/context.h"

namespace native::cuda {

// Taken by a launcher, passed to its kernel by value.
struct FaultReport {
  Fault* fault;
  int site;

  __device__ __forceinline__ void index_range(int64_t value, int64_t bound) const {
    if (atomic_compare_swap(&fault->code, 0, static_cast<int>(FaultCode::index_range)) != 0) return;
    fault->site = site;
    fault->value = value;
    fault->bound = bound;
  }
};

inline FaultReport fault_report() { return {current_context().fault(), current_context().site()}; }

}  // namespace native::cuda
