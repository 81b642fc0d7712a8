#include "runtime/context.h"

#include <memory>
#include <mutex>
#include <typeindex>
#include <unordered_map>

#include "runtime/backend.h"

namespace native::cuda {

struct Context::Memory {
  std::mutex mutex;
  std::unordered_map<const void*, size_t> prepared;  // shared memory allowed so far, by kernel
  std::unordered_map<std::type_index, std::unique_ptr<void, void (*)(void*)>> remembered;
};

Context::Context() : memory_(new Memory) {}
Context::~Context() { delete memory_; }

void check_cuda(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // an error that leaves the device usable must not show up again
  fail(status == cudaErrorMemoryAllocation ? "ERR_OUT_OF_MEMORY" : "ERR_DEVICE", what, ": ",
       cudaGetErrorString(status), " (", cudaGetErrorName(status), ")");
}

void Context::prepare_kernel(const void* kernel, size_t shared_bytes) {
  constexpr size_t kAlwaysAllowed = size_t{48} << 10;
  if (shared_bytes <= kAlwaysAllowed) return;
  CHECK(shared_bytes <= shared_bytes_limit_, "ERR_DEVICE", "the kernel needs ", shared_bytes,
        " bytes of shared memory per block; this device has ", shared_bytes_limit_);
  std::lock_guard<std::mutex> lock(memory_->mutex);
  size_t& allowed = memory_->prepared[kernel];
  if (shared_bytes <= allowed) return;
  check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  static_cast<int>(shared_bytes)),
             "shared memory of a kernel");
  allowed = shared_bytes;
}

void* Context::remembered(const std::type_info& type, void* (*make)(), void (*destroy)(void*)) {
  std::lock_guard<std::mutex> lock(memory_->mutex);
  const auto found = memory_->remembered.find(type);
  if (found != memory_->remembered.end()) return found->second.get();
  std::unique_ptr<void, void (*)(void*)> object(make(), destroy);
  return memory_->remembered.emplace(type, std::move(object)).first->second.get();
}

Context& current_context() { return cuda_backend().context(); }

Scratch::Scratch(size_t bytes) : data_(cuda_backend().allocate(bytes, false)), bytes_(bytes) {}

Scratch::~Scratch() { cuda_backend().release(data_, bytes_); }

Upload::Upload(const void* host, size_t bytes) : Scratch(bytes) {
  if (bytes) cuda_backend().copy_from_host(data_, host, bytes);
}

}  // namespace native::cuda
