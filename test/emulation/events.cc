// The functions of cuda_runtime.h on events.
#include <set>

#include "streams.h"

using namespace emulation;

namespace {

std::mutex g_mutex;
auto& g_events = *new std::set<cudaEvent_t>;

bool is_event(cudaEvent_t event) {
  std::lock_guard<std::mutex> lock(g_mutex);
  return g_events.count(event) > 0;
}

cudaError_t unusable(cudaEvent_t event) {
  if (const cudaError_t status = lost()) return status;
  return is_event(event) ? cudaSuccess : remember(cudaErrorInvalidResourceHandle);
}

// What the host may not ask: of an event of a capture nothing, in any mode; while others capture, by theirs.
cudaError_t unanswered(cudaEvent_t event) {
  if (const cudaError_t status = unusable(event)) return status;
  if (event->capture) return spoil(event->capture, cudaErrorCapturedEvent);
  return unsafe_call();
}

}  // namespace

cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, cudaEventDefault); }

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  if (flags > (cudaEventBlockingSync | cudaEventDisableTiming)) return remember(cudaErrorInvalidValue);
  *event = new EmulatedEvent{!(flags & cudaEventDisableTiming), current_device(), {}, {}, {}};
  std::lock_guard<std::mutex> lock(g_mutex);
  g_events.insert(*event);
  return cudaSuccess;
}

// Whoever waits for what it stands for goes on waiting.
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  {
    std::lock_guard<std::mutex> lock(g_mutex);
    if (!g_events.erase(event)) return remember(cudaErrorInvalidResourceHandle);
  }
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  if (const cudaError_t status = unusable(event)) return status;
  if (const cudaError_t status = refusal(stream)) return status;
  if (stream && event->device != stream->device) return remember(cudaErrorInvalidResourceHandle);
  EmulatedStream& recorded = stream_of(stream);
  event->capture = recorded.capture;
  event->reached = recorded.reached;
  event->recording = recorded.capture ? nullptr : recorded.record();
  return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  if (const cudaError_t status = unanswered(event)) return status;
  if (!event->recording) return cudaSuccess;
  std::lock_guard<std::mutex> lock(event->recording->mutex);
  return event->recording->done ? tell(event->recording->failure) : remember(cudaErrorNotReady);
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  if (const cudaError_t status = unanswered(event)) return status;
  const auto recording = event->recording;
  if (!recording) return cudaSuccess;
  recording->wait();
  if (const cudaError_t status = lost()) return status;
  return tell(recording->failure);
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  double seconds[2];
  for (int i = 0; i < 2; ++i) {
    const cudaEvent_t event = i ? end : start;
    if (const cudaError_t status = unanswered(event)) return status;
    if (!event->timing || !event->recording || start->device != end->device)
      return remember(cudaErrorInvalidResourceHandle);
    std::lock_guard<std::mutex> lock(event->recording->mutex);
    if (!event->recording->done) return remember(cudaErrorNotReady);
    seconds[i] = event->recording->seconds;
  }
  *milliseconds = static_cast<float>((seconds[1] - seconds[0]) * 1e3);
  return cudaSuccess;
}

// A stream that waits for an event of a capture joins it.
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags) {
  if (const cudaError_t status = unusable(event)) return status;
  if (const cudaError_t status = refusal(stream)) return status;
  if (flags != cudaEventWaitDefault) return remember(cudaErrorInvalidValue);
  EmulatedStream& waiting = stream_of(stream);
  if (event->capture) {
    if (waiting.capture && waiting.capture != event->capture) {
      spoil(waiting.capture, cudaErrorStreamCaptureMerge);
      return spoil(event->capture, cudaErrorStreamCaptureMerge);
    }
    if (!stream) return spoil(event->capture, cudaErrorStreamCaptureImplicit);
    if (capturing_streams(event->capture.get()).empty()) return remember(cudaErrorCapturedEvent);  // it ended
    waiting.capture = event->capture;
    for (const auto& [other, count] : event->reached) {
      size_t& reached = waiting.reached[other];
      reached = std::max(reached, count);
    }
    return cudaSuccess;
  }
  // What was queued outside is no part of a graph.
  if (waiting.capture) return spoil(waiting.capture, cudaErrorStreamCaptureIsolation);
  if (const auto recording = event->recording) return queue(stream, [recording] { recording->wait(); });
  return cudaSuccess;
}
