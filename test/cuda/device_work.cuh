#pragma once
// What the tests of the device as a queue give it to do, and how they wait for it and look at the result.
#include <primitives/launch.h>

#include <future>
#include <numeric>
#include <optional>
#include <primitives/device.cuh>
#include <utility>
#include <vector>

#include "common/fault.cuh"
#include "core/tensor.h"
#include "runtime/backend.h"

namespace native::cuda {
namespace {  // of each test by itself, since a kernel cannot be inline

DeviceBackend& device() { return backend(DeviceType::cuda); }

std::optional<Error> fence() {
  std::promise<std::optional<Error>> promise;
  device().fence([&promise](std::optional<Error> error) { promise.set_value(std::move(error)); });
  return promise.get_future().get();
}

// A tensor with a block that the host fills, as the binding makes it.
Tensor uploaded(const std::vector<float>& values) {
  const size_t bytes = values.size() * sizeof(float);
  Tensor x(std::make_shared<Storage>(DeviceType::cuda, bytes, true), {static_cast<int64_t>(values.size())},
           DType::float32);
  device().copy_from_host(x.raw(), values.data(), bytes);
  return x;
}

std::vector<float> read(const Tensor& x) {
  std::vector<float> values(static_cast<size_t>(x.numel()), -1);
  device().copy_to_host(values.data(), x.raw(), x.nbytes());
  if (const auto error = fence()) throw *error;
  return values;
}

std::vector<float> ramp(size_t count, float first) {
  std::vector<float> values(count);
  std::iota(values.begin(), values.end(), first);
  return values;
}

// y[i] += 1, `rounds` times over: work that takes a while.
__global__ void increment_kernel(float* y, int count, int rounds) {
  wait_for_previous_grid();
  for (int round = 0; round < rounds; ++round) {
    for (int i = static_cast<int>(threadIdx.x); i < count; i += static_cast<int>(blockDim.x)) y[i] += 1;
  }
}

void increment(const Tensor& y, int rounds) {
  device().submit({"increment", {y.describe()}}, [&] {
    launch_kernel(increment_kernel, LaunchShape{dim3(1), 32}, y.data<float>(), static_cast<int>(y.numel()),
                  rounds);
  });
}

__global__ void fault_kernel(FaultReport report, int value) {
  wait_for_previous_grid();
  report.index_range(value, 10);
}

void find_fault(int value) {
  device().submit({"look_up", {"float32[10, 4]", "int32[3]"}}, [value] {
    launch_kernel(fault_kernel, LaunchShape{dim3(3), 32}, fault_report(), value);
  });
}

}  // namespace
}  // namespace native::cuda
