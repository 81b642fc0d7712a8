#include "cpu/float_rows.h"

#include "cpu/simd.h"
#include "cpu/vector_math.h"

namespace native {
namespace {

SIMD_CLONES void widen(const bfloat16* x, float* y, int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) y[i] = x[i];
}

SIMD_CLONES void narrow(const float* x, bfloat16* y, int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) store(y + i, x[i]);
}

}  // namespace

const float* read_floats(const void* x, DType dtype, int64_t offset, int64_t count, float* buffer) {
  if (dtype == DType::float32) return static_cast<const float*>(x) + offset;
  widen(static_cast<const bfloat16*>(x) + offset, buffer, count);
  return buffer;
}

float* target_floats(void* y, DType dtype, int64_t offset, float* buffer) {
  return dtype == DType::float32 ? static_cast<float*>(y) + offset : buffer;
}

void write_floats(const float* values, void* y, DType dtype, int64_t offset, int64_t count) {
  if (dtype != DType::float32) narrow(values, static_cast<bfloat16*>(y) + offset, count);
}

}  // namespace native
