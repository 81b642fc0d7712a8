// The runner of the CUDA tests. On the emulated device every fresh block of memory is poisoned, so that what
// a kernel forgets to write, or reads without its being written, is NaN.

#include <cstdio>
#include <cstdlib>

#include "core/device.h"

#undef CHECK  // the library's
#define DOCTEST_CONFIG_IMPLEMENT
#define DOCTEST_CONFIG_NO_POSIX_SIGNALS  // faults of emulated kernels are handled where they run
#include <doctest/doctest.h>

int main(int argc, char** argv) {
  setenv("NATIVE_CUDA_POISON", "1", 1);
  if (const char* index = std::getenv("CUDA_TEST_DEVICE")) {
    native::select_device(native::DeviceType::cuda, std::atoi(index));
  }
  const std::string unavailable = native::device_report(native::DeviceType::cuda).unavailable;
  if (!unavailable.empty()) {
    std::fprintf(stderr, "cuda_test: %s\n", unavailable.c_str());
    return 1;
  }
  doctest::Context context(argc, argv);
  const int result = context.run();
  std::fflush(stdout);
  std::_Exit(result);  // the backend's threads live as long as the process
}
