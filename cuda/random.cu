// Random tensors. Uniform numbers and dropped paths are those of the CPU bit for bit; normal numbers go
// through other logarithms, sines and cosines (a few units in the last place of float32), truncated ones
// through the float64 logarithm (the last bit of float32 at most). Floor: 4 bytes per element written, and
// about 25 integer operations per element for the generator; drop_path 2 s bytes per element.
#include <primitives/launch.h>

#include <cmath>
#include <primitives/device.cuh>

#include "common/dtype.h"
#include "common/philox.cuh"
#include "common/strided.cuh"
#include "common/trigonometry.cuh"
#include "common/vector.cuh"
#include "ops/random.h"

namespace native {
namespace {

using namespace cuda;

constexpr int kThreads = 256;

// What the host prepares of RandomArgs.
struct RandomShape {
  double first, range;  // low and high - low, or mean and standard deviation
  double low, high;     // bounds of truncated numbers
  double low_probability, probability_range;
  float below_high;  // the largest float32 below the upper bound of uniform numbers
};

// c[0] + c[1] x + ..., highest first.
template <int n>
__device__ __forceinline__ double polynomial(const double (&c)[n], double x) {
  double value = 0;
#pragma unroll
  for (int i = n - 1; i >= 0; --i) value = value * x + c[i];
  return value;
}

// The inverse of the normal distribution function (Wichura, Algorithm AS 241, 1988), relative error about
// 1e-16.
__device__ __forceinline__ double normal_quantile(double p) {
  const double q = p - 0.5;
  if (fabs(q) <= 0.425) {
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
  const double r = sqrt(-log(q < 0 ? p : 1 - p));
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

template <Distribution distribution>
__device__ __forceinline__ void make_numbers(const RandomShape& shape, const PhiloxWords& words,
                                             float (&out)[4]) {
  if constexpr (distribution == Distribution::normal) {
#pragma unroll
    for (int i = 0; i < 4; i += 2) {
      const float radius = sqrtf(-2.0f * logf(1.0f - to_uniform(words.word[i])));
      const SineCosine angle = sine_cosine(6.28318530717958647692f * to_uniform(words.word[i + 1]));
      out[i] = static_cast<float>(shape.first + shape.range * (radius * angle.cosine));
      out[i + 1] = static_cast<float>(shape.first + shape.range * (radius * angle.sine));
    }
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if constexpr (distribution == Distribution::uniform) {
        // Rounding to float32 may reach the upper bound, which does not belong to the range.
        out[i] = static_cast<float>(shape.first + rounded_product(shape.range, to_uniform(words.word[i])));
        if (out[i] >= shape.high && shape.range > 0) out[i] = shape.below_high;
      } else {
        const double uniform = ((words.word[i] >> 8) + 0.5) * 0x1p-24;
        const double number = shape.first + shape.range * normal_quantile(shape.low_probability +
                                                                          shape.probability_range * uniform);
        out[i] = static_cast<float>(fmin(fmax(number, shape.low), shape.high));
      }
    }
  }
}

// A thread makes the four elements of one Philox block.
template <Distribution distribution>
__global__ void __launch_bounds__(kThreads)
    random_numbers_kernel(float* __restrict__ y, int64_t numel, uint64_t seed, uint64_t stream,
                          const RandomShape shape, bool vectors) {
  wait_for_previous_grid();
  const int64_t block = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x, first = block * 4;
  if (first >= numel) return;
  float out[4];
  make_numbers<distribution>(shape, philox(seed, stream, static_cast<uint64_t>(block)), out);
  if (vectors && first + 4 <= numel) {
    store_floats(y + first, out);
    return;
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (first + i < numel) y[first + i] = out[i];
  }
}

// y = x / (1 - rate) in samples that are kept, else 0. Thread i takes vector i, in sample i / (vectors of
// one).
template <class T, int width>
__global__ void __launch_bounds__(kThreads)
    drop_samples_kernel(const T* x, T* __restrict__ y, int64_t vectors, Divisor sample_vectors, uint64_t seed,
                        uint64_t stream, const int64_t* offset, float rate) {
  wait_for_previous_grid();
  const int64_t vector = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (vector >= vectors) return;
  if (offset) stream += static_cast<uint64_t>(*offset);
  const int64_t sample = sample_vectors.quotient(vector);
  const uint32_t word =
      philox(seed, stream, static_cast<uint64_t>(sample / 4)).select(static_cast<int>(sample % 4));
  float values[width] = {};
  if (to_uniform(word) >= rate) {
    const float scale = 1.0f / (1.0f - rate);
    load_floats(x + vector * width, values);
#pragma unroll
    for (int i = 0; i < width; ++i) values[i] *= scale;
  }
  store_floats(y + vector * width, values);
}

double normal_probability(double x) { return 0.5 * std::erfc(-x * 0.70710678118654752440); }

template <Distribution distribution>
void launch_numbers(const RandomArgs& a, const RandomShape& shape) {
  launch_kernel(random_numbers_kernel<distribution>, LaunchShape{blocks_for(a.numel, 4 * kThreads), kThreads},
                a.y, a.numel, a.seed, a.stream, shape, aligned({a.y}));
}

void generate(const RandomArgs& a) {
  RandomShape shape{a.first, a.second, a.low, a.high, 0, 0, 0};
  switch (a.distribution) {
    case Distribution::uniform:
      shape.range = a.second - a.first;
      shape.high = a.second;
      shape.below_high = std::nextafter(static_cast<float>(a.second), -INFINITY);
      return launch_numbers<Distribution::uniform>(a, shape);
    case Distribution::normal:
      return launch_numbers<Distribution::normal>(a, shape);
    case Distribution::truncated_normal:
      shape.low_probability = normal_probability((a.low - a.first) / a.second);
      shape.probability_range = normal_probability((a.high - a.first) / a.second) - shape.low_probability;
      return launch_numbers<Distribution::truncated_normal>(a, shape);
  }
}

void drop_path(const DropPathArgs& a) {
  if (a.size == 0) return;
  visit_device_float(a.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    visit_width<T>(a.size % kVectorWidth<T> == 0 && aligned({a.x, a.y}), [&](auto width) {
      const int64_t vectors = a.samples * a.size / width;
      launch_kernel(drop_samples_kernel<T, width>, LaunchShape{blocks_for(vectors, kThreads), kThreads},
                    static_cast<const T*>(a.x), static_cast<T*>(a.y), vectors, Divisor(a.size / width),
                    a.seed, a.stream, a.offset, a.rate);
    });
  });
}

REGISTER_KERNEL(random, cuda, generate);
REGISTER_KERNEL(drop_path, cuda, drop_path);

}  // namespace
}  // namespace native
