// Linear layers on the CPU: matrix products with epilogues. Bias gradients are summed over fixed blocks of
// rows and the blocks in order, so they do not depend on the number of threads.
#include "ops/linear.h"

#include <vector>

#include "core/parallel.h"
#include "cpu/gemm.h"
#include "cpu/simd.h"
#include "cpu/vector_math.h"

namespace native {
namespace {

constexpr int64_t kRowBlock = 64, kElementBlock = 8192;

template <class T>
SIMD_CLONES void multiply_block(const T* x, const T* y, T* product, int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) store(product + i, static_cast<float>(x[i]) * static_cast<float>(y[i]));
}

template <class T>
SIMD_CLONES void add_row(const T* x, float* sum, int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) sum[i] += static_cast<float>(x[i]);
}

// Calls body(begin, count) for blocks of elements, in parallel.
template <class Body>
void for_blocks(int64_t total, const Body& body) {
  parallel_for((total + kElementBlock - 1) / kElementBlock, 1, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      body(block * kElementBlock, std::min(kElementBlock, total - block * kElementBlock));
    }
  });
}

void forward(const LinearArgs& a) {
  GemmArgs product{1, a.rows, a.out, a.in, {a.x, 0, a.in, 1}, {a.weight, 0, 1, a.in}, a.y, a.dtype, a.dtype};
  product.bias = a.bias;
  product.quick_gelu = a.quick_gelu;
  product.slope = a.slope;
  product.residual = a.residual;
  gemm(product);
}

void multiply(const void* x, const void* y, void* product, int64_t total, DType dtype) {
  visit_float(dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    for_blocks(total, [&](int64_t first, int64_t count) {
      multiply_block(static_cast<const T*>(x) + first, static_cast<const T*>(y) + first,
                     static_cast<T*>(product) + first, count);
    });
  });
}

void backward_slope(const LinearBackwardSlopeArgs& a) { multiply(a.dy, a.slope, a.du, a.count, a.dtype); }

void backward_input(const LinearBackwardInputArgs& a) {
  gemm({1, a.rows, a.in, a.out, {a.du, 0, a.out, 1}, {a.weight, 0, a.in, 1}, a.dx, a.dtype, a.dtype});
  if (a.slope) multiply(a.dx, a.slope, a.dx, a.rows * a.in, a.dtype);
}

void backward_bias(const LinearBackwardBiasArgs& a) {
  visit_float(a.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const int64_t blocks = (a.rows + kRowBlock - 1) / kRowBlock;
    std::vector<float> partial(static_cast<size_t>(blocks * a.out));  // [blocks, out]
    parallel_for(blocks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin * kRowBlock; row < std::min(end * kRowBlock, a.rows); ++row) {
        add_row(static_cast<const T*>(a.du) + row * a.out, partial.data() + row / kRowBlock * a.out, a.out);
      }
    });
    if (!a.accumulate) std::fill(a.dbias, a.dbias + a.out, 0.0f);
    for (int64_t block = 0; block < blocks; ++block) add_row(partial.data() + block * a.out, a.dbias, a.out);
  });
}

void backward_weight(const LinearBackwardWeightArgs& a) {
  GemmArgs product{1,         a.out,   a.in,          a.rows, {a.du, 0, 1, a.out}, {a.x, 0, a.in, 1},
                   a.dweight, a.dtype, DType::float32};
  product.accumulate = a.accumulate;
  gemm(product);
  if (a.dbias) backward_bias({a.du, a.dbias, a.rows, a.out, a.accumulate_bias, a.dtype});
}

REGISTER_KERNEL(linear_forward, cpu, forward);
REGISTER_KERNEL(linear_backward_slope, cpu, backward_slope);
REGISTER_KERNEL(linear_backward_input, cpu, backward_input);
REGISTER_KERNEL(linear_backward_weight, cpu, backward_weight);
REGISTER_KERNEL(linear_backward_bias, cpu, backward_bias);

}  // namespace
}  // namespace native
