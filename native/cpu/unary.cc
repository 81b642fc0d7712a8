// Elementwise functions of one operand on the CPU, in blocks of float32. exp, tanh, sigmoid and what is made
// of them vectorise; log, sin, cos and the error function of gelu are library calls.
#include "ops/unary.h"

#include <algorithm>
#include <cmath>

#include "core/parallel.h"
#include "cpu/float_rows.h"
#include "cpu/simd.h"
#include "cpu/vector_math.h"

namespace native {
namespace {

constexpr float kQuick = 1.702f;
constexpr float kRootHalf = 0.70710678118654752f;          // 1 / sqrt(2)
constexpr float kInverseRootTwoPi = 0.39894228040143268f;  // 1 / sqrt(2 pi)

template <class F>
inline __attribute__((always_inline)) void map(const float* x, float* y, int64_t count, F f) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) y[i] = f(x[i]);
}

template <class F>
inline __attribute__((always_inline)) void map_slope(const float* x, const float* dy, float* dx,
                                                     int64_t count, F slope) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) dx[i] = dy[i] * slope(x[i]);
}

SIMD_CLONES void apply(UnaryOp op, const float* x, float* y, int64_t count) {
  const auto run = [&](auto f) __attribute__((always_inline)) { map(x, y, count, f); };
  switch (op) {
    case UnaryOp::neg:
      return run([](float v) { return -v; });
    case UnaryOp::exp:
      return run([](float v) __attribute__((always_inline)) { return vector_exp(v); });
    case UnaryOp::log:
      return run([](float v) { return std::log(v); });
    case UnaryOp::sqrt:
      return run([](float v) { return std::sqrt(v); });
    case UnaryOp::rsqrt:
      return run([](float v) { return 1.0f / std::sqrt(v); });
    case UnaryOp::abs:
      return run([](float v) { return std::fabs(v); });
    case UnaryOp::square:
      return run([](float v) { return v * v; });
    case UnaryOp::tanh:
      return run([](float v) __attribute__((always_inline)) { return vector_tanh(v); });
    case UnaryOp::sigmoid:
      return run([](float v) __attribute__((always_inline)) { return vector_sigmoid(v); });
    case UnaryOp::relu:
      return run([](float v) { return v < 0 ? 0.0f : v; });
    case UnaryOp::gelu:
      return run([](float v) { return 0.5f * v * std::erfc(-v * kRootHalf); });
    case UnaryOp::quick_gelu:
      return run([](float v) __attribute__((always_inline)) { return v * vector_quick_gate(v); });
    case UnaryOp::sin:
      return run([](float v) { return std::sin(v); });
    case UnaryOp::cos:
      return run([](float v) { return std::cos(v); });
  }
}

// `x` is the result for exp, sqrt, rsqrt and relu, else the operand: near 1 a rounded tanh or sigmoid has
// lost its slope.
SIMD_CLONES void apply_slope(UnaryOp op, const float* x, const float* dy, float* dx, int64_t count) {
  const auto run = [&](auto slope) __attribute__((always_inline)) { map_slope(x, dy, dx, count, slope); };
  switch (op) {
    case UnaryOp::neg:
      return run([](float) { return -1.0f; });
    case UnaryOp::exp:
      return run([](float y) { return y; });
    case UnaryOp::log:
      return run([](float v) { return 1.0f / v; });
    case UnaryOp::sqrt:
      return run([](float y) { return 0.5f / y; });
    case UnaryOp::rsqrt:
      return run([](float y) { return -0.5f * y * y * y; });
    case UnaryOp::abs:
      return run([](float v) { return v > 0 ? 1.0f : v < 0 ? -1.0f : 0.0f; });
    case UnaryOp::square:
      return run([](float v) { return 2.0f * v; });
    case UnaryOp::tanh:
      return run([](float v) __attribute__((always_inline)) {
        const float t = vector_tanh(v);
        return (1.0f - t) * (1.0f + t);
      });
    case UnaryOp::sigmoid:
      return run([](float v)
                     __attribute__((always_inline)) { return vector_sigmoid(v) * vector_sigmoid(-v); });
    case UnaryOp::relu:
      return run([](float y) { return y > 0 ? 1.0f : 0.0f; });
    case UnaryOp::gelu:
      return run([](float v) {
        return 0.5f * std::erfc(-v * kRootHalf) + v * kInverseRootTwoPi * std::exp(-0.5f * v * v);
      });
    case UnaryOp::quick_gelu:
      return run([](float v) __attribute__((always_inline)) {
        const float s = vector_quick_gate(v);
        return s + kQuick * v * s * (1.0f - s);
      });
    case UnaryOp::sin:
      return run([](float v) { return std::cos(v); });
    case UnaryOp::cos:
      return run([](float v) { return -std::sin(v); });
  }
}

template <class Body>
void for_blocks(const UnaryArgs& a, const Body& body) {
  parallel_for((a.numel + kFloatBlock - 1) / kFloatBlock, 16, [&](int64_t begin, int64_t end) {
    float x_buffer[kFloatBlock], dy_buffer[kFloatBlock], y_buffer[kFloatBlock];
    for (int64_t first = begin * kFloatBlock; first < std::min(end * kFloatBlock, a.numel);
         first += kFloatBlock) {
      const int64_t count = std::min(kFloatBlock, a.numel - first);
      const float* x = read_floats(a.x, a.dtype, first, count, x_buffer);
      const float* dy = a.dy ? read_floats(a.dy, a.dtype, first, count, dy_buffer) : nullptr;
      float* y = target_floats(a.y, a.dtype, first, y_buffer);
      body(x, dy, y, count);
      write_floats(y, a.y, a.dtype, first, count);
    }
  });
}

void forward(const UnaryArgs& a) {
  for_blocks(a, [&](const float* x, const float*, float* y, int64_t count) { apply(a.op, x, y, count); });
}

void backward(const UnaryArgs& a) {
  for_blocks(a,
             [&](const float* x, const float* dy, float* dx, int64_t n) { apply_slope(a.op, x, dy, dx, n); });
}

REGISTER_KERNEL(unary_forward, cpu, forward);
REGISTER_KERNEL(unary_backward, cpu, backward);

}  // namespace
}  // namespace native
