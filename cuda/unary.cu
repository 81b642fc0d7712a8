// Elementwise functions of one operand. Floors for n elements of s bytes: 2 n s bytes forward, 3 n s
// backward; the most expensive function (gelu's derivative) takes about 50 operations.
#include <primitives/launch.h>

#include <primitives/device.cuh>

#include "common/dtype.h"
#include "common/trigonometry.cuh"
#include "common/vector.cuh"
#include "ops/unary.h"

namespace native {
namespace {

using namespace cuda;

constexpr int kThreads = 256;
constexpr int kVectors = 2;  // in flight per thread

constexpr float kQuick = 1.702f;
constexpr float kRootHalf = 0.70710678118654752f;          // 1 / sqrt(2)
constexpr float kInverseRootTwoPi = 0.39894228040143268f;  // 1 / sqrt(2 pi)

__device__ __forceinline__ float sigmoid(float v) { return 1.0f / (1.0f + expf(-v)); }

template <int width, class F>
__device__ __forceinline__ void map(float (&values)[width], F f) {
#pragma unroll
  for (int i = 0; i < width; ++i) values[i] = f(values[i]);
}

// values = f(values). The branch is the same for all threads and taken once per vector.
template <int width>
__device__ __forceinline__ void apply(UnaryOp op, float (&values)[width]) {
  switch (op) {
    case UnaryOp::neg:
      return map(values, [](float v) { return -v; });
    case UnaryOp::exp:
      return map(values, [](float v) { return expf(v); });
    case UnaryOp::log:
      return map(values, [](float v) { return logf(v); });
    case UnaryOp::sqrt:
      return map(values, [](float v) { return sqrtf(v); });
    case UnaryOp::rsqrt:
      return map(values, [](float v) { return 1.0f / sqrtf(v); });
    case UnaryOp::abs:
      return map(values, [](float v) { return fabsf(v); });
    case UnaryOp::square:
      return map(values, [](float v) { return v * v; });
    case UnaryOp::tanh:
      return map(values, [](float v) { return tanhf(v); });
    case UnaryOp::sigmoid:
      return map(values, [](float v) { return sigmoid(v); });
    case UnaryOp::relu:
      return map(values, [](float v) { return v < 0 ? 0.0f : v; });
    case UnaryOp::gelu:
      return map(values, [](float v) { return 0.5f * v * erfcf(-v * kRootHalf); });
    case UnaryOp::quick_gelu:
      return map(values, [](float v) { return v * sigmoid(kQuick * v); });
    case UnaryOp::sin:
      return map(values, [](float v) { return sine_cosine(v).sine; });
    case UnaryOp::cos:
      return map(values, [](float v) { return sine_cosine(v).cosine; });
  }
}

// values = f'(values), where values is the result for exp, sqrt, rsqrt and relu, else the operand.
template <int width>
__device__ __forceinline__ void apply_slope(UnaryOp op, float (&values)[width]) {
  switch (op) {
    case UnaryOp::neg:
      return map(values, [](float) { return -1.0f; });
    case UnaryOp::exp:
      return map(values, [](float y) { return y; });
    case UnaryOp::log:
      return map(values, [](float v) { return 1.0f / v; });
    case UnaryOp::sqrt:
      return map(values, [](float y) { return 0.5f / y; });
    case UnaryOp::rsqrt:
      return map(values, [](float y) { return -0.5f * y * y * y; });
    case UnaryOp::abs:
      return map(values, [](float v) { return v > 0 ? 1.0f : v < 0 ? -1.0f : 0.0f; });
    case UnaryOp::square:
      return map(values, [](float v) { return 2.0f * v; });
    case UnaryOp::tanh:
      return map(values, [](float v) {
        const float t = tanhf(v);
        return (1.0f - t) * (1.0f + t);
      });
    case UnaryOp::sigmoid:
      return map(values, [](float v) { return sigmoid(v) * sigmoid(-v); });
    case UnaryOp::relu:
      return map(values, [](float y) { return y > 0 ? 1.0f : 0.0f; });
    case UnaryOp::gelu:
      return map(values, [](float v) {
        return 0.5f * erfcf(-v * kRootHalf) + v * kInverseRootTwoPi * expf(-0.5f * v * v);
      });
    case UnaryOp::quick_gelu:
      return map(values, [](float v) {
        const float s = sigmoid(kQuick * v);
        return s + kQuick * v * s * (1.0f - s);
      });
    case UnaryOp::sin:
      return map(values, [](float v) { return sine_cosine(v).cosine; });
    case UnaryOp::cos:
      return map(values, [](float v) { return -sine_cosine(v).sine; });
  }
}

template <bool backward, int width>
__device__ __forceinline__ void compute(UnaryOp op, float (&x)[width], const float (&dy)[width]) {
  if constexpr (backward) {
    apply_slope(op, x);
#pragma unroll
    for (int i = 0; i < width; ++i) x[i] *= dy[i];
  } else {
    apply(op, x);
  }
}

// y = f(x), or dy f'(x).
template <class T, int width, bool backward>
__global__ void __launch_bounds__(kThreads)
    unary_map_kernel(const T* x, const T* dy, T* __restrict__ y, int64_t numel, UnaryOp op) {
  wait_for_previous_grid();
  const int64_t start = (static_cast<int64_t>(blockIdx.x) * kThreads * kVectors + threadIdx.x) * width;
  Packed<T, width> x_raw[kVectors], dy_raw[kVectors];
#pragma unroll
  for (int k = 0; k < kVectors; ++k) {
    const int64_t first = start + k * kThreads * width;
    if (first + width > numel) continue;
    x_raw[k] = load_packed<width>(x + first);
    if (backward) dy_raw[k] = load_packed<width>(dy + first);
  }
#pragma unroll
  for (int k = 0; k < kVectors; ++k) {
    const int64_t first = start + k * kThreads * width;
    if (first + width <= numel) {
      float values[width], gradient[width];
      unpack(x_raw[k], values);
      if (backward) unpack(dy_raw[k], gradient);
      compute<backward>(op, values, gradient);
      store_floats(y + first, values);
    } else if constexpr (width > 1) {
      for (int64_t i = first; i < numel; ++i) {  // the last, partial vector
        float value[1] = {to_float(x[i])}, gradient[1];
        if (backward) gradient[0] = to_float(dy[i]);
        compute<backward>(op, value, gradient);
        y[i] = from_float<T>(value[0]);
      }
    }
  }
}

template <bool backward>
void launch_map(const UnaryArgs& a) {
  visit_device_float(a.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    visit_width<T>(aligned({a.x, a.dy, a.y}), [&](auto width) {
      launch_kernel(unary_map_kernel<T, width, backward>,
                    LaunchShape{blocks_for(a.numel, kThreads * kVectors * width), kThreads},
                    static_cast<const T*>(a.x), static_cast<const T*>(a.dy), static_cast<T*>(a.y), a.numel,
                    a.op);
    });
  });
}

REGISTER_KERNEL(unary_forward, cuda, launch_map<false>);
REGISTER_KERNEL(unary_backward, cuda, launch_map<true>);

}  // namespace
}  // namespace native
