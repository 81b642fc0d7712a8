// Vectors of `lanes` floats for kernels that are written once and compiled for baseline x86-64, AVX2 and
// AVX-512 by functions with those targets: everything they call is ALWAYS_INLINE and generic in `lanes`.
#pragma once

#include <cstdint>

#include "cpu/isa.h"

#define ALWAYS_INLINE inline __attribute__((always_inline))

#if defined(__x86_64__) && defined(__GNUC__)
#define HAS_VECTOR_TARGETS 1
#define TARGET_AVX2 __attribute__((target("arch=x86-64-v3")))
#define TARGET_AVX512 __attribute__((target("arch=x86-64-v4")))
#endif

namespace native {

template <int lanes>
struct Vector {
  typedef float type __attribute__((vector_size(lanes * 4)));
  typedef int32_t bits __attribute__((vector_size(lanes * 4)));
  // In memory: aligned like numbers and free to alias, for rows start anywhere.
  typedef float stored __attribute__((vector_size(lanes * 4), aligned(4), may_alias));
  typedef int32_t stored_bits __attribute__((vector_size(lanes * 4), aligned(4), may_alias));
};

#ifdef HAS_VECTOR_TARGETS
// The fastest form of a kernel that the machine runs and the instruction set in use allows.
template <class Function>
Function choose_form(Function baseline, Function avx2, Function avx512) {
  if (uses_avx512() && runs_x86_64_v4()) return avx512;
  return uses_avx2() && runs_x86_64_v3() ? avx2 : baseline;
}
#endif

}  // namespace native
