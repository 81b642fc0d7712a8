// Each step is done for all rows before the next: a row's largest number and sum take some time to be
// gathered from the lanes of a vector, in which other rows are worked on.
#include "cpu/row_softmax.h"

#include <algorithm>
#include <limits>

#include "cpu/lanes.h"
#include "cpu/vector_math.h"

namespace native {
namespace {

constexpr float kMasked = -std::numeric_limits<float>::infinity();

struct Larger {
  template <class V>
  ALWAYS_INLINE void operator()(V& a, const V& b) const {
    a = a > b ? a : b;
  }
};
struct Plus {
  template <class V>
  ALWAYS_INLINE void operator()(V& a, const V& b) const {
    a += b;
  }
};

// All lanes of v in one, halves by halves.
template <int lanes, class Combine>
ALWAYS_INLINE float gather(typename Vector<lanes>::type& v, const Combine& combine) {
  if constexpr (lanes == 16) {
    auto low = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7);
    combine(low, __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15));
    return gather<8>(low, combine);
  } else if constexpr (lanes == 8) {
    auto low = __builtin_shufflevector(v, v, 0, 1, 2, 3);
    combine(low, __builtin_shufflevector(v, v, 4, 5, 6, 7));
    return gather<4>(low, combine);
  } else {
    combine(v, __builtin_shufflevector(v, v, 2, 3, 0, 1));
    combine(v, __builtin_shufflevector(v, v, 1, 0, 3, 2));
    return v[0];
  }
}

// Numbers from `count` on to -infinity, of which exponentials are 0.
template <int lanes>
ALWAYS_INLINE void mask(float* x, int64_t count, int64_t width) {
  using V = typename Vector<lanes>::type;
  using Bits = typename Vector<lanes>::bits;
  static constexpr int32_t kKeep[2 * kTileLanes] = {-1, -1, -1, -1, -1, -1, -1, -1,
                                                    -1, -1, -1, -1, -1, -1, -1, -1};
  const Bits masked = reinterpret_cast<Bits>(V{} + kMasked);
  int64_t first = count / lanes * lanes;
  if (first < count) {
    Bits& bits = *reinterpret_cast<Bits*>(x + first);
    const Bits keep = *reinterpret_cast<const Bits*>(kKeep + kTileLanes - (count - first));
    bits = (bits & keep) | (masked & ~keep);
    first += lanes;
  }
  for (; first < width; first += lanes) *reinterpret_cast<Bits*>(x + first) = masked;
}

template <int lanes>
ALWAYS_INLINE float largest_of(const float* x, int64_t width) {
  using V = typename Vector<lanes>::type;
  V largest = V{} + kMasked;
  for (int64_t i = 0; i < width; i += lanes) Larger{}(largest, *reinterpret_cast<const V*>(x + i));
  return gather<lanes>(largest, Larger{});
}

// x to exp(scale (x - largest)). Returns their sum.
template <int lanes>
ALWAYS_INLINE float exponentiate(float* x, int64_t width, float largest, float scale) {
  using V = typename Vector<lanes>::type;
  using Bits = typename Vector<lanes>::bits;
  const float rate = scale * 1.44269504f;  // log2(e)
  // From where on the power of two is 0. As a constant the compiler would turn the comparison around, into
  // one that takes two instructions.
  const V lowest = V{} - 127.0f / rate;
  V sum{};
  for (int64_t i = 0; i < width; i += lanes) {
    V& at = *reinterpret_cast<V*>(x + i);
    V e = at - largest;
    e = lowest > e ? lowest : e;
    e *= rate;
    exp2_normal<V, Bits>(e);
    at = e;
    sum += e;
  }
  return gather<lanes>(sum, Plus{});
}

template <int lanes>
ALWAYS_INLINE void softmax(const RowSoftmax& softmax) {
  const RowSoftmax s = softmax;  // a copy, which the compiler knows that storing numbers does not change
  float* largest = s.log_sum;
  float* sum = s.inverse;
  for (int64_t i = 0; i < s.rows; ++i) {
    mask<lanes>(s.x + i * s.row, std::min(s.seen + i * s.step, s.most), s.width);
    largest[i] = largest_of<lanes>(s.x + i * s.row, s.width);
  }
  for (int64_t i = 0; i < s.rows; ++i)
    sum[i] = exponentiate<lanes>(s.x + i * s.row, s.width, largest[i], s.scale);
#pragma omp simd
  for (int64_t i = 0; i < s.rows; ++i) {
    largest[i] = largest[i] * s.scale + vector_log_of_many(sum[i]);
    sum[i] = 1.0f / sum[i];
  }
}

void softmax_baseline(const RowSoftmax& s) { softmax<4>(s); }

#ifdef HAS_VECTOR_TARGETS
TARGET_AVX2 void softmax_avx2(const RowSoftmax& s) { softmax<8>(s); }
TARGET_AVX512 void softmax_avx512(const RowSoftmax& s) { softmax<16>(s); }
#endif

}  // namespace

void row_softmax(const RowSoftmax& s) {
#ifdef HAS_VECTOR_TARGETS
  static const auto chosen = choose_form(softmax_baseline, softmax_avx2, softmax_avx512);
  chosen(s);
#else
  softmax_baseline(s);
#endif
}

}  // namespace native
