// The one way a kernel is started: on the device's stream, checked.
#pragma once

#include <cuda_runtime.h>

#include <utility>

#include "runtime/context.h"

namespace native::cuda {

struct LaunchShape {
  dim3 grid;
  int threads = 256;
  size_t shared_bytes = 0;
  int cluster = 1;      // blocks per cluster along x; grid.x is a multiple of it
  bool overlap = true;  // may start before the previous grid ends: the kernel calls wait_for_previous_grid()
};

// Starts kernel(arguments...) on the current stream. Throws ERR_DEVICE when the device refuses the launch. An
// empty grid starts nothing.
template <class... Parameters, class... Arguments>
void launch_kernel(void (*kernel)(Parameters...), const LaunchShape& shape, Arguments&&... arguments) {
  if (shape.grid.x == 0 || shape.grid.y == 0 || shape.grid.z == 0) return;
  const void* function = reinterpret_cast<const void*>(kernel);
  Context& context = current_context();
  context.prepare_kernel(function, shape.shared_bytes);
  cudaLaunchAttribute attributes[2];
  cudaLaunchConfig_t config{};
  config.gridDim = shape.grid;
  config.blockDim = dim3(static_cast<unsigned>(shape.threads));
  config.dynamicSmemBytes = shape.shared_bytes;
  config.stream = context.stream();
  config.attrs = attributes;
  if (shape.cluster > 1) {
    attributes[config.numAttrs].id = cudaLaunchAttributeClusterDimension;
    attributes[config.numAttrs++].val.clusterDim = {static_cast<unsigned>(shape.cluster), 1, 1};
  }
  if (shape.overlap && context.overlaps_grids()) {
    attributes[config.numAttrs].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[config.numAttrs++].val.programmaticStreamSerializationAllowed = context.next_grid_overlaps();
  }
  check_cuda(
      cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(std::forward<Arguments>(arguments))...),
      "launch");
  context.note_queued(true);
}

}  // namespace native::cuda
