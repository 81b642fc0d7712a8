#include "ops/cross_entropy.h"

#include "core/launch.h"
#include "ops/check.h"

namespace native {

DEFINE_KERNEL(cross_entropy, CrossEntropyArgs);

std::tuple<Tensor, std::optional<Tensor>> cross_entropy(const Tensor& logits, const Tensor& targets,
                                                        double smoothing, bool gradient) {
  CHECK(logits.ndim() == 2 && logits.numel() > 0, "ERR_SHAPE", "cross_entropy: logits must be [B, K], got ",
        logits.describe());
  check_float("cross_entropy", "logits", logits);
  const bool labels = targets.dtype() == DType::int32 || targets.dtype() == DType::int64;
  CHECK(labels || targets.dtype() == DType::float32, "ERR_DTYPE",
        "cross_entropy: targets must be int32, int64 or float32, got ", targets.describe());
  CHECK(targets.shape() == (labels ? Shape{logits.size(0)} : logits.shape()), "ERR_SHAPE",
        "cross_entropy: targets ", targets.describe(), " do not fit logits ", logits.describe());
  CHECK(smoothing >= 0 && smoothing < 1, "ERR_ARGUMENT",
        "cross_entropy: label smoothing must be in [0, 1), got ", smoothing);
  Tensor loss = empty({}, DType::float32, logits.device());
  std::optional<Tensor> dlogits;
  if (gradient) dlogits = empty_like(logits);
  launch(cross_entropy_kernel,
         CrossEntropyArgs{logits.raw(), targets.raw(), loss.data<float>(), dlogits ? dlogits->raw() : nullptr,
                          logits.size(0), logits.size(1), static_cast<float>(smoothing), logits.dtype(),
                          targets.dtype()},
         {&logits, &targets});
  return {loss, dlogits};
}

}  // namespace native
