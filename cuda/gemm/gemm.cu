// Which implementation of the matrix product runs.
#include <algorithm>
#include <optional>

#include "common/strided_copy.h"
#include "core/error.h"
#include "gemm/gemm.h"
#include "gemm/gemm_choice.h"
#include "gemm/tiled_gemm.cuh"
#include "ops/layout.h"
#include "runtime/context.h"

namespace native::cuda {
namespace {

void check(const GemmArgs& args) {
  // Kernels count rows, columns and k in 32 bits, up to the end of the last tile.
  constexpr int64_t kLargest = INT32_MAX - 511;
  const GemmEpilogue& e = args.epilogue;
  CHECK(args.m <= kLargest && args.n <= kLargest && args.k <= kLargest, "ERR_SHAPE", "matrix product [",
        args.m, ", ", args.n, ", ", args.k, "]: sizes are at most 2^31 - 512");
  CHECK(args.c_dtype == args.dtype || args.c_dtype == DType::float32, "ERR_DTYPE", "matrix product of ",
        dtype_name(args.dtype), " into ", dtype_name(args.c_dtype), ": use that dtype or float32");
  CHECK(!e.accumulate || args.c_dtype == DType::float32, "ERR_DTYPE",
        "matrix product: only float32 accumulates, not ", dtype_name(args.c_dtype));
  CHECK(!e.slope || e.quick_gelu, "ERR_INTERNAL",
        "matrix product: a slope is QuickGELU's, which is not asked for");
  CHECK(!e.row_sum || args.batch == 1, "ERR_INTERNAL", "matrix product: row sums of one matrix, not ",
        args.batch);
}

// Tensor cores if the device's and these arguments go together; false if not.
bool gemm_on_tensor_cores(const GemmArgs& args) {
  const std::optional<GemmChoice> choice = choose_gemm(args);
  if (choice) run_gemm(args, *choice);
  return choice.has_value();
}

// A 16-bit operand with every row on 16 bytes, as tensor cores need it: as it is, or a copy in scratch.
class AlignedOperand {
 public:
  AlignedOperand(const GemmArgs& args, const GemmOperand& operand, int64_t extent) : operand_(operand) {
    if (make_operand<bfloat16>(operand).vectors) return;
    const bool by_k = operand.major == Major::k;
    const int64_t rows = by_k ? extent : args.k, columns = by_k ? args.k : extent;
    const int64_t matrices = operand.batch_stride ? args.batch : 1, pitch = (columns + 7) / 8 * 8;
    copy_.emplace(sizeof(bfloat16) * static_cast<size_t>(matrices * rows * pitch));
    operand_.data = copy_->data<void>();
    operand_.pitch = pitch;
    operand_.batch_stride = operand.batch_stride ? rows * pitch : 0;
    StridedCopyArgs copy{};
    copy.x = operand.data;
    copy.y = copy_->data<void>();
    copy.numel = matrices * rows * columns;
    copy.element_size = sizeof(bfloat16);
    copy.loop = {3,
                 {matrices, rows, columns},
                 {{operand.batch_stride, operand.pitch, 1}, {operand_.batch_stride, pitch, 1}}};
    copy_strided(copy);
  }
  const GemmOperand& operand() const { return operand_; }

 private:
  GemmOperand operand_;
  std::optional<Scratch> copy_;
};

// Whether a 16-bit product that no tensor core takes as it lies is worth copies of its operands: each element
// is then used often.
bool worth_copies(const GemmArgs& args) {
  return dtype_size(args.dtype) == 2 && std::min(args.m, args.n) >= 32 &&
         static_cast<double>(args.m) * args.n * args.k * args.batch >= 1 << 22;
}

}  // namespace

void gemm(const GemmArgs& args) {
  check(args);
  if (args.m == 0 || args.n == 0 || args.batch == 0) return;
  if (gemm_on_tensor_cores(args)) return;
  if (worth_copies(args)) {
    const AlignedOperand a(args, args.a, args.m), b(args, args.b, args.n);
    GemmArgs aligned = args;
    aligned.a = a.operand();
    aligned.b = b.operand();
    if (gemm_on_tensor_cores(aligned)) return;
  }
  gemm_simt(args);
}

}  // namespace native::cuda
