#include "timing.h"

#include <cuda_profiler_api.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <chrono>
#include <future>
#include <optional>

#include "ops/copy.h"
#include "ops/random.h"
#include "runtime/context.h"

namespace bench {

using native::cuda::check_cuda;

namespace {

Scale g_scale = Scale::full;
int64_t g_seed = 1;
std::string g_profiled;  // the label of the only measurement that was asked for
int g_profiled_calls = 0;

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

// Microseconds of `calls` calls between two events.
double timed(const std::function<void(int)>& run, int first, int calls, cudaEvent_t start, cudaEvent_t stop) {
  const cudaStream_t stream = native::cuda::current_context().stream();
  check_cuda(cudaEventRecord(start, stream), "event");
  for (int i = 0; i < calls; ++i) run(first + i);
  check_cuda(cudaEventRecord(stop, stream), "event");
  check_cuda(cudaEventSynchronize(stop), "benchmark");
  float milliseconds = 0;
  check_cuda(cudaEventElapsedTime(&milliseconds, start, stop), "event");
  return 1e3 * milliseconds / calls;
}

// An operation that was refused costs no time: say so instead.
void check_queued() {
  std::promise<std::optional<native::Error>> promise;
  native::backend(native::DeviceType::cuda).fence([&promise](std::optional<native::Error> error) {
    promise.set_value(std::move(error));
  });
  if (const auto error = promise.get_future().get()) throw *error;
}

std::string label_of(const Row& row) {
  std::string label = row.suite + " " + row.name;
  for (const auto& size : row.sizes) label += " " + std::to_string(size.second);
  return label;
}

// One call, behind others that load its kernels and warm the caches as calls in a row do.
void profile(int sets, const std::function<void(int)>& run) {
  for (int i = 0; i < sets; ++i) run(i);
  check_queued();
  check_cuda(cudaProfilerStart(), "profiler");
  run(0);
  check_queued();
  check_cuda(cudaProfilerStop(), "profiler");
  ++g_profiled_calls;
}

}  // namespace

Scale scale() { return g_scale; }
void set_scale(Scale scale) { g_scale = scale; }
int64_t by_scale(int64_t full, int64_t quick, int64_t tiny) {
  return g_scale == Scale::full ? full : g_scale == Scale::quick ? quick : tiny;
}

double microseconds(int sets, const std::function<void(int)>& run, const Effort& effort) {
  const auto call = [&](int i) { run(i % sets); };
  cudaEvent_t start, stop;
  check_cuda(cudaEventCreate(&start), "event");
  check_cuda(cudaEventCreate(&stop), "event");
  int next = 0;
  double best = 1e30;
  if (g_scale == Scale::tiny) {
    best = timed(call, next, 1, start, stop);
  } else {
    double estimate = timed(call, next, 3, start, stop);
    const auto begin = std::chrono::steady_clock::now();
    while (std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() <
           effort.warm_up_seconds) {
      estimate = timed(call, next, 10, start, stop);
      next += 10;
    }
    // A sample takes about a millisecond, so that the host's launches stay ahead of the device.
    const int calls = std::max(1, static_cast<int>(1000 / std::max(estimate, 1.0)));
    for (int round = 0; round < effort.rounds; ++round) {
      std::vector<double> samples;
      for (int i = 0; i < effort.samples; ++i, next += calls)
        samples.push_back(timed(call, next, calls, start, stop));
      best = std::min(best, median(std::move(samples)));
    }
  }
  cudaEventDestroy(start);
  cudaEventDestroy(stop);
  check_queued();
  return best;
}

void measure(Row row, int sets, const std::function<void(int)>& run) {
  if (g_profiled.empty()) {
    row.microseconds = microseconds(sets, run);
    report(row);
  } else if (label_of(row) == g_profiled) {
    profile(sets, run);
  }
}

void set_profiled(const std::string& label) { g_profiled = label; }
int profiled_calls() { return g_profiled_calls; }

Tensor normal(const Shape& shape, DType dtype, double deviation) {
  const Tensor x = native::random_normal(shape, 0, deviation, g_seed++, 0, native::DeviceType::cuda);
  return dtype == DType::float32 ? x : native::cast(x, dtype);
}

int sets_beyond_cache(double bytes) {
  int device = 0, cache = 0;
  check_cuda(cudaGetDevice(&device), "device");
  check_cuda(cudaDeviceGetAttribute(&cache, cudaDevAttrL2CacheSize, device), "device");
  return std::clamp(static_cast<int>(2.0 * cache / bytes) + 1, 2, 16);
}

}  // namespace bench
