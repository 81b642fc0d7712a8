// Linear layers on the CPU: matrix products with epilogues.
#include "ops/linear.h"

#include <algorithm>

#include "core/parallel.h"
#include "cpu/column_sum.h"
#include "cpu/gemm.h"
#include "cpu/simd.h"
#include "cpu/vector_math.h"

namespace native {
namespace {

constexpr int64_t kElementBlock = 8192;

template <class T>
SIMD_CLONES void multiply_block(const T* x, const T* y, T* product, int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) store(product + i, static_cast<float>(x[i]) * static_cast<float>(y[i]));
}

void forward(const LinearArgs& a) {
  GemmArgs product{1, a.rows, a.out, a.in, {a.x, 0, a.in, 1}, {a.weight, 0, 1, a.in}, a.y, a.dtype, a.dtype};
  product.bias = a.bias;
  product.quick_gelu = a.quick_gelu;
  product.slope = a.slope;
  product.residual = a.residual;
  product.normwise = true;  // rows of activations are alike in size
  product.b_in_panels = a.weight_packed;
  gemm(product);
}

void backward_slope(const LinearBackwardSlopeArgs& a) {
  visit_float(a.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    parallel_for((a.count + kElementBlock - 1) / kElementBlock, 1, [&](int64_t begin, int64_t end) {
      const int64_t first = begin * kElementBlock, count = std::min(end * kElementBlock, a.count) - first;
      multiply_block(static_cast<const T*>(a.dy) + first, static_cast<const T*>(a.slope) + first,
                     static_cast<T*>(a.du) + first, count);
    });
  });
}

void backward_input(const LinearBackwardInputArgs& a) {
  GemmArgs product{1,    a.rows,  a.in,   a.out, {a.du, 0, a.out, 1}, {a.weight, 0, a.in, 1},
                   a.dx, a.dtype, a.dtype};
  product.factor = a.slope;
  gemm(product);
}

void backward_weight(const LinearBackwardWeightArgs& a) {
  GemmArgs product{1,         a.out,   a.in,          a.rows, {a.du, 0, 1, a.out}, {a.x, 0, a.in, 1},
                   a.dweight, a.dtype, DType::float32};
  product.accumulate = a.accumulate;
  product.a_sum = a.dbias;
  product.accumulate_a_sum = a.accumulate_bias;
  gemm(product);
}

void backward_bias(const LinearBackwardBiasArgs& a) {
  column_sum(a.du, a.dtype, a.rows, a.out, a.dbias, a.accumulate);
}

REGISTER_KERNEL(linear_forward, cpu, forward);
REGISTER_KERNEL(linear_backward_slope, cpu, backward_slope);
REGISTER_KERNEL(linear_backward_input, cpu, backward_input);
REGISTER_KERNEL(linear_backward_weight, cpu, backward_weight);
REGISTER_KERNEL(linear_backward_bias, cpu, backward_bias);

}  // namespace
}  // namespace native
