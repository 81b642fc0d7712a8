// What may not be called while work is captured into a graph: the device refuses it, and the capture is lost.
#include <algorithm>
#include <stdexcept>
#include <thread>

#include "driver.h"
#include "streams.h"

namespace emulation {
namespace {

std::mutex g_mutex;
struct Capture {
  EmulatedGraph* graph;
  cudaStreamCaptureMode mode;
  std::thread::id thread;
};
auto& g_captures = *new std::vector<Capture>;  // never destroyed: threads may capture until the process ends
thread_local cudaStreamCaptureMode g_mode = cudaStreamCaptureModeGlobal;  // of this thread's other calls

bool on_device(const void* pointer, size_t bytes) { return is_device_memory(pointer, bytes); }

}  // namespace

void begin_capture(EmulatedGraph* graph, cudaStreamCaptureMode mode) {
  std::lock_guard<std::mutex> lock(g_mutex);
  g_captures.push_back({graph, mode, std::this_thread::get_id()});
}

void end_capture(EmulatedGraph* graph) {
  std::lock_guard<std::mutex> lock(g_mutex);
  g_captures.erase(std::find_if(g_captures.begin(), g_captures.end(),
                                [graph](const Capture& capture) { return capture.graph == graph; }));
}

cudaError_t unsafe_call() {
  if (g_mode == cudaStreamCaptureModeRelaxed) return cudaSuccess;
  std::lock_guard<std::mutex> lock(g_mutex);
  bool refused = false;
  for (const Capture& capture : g_captures) {
    const bool own = capture.thread == std::this_thread::get_id();
    const bool conflicts =
        own ? capture.mode != cudaStreamCaptureModeRelaxed
            : g_mode == cudaStreamCaptureModeGlobal && capture.mode == cudaStreamCaptureModeGlobal;
    if (conflicts) capture.graph->spoilt = refused = true;
  }
  return refused ? remember(cudaErrorStreamCaptureUnsupported) : cudaSuccess;
}

cudaError_t waiting_for_all() {
  std::lock_guard<std::mutex> lock(g_mutex);
  for (const Capture& capture : g_captures) capture.graph->spoilt = true;
  return g_captures.empty() ? cudaSuccess : remember(cudaErrorStreamCaptureUnsupported);
}

bool copies_as_told(const void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  if (bytes == 0 || kind == cudaMemcpyDefault) return true;
  const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  return on_device(to, bytes) == to_device && on_device(from, bytes) == from_device;
}

bool stays_in_place(const void* pointer, size_t bytes) {
  return bytes == 0 || on_device(pointer, bytes) || is_page_locked(pointer, bytes);
}

void check_copy_of_graph(const void* to, const void* from, size_t bytes) {
  if (stays_in_place(to, bytes) && stays_in_place(from, bytes)) return;
  throw std::runtime_error("a graph copies memory that was given back after its capture");
}

}  // namespace emulation

cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode) {
  std::swap(*mode, emulation::g_mode);
  return cudaSuccess;
}
