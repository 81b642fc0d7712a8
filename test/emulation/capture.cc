// Captures: what may not be called meanwhile (the device refuses it, and the capture is lost), and the graphs
// that they become. A graph runs its work in the order in which it was issued.
#include <algorithm>

#include "driver.h"
#include "streams.h"

using namespace emulation;

namespace {

std::mutex g_mutex;
auto& g_captures = *new std::vector<std::shared_ptr<Capture>>;  // never destroyed: threads may capture until
                                                                // the process ends
thread_local cudaStreamCaptureMode g_mode = cudaStreamCaptureModeGlobal;  // of this thread's other calls

bool on_device(const void* pointer, size_t bytes) { return is_device_memory(pointer, bytes); }

// Whether the stream that began it comes behind all that the others did.
bool is_joined(const Capture& capture, const std::vector<EmulatedStream*>& streams) {
  return std::all_of(streams.begin(), streams.end(), [&](EmulatedStream* stream) {
    return capture.origin->reached[stream] >= stream->reached[stream];
  });
}

}  // namespace

cudaError_t emulation::spoil(const std::shared_ptr<Capture>& capture, cudaError_t error) {
  capture->spoilt = true;
  return remember(error);
}

void emulation::forget_capture(const Capture* capture) {
  std::lock_guard<std::mutex> lock(g_mutex);
  g_captures.erase(std::find_if(g_captures.begin(), g_captures.end(),
                                [capture](const auto& known) { return known.get() == capture; }));
}

cudaError_t emulation::unsafe_call() {
  if (g_mode == cudaStreamCaptureModeRelaxed) return cudaSuccess;
  std::lock_guard<std::mutex> lock(g_mutex);
  bool refused = false;
  for (const auto& capture : g_captures) {
    const bool own = capture->thread == std::this_thread::get_id();
    const bool conflicts =
        own ? capture->mode != cudaStreamCaptureModeRelaxed
            : g_mode == cudaStreamCaptureModeGlobal && capture->mode == cudaStreamCaptureModeGlobal;
    if (conflicts) capture->spoilt = refused = true;
  }
  return refused ? remember(cudaErrorStreamCaptureUnsupported) : cudaSuccess;
}

cudaError_t emulation::waiting_for_all() {
  std::lock_guard<std::mutex> lock(g_mutex);
  for (const auto& capture : g_captures) capture->spoilt = true;
  return g_captures.empty() ? cudaSuccess : remember(cudaErrorStreamCaptureUnsupported);
}

bool emulation::copies_as_told(const void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  if (bytes == 0 || kind == cudaMemcpyDefault) return true;
  const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  return on_device(to, bytes) == to_device && on_device(from, bytes) == from_device;
}

bool emulation::stays_in_place(const void* pointer, size_t bytes) {
  return bytes == 0 || on_device(pointer, bytes) || is_page_locked(pointer, bytes);
}

cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode) {
  std::swap(*mode, g_mode);
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  if (const cudaError_t status = lost()) return status;
  if (!is_stream(stream)) return remember(cudaErrorInvalidResourceHandle);
  if (!stream) return remember(cudaErrorStreamCaptureUnsupported);
  if (stream->capture) return remember(cudaErrorIllegalState);
  stream->capture.reset(new Capture{stream, mode, std::this_thread::get_id(), {}});
  stream->reached.clear();
  std::lock_guard<std::mutex> lock(g_mutex);
  g_captures.push_back(stream->capture);
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  *graph = nullptr;
  if (!stream || !is_stream(stream)) return remember(cudaErrorInvalidResourceHandle);
  const std::shared_ptr<Capture> capture = stream->capture;
  if (!capture) return remember(cudaErrorIllegalState);
  if (capture->origin != stream) return spoil(capture, cudaErrorStreamCaptureUnmatched);
  if (capture->mode != cudaStreamCaptureModeRelaxed && capture->thread != std::this_thread::get_id())
    return spoil(capture, cudaErrorStreamCaptureWrongThread);
  const std::vector<EmulatedStream*> streams = capturing_streams(capture.get());
  const bool joined = is_joined(*capture, streams);
  for (EmulatedStream* taking_part : streams) {
    taking_part->capture = nullptr;
    taking_part->reached.clear();
  }
  forget_capture(capture.get());
  if (capture->spoilt) return remember(cudaErrorStreamCaptureInvalidated);
  if (!joined) return remember(cudaErrorStreamCaptureUnjoined);
  *graph = new EmulatedGraph{std::move(capture->tasks)};
  return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  if (!is_stream(stream)) return remember(cudaErrorInvalidResourceHandle);
  const auto& capture = stream_of(stream).capture;
  *status = !capture          ? cudaStreamCaptureStatusNone
            : capture->spoilt ? cudaStreamCaptureStatusInvalidated
                              : cudaStreamCaptureStatusActive;
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long flags) {
  if (!graph || flags) return remember(cudaErrorInvalidValue);
  *exec = new EmulatedGraphExec{graph->tasks};
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  if (const cudaError_t status = refusal(stream)) return status;
  if (!exec) return remember(cudaErrorInvalidValue);
  if (const auto& capture = stream_of(stream).capture)
    return spoil(capture, cudaErrorStreamCaptureUnsupported);
  for (const Task& task : exec->tasks) stream_of(stream).push(task);
  return cudaSuccess;
}

cudaError_t cudaGraphUpload(cudaGraphExec_t, cudaStream_t stream) { return refusal(stream); }

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  if (!graph) return remember(cudaErrorInvalidValue);
  delete graph;
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  if (!exec) return remember(cudaErrorInvalidValue);
  delete exec;
  return cudaSuccess;
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t*, size_t* count) {
  *count = graph->tasks.size();
  return cudaSuccess;
}
