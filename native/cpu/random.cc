// Random numbers on the CPU, a Philox block of four elements per step.
#include "core/random.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/parallel.h"
#include "cpu/float_rows.h"
#include "cpu/simd.h"
#include "ops/random.h"

namespace native {
namespace {

using Words = std::array<uint32_t, 4>;

template <size_t n>
double polynomial(const double (&coefficients)[n], double x) {
  double value = 0;
  for (size_t i = n; i-- > 0;) value = value * x + coefficients[i];
  return value;
}

// The inverse of the normal distribution function (Wichura, Algorithm AS 241, 1988), relative error about
// 1e-16.
double normal_quantile(double p) {
  const double q = p - 0.5;
  if (std::fabs(q) <= 0.425) {
    const double r = 0.180625 - q * q;
    return q *
           polynomial(
               {3.3871328727963666080, 133.14166789178437745, 1971.5909503065514427, 13731.693765509461125,
                45921.953931549871457, 67265.770927008700853, 33430.575583588128105, 2509.0809287301226727},
               r) /
           polynomial(
               {1.0, 42.313330701600911252, 687.18700749205790830, 5394.1960214247511077,
                21213.794301586595867, 39307.895800092710610, 28729.085735721942674, 5226.4952788528545610},
               r);
  }
  const double r = std::sqrt(-std::log(q < 0 ? p : 1 - p));
  const double tail =
      r <= 5 ? polynomial({1.42343711074968357734, 4.63033784615654529590, 5.76949722146069140550,
                           3.64784832476320460504, 1.27045825245236838258, 0.241780725177450611770,
                           0.0227238449892691845833, 7.74545014278341407640e-4},
                          r - 1.6) /
                   polynomial({1.0, 2.05319162663775882187, 1.67638483018380384940, 0.689767334985100004550,
                               0.148103976427480074590, 0.0151986665636164571966, 5.47593808499534494600e-4,
                               1.05075007164441684324e-9},
                              r - 1.6)
             : polynomial({6.65790464350110377720, 5.46378491116411436990, 1.78482653991729133580,
                           0.296560571828504891230, 0.0265321895265761230930, 0.00124266094738807843860,
                           2.71155556874348757815e-5, 2.01033439929228813265e-7},
                          r - 5) /
                   polynomial({1.0, 0.599832206555887937690, 0.136929880922735805310,
                               0.0148753612908506148525, 7.86869131145613259100e-4, 1.84631831751005468180e-5,
                               1.42151175831644588870e-7, 2.04426310338993978564e-15},
                              r - 5);
  return q < 0 ? -tail : tail;
}

double normal_probability(double x) { return 0.5 * std::erfc(-x * 0.70710678118654752440); }

void uniform(const RandomArgs& a, const Words& words, float* out) {
  for (int i = 0; i < 4; ++i) {
    const double value = a.first + (a.second - a.first) * Philox::to_uniform(words[i]);
    out[i] = static_cast<float>(value);
    // Rounding to float32 may reach the upper bound, which does not belong to the range.
    if (out[i] >= a.second && a.second > a.first)
      out[i] = std::nextafter(static_cast<float>(a.second), -INFINITY);
  }
}

void normal(const RandomArgs& a, const Words& words, float* out) {
  for (int i = 0; i < 4; i += 2) {
    const float radius = std::sqrt(-2.0f * std::log(1.0f - Philox::to_uniform(words[i])));
    const float angle = 6.28318530717958647692f * Philox::to_uniform(words[i + 1]);
    out[i] = static_cast<float>(a.first + a.second * (radius * std::cos(angle)));
    out[i + 1] = static_cast<float>(a.first + a.second * (radius * std::sin(angle)));
  }
}

void truncated_normal(const RandomArgs& a, const Words& words, float* out) {
  const double low = normal_probability((a.low - a.first) / a.second);
  const double high = normal_probability((a.high - a.first) / a.second);
  for (int i = 0; i < 4; ++i) {
    const double p = low + (high - low) * ((words[i] >> 8) + 0.5) * 0x1p-24;
    out[i] = static_cast<float>(std::clamp(a.first + a.second * normal_quantile(p), a.low, a.high));
  }
}

void generate(const RandomArgs& a) {
  const auto make = a.distribution == Distribution::uniform  ? uniform
                    : a.distribution == Distribution::normal ? normal
                                                             : truncated_normal;
  const Philox philox{a.seed, a.stream};
  parallel_for((a.numel + 3) / 4, 1024, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      float values[4];
      make(a, philox(static_cast<uint64_t>(block)), values);
      std::memcpy(a.y + block * 4, values,
                  sizeof(float) * static_cast<size_t>(std::min<int64_t>(4, a.numel - block * 4)));
    }
  });
}

SIMD_CLONES void scale_run(const float* x, float* y, float scale, int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) y[i] = x[i] * scale;
}

void drop_path(const DropPathArgs& a) {
  const Philox philox{a.seed, a.stream + static_cast<uint64_t>(a.offset ? *a.offset : 0)};
  const float kept_scale = 1.0f / (1.0f - a.rate);
  const int64_t blocks = (a.size + kFloatBlock - 1) / kFloatBlock;
  parallel_for(a.samples * blocks, 16, [&](int64_t begin, int64_t end) {
    float x_buffer[kFloatBlock], y_buffer[kFloatBlock];
    for (int64_t item = begin; item < end; ++item) {
      const int64_t sample = item / blocks, first = item % blocks * kFloatBlock;
      const int64_t offset = sample * a.size + first, count = std::min(kFloatBlock, a.size - first);
      const bool kept = Philox::to_uniform(philox(static_cast<uint64_t>(sample / 4))[sample % 4]) >= a.rate;
      float* y = target_floats(a.y, a.dtype, offset, y_buffer);
      if (kept) {
        scale_run(read_floats(a.x, a.dtype, offset, count, x_buffer), y, kept_scale, count);
      } else {
        std::fill(y, y + count, 0.0f);
      }
      write_floats(y, a.y, a.dtype, offset, count);
    }
  });
}

REGISTER_KERNEL(random, cpu, generate);
REGISTER_KERNEL(drop_path, cpu, drop_path);

}  // namespace
}  // namespace native
