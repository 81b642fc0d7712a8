// Mean cross entropy of rows of logits against class labels or soft targets, with its gradient in the same
// pass.
#pragma once

#include <optional>
#include <tuple>

#include "core/kernel.h"

namespace native {

struct CrossEntropyArgs {
  const void* logits;   // [batch, classes]
  const void* targets;  // [batch] labels, or [batch, classes] float32
  float* loss;          // []
  void* dlogits;        // [batch, classes] d(loss)/d(logits), or null
  int64_t batch, classes;
  float smoothing;     // targets become (1 - smoothing) target + smoothing / classes
  DType dtype;         // of logits and dlogits: a floating type
  DType target_dtype;  // int32 or int64 for labels, float32 for soft targets
};

DECLARE_KERNEL(cross_entropy, CrossEntropyArgs);

// Returns the float32 scalar loss and, when wanted, its gradient at the logits. Rows of soft targets need not
// sum to 1. A logit of -infinity is a class that cannot be: the loss is infinite if that has any weight, else
// as without it. A label outside 0 .. classes - 1 fails with ERR_INDEX_RANGE when the kernel runs.
std::tuple<Tensor, std::optional<Tensor>> cross_entropy(const Tensor& logits, const Tensor& targets,
                                                        double smoothing, bool gradient);

}  // namespace native
