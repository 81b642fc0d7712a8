#include "cpu/float_rows.h"

#include "cpu/simd.h"

namespace native {
namespace {

SIMD_CLONES void widen(const bfloat16* x, float* y, int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) y[i] = x[i];
}

using Word = uint32_t __attribute__((may_alias));
using Half = uint16_t __attribute__((may_alias));

// bfloat16(x[i]) in integer arithmetic, which the compiler vectorises.
SIMD_CLONES void narrow(const float* x, bfloat16* y, int64_t count) {
  const Word* words = reinterpret_cast<const Word*>(x);
  Half* halves = reinterpret_cast<Half*>(y);
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t word = words[i];
    const uint32_t rounded = (word + 0x7FFF + ((word >> 16) & 1)) >> 16, quiet = (word >> 16) | 0x40;
    halves[i] = static_cast<uint16_t>((word & 0x7FFFFFFF) > 0x7F800000 ? quiet : rounded);
  }
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
