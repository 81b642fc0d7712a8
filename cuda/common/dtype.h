// The switch from a run-time dtype to the types that kernels compute in.
#pragma once

#include <utility>

#include "core/dtype.h"

namespace native::cuda {

// Calls f(TypeTag<T>{}) for the dtypes that carry arithmetic on the device: float32, bfloat16 and float16.
template <class F>
decltype(auto) visit_device_float(DType dtype, F&& f) {
  if (dtype == DType::float16) return f(TypeTag<float16>{});
  return visit_float(dtype, std::forward<F>(f));
}

}  // namespace native::cuda
