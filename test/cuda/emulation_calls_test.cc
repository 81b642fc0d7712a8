// Calls that a card, its driver or its runtime refuses, or leaves undefined: the emulated one refuses them.
#ifdef CUDA_EMULATION
#include <primitives/launch.h>
#include <sys/wait.h>
#include <unistd.h>

#include <future>
#include <primitives/device.cuh>

#include "check.h"
#include "cuda_handles.h"
#include "emulation.h"
#include "runtime/tensor_map.h"

using namespace check;
using namespace native::cuda;
using native::DeviceType;

namespace {

__global__ void __launch_bounds__(64) two_warps_kernel(const int*) {}
template <int kWarps>
__global__ void __launch_bounds__(kWarps * 32, 1) some_warps_kernel(const int*) {}
__global__ void unbounded_kernel(const int*) {}

using Kernel = void (*)(const int*);

cudaError_t launch(Kernel kernel, cudaLaunchConfig_t config, const int* argument = nullptr) {
  const cudaError_t status = cudaLaunchKernelEx(&config, kernel, argument);
  cudaGetLastError();
  return status;
}

cudaLaunchConfig_t of_threads(int threads) {
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(1);
  config.blockDim = dim3(static_cast<unsigned>(threads));
  return config;
}

cudaLaunchConfig_t of_blocks(dim3 grid) {
  cudaLaunchConfig_t config = of_threads(32);
  config.gridDim = grid;
  return config;
}

void synchronize() {
  CHECK(cudaDeviceSynchronize() == cudaSuccess);
  cudaGetLastError();
}

}  // namespace

TEST_CASE("emulation: a kernel has no more threads than its bounds") {
  CHECK(launch(two_warps_kernel, of_threads(64)) == cudaSuccess);
  CHECK(launch(two_warps_kernel, of_threads(96)) == cudaErrorLaunchOutOfResources);
  CHECK(launch(some_warps_kernel<12>, of_threads(384)) == cudaSuccess);
  CHECK(launch(some_warps_kernel<12>, of_threads(416)) == cudaErrorLaunchOutOfResources);
  CHECK(launch(some_warps_kernel<32>, of_threads(1024)) == cudaSuccess);
  CHECK(launch(unbounded_kernel, of_threads(1024)) == cudaSuccess);
  cudaFuncAttributes attributes{};
  CHECK(cudaFuncGetAttributes(&attributes, reinterpret_cast<const void*>(two_warps_kernel)) == cudaSuccess);
  CHECK(attributes.maxThreadsPerBlock == 64);
  synchronize();
}

TEST_CASE("emulation: grids, clusters and shared memory have the device's limits") {
  for (const dim3 grid : {dim3(0), dim3(1, 0), dim3(1, 1, 0), dim3(1, 65536), dim3(1, 1, 65536)})
    CHECK(launch(unbounded_kernel, of_blocks(grid)) == cudaErrorInvalidConfiguration);
  cudaLaunchConfig_t config = of_threads(32);
  config.dynamicSmemBytes = 48 << 10;
  CHECK(launch(unbounded_kernel, config) == cudaSuccess);
  config.dynamicSmemBytes += 1;
  CHECK(launch(unbounded_kernel, config) == cudaErrorInvalidValue);
  int clusters = 0;
  config.gridDim = dim3(2);
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeClusterDimension;
  attribute.val.clusterDim = {2, 1, 1};
  config.attrs = &attribute;
  config.numAttrs = 1;
  const void* kernel = reinterpret_cast<const void*>(unbounded_kernel);
  CHECK(cudaOccupancyMaxActiveClusters(&clusters, kernel, &config) == cudaErrorInvalidValue);
  config.dynamicSmemBytes = 0;
  CHECK(cudaOccupancyMaxActiveClusters(&clusters, kernel, &config) == cudaSuccess);
  for (const unsigned size : {0u, 3u, 16u}) {
    attribute.val.clusterDim.x = size;
    CHECK(cudaOccupancyMaxActiveClusters(&clusters, kernel, &config) == cudaErrorInvalidConfiguration);
    CHECK(launch(unbounded_kernel, config) == cudaErrorInvalidConfiguration);
  }
  synchronize();
}

TEST_CASE("emulation: kernels are given pointers to memory of the device") {
  const Tensor x = to_device({1, 2}, {2}, DType::int32);
  const Stream stream;
  fence();
  cudaLaunchConfig_t config = of_threads(32);
  config.stream = stream;
  const auto result = [&](const int* argument) {
    CHECK(launch(unbounded_kernel, config, argument) == cudaSuccess);
    const cudaError_t status = cudaStreamSynchronize(stream);
    cudaGetLastError();
    return status;
  };
  CHECK(result(nullptr) == cudaSuccess);
  CHECK(result(x.data<int>()) == cudaSuccess);
  const int of_the_host = 0;
  CHECK(result(&of_the_host) == cudaErrorLaunchFailure);
  CHECK(std::string(cudaGetErrorString(cudaErrorLaunchFailure)).find("no memory of the device") !=
        std::string::npos);
  int* pinned = nullptr;
  REQUIRE(cudaMallocHost(&pinned, 4) == cudaSuccess);
  CHECK(result(pinned) == cudaSuccess);
  CHECK(cudaFreeHost(pinned) == cudaSuccess);
  CHECK(result(pinned) == cudaErrorLaunchFailure);
}

TEST_CASE("emulation: code of the host that touches device memory crashes") {
  if (!emulation::host_is_kept_out()) {
    MESSAGE("not tested: this processor has no protection keys");
    return;
  }
  const Tensor x = to_device({1}, {1}, DType::int32);
  fence();
  const pid_t child = fork();
  if (child == 0) {
    close(STDERR_FILENO);
    _Exit(*static_cast<volatile int*>(x.raw()));
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(WIFSIGNALED(status));
}

TEST_CASE("emulation: events that are not recorded or keep no time have none to tell") {
  const Stream stream;
  const Event untimed, timed(cudaEventDefault), other(cudaEventDefault);
  float milliseconds = -1;
  const auto time_of = [&](cudaEvent_t start, cudaEvent_t end) {
    const cudaError_t status = cudaEventElapsedTime(&milliseconds, start, end);
    cudaGetLastError();
    return status;
  };
  CHECK(time_of(timed, other) == cudaErrorInvalidResourceHandle);
  for (cudaEvent_t event : {cudaEvent_t(untimed), cudaEvent_t(timed), cudaEvent_t(other)})
    CHECK(cudaEventRecord(event, stream) == cudaSuccess);
  CHECK(cudaStreamSynchronize(stream) == cudaSuccess);
  CHECK(time_of(timed, untimed) == cudaErrorInvalidResourceHandle);
  CHECK(time_of(untimed, other) == cudaErrorInvalidResourceHandle);
  CHECK(time_of(timed, other) == cudaSuccess);
  CHECK(milliseconds >= 0);
}

TEST_CASE("emulation: handles are good until they are destroyed, and flags are those there are") {
  cudaStream_t stream = nullptr;
  cudaEvent_t event = nullptr;
  CHECK(cudaStreamCreateWithFlags(&stream, 2) == cudaErrorInvalidValue);
  CHECK(cudaEventCreateWithFlags(&event, 4) == cudaErrorInvalidValue);
  REQUIRE(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaSuccess);
  REQUIRE(cudaEventCreateWithFlags(&event, cudaEventDisableTiming) == cudaSuccess);
  const Stream living;
  const Event recorded;
  CHECK(cudaEventDestroy(event) == cudaSuccess);
  CHECK(cudaStreamDestroy(stream) == cudaSuccess);
  for (const cudaError_t status :
       {cudaEventDestroy(event), cudaEventRecord(event, living), cudaEventQuery(event),
        cudaEventSynchronize(event), cudaStreamWaitEvent(living, event), cudaStreamDestroy(stream),
        cudaEventRecord(recorded, stream), cudaStreamWaitEvent(stream, recorded),
        cudaStreamSynchronize(stream), cudaStreamQuery(stream), cudaLaunchHostFunc(stream, nullptr, nullptr),
        cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed)}) {
    CHECK(status == cudaErrorInvalidResourceHandle);
  }
  int no_pinned = 0;
  CHECK(cudaFreeHost(&no_pinned) == cudaErrorInvalidValue);
  CHECK(cudaFree(&no_pinned) == cudaErrorInvalidValue);
  CHECK(cudaMemsetAsync(&no_pinned, 0, sizeof no_pinned, living) == cudaErrorInvalidValue);
  cudaGetLastError();
}

TEST_CASE("emulation: a copy is between ranges that do not overlap and are there when it runs") {
  const Tensor x = to_device({1, 2, 3, 4}, {4}, DType::int32);
  const Stream stream;
  fence();
  int *data = x.data<int>(), *pinned = nullptr;
  const auto end = [&] {
    const cudaError_t status = cudaStreamSynchronize(stream);
    cudaGetLastError();
    return status;
  };
  CHECK(cudaMemcpyAsync(data + 2, data, 8, cudaMemcpyDeviceToDevice, stream) == cudaSuccess);
  CHECK(end() == cudaSuccess);
  CHECK(cudaMemcpyAsync(data + 1, data, 8, cudaMemcpyDeviceToDevice, stream) == cudaSuccess);
  CHECK(end() == cudaErrorLaunchFailure);
  REQUIRE(cudaMallocHost(&pinned, 16) == cudaSuccess);
  CHECK(*pinned != 0);  // nothing is promised of what fresh memory holds
  std::promise<void> release;
  std::future<void> released = release.get_future();
  const auto hold = [](void* until) { static_cast<std::future<void>*>(until)->wait(); };
  CHECK(cudaLaunchHostFunc(stream, hold, &released) == cudaSuccess);
  CHECK(cudaMemcpyAsync(pinned, data, 16, cudaMemcpyDeviceToHost, stream) == cudaSuccess);
  CHECK(cudaFreeHost(pinned) == cudaSuccess);
  release.set_value();
  CHECK(end() == cudaErrorLaunchFailure);
}

TEST_CASE("emulation: functions of the host that the device runs may not call it") {
  const Stream stream;
  cudaError_t status = cudaSuccess;
  const auto call = [](void* result) {
    void* memory = nullptr;
    *static_cast<cudaError_t*>(result) = cudaMalloc(&memory, 512);
  };
  CHECK(cudaLaunchHostFunc(stream, call, &status) == cudaSuccess);
  CHECK(cudaStreamSynchronize(stream) == cudaSuccess);
  CHECK(status == cudaErrorNotPermitted);
}

TEST_CASE("emulation: tensor maps that the driver refuses are refused") {
  const auto map = [](int64_t offset, const TensorMapShape& shape, Swizzle swizzle = Swizzle::bytes_128) {
    auto* const data = reinterpret_cast<unsigned char*>(size_t{1} << 20) + offset;
    return error_of([&] { encode_tensor_map(data, DType::bfloat16, shape, swizzle); });
  };
  const auto refused = [](const std::string& error) {
    return error.find("refused a tensor map") != std::string::npos;
  };
  // columns, rows, matrices, distances, box
  CHECK(map(0, {64, 64, 2, 64, 4096, 64, 64}) == "");
  CHECK(map(0, {64, 256, 1, 64, 0, 64, 256}) == "");
  CHECK(map(0, {256, 64, 1, 256, 0, 256, 64}, Swizzle::none) == "");
  CHECK(refused(map(8, {64, 64, 1, 64, 0, 64, 64})));
  CHECK(refused(map(0, {64, 64, 1, 68, 0, 64, 64})));
  CHECK(refused(map(0, {64, 64, 1, int64_t{1} << 39, 0, 64, 64})));
  CHECK(refused(map(0, {64, 64, 2, 64, 4096 + 8, 64, 64})));
  CHECK(refused(map(0, {64, 64, 0, 64, 0, 64, 64})));
  CHECK(refused(map(0, {64, 64, 1, 64, 0, 72, 64})));  // wider than the swizzle
  CHECK(refused(map(0, {64, 64, 1, 64, 0, 20, 64})));  // no multiple of 16 bytes
  CHECK(refused(map(0, {64, 512, 1, 64, 0, 64, 257})));
  CHECK(refused(map(0, {512, 64, 1, 512, 0, 264, 64}, Swizzle::none)));
}
#endif
