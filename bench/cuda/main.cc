// cuda_bench [--quick | --tiny] [--profile LABEL] [matmul] [attention] [memory] [sweep] [device]: times the
// kernels of the CUDA backend without Node. stdout has one JSON line per measurement after one about the
// device, stderr a table.
// --quick takes a sixteenth of the batches, --tiny what an emulated device gets through: both show that
// everything runs. `sweep` (all tiles of the matrix product) runs only when it is named; `device` alone
// measures nothing. --profile makes one measurement instead, for a profiler to look at: see timing.h. Exit
// codes: 0 done, 1 a failure on the device, 2 wrong arguments, 3 no device to use.
#include <cuda_runtime.h>

#include <cstdio>
#include <cstdlib>
#include <set>
#include <string>

#include "device_facts.h"
#include "report.h"
#include "runtime/context.h"
#include "timing.h"

namespace {

void describe_device() {
  cudaDeviceProp device{};
  native::cuda::check_cuda(cudaGetDeviceProperties(&device, 0), "device");
  int driver = 0, runtime = 0;
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  constexpr const char* kScales[] = {"full", "quick", "tiny"};
  std::printf(
      "{\"device\":\"%s\",\"capability\":%d,\"kernels\":%d,\"overlap\":%s,\"shared\":%s,"
      "\"multiprocessors\":%d,\"residentPairs\":%d,\"memoryGb\":%.0f,\"l2Mb\":%.0f,\"driver\":%d,"
      "\"runtime\":%d,\"scale\":\"%s\"}\n",
      device.name, device.major * 10 + device.minor, native::cuda::current_context().capability(),
      native::cuda::current_context().overlaps_grids() ? "true" : "false",
      native::cuda::current_context().shares_device() ? "true" : "false", device.multiProcessorCount,
      bench::resident_pairs(), static_cast<double>(device.totalGlobalMem) * 0x1p-30,
      device.l2CacheSize * 0x1p-20, driver, runtime, kScales[static_cast<int>(bench::scale())]);
}

int run(const std::set<std::string>& suites, bool profiling) {
  const std::string unavailable = native::device_report(native::DeviceType::cuda).unavailable;
  if (!unavailable.empty()) {
    std::fprintf(stderr, "cuda_bench: %s\n", unavailable.c_str());
    return 3;
  }
  describe_device();
  if (suites == std::set<std::string>{"device"}) return 0;
  const auto wanted = [&](const char* suite) { return suites.empty() || suites.count(suite); };
  bench::measure_copy_bandwidth();  // floors are computed with it
  if (wanted("memory")) bench::memory_suite();
  if (wanted("matmul")) bench::matmul_suite();
  if (wanted("attention")) bench::attention_suite();
  if (suites.count("sweep")) bench::gemm_sweep_suite();
  if (profiling && bench::profiled_calls() != 1) {
    std::fprintf(stderr, "cuda_bench: these suites have no measurement of that name and these sizes\n");
    return 2;
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) try {
  const std::set<std::string> known{"matmul", "attention", "memory", "sweep", "device"};
  std::set<std::string> suites;
  bool profiling = false;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--quick" || argument == "--tiny") {
      bench::set_scale(argument == "--quick" ? bench::Scale::quick : bench::Scale::tiny);
    } else if (argument == "--profile" && i + 1 < argc) {
      bench::set_profiled(argv[++i]);
      profiling = true;
    } else if (known.count(argument)) {
      suites.insert(argument);
    } else {
      std::fprintf(
          stderr,
          "cuda_bench [--quick | --tiny] [--profile LABEL] [matmul] [attention] [memory] [sweep] [device], "
          "not '%s'\n",
          argument.c_str());
      return 2;
    }
  }
  const int status = run(suites, profiling);
  std::fflush(stdout);
  std::_Exit(status);  // the backend's threads live as long as the process
} catch (const native::Error& error) {
  std::fprintf(stderr, "cuda_bench: %s: %s\n", error.code().c_str(), error.what());
  std::fflush(stdout);
  std::_Exit(1);  // as above; destructors would wait for a device that may not answer
}
