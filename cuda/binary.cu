// Elementwise functions of two operands with broadcasting. Floor: the bytes of the result and of each operand
// once (what an operand repeats comes from the caches).
#include <primitives/launch.h>

#include <primitives/device.cuh>

#include "common/dtype.h"
#include "common/strided.cuh"
#include "common/vector.cuh"
#include "ops/binary.h"

namespace native {
namespace {

using namespace cuda;

constexpr int kThreads = 256;

template <int width, class F>
__device__ __forceinline__ void map(float (&a)[width], const float (&b)[width], F f) {
#pragma unroll
  for (int i = 0; i < width; ++i) a[i] = f(a[i], b[i]);
}

// a = op(a, b). The branch is the same for all threads and taken once per vector.
template <int width>
__device__ __forceinline__ void apply(BinaryOp op, float (&a)[width], const float (&b)[width]) {
  switch (op) {
    case BinaryOp::add:
      return map(a, b, [](float l, float r) { return l + r; });
    case BinaryOp::sub:
      return map(a, b, [](float l, float r) { return l - r; });
    case BinaryOp::mul:
      return map(a, b, [](float l, float r) { return l * r; });
    case BinaryOp::div:
      return map(a, b, [](float l, float r) { return l / r; });
    case BinaryOp::maximum:
      return map(a, b, [](float l, float r) { return l > r || l != l ? l : r; });
    case BinaryOp::minimum:
      return map(a, b, [](float l, float r) { return l < r || l != l ? l : r; });
    case BinaryOp::pow:
      return map(a, b, [](float l, float r) { return powf(l, r); });
    case BinaryOp::heaviside:
      return map(a, b, [](float l, float r) { return l > r ? 1.0f : l == r ? 0.5f : 0.0f; });
    case BinaryOp::equal:
      return map(a, b, [](float l, float r) { return l == r ? 1.0f : 0.0f; });
  }
}

// An operand's elements offset, offset + step, ...: step is 0 (one element for all) or 1.
template <int width, class T>
__device__ __forceinline__ void load_operand(const T* x, int step, float (&values)[width]) {
  if (step) {
    load_floats(x, values);
  } else {
    const float value = to_float(*x);
#pragma unroll
    for (int i = 0; i < width; ++i) values[i] = value;
  }
}

// Thread i makes vector i of the result, which lies in row i / (vectors of a row) of the loop.
template <class A, class B, class Y, int width>
__global__ void __launch_bounds__(kThreads)
    binary_map_kernel(const A* a, const B* b, Y* __restrict__ y, const __grid_constant__ StridedRows rows,
                      Divisor row_vectors, int64_t inner, int a_step, int b_step, int64_t vectors,
                      BinaryOp op) {
  wait_for_previous_grid();
  const int64_t vector = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (vector >= vectors) return;
  int64_t column, a_offset = 0, b_offset = 0;
  const int64_t row = row_vectors.divide(vector, &column);
  column *= width;
  rows.offsets(row, &a_offset, &b_offset);
  a += a_offset + column * a_step;
  b += b_offset + column * b_step;
  y += row * inner + column;
  if (column + width <= inner) {
    float left[width], right[width];
    load_operand(a, a_step, left);
    load_operand(b, b_step, right);
    apply(op, left, right);
    store_floats(y, left);
  } else if constexpr (width > 1) {
    for (int i = 0; i < inner - column; ++i) {  // the last, partial vector
      float left[1] = {to_float(a[i * a_step])};
      const float right[1] = {to_float(b[i * b_step])};
      apply(op, left, right);
      y[i] = from_float<Y>(left[0]);
    }
  }
}

// The result has a 16-bit type where an operand has.
template <class A, class B>
using ResultOf = std::conditional_t<std::is_same_v<A, float>, B, A>;

// Whether every vector of the operand starts at a multiple of 16 bytes.
bool operand_aligned(const void* x, const StridedLoop& loop, int operand, int width) {
  const int last = loop.ndim - 1;
  if (last < 0 || loop.stride[operand][last] == 0) return true;
  for (int d = 0; d < last; ++d) {
    if (loop.stride[operand][d] % width) return false;
  }
  return aligned({x});
}

template <class A, class B>
void launch_map(const BinaryArgs& args) {
  using Y = ResultOf<A, B>;
  constexpr int kWidest = sizeof(A) < 4 && sizeof(B) < 4 ? 8 : 4;
  const StridedLoop& loop = args.loop;
  const int64_t inner = loop.inner();
  const bool vectors = (loop.ndim <= 1 || inner % kWidest == 0) && aligned({args.y}) &&
                       operand_aligned(args.a, loop, 0, kWidest) && operand_aligned(args.b, loop, 1, kWidest);
  const auto step = [&](int operand) { return loop.ndim && loop.stride[operand][loop.ndim - 1] ? 1 : 0; };
  const auto run = [&](auto width) {
    const int64_t row_vectors = (inner + width - 1) / width, count = loop.rows() * row_vectors;
    launch_kernel(binary_map_kernel<A, B, Y, width>, LaunchShape{blocks_for(count, kThreads), kThreads},
                  static_cast<const A*>(args.a), static_cast<const B*>(args.b), static_cast<Y*>(args.y),
                  StridedRows(loop), Divisor(row_vectors), inner, step(0), step(1), count, args.op);
  };
  if (vectors) {
    run(std::integral_constant<int, kWidest>{});
  } else {
    run(std::integral_constant<int, 1>{});
  }
}

void forward(const BinaryArgs& a) {
  if (a.numel == 0) return;
  visit_device_float(a.a_dtype, [&](auto a_tag) {
    visit_device_float(a.b_dtype, [&](auto b_tag) {
      using A = typename decltype(a_tag)::type;
      using B = typename decltype(b_tag)::type;
      if constexpr (std::is_same_v<A, B> || std::is_same_v<A, float> || std::is_same_v<B, float>) {
        launch_map<A, B>(a);
      } else {
        fail("ERR_DTYPE", "binary: ", dtype_name(a.a_dtype), " and ", dtype_name(a.b_dtype),
             " do not combine");
      }
    });
  });
}

REGISTER_KERNEL(binary, cuda, forward);

}  // namespace
}  // namespace native
