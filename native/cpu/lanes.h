// Vectors of `lanes` floats for kernels that are written once and compiled for baseline x86-64, AVX2 and
// AVX-512 by functions with those targets: everything they call is ALWAYS_INLINE and generic in `lanes`.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "cpu/isa.h"

#define ALWAYS_INLINE inline __attribute__((always_inline))

#if defined(__x86_64__) && defined(__GNUC__)
#define HAS_VECTOR_TARGETS 1
#define TARGET_AVX2 __attribute__((target("arch=x86-64-v3")))
#define TARGET_AVX512 __attribute__((target("arch=x86-64-v4")))
#endif

namespace native {

// Vectors in registers, and in memory: there aligned like numbers and free to alias, for rows start anywhere.
// Each length is spelt out, since GCC forgets may_alias where a vector's size depends on a parameter.
template <int lanes>
struct Vector;
#define DEFINE_VECTOR(lanes)                                                                    \
  template <>                                                                                   \
  struct Vector<lanes> {                                                                        \
    typedef float type __attribute__((vector_size(lanes * 4)));                                 \
    typedef int32_t bits __attribute__((vector_size(lanes * 4)));                               \
    typedef float stored __attribute__((vector_size(lanes * 4), aligned(4), may_alias));        \
    typedef int32_t stored_bits __attribute__((vector_size(lanes * 4), aligned(4), may_alias)); \
  }
DEFINE_VECTOR(4);
DEFINE_VECTOR(8);
DEFINE_VECTOR(16);
#undef DEFINE_VECTOR

// Says which of several functions alike is meant: their targets cannot depend on a parameter.
template <int lanes>
using Lanes = std::integral_constant<int, lanes>;

// The locality of a prefetch that leaves L1 as it is.
constexpr int kIntoL2 = 2;

// GCC has clang's name for this from 12 on.
#if defined(__clang__) || __GNUC__ >= 12
#define HAS_SHUFFLEVECTOR 1
#define SHUFFLE_FOUR(a, b, i, j, k, l) __builtin_shufflevector(a, b, i, j, k, l)
#else
#define HAS_SHUFFLEVECTOR 0
#define SHUFFLE_FOUR(a, b, i, j, k, l) __builtin_shuffle(a, b, Vector<4>::bits{i, j, k, l})
#endif

// The lower and the upper half of 8 or 16 lanes.
template <int lanes>
ALWAYS_INLINE void halve(const typename Vector<lanes>::type& v, typename Vector<lanes / 2>::type& low,
                         typename Vector<lanes / 2>::type& high) {
#if HAS_SHUFFLEVECTOR
  if constexpr (lanes == 16) {
    low = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7);
    high = __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
  } else {
    low = __builtin_shufflevector(v, v, 0, 1, 2, 3);
    high = __builtin_shufflevector(v, v, 4, 5, 6, 7);
  }
#else
  std::memcpy(&low, &v, sizeof low);
  std::memcpy(&high, reinterpret_cast<const char*>(&v) + sizeof low, sizeof high);
#endif
}

struct Plus {
  template <class V>
  ALWAYS_INLINE void operator()(V& a, const V& b) const {
    a += b;
  }
};

// All lanes of v in one, halves by halves.
template <int lanes, class Combine>
ALWAYS_INLINE float combine_lanes(typename Vector<lanes>::type& v, const Combine& combine) {
  if constexpr (lanes > 4) {
    typename Vector<lanes / 2>::type low, high;
    halve<lanes>(v, low, high);
    combine(low, high);
    return combine_lanes<lanes / 2>(low, combine);
  } else {
    combine(v, SHUFFLE_FOUR(v, v, 2, 3, 0, 1));
    combine(v, SHUFFLE_FOUR(v, v, 1, 0, 3, 2));
    return v[0];
  }
}

// Four rows of four numbers, element `at` on, as four columns that begin `column` apart.
ALWAYS_INLINE void transpose_four(const float* const (&row)[4], int64_t at, float* columns, int64_t column) {
  using Four = Vector<4>::type;
  using Stored = Vector<4>::stored;
  const Four a = *reinterpret_cast<const Stored*>(row[0] + at),
             b = *reinterpret_cast<const Stored*>(row[1] + at);
  const Four c = *reinterpret_cast<const Stored*>(row[2] + at),
             d = *reinterpret_cast<const Stored*>(row[3] + at);
  const Four ab_low = SHUFFLE_FOUR(a, b, 0, 4, 1, 5), ab_high = SHUFFLE_FOUR(a, b, 2, 6, 3, 7);
  const Four cd_low = SHUFFLE_FOUR(c, d, 0, 4, 1, 5), cd_high = SHUFFLE_FOUR(c, d, 2, 6, 3, 7);
  *reinterpret_cast<Stored*>(columns) = SHUFFLE_FOUR(ab_low, cd_low, 0, 1, 4, 5);
  *reinterpret_cast<Stored*>(columns + column) = SHUFFLE_FOUR(ab_low, cd_low, 2, 3, 6, 7);
  *reinterpret_cast<Stored*>(columns + 2 * column) = SHUFFLE_FOUR(ab_high, cd_high, 0, 1, 4, 5);
  *reinterpret_cast<Stored*>(columns + 3 * column) = SHUFFLE_FOUR(ab_high, cd_high, 2, 3, 6, 7);
}

#ifdef HAS_VECTOR_TARGETS
// Numbers in the widest vectors that the machine has and the instruction set in use allows, if more than the
// baseline's: 16, 8 or 0.
inline int lanes_in_use() {
  static const int lanes = uses_avx512() && runs_x86_64_v4() ? 16 : uses_avx2() && runs_x86_64_v3() ? 8 : 0;
  return lanes;
}

// The fastest form of a kernel that the machine runs and the instruction set in use allows.
template <class Function>
Function choose_form(Function baseline, Function avx2, Function avx512) {
  return lanes_in_use() == 16 ? avx512 : lanes_in_use() == 8 ? avx2 : baseline;
}
#endif

}  // namespace native
