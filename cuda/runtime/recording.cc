#include "runtime/recording.h"

namespace native::cuda {

CudaRecording::CudaRecording(CudaBackend& backend, const CudaRecording* beside) : backend_(backend) {
  // Relaxed: taking memory from the driver is allowed, the recording's own pool has to grow.
  check_cuda(cudaStreamBeginCapture(backend_.context_.stream(), cudaStreamCaptureModeRelaxed), "recording");
  backend_.context_.recording_ = true;
  backend_.context_.note_queued(false);
  DeviceMemory& memory = backend_.memory_;
  pool_ = beside ? beside->pool_
                 : std::shared_ptr<const int>(new int(memory.new_pool()), [&memory](const int* pool) {
                     memory.dissolve_pool(*pool);
                     delete pool;
                   });
  memory.begin_pool(*pool_);
  first_site_ = backend_.sites_.next();
}

void CudaRecording::finish() {
  capturing_ = false;
  backend_.context_.recording_ = false;
  backend_.context_.note_queued(false);
  backend_.memory_.end_pool();
  last_site_ = backend_.sites_.next();
  backend_.sites_.retain(first_site_, last_site_);
  cudaGraph_t graph = nullptr;
  check_cuda(cudaStreamEndCapture(backend_.context_.stream(), &graph), "recording");
  const cudaError_t status = cudaGraphInstantiate(&graph_, graph, 0);
  cudaGraphDestroy(graph);
  check_cuda(status, "recording");
}

void CudaRecording::replay() {
  backend_.submit({"replay", {}}, [this] {
    CHECK(!backend_.recording_, "ERR_DEVICE",
          "recorded work cannot be replayed while work is being recorded");
    backend_.context_.note_queued(false);
    check_cuda(cudaGraphLaunch(graph_, backend_.context_.stream()), "launch of recorded work");
  });
}

// What is in flight still runs to its end; memory and staged bytes are reused after it, in stream order.
CudaRecording::~CudaRecording() {
  std::lock_guard<std::recursive_mutex> lock(backend_.mutex_);
  if (capturing_) return;
  if (graph_) cudaGraphExecDestroy(graph_);
  pool_.reset();
  backend_.sites_.drop(first_site_, last_site_);
  if (backend_.recording_) {  // whose graph an event must not become a part of
    std::vector<PinnedMemory::Block>& later = backend_.staged_meanwhile_;
    later.insert(later.end(), staged_.begin(), staged_.end());
    return;
  }
  backend_.retire(staged_);
}

}  // namespace native::cuda
