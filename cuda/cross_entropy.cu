// Mean cross entropy with its gradient. A team of threads per row leaves the row's loss; one block adds the
// losses in float64. Floor for n logits of s bytes: 2 n s bytes with the gradient, 4 n more for soft targets;
// the further passes over a row are served by the caches.
#include "common/dtype.h"
#include "common/fault.cuh"
#include "common/team.cuh"
#include "ops/cross_entropy.h"

namespace native {
namespace {

using namespace cuda;

// The unsmoothed weights of a row's classes: 1 at a label, or the row of soft targets.
struct RowTarget {
  const float* soft;  // null for a label
  int64_t label;

  template <int width>
  __device__ __forceinline__ void load(int64_t column, float (&values)[width]) const {
    if (soft) {
#pragma unroll
      for (int i = 0; i < width; ++i) values[i] = soft[column + i];
    } else {
#pragma unroll
      for (int i = 0; i < width; ++i) values[i] = column + i == label ? 1.0f : 0.0f;
    }
  }
};

// With weights w = (1 - smoothing) target + smoothing / classes: loss = sum(w) logsumexp(x) - sum(w x), and
// the gradient is (sum(w) softmax(x) - w) / batch. A logit of weight 0 adds nothing to the second sum, even
// where it is -infinity.
template <class T, int warps, int width>
__global__ void __launch_bounds__(kTeamThreads)
    cross_entropy_rows_kernel(const T* logits, const void* targets, DType target_dtype,
                              float* __restrict__ losses, T* __restrict__ dlogits, int64_t batch,
                              int64_t classes, float smoothing, FaultReport report) {
  wait_for_previous_grid();
  constexpr int64_t kStep = Team<warps>::kThreads * width;
  const int64_t row = Team<warps>::row(), first = Team<warps>::thread() * width;
  if (row >= batch) return;
  RowTarget target{nullptr, 0};
  if (target_dtype == DType::float32) {
    target.soft = static_cast<const float*>(targets) + row * classes;
  } else {
    target.label = target_dtype == DType::int64 ? static_cast<const int64_t*>(targets)[row]
                                                : static_cast<const int32_t*>(targets)[row];
    if (target.label < 0 || target.label >= classes) {
      if (Team<warps>::thread() == 0) report.index_range(target.label, classes);
      return;
    }
  }
  const T* x = logits + row * classes;
  float values[width], weights[width], largest = -INFINITY;
#pragma unroll 4
  for (int64_t column = first; column < classes; column += kStep) {
    load_floats(x + column, values);
#pragma unroll
    for (int i = 0; i < width; ++i) largest = fmaxf(largest, values[i]);
  }
  largest = Team<warps>::reduce(Largest{}, largest);
  const float kept = 1.0f - smoothing, uniform = smoothing / static_cast<float>(classes);
  float sum = 0, weight = 0, dot = 0;
  for (int64_t column = first; column < classes; column += kStep) {
    load_floats(x + column, values);
    target.load(column, weights);
#pragma unroll
    for (int i = 0; i < width; ++i) {
      const float w = fmaf(kept, weights[i], uniform), centred = values[i] - largest;
      sum += expf(centred);
      weight += w;
      dot = w == 0 ? dot : fmaf(w, centred, dot);
    }
  }
  sum = Team<warps>::reduce(Add{}, sum);
  weight = Team<warps>::reduce(Add{}, weight);
  dot = Team<warps>::reduce(Add{}, dot);
  if (Team<warps>::thread() == 0) losses[row] = weight * logf(sum) - dot;
  if (!dlogits) return;
  const float scale = weight / sum, rate = 1.0f / static_cast<float>(batch);
  for (int64_t column = first; column < classes; column += kStep) {
    load_floats(x + column, values);
    target.load(column, weights);
#pragma unroll
    for (int i = 0; i < width; ++i) {
      values[i] = (expf(values[i] - largest) * scale - fmaf(kept, weights[i], uniform)) * rate;
    }
    store_floats(dlogits + row * classes + column, values);
  }
}

// loss = the mean of losses [batch]: thread t adds rows t, t + 256, ..., then the threads are added in order.
__global__ void __launch_bounds__(kTeamThreads)
    cross_entropy_mean_kernel(const float* losses, int64_t batch, float* __restrict__ loss) {
  wait_for_previous_grid();
  double sum = 0;
  for (int64_t row = threadIdx.x; row < batch; row += kTeamThreads) sum += losses[row];
  sum = Team<kTeamWarps>::reduce(Add{}, sum);
  if (threadIdx.x == 0) *loss = static_cast<float>(sum / static_cast<double>(batch));
}

void forward(const CrossEntropyArgs& a) {
  const Scratch losses(static_cast<size_t>(a.batch) * sizeof(float));
  visit_device_float(a.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    visit_team<T>(a.classes, {a.logits, a.dlogits}, [&](auto warps, auto width) {
      launch_kernel(cross_entropy_rows_kernel<T, warps, width>, team_launch(a.batch, warps),
                    static_cast<const T*>(a.logits), a.targets, a.target_dtype, losses.data<float>(),
                    static_cast<T*>(a.dlogits), a.batch, a.classes, a.smoothing, fault_report());
    });
  });
  launch_kernel(cross_entropy_mean_kernel, team_launch(1, kTeamWarps), losses.data<float>(), a.batch, a.loss);
}

REGISTER_KERNEL(cross_entropy, cuda, forward);

}  // namespace
}  // namespace native
