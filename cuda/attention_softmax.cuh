// The softmax between attention's two products, on a fragment of logits: 16 queries by kKeys keys of a warp,
// in which each lane has two rows.
//
// Weights are 2^(c logit - c reference), c = log2(e) / sqrt(head size). A row's reference follows its largest
// logit only when that has grown by more than 2^8: the quotient of weighted sum and sum does not depend on
// it, and sums are seldom rescaled. It begins at the lowest finite number, beside which a logit of -infinity
// has the weight 0, as one has that is masked; a row of nothing else has a sum of 0, and becomes NaN by it.
#pragma once

#include <limits>

#include "attention_tile.cuh"

namespace native::cuda::attention {

inline constexpr float kMasked = -std::numeric_limits<float>::infinity();
inline constexpr float kLowest = std::numeric_limits<float>::lowest();
inline constexpr float kSlack = 8;  // how far, in powers of two, a row's largest weight may exceed 1

// Of rows lane / 4 and lane / 4 + 8; sums are of this lane's columns.
struct SoftmaxRows {
  float reference[2] = {kLowest, kLowest}, sum[2] = {0, 0};
};

// Logits of keys `key` on become weights. Row `half` sees keys below seen(half); only with kMask may that be
// fewer than all of these. Returns whether a reference has grown: what was summed with the older weights is
// to be multiplied by shrink[half].
template <int kChunks, bool kMask, class Seen>
__device__ __forceinline__ bool take_weights(SoftmaxRows& rows, float (&weights)[kChunks][4],
                                             float (&shrink)[2], int key, const Seen& seen, float c) {
  const int lane = lane_index();
  bool grown = false;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int end = seen(half);
    float largest = kLowest;  // one constant with the reference: registers are short
#pragma unroll
    for (int n = 0; n < kChunks; ++n) {
#pragma unroll
      for (int i = 2 * half; i < 2 * half + 2; ++i) {
        if (kMask && key + 8 * n + 2 * (lane % 4) + (i & 1) >= end) weights[n][i] = kMasked;
        largest = fmaxf(largest, weights[n][i]);
      }
    }
    largest = fmaxf(largest, shuffle_xor(largest, 1));
    largest = fmaxf(largest, shuffle_xor(largest, 2));
    float& reference = rows.reference[half];
    const bool exceeds = (largest - reference) * c > kSlack;
    shrink[half] = exceeds ? exp2_approx((reference - largest) * c) : 1;
    if (exceeds) reference = largest;
    grown |= exceeds;
    float sum = 0;
#pragma unroll
    for (int n = 0; n < kChunks; ++n) {
#pragma unroll
      for (int i = 2 * half; i < 2 * half + 2; ++i) {
        weights[n][i] = exp2_approx(fmaf(weights[n][i], c, -reference * c));
        sum += weights[n][i];
      }
    }
    rows.sum[half] = fmaf(rows.sum[half], shrink[half], sum);
  }
  return grown;
}

// The end: adds the lanes of each row up, gives 1 / sum and stores the log of the sum of exp(logits) of the
// rows that exist: `rows` of the 16.
__device__ __forceinline__ void finish_rows(const SoftmaxRows& from, float (&inverse)[2], float* log_sum,
                                            int rows, float scale) {
  const int lane = lane_index();
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float sum = from.sum[half];
    sum += shuffle_xor(sum, 1);
    sum += shuffle_xor(sum, 2);
    inverse[half] = 1.0f / sum;
    const int row = lane / 4 + 8 * half;
    if (lane % 4 == 0 && row < rows) log_sum[row] = from.reference[half] * scale + logf(sum);
  }
}

}  // namespace native::cuda::attention
