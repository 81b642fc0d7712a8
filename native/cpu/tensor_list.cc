// Functions of tensor lists on the CPU: chunks are shared out among the threads, results combined in order.
#include "ops/tensor_list.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/parallel.h"
#include "cpu/float_rows.h"
#include "cpu/simd.h"

namespace native {
namespace {

SIMD_CLONES double squares_of(const float* x, int64_t count) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < count; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  return sum;
}

SIMD_CLONES int32_t count_not_finite(const float* x, int64_t count) {
  int32_t found = 0;
#pragma omp simd reduction(+ : found)
  for (int64_t i = 0; i < count; ++i) found += x[i] - x[i] == 0.0f ? 0 : 1;
  return found;
}

SIMD_CLONES void scale_run(const float* x, float* y, float factor, int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) y[i] = x[i] * factor;
}

// Calls body(chunk index, values, count) for every run of a chunk, as float32.
template <class Body>
void for_runs(const std::vector<ListChunk>& chunks, const Body& body) {
  parallel_for(static_cast<int64_t>(chunks.size()), 2, [&](int64_t begin, int64_t end) {
    float buffer[kFloatBlock];
    for (int64_t i = begin; i < end; ++i) {
      const ListChunk& chunk = chunks[i];
      for (int64_t first = 0; first < chunk.count; first += kFloatBlock) {
        const int64_t count = std::min(kFloatBlock, chunk.count - first);
        body(i, first, read_floats(chunk.data, chunk.dtype, first, count, buffer), count);
      }
    }
  });
}

void grad_norm(const TensorListArgs& a) {
  std::vector<double> partial(a.chunks->size(), 0.0);
  for_runs(*a.chunks,
           [&](int64_t i, int64_t, const float* x, int64_t count) { partial[i] += squares_of(x, count); });
  double sum = 0;
  for (const double value : partial) sum += value;
  *a.sum = static_cast<float>(std::sqrt(sum));
}

void all_finite(const TensorListArgs& a) {
  std::vector<int32_t> partial(a.chunks->size(), 0);
  for_runs(*a.chunks, [&](int64_t i, int64_t, const float* x, int64_t count) {
    partial[i] += count_not_finite(x, count);
  });
  *a.finite = std::all_of(partial.begin(), partial.end(), [](int32_t found) { return found == 0; });
}

void scale_in_place(const TensorListArgs& a) {
  const float factor = *a.factor;
  for_runs(*a.chunks, [&](int64_t i, int64_t first, const float* x, int64_t count) {
    const ListChunk& chunk = (*a.chunks)[i];
    float buffer[kFloatBlock];
    float* y = target_floats(chunk.data, chunk.dtype, first, buffer);
    scale_run(x, y, factor, count);
    write_floats(y, chunk.data, chunk.dtype, first, count);
  });
}

// The factors of a tensor after `step` updates, this one included; rate: its learning rate and weight decay.
AdamwFactors adamw_factors(const double* rate, double step, const AdamwArgs& a) {
  return {static_cast<float>(1 - rate[0] * rate[1]),
          static_cast<float>(rate[0] / (1 - std::pow(a.beta1, step))),
          static_cast<float>(std::sqrt(1 - std::pow(a.beta2, step)))};
}

SIMD_CLONES void adamw_run(float* p, const float* g, float* m, float* v, int64_t count,
                           const AdamwFactors& factors, float first_rate, float beta2, float second_rate,
                           float eps) {
  // Not a structured binding, whose parts OpenMP may not capture.
  const float decay = factors.decay, step_size = factors.step_size, root_correction = factors.root_correction;
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) {
    const float first = m[i] + (g[i] - m[i]) * first_rate;
    const float second = v[i] * beta2 + g[i] * g[i] * second_rate;
    m[i] = first;
    v[i] = second;
    p[i] = p[i] * decay - step_size * (first / (std::sqrt(second) / root_correction + eps));
  }
}

void adamw_step(const AdamwArgs& a) {
  if (a.when && *a.when == 0) return;
  std::vector<AdamwFactors> factors;
  for (const int64_t row : *a.rows) {
    factors.push_back(adamw_factors(a.rates + 2 * row, static_cast<double>(++a.steps[row]), a));
  }
  const float first_rate = static_cast<float>(1 - a.beta1), second_rate = static_cast<float>(1 - a.beta2);
  parallel_for(static_cast<int64_t>(a.chunks->size()), 1, [&](int64_t begin, int64_t end) {
    float buffer[kFloatBlock];
    for (int64_t i = begin; i < end; ++i) {
      const AdamwChunk& c = (*a.chunks)[i];
      for (int64_t first = 0; first < c.count; first += kFloatBlock) {
        const int64_t count = std::min(kFloatBlock, c.count - first);
        adamw_run(c.param + first, read_floats(c.grad, c.grad_dtype, first, count, buffer), c.exp_avg + first,
                  c.exp_avg_sq + first, count, factors[static_cast<size_t>(c.tensor)], first_rate,
                  static_cast<float>(a.beta2), second_rate, a.eps);
        if (c.copy) write_floats(c.param + first, c.copy, c.copy_dtype, first, count);
      }
    }
  });
}

REGISTER_KERNEL(grad_norm, cpu, grad_norm);
REGISTER_KERNEL(all_finite, cpu, all_finite);
REGISTER_KERNEL(scale_in_place, cpu, scale_in_place);
REGISTER_KERNEL(adamw_step, cpu, adamw_step);

}  // namespace
}  // namespace native
