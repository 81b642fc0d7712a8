// cuda_bench [--quick] [matmul] [attention] [memory] [sweep]: times the kernels of the CUDA backend without
// Node, one JSON line per measurement after one about the device. --quick takes small shapes: it shows that
// everything runs. `sweep` (all tiles of the matrix product) runs only when it is named.
#include <cuda_runtime.h>

#include <cstdio>
#include <cstring>
#include <set>
#include <string>

#include "runtime/context.h"
#include "timing.h"

int main(int argc, char** argv) try {
  bool quick = false;
  std::set<std::string> suites;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--quick") == 0) {
      quick = true;
    } else {
      suites.insert(argv[i]);
    }
  }
  const std::string unavailable = native::device_report(native::DeviceType::cuda).unavailable;
  if (!unavailable.empty()) {
    std::fprintf(stderr, "cuda_bench: %s\n", unavailable.c_str());
    return 1;
  }
  cudaDeviceProp device{};
  native::cuda::check_cuda(cudaGetDeviceProperties(&device, 0), "device");
  int driver = 0, runtime = 0;
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  std::printf(
      "{\"device\":\"%s\",\"capability\":%d,\"multiprocessors\":%d,\"memoryGb\":%.0f,\"l2Mb\":%.0f,"
      "\"driver\":%d,"
      "\"runtime\":%d,\"quick\":%s}\n",
      device.name, device.major * 10 + device.minor, device.multiProcessorCount,
      static_cast<double>(device.totalGlobalMem) * 0x1p-30, device.l2CacheSize * 0x1p-20, driver, runtime,
      quick ? "true" : "false");
  const auto wanted = [&](const char* suite) { return suites.empty() || suites.count(suite); };
  if (wanted("memory"))
    bench::memory_suite(quick);  // first: it measures the copy that floors are computed with
  if (wanted("matmul")) bench::matmul_suite(quick);
  if (wanted("attention")) bench::attention_suite(quick);
  if (suites.count("sweep")) bench::gemm_sweep_suite(quick);
  return 0;
} catch (const native::Error& error) {
  std::fprintf(stderr, "cuda_bench: %s: %s\n", error.code().c_str(), error.what());
  return 1;
}
