// Captures of the emulated runtime: what a graph runs, and what the device refuses while one is captured.
#ifdef CUDA_EMULATION
#include <primitives/launch.h>

#include <primitives/device.cuh>
#include <thread>

#include "check.h"
#include "cuda_handles.h"

using namespace check;
using namespace native::cuda;

namespace {

__global__ void add_one_kernel(int* counter) {
  if (threadIdx.x == 0) atomic_add(counter, 1);
}

// Ends the capture; whether it was spoilt. Forgets the errors so far.
bool spoilt(cudaStream_t stream) {
  cudaGraph_t graph = nullptr;
  const cudaError_t status = cudaStreamEndCapture(stream, &graph);
  cudaGetLastError();
  if (graph) cudaGraphDestroy(graph);
  REQUIRE((status == cudaSuccess || status == cudaErrorStreamCaptureInvalidated));
  return status != cudaSuccess;
}

// What `call` answers on a thread of its own.
template <class Call>
cudaError_t elsewhere(Call call) {
  cudaError_t status = cudaSuccess;
  std::thread([&] { status = call(); }).join();
  return status;
}

}  // namespace

TEST_CASE("emulation: work captured in a graph runs when the graph is launched, each time") {
  const Tensor counter = to_device({0}, {1}, DType::int32);
  const Stream stream, side;
  const Event fork, join;
  fence();  // what the tensor holds is there
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t exec = nullptr;
  const auto launch_on = [&](cudaStream_t on) {
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(4);
    config.blockDim = dim3(32);
    config.stream = on;
    CHECK(cudaLaunchKernelEx(&config, add_one_kernel, counter.data<int>()) == cudaSuccess);
  };
  REQUIRE(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
  launch_on(stream);
  cudaEventRecord(fork, stream);
  cudaStreamWaitEvent(side, fork);
  launch_on(side);
  cudaEventRecord(join, side);
  cudaStreamWaitEvent(stream, join);
  REQUIRE(cudaStreamEndCapture(stream, &graph) == cudaSuccess);
  REQUIRE(cudaGraphInstantiate(&exec, graph, 0) == cudaSuccess);
  CHECK(cudaStreamSynchronize(stream) == cudaSuccess);
  CHECK(to_host(counter)[0] == 0);
  for (int i = 0; i < 3; ++i) CHECK(cudaGraphLaunch(exec, stream) == cudaSuccess);
  CHECK(cudaStreamSynchronize(stream) == cudaSuccess);
  CHECK(to_host(counter)[0] == 24);
  cudaGraphExecDestroy(exec);
  cudaGraphDestroy(graph);
}

TEST_CASE("emulation: waiting for a stream that is captured, or for the device, spoils the capture") {
  const Stream stream;
  REQUIRE(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed) == cudaSuccess);
  CHECK(cudaStreamSynchronize(stream) == cudaErrorStreamCaptureUnsupported);
  CHECK(spoilt(stream));
  REQUIRE(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed) == cudaSuccess);
  CHECK(cudaDeviceSynchronize() == cudaErrorStreamCaptureUnsupported);
  CHECK(spoilt(stream));
  CHECK(cudaDeviceSynchronize() == cudaSuccess);
}

TEST_CASE("emulation: memory and events outside are for captures that allow it, by thread and mode") {
  const Stream stream, other;
  const Event before;
  void *block = nullptr, *pinned = nullptr;
  REQUIRE(cudaMalloc(&block, 512) == cudaSuccess);
  REQUIRE(cudaMallocHost(&pinned, 512) == cudaSuccess);
  REQUIRE(cudaEventRecord(before, other) == cudaSuccess);
  REQUIRE(cudaStreamSynchronize(other) == cudaSuccess);
  void *more = nullptr, *more_pinned = nullptr;
  const std::function<cudaError_t()> calls[] = {
      [&] { return cudaMalloc(&more, 512); }, [&] { return cudaMallocHost(&more_pinned, 512); },
      [&] { return cudaEventQuery(before); }, [&] { return cudaFree(std::exchange(more, nullptr)); },
      [&] { return cudaFreeHost(std::exchange(more_pinned, nullptr)); }};
  for (const auto& call : calls) {
    REQUIRE(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed) == cudaSuccess);
    CHECK(call() == cudaSuccess);
    CHECK(elsewhere([&] { return cudaEventQuery(before); }) == cudaSuccess);
    CHECK_FALSE(spoilt(stream));
  }
  more = block, more_pinned = pinned;
  const auto refused = [&](const std::function<cudaError_t()>& call, cudaStreamCaptureMode mode, bool own) {
    void *const had = more, *const had_pinned = more_pinned;
    REQUIRE(cudaStreamBeginCapture(stream, mode) == cudaSuccess);
    const cudaError_t status = own ? call() : elsewhere(call);
    const bool lost = spoilt(stream);
    CHECK(lost == (status == cudaErrorStreamCaptureUnsupported));
    if (status != cudaSuccess) more = had, more_pinned = had_pinned;
    return lost;
  };
  for (const auto& call : calls) {
    CHECK(refused(call, cudaStreamCaptureModeGlobal, true));
    CHECK(refused(call, cudaStreamCaptureModeGlobal, false));
    CHECK(refused(call, cudaStreamCaptureModeThreadLocal, true));
  }
  CHECK_FALSE(refused(calls[2], cudaStreamCaptureModeThreadLocal, false));
  CHECK(cudaFree(more) == cudaSuccess);
  CHECK(cudaFreeHost(more_pinned) == cudaSuccess);
}

TEST_CASE(
    "emulation: what waits for other threads or uses the default stream is for captures that allow it") {
  const Tensor x = to_device({0}, {1}, DType::int32);
  const Stream stream;
  fence();
  int host = 0;
  const std::function<cudaError_t()> calls[] = {
      [&] { return cudaMemcpy(&host, x.raw(), 4, cudaMemcpyDeviceToHost); },
      [&] { return cudaMemset(x.raw(), 0, 4); }};
  for (const auto& call : calls) {
    REQUIRE(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
    CHECK(call() == cudaErrorStreamCaptureUnsupported);
    CHECK(spoilt(stream));
    REQUIRE(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed) == cudaSuccess);
    CHECK(call() == cudaSuccess);
    CHECK_FALSE(spoilt(stream));
  }
  // The default stream waits for blocking streams, and so for what is only captured.
  const Stream blocking(cudaStreamDefault);
  REQUIRE(cudaStreamBeginCapture(blocking, cudaStreamCaptureModeRelaxed) == cudaSuccess);
  CHECK(cudaMemset(x.raw(), 0, 4) == cudaErrorStreamCaptureImplicit);
  CHECK(spoilt(blocking));
}

TEST_CASE("emulation: an event of a capture cannot be asked, in any mode") {
  const Stream stream;
  const Event untimed, event(cudaEventDefault);
  float milliseconds = 0;
  const std::function<cudaError_t()> calls[] = {
      [&] { return cudaEventQuery(event); }, [&] { return cudaEventSynchronize(event); },
      [&] { return cudaEventElapsedTime(&milliseconds, event, event); }};
  for (const auto& call : calls) {
    REQUIRE(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed) == cudaSuccess);
    CHECK(cudaEventRecord(event, stream) == cudaSuccess);
    CHECK(call() == cudaErrorCapturedEvent);
    CHECK(cudaEventRecord(untimed, stream) == cudaErrorStreamCaptureInvalidated);
    CHECK(spoilt(stream));
    CHECK(call() == cudaErrorCapturedEvent);  // until it is recorded anew
  }
  CHECK(cudaStreamWaitEvent(stream, event) == cudaErrorCapturedEvent);
  CHECK(cudaEventRecord(event, stream) == cudaSuccess);
  CHECK(cudaEventSynchronize(event) == cudaSuccess);
  cudaGetLastError();
}

TEST_CASE("emulation: a capture ends where it began, with all that it has forked") {
  const Tensor counter = to_device({0}, {1}, DType::int32);
  const Stream stream, side, other;
  const Event fork, join;
  fence();
  const auto begin = [&] {
    REQUIRE(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
    CHECK(cudaEventRecord(fork, stream) == cudaSuccess);
    CHECK(cudaStreamWaitEvent(side, fork) == cudaSuccess);
    CHECK(cudaMemsetAsync(counter.raw(), 0, 4, side) == cudaSuccess);
  };
  const auto end = [&](cudaStream_t on) {
    cudaGraph_t graph = nullptr;
    const cudaError_t status = cudaStreamEndCapture(on, &graph);
    CHECK((graph != nullptr) == (status == cudaSuccess));
    if (graph) cudaGraphDestroy(graph);
    cudaGetLastError();
    return status;
  };
  begin();
  CHECK(end(stream) == cudaErrorStreamCaptureUnjoined);
  begin();
  CHECK(cudaEventRecord(join, side) == cudaSuccess);
  CHECK(cudaStreamWaitEvent(stream, join) == cudaSuccess);
  CHECK(end(stream) == cudaSuccess);
  begin();
  CHECK(cudaEventRecord(join, side) == cudaSuccess);
  CHECK(cudaMemsetAsync(counter.raw(), 0, 4, side) == cudaSuccess);  // behind what is waited for
  CHECK(cudaStreamWaitEvent(stream, join) == cudaSuccess);
  CHECK(end(stream) == cudaErrorStreamCaptureUnjoined);
  begin();
  CHECK(end(side) == cudaErrorStreamCaptureUnmatched);
  CHECK(end(stream) == cudaErrorStreamCaptureInvalidated);
  begin();
  CHECK(elsewhere([&] { return end(stream); }) == cudaErrorStreamCaptureWrongThread);
  CHECK(end(stream) == cudaErrorStreamCaptureInvalidated);
  CHECK(end(stream) == cudaErrorIllegalState);
  REQUIRE(cudaStreamBeginCapture(other, cudaStreamCaptureModeRelaxed) == cudaSuccess);
  begin();
  CHECK(cudaStreamWaitEvent(other, fork) == cudaErrorStreamCaptureMerge);
  CHECK(end(stream) == cudaErrorStreamCaptureInvalidated);
  CHECK(end(other) == cudaErrorStreamCaptureInvalidated);
  CHECK(to_host(counter)[0] == 0);
}

TEST_CASE("emulation: a graph is not launched into a capture") {
  const Stream stream;
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t exec = nullptr;
  REQUIRE(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed) == cudaSuccess);
  CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed) == cudaErrorIllegalState);
  REQUIRE(cudaStreamEndCapture(stream, &graph) == cudaSuccess);
  REQUIRE(cudaGraphInstantiate(&exec, graph, 0) == cudaSuccess);
  REQUIRE(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed) == cudaSuccess);
  CHECK(cudaGraphLaunch(exec, stream) == cudaErrorStreamCaptureUnsupported);
  CHECK(spoilt(stream));
  CHECK(cudaGraphLaunch(exec, stream) == cudaSuccess);
  CHECK(cudaStreamSynchronize(stream) == cudaSuccess);
  cudaGraphExecDestroy(exec);
  cudaGraphDestroy(graph);
}

TEST_CASE("emulation: in a graph a grid starts early behind a grid only") {
  const Tensor counter = to_device({0}, {1}, DType::int32);
  const Stream stream;
  fence();
  cudaLaunchAttribute early{};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(1);
  config.blockDim = dim3(32);
  config.stream = stream;
  config.attrs = &early;
  const auto launch = [&](bool overlap) {
    config.numAttrs = overlap;
    return cudaLaunchKernelEx(&config, add_one_kernel, counter.data<int>());
  };
  REQUIRE(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
  CHECK(launch(false) == cudaSuccess);
  CHECK(launch(true) == cudaSuccess);
  CHECK(!spoilt(stream));
  REQUIRE(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
  CHECK(launch(true) == cudaErrorNotSupported);
  CHECK(spoilt(stream));
  REQUIRE(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
  CHECK(launch(false) == cudaSuccess);
  CHECK(cudaMemsetAsync(counter.data<int>(), 0, 4, stream) == cudaSuccess);
  CHECK(launch(true) == cudaErrorNotSupported);
  CHECK(spoilt(stream));
}

TEST_CASE("emulation: a graph copies page-locked memory only, which must still be there when it runs") {
  const Tensor x = to_device({1, 2}, {2}, DType::float32);
  const Stream stream;
  fence();
  float pageable[2] = {};
  void* pinned = nullptr;
  REQUIRE(cudaMallocHost(&pinned, 8) == cudaSuccess);
  REQUIRE(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed) == cudaSuccess);
  CHECK(cudaMemcpyAsync(pageable, x.raw(), 8, cudaMemcpyDeviceToHost, stream) ==
        cudaErrorStreamCaptureUnsupported);
  CHECK(spoilt(stream));
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t exec = nullptr;
  REQUIRE(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed) == cudaSuccess);
  CHECK(cudaMemcpyAsync(pinned, x.raw(), 8, cudaMemcpyDeviceToHost, stream) == cudaSuccess);
  REQUIRE(cudaStreamEndCapture(stream, &graph) == cudaSuccess);
  REQUIRE(cudaGraphInstantiate(&exec, graph, 0) == cudaSuccess);
  CHECK(cudaGraphLaunch(exec, stream) == cudaSuccess);
  CHECK(cudaStreamSynchronize(stream) == cudaSuccess);
  CHECK(static_cast<float*>(pinned)[1] == 2);
  cudaFreeHost(pinned);
  CHECK(cudaGraphLaunch(exec, stream) == cudaSuccess);
  CHECK(cudaStreamSynchronize(stream) == cudaErrorLaunchFailure);
  CHECK(std::string(cudaGetErrorString(cudaErrorLaunchFailure)).find("given back before the copy ran") !=
        std::string::npos);
  cudaGetLastError();
  cudaGraphExecDestroy(exec);
  cudaGraphDestroy(graph);
}

TEST_CASE("emulation: a copy goes where its kind says") {
  const Tensor x = to_device({1, 2}, {2}, DType::float32);
  float host[2] = {};
  CHECK(cudaMemcpy(host, x.raw(), 8, cudaMemcpyDeviceToHost) == cudaSuccess);
  CHECK(host[1] == 2);
  const Stream stream;
  for (const cudaMemcpyKind kind : {cudaMemcpyHostToDevice, cudaMemcpyDeviceToDevice, cudaMemcpyHostToHost}) {
    CHECK(cudaMemcpyAsync(host, x.raw(), 8, kind, stream) == cudaErrorInvalidValue);
  }
  cudaGetLastError();
}
#endif
