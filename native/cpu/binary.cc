// Elementwise functions of two operands on the CPU: the innermost dimension in blocks, with steps of 0 or 1.
#include "ops/binary.h"

#include <algorithm>
#include <cmath>

#include "core/parallel.h"
#include "cpu/float_rows.h"
#include "cpu/simd.h"

namespace native {
namespace {

template <class F>
inline __attribute__((always_inline)) void loop(const float* a, bool a_moves, const float* b, bool b_moves,
                                                float* y, int64_t count, F f) {
  if (a_moves && b_moves) {
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) y[i] = f(a[i], b[i]);
  } else if (a_moves) {
    const float right = *b;
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) y[i] = f(a[i], right);
  } else {
    const float left = *a;
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) y[i] = f(left, b_moves ? b[i] : *b);
  }
}

SIMD_CLONES void apply(BinaryOp op, const float* a, bool a_moves, const float* b, bool b_moves, float* y,
                       int64_t count) {
  const auto run = [&](auto f) __attribute__((always_inline)) { loop(a, a_moves, b, b_moves, y, count, f); };
  switch (op) {
    case BinaryOp::add:
      return run([](float l, float r) { return l + r; });
    case BinaryOp::sub:
      return run([](float l, float r) { return l - r; });
    case BinaryOp::mul:
      return run([](float l, float r) { return l * r; });
    case BinaryOp::div:
      return run([](float l, float r) { return l / r; });
    case BinaryOp::maximum:
      return run([](float l, float r) { return l > r || l != l ? l : r; });
    case BinaryOp::minimum:
      return run([](float l, float r) { return l < r || l != l ? l : r; });
    case BinaryOp::pow:
      return run([](float l, float r) { return std::pow(l, r); });
    case BinaryOp::heaviside:
      return run([](float l, float r) { return l > r ? 1.0f : l == r ? 0.5f : 0.0f; });
    case BinaryOp::equal:
      return run([](float l, float r) { return l == r ? 1.0f : 0.0f; });
  }
}

void forward(const BinaryArgs& a) {
  if (a.numel == 0) return;
  const int64_t inner = a.loop.inner(), rows = a.loop.rows(),
                blocks = (inner + kFloatBlock - 1) / kFloatBlock;
  const int64_t a_step = a.loop.ndim ? a.loop.stride[0][a.loop.ndim - 1] : 0;
  const int64_t b_step = a.loop.ndim ? a.loop.stride[1][a.loop.ndim - 1] : 0;
  const int64_t grain = std::max<int64_t>(1, 16384 / std::min(inner, kFloatBlock));
  parallel_for(rows * blocks, grain, [&](int64_t begin, int64_t end) {
    float a_buffer[kFloatBlock], b_buffer[kFloatBlock], y_buffer[kFloatBlock];
    for (int64_t item = begin; item < end; ++item) {
      const int64_t row = item / blocks, first = item % blocks * kFloatBlock,
                    count = std::min(kFloatBlock, inner - first);
      int64_t offset[2];
      a.loop.row_offsets(row, offset);
      const float* left =
          read_floats(a.a, a.a_dtype, offset[0] + first * a_step, a_step ? count : 1, a_buffer);
      const float* right =
          read_floats(a.b, a.b_dtype, offset[1] + first * b_step, b_step ? count : 1, b_buffer);
      float* y = target_floats(a.y, a.y_dtype, row * inner + first, y_buffer);
      apply(a.op, left, a_step != 0, right, b_step != 0, y, count);
      write_floats(y, a.y, a.y_dtype, row * inner + first, count);
    }
  });
}

REGISTER_KERNEL(binary, cpu, forward);

}  // namespace
}  // namespace native
