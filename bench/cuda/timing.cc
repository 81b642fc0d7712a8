#include "timing.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <chrono>
#include <cstdio>

#include "ops/copy.h"
#include "ops/random.h"
#include "runtime/context.h"

namespace bench {

using native::cuda::check_cuda;

namespace {

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

Peaks g_peaks{790e12, 4.3e12};
int64_t g_seed = 1;

}  // namespace

double microseconds(int sets, const std::function<void(int)>& run, double warm_up_seconds) {
  const auto call = [&](int i) { run(i % sets); };
  cudaEvent_t start, stop;
  check_cuda(cudaEventCreate(&start), "event");
  check_cuda(cudaEventCreate(&stop), "event");
  int next = 0;
  double estimate = timed(call, next, 3, start, stop);
  const auto begin = std::chrono::steady_clock::now();
  while (std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() < warm_up_seconds) {
    estimate = timed(call, next, 10, start, stop);
    next += 10;
  }
  // A sample takes about a millisecond, so that the host's launches stay ahead of the device.
  const int calls = std::max(1, static_cast<int>(1000 / std::max(estimate, 1.0)));
  double best = 1e30;
  for (int round = 0; round < 2; ++round) {
    std::vector<double> samples;
    for (int i = 0; i < 21; ++i, next += calls) samples.push_back(timed(call, next, calls, start, stop));
    best = std::min(best, median(std::move(samples)));
  }
  cudaEventDestroy(start);
  cudaEventDestroy(stop);
  return best;
}

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

const Peaks& peaks() { return g_peaks; }
void set_peaks(Peaks measured) { g_peaks = measured; }

void report(const Row& row) {
  std::printf("{\"suite\":\"%s\",\"name\":\"%s\",\"dtype\":\"%s\"", row.suite.c_str(), row.name.c_str(),
              native::dtype_name(row.dtype));
  for (const auto& [name, size] : row.sizes) std::printf(",\"%s\":%lld", name.c_str(), (long long)size);
  std::printf(
      ",\"microseconds\":%.2f,\"floorArithmetic\":%.2f,\"floorBytes\":%.2f,\"tflops\":%.1f,"
      "\"gigabytesPerSecond\":%.0f}\n",
      row.microseconds, 1e6 * row.flops / g_peaks.flops, 1e6 * row.bytes / g_peaks.bytes,
      row.flops / row.microseconds * 1e-6, row.bytes / row.microseconds * 1e-3);
  std::fflush(stdout);
}

}  // namespace bench
