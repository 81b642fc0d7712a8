// What the emulated collectives (nccl/) use of this device from another shared library.
#include "cuda_runtime.h"
#include "streams.h"

extern "C" {

__attribute__((visibility("default"))) void emulated_launch_host(void* stream, void (*function)(void*),
                                                                 void* data) {
  cudaLaunchHostFunc(static_cast<cudaStream_t>(stream), function, data);
}

__attribute__((visibility("default"))) void emulated_copy(void* to, const void* from, size_t bytes) {
  emulation::copy_memory(to, from, bytes);
}

// Whether the blocks of this stream's grids come before those of others.
__attribute__((visibility("default"))) bool emulated_comes_first(void* stream) {
  int least = 0, greatest = 0;
  cudaDeviceGetStreamPriorityRange(&least, &greatest);
  return static_cast<cudaStream_t>(stream)->priority == greatest;
}

}  // extern "C"
