// Cross entropy on the CPU, a row per step; the losses of the rows are added in order, in float64.
#include "ops/cross_entropy.h"

#include <cmath>
#include <limits>
#include <vector>

#include "core/parallel.h"
#include "cpu/float_rows.h"
#include "cpu/simd.h"
#include "cpu/vector_math.h"

namespace native {
namespace {

// With weights w = (1 - smoothing) target + smoothing / classes: loss = sum(w) logsumexp(x) - sum(w x), and
// the gradient is (sum(w) softmax(x) - w) / batch. `target` holds the unsmoothed weights and becomes w. A
// logit of weight 0 adds nothing to the second sum, even where it is -infinity.
SIMD_CLONES float row_loss(const float* x, float* target, float* dx, int64_t classes, float smoothing,
                           float rate) {
  float largest = -std::numeric_limits<float>::infinity();
#pragma omp simd reduction(max : largest)
  for (int64_t i = 0; i < classes; ++i) largest = x[i] > largest ? x[i] : largest;
  const float uniform = smoothing / static_cast<float>(classes);
  float sum = 0, weight = 0, dot = 0;
#pragma omp simd reduction(+ : sum, weight, dot)
  for (int64_t i = 0; i < classes; ++i) {
    const float w = (1.0f - smoothing) * target[i] + uniform;
    target[i] = w;
    sum += vector_exp(x[i] - largest);
    weight += w;
    dot += w == 0 ? 0 : w * (x[i] - largest);
  }
  if (dx) {
    const float scale = weight / sum;
#pragma omp simd
    for (int64_t i = 0; i < classes; ++i) dx[i] = (vector_exp(x[i] - largest) * scale - target[i]) * rate;
  }
  return weight * std::log(sum) - dot;
}

int64_t label_of(const CrossEntropyArgs& a, int64_t row) {
  const int64_t label = a.target_dtype == DType::int64 ? static_cast<const int64_t*>(a.targets)[row]
                                                       : static_cast<const int32_t*>(a.targets)[row];
  CHECK(label >= 0 && label < a.classes, "ERR_INDEX_RANGE", "the label of row ", row, " is ", label,
        ", but there are ", a.classes, " classes");
  return label;
}

void forward(const CrossEntropyArgs& a) {
  std::vector<float> losses(static_cast<size_t>(a.batch));
  const float rate = 1.0f / static_cast<float>(a.batch);
  parallel_for(a.batch, std::max<int64_t>(1, 8192 / a.classes), [&](int64_t begin, int64_t end) {
    std::vector<float> buffer(static_cast<size_t>(3 * a.classes));  // logits, targets and gradient of a row
    float* target = buffer.data() + a.classes;
    for (int64_t row = begin; row < end; ++row) {
      const int64_t offset = row * a.classes;
      if (a.target_dtype == DType::float32) {
        const float* soft = static_cast<const float*>(a.targets) + offset;
        std::copy(soft, soft + a.classes, target);
      } else {
        std::fill(target, target + a.classes, 0.0f);
        target[label_of(a, row)] = 1;
      }
      const float* x = read_floats(a.logits, a.dtype, offset, a.classes, buffer.data());
      float* dx = a.dlogits ? target_floats(a.dlogits, a.dtype, offset, target + a.classes) : nullptr;
      losses[row] = row_loss(x, target, dx, a.classes, a.smoothing, rate);
      if (dx) write_floats(dx, a.dlogits, a.dtype, offset, a.classes);
    }
  });
  double sum = 0;
  for (const float loss : losses) sum += loss;
  *a.loss = static_cast<float>(sum / static_cast<double>(a.batch));
}

REGISTER_KERNEL(cross_entropy, cpu, forward);

}  // namespace
}  // namespace native
