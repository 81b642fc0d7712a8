#include "ops/check.h"

namespace native {

std::string float_names(DeviceType device) {
  constexpr DType kFloats[] = {DType::float32, DType::bfloat16, DType::float16};
  std::string names;
  const char* separator = "";
  for (int i = 2; i >= 0; --i) {
    if (!backend(device).computes(kFloats[i])) continue;
    names = dtype_name(kFloats[i]) + std::string(separator) + names;
    separator = *separator ? ", " : " or ";
  }
  return names;
}

void check_float(const char* op, const char* what, const Tensor& x) {
  CHECK(backend(x.device()).computes(x.dtype()), "ERR_DTYPE", op, ": ", what, " must be ",
        float_names(x.device()), ", got ", x.describe());
}

void check_float(const char* op, const char* what, DType dtype, DeviceType device) {
  CHECK(backend(device).computes(dtype), "ERR_DTYPE", op, ": ", what, " must be ", float_names(device),
        ", not ", dtype_name(dtype));
}

}  // namespace native
