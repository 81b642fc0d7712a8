// The functions of cuda_runtime.h on streams: memory operations, events, graphs, launches.
#include <cstring>
#include <map>
#include <set>

#include "device_facts.h"
#include "streams.h"

using namespace emulation;

namespace {

std::mutex g_mutex;
auto& g_streams = *new std::set<cudaStream_t>;  // never destroyed: streams run until the process ends
auto& g_shared_limits =
    *new std::map<std::pair<const void*, int>, size_t>;  // by kernel and device, where raised

cudaStream_t default_stream() {
  static cudaStream_t stream = [] {
    cudaStream_t created;
    cudaStreamCreateWithFlags(&created, 0);
    return created;
  }();
  return stream;
}
EmulatedStream& stream_of(cudaStream_t stream) { return stream ? *stream : *default_stream(); }

cudaError_t queue(cudaStream_t stream, std::function<void()> work) {
  if (const cudaError_t status = lost()) return status;
  stream_of(stream).push({std::move(work), nullptr});
  return cudaSuccess;
}

// Waiting for a stream that is being captured spoils the capture, as on the device.
bool spoils_capture(EmulatedStream& stream) {
  if (!stream.capture) return false;
  stream.capture->spoilt = true;
  return true;
}

}  // namespace

std::vector<std::shared_ptr<Failure>> emulation::wait_for_streams() {
  std::vector<std::shared_ptr<Failure>> failures;
  std::lock_guard<std::mutex> lock(g_mutex);
  for (cudaStream_t stream : g_streams) {
    if (!stream->capture) failures.push_back(stream->synchronize());
  }
  return failures;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = new EmulatedStream;
  std::lock_guard<std::mutex> lock(g_mutex);
  g_streams.insert(*stream);
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned flags, int) {
  return cudaStreamCreateWithFlags(stream, flags);
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  {
    std::lock_guard<std::mutex> lock(g_mutex);
    if (!g_streams.erase(stream)) return remember(cudaErrorInvalidResourceHandle);
  }
  delete stream;
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (const cudaError_t status = lost()) return status;
  if (spoils_capture(stream_of(stream))) return remember(cudaErrorStreamCaptureUnsupported);
  return tell(stream_of(stream).synchronize());
}

cudaError_t cudaStreamQuery(cudaStream_t stream) {
  if (const cudaError_t status = lost()) return status;
  if (spoils_capture(stream_of(stream))) return remember(cudaErrorStreamCaptureUnsupported);
  return stream_of(stream).idle() ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t cudaDeviceSynchronize() {
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
  if (const cudaError_t status = lost()) return status;
  if (!copies_as_told(to, from, bytes, kind)) return remember(cudaErrorInvalidValue);
  EmulatedGraph* capture = stream_of(stream).capture;
  if (!capture) return queue(stream, [=] { copy_memory(to, from, bytes); });
  if (!stays_in_place(to, bytes) || !stays_in_place(from, bytes)) {
    capture->spoilt = true;
    return remember(cudaErrorStreamCaptureUnsupported);
  }
  return queue(stream, [=] {
    check_copy_of_graph(to, from, bytes);
    copy_memory(to, from, bytes);
  });
}

cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream) {
  return queue(stream, [=] { set_memory(to, value, bytes); });
}

cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  cudaMemcpyAsync(to, from, bytes, kind, nullptr);
  return cudaStreamSynchronize(nullptr);
}

cudaError_t cudaMemset(void* to, int value, size_t bytes) {
  return cudaMemsetAsync(to, value, bytes, nullptr);
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void* data) {
  return queue(stream, [=] { function(data); });
}

cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, 0); }

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new EmulatedEvent;
  return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  if (const cudaError_t status = lost()) return status;
  if (stream && event->device != stream->device) return remember(cudaErrorInvalidResourceHandle);
  event->capture = stream_of(stream).capture;
  if (!event->capture) event->recording = stream_of(stream).record();
  return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  if (const cudaError_t status = lost()) return status;
  if (event->capture) return remember(cudaErrorCapturedEvent);
  if (const cudaError_t status = unsafe_call()) return status;
  if (!event->recording) return cudaSuccess;
  std::lock_guard<std::mutex> lock(event->recording->mutex);
  return event->recording->done ? tell(event->recording->failure) : remember(cudaErrorNotReady);
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  if (event->capture) return remember(cudaErrorStreamCaptureUnsupported);
  const auto recording = event->recording;
  if (!recording) return cudaSuccess;
  recording->wait();
  if (const cudaError_t status = lost()) return status;
  return tell(recording->failure);
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  if (!start->recording || !end->recording) return remember(cudaErrorInvalidResourceHandle);
  if (!start->recording->done || !end->recording->done) return cudaErrorNotReady;
  *milliseconds = static_cast<float>((end->recording->seconds - start->recording->seconds) * 1e3);
  return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  if (const cudaError_t status = lost()) return status;
  EmulatedStream& waiting = stream_of(stream);
  if (event->capture) {  // the stream joins the capture
    if (waiting.capture && waiting.capture != event->capture) return remember(cudaErrorInvalidValue);
    waiting.capture = event->capture;
    return cudaSuccess;
  }
  // What was queued outside is no part of a graph.
  if (waiting.capture) {
    waiting.capture->spoilt = true;
    return remember(cudaErrorStreamCaptureIsolation);
  }
  if (const auto recording = event->recording) return queue(stream, [recording] { recording->wait(); });
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  if (const cudaError_t status = lost()) return status;
  if (!stream || stream->capture) return remember(cudaErrorStreamCaptureUnsupported);
  stream->capture = new EmulatedGraph;
  stream->captures = true;
  begin_capture(stream->capture, mode);
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  *graph = nullptr;
  if (!stream->captures) return remember(cudaErrorInvalidValue);
  EmulatedGraph* captured = stream->capture;
  {
    std::lock_guard<std::mutex> lock(g_mutex);
    for (cudaStream_t other : g_streams) {
      if (other->capture == captured) other->capture = nullptr;
    }
  }
  stream->captures = false;
  end_capture(captured);
  if (captured->spoilt) {
    delete captured;
    return remember(cudaErrorStreamCaptureInvalidated);
  }
  *graph = captured;
  return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  const EmulatedGraph* capture = stream_of(stream).capture;
  *status = !capture          ? cudaStreamCaptureStatusNone
            : capture->spoilt ? cudaStreamCaptureStatusInvalidated
                              : cudaStreamCaptureStatusActive;
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  *exec = new EmulatedGraphExec{graph->tasks};
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  if (const cudaError_t status = lost()) return status;
  for (const Task& task : exec->tasks) stream_of(stream).push(task);
  return cudaSuccess;
}

cudaError_t cudaGraphUpload(cudaGraphExec_t, cudaStream_t) { return cudaSuccess; }

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  delete exec;
  return cudaSuccess;
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t*, size_t* count) {
  *count = graph->tasks.size();
  return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute attribute, int value) {
  ++g_statistics.queries;
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
  if (value < 0 || static_cast<size_t>(value) > capability().per_block)
    return remember(cudaErrorInvalidValue);
  std::lock_guard<std::mutex> lock(g_mutex);
  g_shared_limits[{kernel, current_device()}] = static_cast<size_t>(value);
  return cudaSuccess;
}

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void* kernel) {
  ++g_statistics.queries;
  std::lock_guard<std::mutex> lock(g_mutex);
  *attributes = {};
  attributes->maxThreadsPerBlock = kThreadsPerBlock;
  const auto raised = g_shared_limits.find({kernel, current_device()});
  attributes->maxDynamicSharedSizeBytes =
      static_cast<int>(raised == g_shared_limits.end() ? kSharedDefaultLimit : raised->second);
  return cudaSuccess;
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, const void*, int threads,
                                                          size_t shared_bytes) {
  ++g_statistics.queries;
  *blocks = blocks_per_multiprocessor(threads, shared_bytes);
  return cudaSuccess;
}

cudaError_t cudaOccupancyMaxActiveClusters(int* clusters, const void*, const cudaLaunchConfig_t* config) {
  ++g_statistics.queries;
  int size = 1;
  for (unsigned i = 0; i < config->numAttrs; ++i) {
    if (config->attrs[i].id == cudaLaunchAttributeClusterDimension)
      size = static_cast<int>(config->attrs[i].val.clusterDim.x);
  }
  *clusters = kMultiprocessors *
              blocks_per_multiprocessor(static_cast<int>(config->blockDim.x), config->dynamicSmemBytes) /
              size;
  return cudaSuccess;
}

cudaError_t emulation::queue_kernel(const cudaLaunchConfig_t& config, const void* kernel,
                                    std::function<void()> thread) {
  if (const cudaError_t status = lost()) return status;
  auto launch = std::make_shared<Launch>();
  launch->kernel = kernel;
  launch->grid = config.gridDim;
  launch->threads = static_cast<int>(config.blockDim.x);
  launch->shared_bytes = config.dynamicSmemBytes;
  launch->thread = std::move(thread);
  bool cooperative = false;
  for (unsigned i = 0; i < config.numAttrs; ++i) {
    const cudaLaunchAttribute& attribute = config.attrs[i];
    if (attribute.id == cudaLaunchAttributeClusterDimension)
      launch->cluster = static_cast<int>(attribute.val.clusterDim.x);
    if (attribute.id == cudaLaunchAttributeProgrammaticStreamSerialization) {
      launch->overlap = attribute.val.programmaticStreamSerializationAllowed != 0;
    }
    if (attribute.id == cudaLaunchAttributeCooperative) cooperative = attribute.val.cooperative != 0;
  }
  if (config.stream && config.stream->device != current_device()) {
    return remember(cudaErrorInvalidResourceHandle);
  }
  const uint64_t blocks = uint64_t{config.gridDim.x} * config.gridDim.y * config.gridDim.z;
  size_t shared_limit = kSharedDefaultLimit;
  {
    std::lock_guard<std::mutex> lock(g_mutex);
    const auto raised = g_shared_limits.find({kernel, current_device()});
    if (raised != g_shared_limits.end()) shared_limit = raised->second;
  }
  if (launch->threads < 32 || launch->threads > kThreadsPerBlock || launch->threads % 32 ||
      config.blockDim.y != 1 || config.blockDim.z != 1 || blocks == 0 || config.gridDim.x > 0x7FFFFFFF ||
      config.gridDim.y > 65535 || config.gridDim.z > 65535 || launch->cluster < 1 ||
      launch->cluster > kClusterLimit || config.gridDim.x % static_cast<unsigned>(launch->cluster)) {
    return remember(cudaErrorInvalidConfiguration);
  }
  if (launch->shared_bytes > shared_limit) return remember(cudaErrorInvalidValue);
  // sm_90 brought clusters and the overlap of grids.
  if (capability().number < 90 && (launch->cluster > 1 || launch->overlap))
    return remember(cudaErrorNotSupported);
  const int fit = kMultiprocessors * blocks_per_multiprocessor(launch->threads, launch->shared_bytes);
  if (cooperative && blocks > static_cast<uint64_t>(fit)) return remember(cudaErrorCooperativeLaunchTooLarge);
  stream_of(config.stream).push({nullptr, std::move(launch)});
  return cudaSuccess;
}
