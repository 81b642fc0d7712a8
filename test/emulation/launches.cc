// The functions of cuda_runtime.h on kernels: their attributes, how many blocks fit, launches.
#include <map>

#include "device_facts.h"
#include "streams.h"

using namespace emulation;

namespace {

std::mutex g_mutex;
auto& g_shared_limits =
    *new std::map<std::pair<const void*, int>, size_t>;  // by kernel and device, where raised

size_t shared_limit(const void* kernel) {
  std::lock_guard<std::mutex> lock(g_mutex);
  const auto raised = g_shared_limits.find({kernel, current_device()});
  return raised == g_shared_limits.end() ? kSharedDefaultLimit : raised->second;
}

// What the attributes of a launch say.
struct Attributes {
  dim3 cluster;
  bool waits = false, overlap = false, cooperative = false;

  explicit Attributes(const cudaLaunchConfig_t& config) {
    for (unsigned i = 0; i < config.numAttrs; ++i) {
      const auto& [id, value] = config.attrs[i];
      if (id == cudaLaunchAttributeClusterDimension)
        cluster = {value.clusterDim.x, value.clusterDim.y, value.clusterDim.z};
      if (id == cudaLaunchAttributeProgrammaticStreamSerialization) {
        waits = true;
        overlap = value.programmaticStreamSerializationAllowed != 0;
      }
      if (id == cudaLaunchAttributeCooperative) cooperative = value.cooperative != 0;
    }
  }
};

// Blocks and clusters are one-dimensional here, and blocks made of whole warps.
bool possible_block(const dim3& block) {
  return block.x >= 32 && block.x <= static_cast<unsigned>(kThreadsPerBlock) && block.x % 32 == 0 &&
         block.y == 1 && block.z == 1;
}
bool possible_grid(const dim3& grid, const dim3& cluster) {
  return grid.x >= 1 && grid.x <= 0x7FFFFFFF && grid.y >= 1 && grid.y <= 65535 && grid.z >= 1 &&
         grid.z <= 65535 && cluster.x >= 1 && cluster.x <= static_cast<unsigned>(kClusterLimit) &&
         cluster.y == 1 && cluster.z == 1 && grid.x % cluster.x == 0;
}

// Why such a block of this kernel can never run.
cudaError_t impossible(const void* kernel, const cudaLaunchConfig_t& config) {
  if (!possible_block(config.blockDim)) return cudaErrorInvalidConfiguration;
  if (static_cast<int>(config.blockDim.x) > launch_bound(kernel)) return cudaErrorLaunchOutOfResources;
  return config.dynamicSmemBytes > shared_limit(kernel) ? cudaErrorInvalidValue : cudaSuccess;
}

}  // namespace

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
  *attributes = {};
  attributes->maxThreadsPerBlock = launch_bound(kernel);
  attributes->maxDynamicSharedSizeBytes = static_cast<int>(shared_limit(kernel));
  return cudaSuccess;
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, const void*, int threads,
                                                          size_t shared_bytes) {
  ++g_statistics.queries;
  *blocks = blocks_per_multiprocessor(threads, shared_bytes);
  return cudaSuccess;
}

cudaError_t cudaOccupancyMaxActiveClusters(int* clusters, const void* kernel,
                                           const cudaLaunchConfig_t* config) {
  ++g_statistics.queries;
  if (const cudaError_t status = impossible(kernel, *config)) return remember(status);
  const Attributes attributes(*config);
  if (!possible_grid(config->gridDim, attributes.cluster)) return remember(cudaErrorInvalidConfiguration);
  *clusters = kMultiprocessors *
              blocks_per_multiprocessor(static_cast<int>(config->blockDim.x), config->dynamicSmemBytes) /
              static_cast<int>(attributes.cluster.x);
  return cudaSuccess;
}

cudaError_t emulation::queue_kernel(const cudaLaunchConfig_t& config, const void* kernel, const void* foreign,
                                    std::function<void()> thread) {
  if (const cudaError_t status = refusal(config.stream)) return status;
  const Attributes attributes(config);
  auto launch = std::make_shared<Launch>();
  launch->kernel = kernel;
  launch->grid = config.gridDim;
  launch->threads = static_cast<int>(config.blockDim.x);
  launch->shared_bytes = config.dynamicSmemBytes;
  launch->cluster = static_cast<int>(attributes.cluster.x);
  launch->waits = attributes.waits;
  launch->overlap = attributes.overlap;
  launch->foreign = foreign;
  launch->thread = std::move(thread);
  if (config.stream && config.stream->device != current_device()) {
    return remember(cudaErrorInvalidResourceHandle);
  }
  if (!possible_grid(config.gridDim, attributes.cluster)) return remember(cudaErrorInvalidConfiguration);
  if (const cudaError_t status = impossible(kernel, config)) return remember(status);
  // sm_90 brought clusters and the overlap of grids.
  if (capability().number < 90 && (launch->cluster > 1 || launch->overlap))
    return remember(cudaErrorNotSupported);
  const int fit = kMultiprocessors * blocks_per_multiprocessor(launch->threads, launch->shared_bytes);
  const uint64_t blocks = uint64_t{config.gridDim.x} * config.gridDim.y * config.gridDim.z;
  if (attributes.cooperative && blocks > static_cast<uint64_t>(fit))
    return remember(cudaErrorCooperativeLaunchTooLarge);
  EmulatedStream& stream = stream_of(config.stream);
  // The documentation has edges of a graph by which a grid starts early between two grids only; CUDA 12.3
  // brought them.
  if (launch->overlap && stream.capture) {
    const std::vector<Task>& tasks = stream.capture->tasks;
    int driver = 0;
    cudaDriverGetVersion(&driver);
    if (tasks.empty() || !tasks.back().kernel || driver < 12030)
      return spoil(stream.capture, cudaErrorNotSupported);
  }
  stream.push({nullptr, std::move(launch)});
  return cudaSuccess;
}
