#include "runtime/probe.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>

// Set by the build: "sm_80 sm_90a compute_80".
#ifndef NATIVE_CUDA_ARCHITECTURES
#error "NATIVE_CUDA_ARCHITECTURES names what the kernels are compiled for"
#endif

namespace native::cuda {
namespace {

std::string version_text(int version) {
  return version ? concat(version / 1000, ".", version % 1000 / 10) : "none";
}

std::string describe(const cudaDeviceProp& device) {
  return concat(device.name, ", capability ", device.major, ".", device.minor, ", ",
                device.multiProcessorCount, " multiprocessors, ", device.totalGlobalMem >> 20, " MiB");
}

// Why there is no device to use, or empty.
std::string look(int selected, DeviceReport& report) {
  int driver = 0, runtime = 0, count = 0;
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  report.facts = {{"driver", version_text(driver)},
                  {"runtime", version_text(runtime)},
                  {"architectures", NATIVE_CUDA_ARCHITECTURES}};
  if (driver == 0) return "no NVIDIA driver was found on this machine";
  const cudaError_t status = cudaGetDeviceCount(&count);
  cudaGetLastError();
  if (status == cudaErrorInsufficientDriver) {
    return concat("the NVIDIA driver is too old: it supports CUDA ", version_text(driver),
                  " and this build needs ", version_text(runtime), "; update the driver");
  }
  if (status == cudaErrorNoDevice || (status == cudaSuccess && count == 0)) {
    return "the NVIDIA driver sees no device (is CUDA_VISIBLE_DEVICES empty?)";
  }
  if (status != cudaSuccess) {
    return concat("the NVIDIA driver does not answer: ", cudaGetErrorString(status), " (",
                  cudaGetErrorName(status), ")");
  }
  std::string unavailable;
  for (int i = 0; i < count; ++i) {
    cudaDeviceProp device;
    if (cudaGetDeviceProperties(&device, i) != cudaSuccess) {
      cudaGetLastError();
      if (i == selected) unavailable = concat("device ", i, " does not tell its properties");
      continue;
    }
    report.facts.push_back({concat("device ", i), describe(device)});
    if (i == selected && 10 * device.major + device.minor < kLowestCapability) {
      unavailable =
          concat(device.name, " has compute capability ", device.major, ".", device.minor,
                 "; the kernels need ", kLowestCapability / 10, ".", kLowestCapability % 10, " or later");
    }
  }
  if (selected >= count) {
    return concat("there is no CUDA device ", selected, "; this machine has ", count);
  }
  return unavailable;
}

}  // namespace

DeviceReport probe_devices() {
  static std::mutex mutex;
  static std::map<int, DeviceReport> reports;  // by selected device
  const int selected = selected_device(DeviceType::cuda);
  std::lock_guard<std::mutex> lock(mutex);
  const auto [found, fresh] = reports.try_emplace(selected);
  if (fresh) {
    found->second.built = true;
    found->second.unavailable = look(selected, found->second);
  }
  return found->second;
}

int chosen_capability(int of_device) {
  // sm_90a is code for 9.0 and nothing else. Later devices compile the PTX of compute_80 for themselves, and
  // so does a 9.0 that this build has no sm_90a for.
  const bool hopper_code = of_device == 90 && std::strstr(NATIVE_CUDA_ARCHITECTURES, "sm_90a");
  if (of_device >= 90 && !hopper_code) of_device = kLowestCapability;
  const char* text = std::getenv("NATIVE_CUDA_CAPABILITY");
  if (!text || !*text) return of_device;
  char* end = nullptr;
  const long wanted = std::strtol(text, &end, 10);
  CHECK(*end == 0 && wanted >= kLowestCapability && wanted <= of_device, "ERR_DEVICE",
        "NATIVE_CUDA_CAPABILITY is '", text, "'; for this device it must be a number between ",
        kLowestCapability, " and ", of_device);
  return static_cast<int>(wanted);
}

int chosen_multiprocessors(int of_device) {
  const char* text = std::getenv("NATIVE_CUDA_MULTIPROCESSORS");
  if (!text || !*text) return of_device;
  char* end = nullptr;
  const long most = std::strtol(text, &end, 10);
  CHECK(*end == 0 && most >= 1, "ERR_DEVICE", "NATIVE_CUDA_MULTIPROCESSORS is '", text,
        "'; it must be a number from 1");
  return static_cast<int>(std::min<long>(most, of_device));
}

}  // namespace native::cuda
