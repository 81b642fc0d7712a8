// Work captured into a CUDA graph: queued again by one call, which costs a few microseconds however many
// kernels it has.
#pragma once

#include <memory>
#include <vector>

#include "runtime/backend.h"

namespace native::cuda {

class CudaRecording final : public Recording {
 public:
  // Begins the capture; finish() ends it. The backend's lock is held from one to the other. `beside` (or
  // null) shares its memory with this recording.
  CudaRecording(CudaBackend& backend, const CudaRecording* beside);
  ~CudaRecording() override;

  void finish();
  void replay() override;

  // Host bytes that recorded copies read at every replay.
  std::vector<PinnedMemory::Block>& staged() { return staged_; }

 private:
  CudaBackend& backend_;
  cudaGraphExec_t graph_ = nullptr;
  bool capturing_ = true;
  std::shared_ptr<const int> pool_;  // dissolved with the last recording that has it
  int64_t first_site_ = 0, last_site_ = 0;
  std::vector<PinnedMemory::Block> staged_;
};

}  // namespace native::cuda
