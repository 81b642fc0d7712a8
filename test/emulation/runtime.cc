// The functions of cuda_runtime.h on streams, and memory operations on them.
#include <cstring>
#include <set>
#include <stdexcept>

#include "driver.h"
#include "streams.h"

using namespace emulation;

namespace {

std::mutex g_mutex;
auto& g_streams = *new std::set<cudaStream_t>;  // never destroyed: streams run until the process ends

cudaStream_t default_stream() {
  static cudaStream_t stream = [] {
    cudaStream_t created;
    cudaStreamCreateWithFlags(&created, cudaStreamDefault);
    return created;
  }();
  return stream;
}

// The default stream comes behind all blocking streams, so it cannot be used while one of these is captured.
cudaError_t disallowed_dependency() {
  for (EmulatedStream* capturing : capturing_streams()) {
    if (capturing->blocking) return spoil(capturing->capture, cudaErrorStreamCaptureImplicit);
  }
  return cudaSuccess;
}

// What any call on a stream is refused for.
cudaError_t unusable(cudaStream_t stream) {
  if (const cudaError_t status = lost()) return status;
  if (!is_stream(stream)) return remember(cudaErrorInvalidResourceHandle);
  return stream ? cudaSuccess : disallowed_dependency();
}

bool overlap(const void* a, const void* b, size_t bytes) {
  const auto first = reinterpret_cast<uintptr_t>(a), second = reinterpret_cast<uintptr_t>(b);
  return first < second + bytes && second < first + bytes;
}

// What stays in place must do so until the device has come to it.
void check_in_place(const void* pointer, size_t bytes) {
  if (!stays_in_place(pointer, bytes))
    throw std::runtime_error("memory of a copy was given back before the copy ran");
}

}  // namespace

bool emulation::is_stream(cudaStream_t stream) {
  std::lock_guard<std::mutex> lock(g_mutex);
  return !stream || g_streams.count(stream) > 0;
}

EmulatedStream& emulation::stream_of(cudaStream_t stream) { return stream ? *stream : *default_stream(); }

cudaError_t emulation::refusal(cudaStream_t stream) {
  if (const cudaError_t status = unusable(stream)) return status;
  const auto& capture = stream_of(stream).capture;
  return capture && capture->spoilt ? remember(cudaErrorStreamCaptureInvalidated) : cudaSuccess;
}

cudaError_t emulation::queue(cudaStream_t stream, std::function<void()> work) {
  if (const cudaError_t status = refusal(stream)) return status;
  stream_of(stream).push({std::move(work), nullptr});
  return cudaSuccess;
}

std::vector<std::shared_ptr<Failure>> emulation::wait_for_streams() {
  std::vector<std::shared_ptr<Recording>> ends;
  {
    std::lock_guard<std::mutex> lock(g_mutex);
    for (cudaStream_t stream : g_streams) {
      if (!stream->capture) ends.push_back(stream->record());
    }
  }
  std::vector<std::shared_ptr<Failure>> failures;
  for (const auto& end : ends) {
    end->wait();
    failures.push_back(end->failure);
  }
  return failures;
}

std::vector<EmulatedStream*> emulation::capturing_streams(const Capture* capture) {
  std::lock_guard<std::mutex> lock(g_mutex);
  std::vector<EmulatedStream*> streams;
  for (cudaStream_t stream : g_streams) {
    if (capture ? stream->capture.get() == capture : stream->capture != nullptr) streams.push_back(stream);
  }
  return streams;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  if (flags > cudaStreamNonBlocking) return remember(cudaErrorInvalidValue);
  *stream = new EmulatedStream(flags != cudaStreamNonBlocking);
  std::lock_guard<std::mutex> lock(g_mutex);
  g_streams.insert(*stream);
  return cudaSuccess;
}

cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  *least = 0;
  *greatest = -5;
  return cudaSuccess;
}
cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned flags, int priority) {
  const cudaError_t status = cudaStreamCreateWithFlags(stream, flags);
  if (status == cudaSuccess) (*stream)->priority = priority;
  return status;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  {
    std::lock_guard<std::mutex> lock(g_mutex);
    if (!g_streams.erase(stream)) return remember(cudaErrorInvalidResourceHandle);
  }
  if (const auto capture = stream->capture) {
    capture->spoilt = true;
    if (capture->origin == stream) forget_capture(capture.get());
  }
  delete stream;
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (const cudaError_t status = unusable(stream)) return status;
  if (const auto& capture = stream_of(stream).capture)
    return spoil(capture, cudaErrorStreamCaptureUnsupported);
  return tell(stream_of(stream).synchronize());
}

cudaError_t cudaStreamQuery(cudaStream_t stream) {
  if (const cudaError_t status = unusable(stream)) return status;
  if (const auto& capture = stream_of(stream).capture)
    return spoil(capture, cudaErrorStreamCaptureUnsupported);
  return stream_of(stream).idle() ? cudaSuccess : remember(cudaErrorNotReady);
}

cudaError_t cudaDeviceSynchronize() {
  if (const cudaError_t status = lost()) return status;
  if (const cudaError_t status = waiting_for_all()) return status;
  cudaError_t first = cudaSuccess;
  for (const auto& failure : wait_for_streams()) {
    const cudaError_t status = tell(failure);
    if (first == cudaSuccess) first = status;
  }
  return first;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  if (const cudaError_t status = refusal(stream)) return status;
  if (!copies_as_told(to, from, bytes, kind)) return remember(cudaErrorInvalidValue);
  const bool to_stays = stays_in_place(to, bytes), from_stays = stays_in_place(from, bytes);
  const auto& capture = stream_of(stream).capture;
  if (capture && !(to_stays && from_stays)) return spoil(capture, cudaErrorStreamCaptureUnsupported);
  return queue(stream, [=] {
    if (overlap(to, from, bytes)) throw std::runtime_error("a copy between ranges that overlap");
    if (to_stays) check_in_place(to, bytes);
    if (from_stays) check_in_place(from, bytes);
    copy_memory(to, from, bytes);
  });
}

cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream) {
  if (const cudaError_t status = refusal(stream)) return status;
  if (!stays_in_place(to, bytes)) return remember(cudaErrorInvalidValue);
  return queue(stream, [=] {
    check_in_place(to, bytes);
    set_memory(to, value, bytes);
  });
}

cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  if (const cudaError_t status = unsafe_call()) return status;
  if (const cudaError_t status = cudaMemcpyAsync(to, from, bytes, kind, nullptr)) return status;
  return cudaStreamSynchronize(nullptr);
}

cudaError_t cudaMemset(void* to, int value, size_t bytes) {
  if (const cudaError_t status = unsafe_call()) return status;
  return cudaMemsetAsync(to, value, bytes, nullptr);
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void* data) {
  return queue(stream, [=] { run_host_function(function, data); });
}
