// The matrix product of the CUDA backend, C = epilogue(alpha A Bᵀ) with A [m, k] and B [n, k], and its
// implementations: tensor cores of sm_90a and of sm_80, and plain float32 arithmetic.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace native::cuda {

// Which index of an operand is contiguous in memory: A by k is [m, k], A by its other index is [k, m].
enum class Major : uint8_t { k, mn };

struct GemmOperand {
  const void* data;
  Major major;
  int64_t pitch;             // elements from one row in memory to the next
  int64_t batch_stride = 0;  // elements; 0: one matrix for the whole batch
};

// In this order: u = alpha A Bᵀ + bias; y = act(u); y *= multiplier; y += residual; C = y or C += y.
struct GemmEpilogue {
  float alpha = 1;
  const float* bias = nullptr;       // [n]
  bool quick_gelu = false;           // y = u sigmoid(1.702 u)
  void* slope = nullptr;             // [m, n] as C: receives dy/du; with quick_gelu only
  const void* multiplier = nullptr;  // [m, n] as C
  const void* residual = nullptr;    // [m, n] as C
  bool accumulate = false;           // C += y; float32 C only
  float* row_sum = nullptr;          // [m]: receives the sum of A over k (a bias gradient); batch = 1 only
  bool accumulate_row_sum = false;
};

struct GemmArgs {
  int64_t m, n, k, batch;
  DType dtype;  // of A and B: float32, bfloat16 or float16
  GemmOperand a, b;
  void* c;  // [batch, m, n], contiguous but for the strides below
  int64_t c_pitch, c_batch_stride;
  DType c_dtype;           // dtype, or float32
  bool sum_batch = false;  // C [m, n] is the sum over the batch
  GemmEpilogue epilogue;
};

// Picks an implementation by device, dtype, alignment and shape, and queues it. float32 operands are rounded
// to tf32 only where core/precision.h allows it. Sums are taken in a fixed order, so results are the same
// from run to run. m, n or batch may be 0 (nothing happens); k = 0 makes the product 0.
void gemm(const GemmArgs& args);

// The implementations. `supports` says whether one can do these arguments at all (dtype, alignment,
// epilogue).
bool gemm_sm90_supports(const GemmArgs& args);
void gemm_sm90(const GemmArgs& args);
bool gemm_sm80_supports(const GemmArgs& args);  // float32: where tf32 is allowed
void gemm_sm80(const GemmArgs& args);
void gemm_simt(const GemmArgs& args);  // everything, float32 arithmetic

}  // namespace native::cuda
