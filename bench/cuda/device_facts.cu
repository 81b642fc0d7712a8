// What a device says of itself that the design depends on: whether every pair of multiprocessors holds a
// cluster of two blocks that fill their shared memory, as the matrix product of sm_90a wants them.
#include <primitives/device.cuh>

#include "device_facts.h"
#include "runtime/context.h"

namespace bench {
namespace {

constexpr int kThreads = 384;
constexpr size_t kSharedBytes = 227 << 10;

__global__ void __launch_bounds__(kThreads, 1) resident_kernel() {}  // never started, only asked about

}  // namespace

int resident_pairs() {
  native::cuda::Context& context = native::cuda::current_context();
  if (context.capability() < 90) return 0;
  const void* kernel = reinterpret_cast<const void*>(resident_kernel);
  context.prepare_kernel(kernel, kSharedBytes);
  cudaLaunchAttribute attribute;
  attribute.id = cudaLaunchAttributeClusterDimension;
  attribute.val.clusterDim = {2, 1, 1};
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(2);
  config.blockDim = dim3(kThreads);
  config.dynamicSmemBytes = kSharedBytes;
  config.attrs = &attribute;
  config.numAttrs = 1;
  int clusters = 0;
  native::cuda::check_cuda(cudaOccupancyMaxActiveClusters(&clusters, kernel, &config), "clusters of two");
  return clusters;
}

}  // namespace bench
