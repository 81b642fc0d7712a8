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
// Numbers from `count` on to `value`.
template <int lanes>
ALWAYS_INLINE void mask(float* x, int64_t count, int64_t width, float value) {
  using V = typename Vector<lanes>::type;
  using Bits = typename Vector<lanes>::bits;
  using Stored = typename Vector<lanes>::stored_bits;
  static constexpr int32_t kKeep[2 * kTileLanes] = {-1, -1, -1, -1, -1, -1, -1, -1,
                                                    -1, -1, -1, -1, -1, -1, -1, -1};
  const Bits masked = reinterpret_cast<Bits>(V{} + value);
  int64_t first = count / lanes * lanes;
  if (first < count) {
    Stored& bits = *reinterpret_cast<Stored*>(x + first);
    const Bits keep = *reinterpret_cast<const Stored*>(kKeep + kTileLanes - (count - first));
    bits = (bits & keep) | (masked & ~keep);
    first += lanes;
  }
  for (; first < width; first += lanes) *reinterpret_cast<Stored*>(x + first) = masked;
}

template <int lanes>
ALWAYS_INLINE float largest_of(const float* x, int64_t width) {
  using V = typename Vector<lanes>::type;
  V largest = V{} + kMasked;
  for (int64_t i = 0; i < width; i += lanes) {
    const V at = *reinterpret_cast<const typename Vector<lanes>::stored*>(x + i);
    Larger{}(largest, at);
  }
  return combine_lanes<lanes>(largest, Larger{});
}

// e^(scale (x - subtrahend)) of numbers that are at most the subtrahend.
template <int lanes>
class Exponential {
 public:
  using V = typename Vector<lanes>::type;

  // The number from where on the power of two is 0 is worked out. Were it a constant, the compiler would turn
  // the comparison with it around, into one that takes two instructions.
  ALWAYS_INLINE explicit Exponential(float scale)
      : rate_(scale * 1.44269504f /* log2(e) */), lowest_(V{} - 127.0f / rate_) {}

  ALWAYS_INLINE void apply(V& x, float subtrahend) const {
    x -= subtrahend;
    x = lowest_ > x ? lowest_ : x;
    x *= rate_;
    exp2_normal<V, typename Vector<lanes>::bits>(x);
  }

 private:
  float rate_;
  V lowest_;
};

// x to exp(scale (x - largest)). Returns their sum.
template <int lanes>
ALWAYS_INLINE float exponentiate(float* x, int64_t width, float largest, const Exponential<lanes>& power) {
  using V = typename Vector<lanes>::type;
  using Stored = typename Vector<lanes>::stored;
  V sum{};
  for (int64_t i = 0; i < width; i += lanes) {
    Stored& at = *reinterpret_cast<Stored*>(x + i);
    V e = at;
    power.apply(e, largest);
    at = e;
    sum += e;
  }
  return combine_lanes<lanes>(sum, Plus{});
}

// What is passed on is a copy: the compiler knows that storing numbers does not change it.
template <int lanes>
ALWAYS_INLINE void softmax(const RowSoftmax s) {
  float* largest = s.log_sum;
  float* sum = s.inverse;
  const auto [row, rows, width, seen, step, most] = s.rows;
  for (int64_t i = 0; i < rows; ++i) {
    mask<lanes>(s.x + i * row, std::min(seen + i * step, most), width, kMasked);
    largest[i] = largest_of<lanes>(s.x + i * row, width);
  }
  const Exponential<lanes> power(s.scale);
  for (int64_t i = 0; i < rows; ++i) sum[i] = exponentiate<lanes>(s.x + i * row, width, largest[i], power);
  const int64_t count = rows;  // which OpenMP may capture, unlike a part of a structured binding
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) {
    largest[i] = largest[i] * s.scale + vector_log_of_many(sum[i]);
    sum[i] = 1.0f / sum[i];
  }
}

template <int lanes>
ALWAYS_INLINE void softmax_backward(const RowSoftmaxBackward s) {
  using V = typename Vector<lanes>::type;
  using Stored = typename Vector<lanes>::stored;
  const auto [row, rows, width, seen, step, most] = s.rows;
  const Exponential<lanes> power(s.scale);
  for (int64_t i = 0; i < rows; ++i) {
    float* x = s.x + i * row;
    float* dp = s.dp + i * row;
    const int64_t count = std::min(seen + i * step, most);
    mask<lanes>(x, count, width, kMasked);
    mask<lanes>(dp, count, width, 0);
    const float subtrahend = s.log_sum[i] / s.scale;
    V products{};
    for (int64_t j = 0; j < width; j += lanes) {
      Stored& at = *reinterpret_cast<Stored*>(x + j);
      V p = at;
      power.apply(p, subtrahend);
      at = p;
      products += p * *reinterpret_cast<const Stored*>(dp + j);
    }
    const float dot = combine_lanes<lanes>(products, Plus{});
    for (int64_t j = 0; j < width; j += lanes) {
      Stored& at = *reinterpret_cast<Stored*>(dp + j);
      at = (at - dot) * (s.scale * *reinterpret_cast<const Stored*>(x + j));
    }
  }
}

void softmax_baseline(const RowSoftmax& s) { softmax<4>(s); }
void backward_baseline(const RowSoftmaxBackward& s) { softmax_backward<4>(s); }

#ifdef HAS_VECTOR_TARGETS
TARGET_AVX2 void softmax_avx2(const RowSoftmax& s) { softmax<8>(s); }
TARGET_AVX512 void softmax_avx512(const RowSoftmax& s) { softmax<16>(s); }
TARGET_AVX2 void backward_avx2(const RowSoftmaxBackward& s) { softmax_backward<8>(s); }
TARGET_AVX512 void backward_avx512(const RowSoftmaxBackward& s) { softmax_backward<16>(s); }
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

void row_softmax_backward(const RowSoftmaxBackward& s) {
#ifdef HAS_VECTOR_TARGETS
  static const auto chosen = choose_form(backward_baseline, backward_avx2, backward_avx512);
  chosen(s);
#else
  backward_baseline(s);
#endif
}

}  // namespace native
