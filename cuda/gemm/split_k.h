// Sums over slabs of the summed dimension: float32 in scratch, added in the order of the slabs, so that the
// result does not depend on which block finished first.
#pragma once

#include <cstdint>

#include "gemm/gemm.h"
#include "runtime/context.h"

namespace native::cuda {

struct SlabSums {
  float* data;      // [batch, slabs, m, pitch]
  float* row_sums;  // [slabs, m], or null: what the slab's steps of A sum to along each row
  int64_t pitch;    // n rounded up to 8: rows start on 32 bytes and may be written past n
  int slabs;
};

// The scratch of one split product.
class SlabScratch {
 public:
  SlabScratch(int64_t batch, int slabs, int64_t m, int64_t n, bool row_sums)
      : pitch_((n + 7) / 8 * 8),
        slabs_(slabs),
        data_count_(batch * slabs * m * pitch_),
        has_row_sums_(row_sums),
        memory_(sizeof(float) * static_cast<size_t>(data_count_ + (row_sums ? slabs * m : 0))) {}

  SlabSums sums() const {
    float* data = memory_.data<float>();
    return {data, has_row_sums_ ? data + data_count_ : nullptr, pitch_, slabs_};
  }

 private:
  int64_t pitch_;
  int slabs_;
  int64_t data_count_;
  bool has_row_sums_;
  Scratch memory_;
};

// C = epilogue(the sum over slabs), and args.epilogue.row_sum likewise.
void reduce_slabs(const GemmArgs& args, const SlabSums& sums);

}  // namespace native::cuda
