// The CUDA device as kernels and launchers see it: its stream, its facts, memory that lives for one queued
// operation.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <typeinfo>

#include "core/error.h"

namespace native::cuda {

// Throws ERR_DEVICE (ERR_OUT_OF_MEMORY) with `what` and the runtime's own words unless the call succeeded.
void check_cuda(cudaError_t status, const char* what);

// A coded error that a kernel found in its data: written by the first thread that sees one, delivered at the
// next fence with the name and operands of the operation that was current when the kernel was launched.
struct Fault {
  int code;       // 0: none; see FaultCode
  int site;       // which operation: the low half of its number
  int64_t value;  // what was wrong
  int64_t bound;  // what would have been right
};
enum class FaultCode : int { none = 0, index_range = 1 };

class Context {
 public:
  Context();
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  cudaStream_t stream() const { return stream_; }
  int multiprocessors() const { return multiprocessors_; }
  // What kernels are chosen by: chosen_capability() of the device.
  int capability() const { return capability_; }
  // Whether grids may start before those in front of them end. NATIVE_CUDA_OVERLAP=0 keeps all apart.
  bool overlaps_grids() const { return overlaps_grids_; }
  // Whether the next one may: behind a grid only, since copies and graphs let nothing start early, and in a
  // recording where the driver knows such edges of graphs.
  bool next_grid_overlaps() const {
    return overlaps_grids_ && behind_grid_ && (!recording_ || graphs_overlap_);
  }
  // Whether other kernels may hold multiprocessors while ours run: those of other processes (MPS), or
  // collectives. Then blocks that fit the device need not all run at the same time.
  bool shares_device() const { return shares_device_; }
  void share_device(bool shared = true) { shares_device_ = shared; }
  // A grid of persistent blocks that share `works` pieces of work, of which `resident` fit the device. Where
  // it is shared, those that find no room begin when others end, so the shares are smaller there.
  int64_t persistent_blocks(int64_t works, int64_t resident) const {
    const int64_t blocks = shares_device_ ? 4 * resident : resident;
    return works < blocks ? works : blocks;
  }
  // Device memory: the number of the next piece of work of the grid that runs, 0 between grids.
  int* tickets() const { return tickets_; }
  // What queues something on the stream says whether it is a grid.
  void note_queued(bool grid) { behind_grid_ = grid; }
  size_t shared_bytes_limit() const { return shared_bytes_limit_; }  // per block
  size_t cache_bytes() const { return cache_bytes_; }                // of the second level

  // Raises the kernel's limit of shared memory where it needs more than 48 KB. Once per kernel.
  void prepare_kernel(const void* kernel, size_t shared_bytes);

  // What a part of the backend remembers about the device (a Memo): made when first asked for, gone with it.
  template <class T>
  T& remembered() {
    return *static_cast<T*>(remembered(
        typeid(T), []() -> void* { return new T; }, [](void* object) { delete static_cast<T*>(object); }));
  }

  // Where a kernel reports a fault: a device address of a Fault, and the number of the operation being
  // launched.
  Fault* fault() const { return fault_; }
  int site() const { return site_; }

 private:
  friend class CudaBackend;
  friend class CudaRecording;
  cudaStream_t stream_ = nullptr;
  int multiprocessors_ = 0, capability_ = 0;
  size_t shared_bytes_limit_ = 0, cache_bytes_ = 0;
  bool overlaps_grids_ = false, graphs_overlap_ = false, recording_ = false, behind_grid_ = false;
  bool shares_device_ = false;
  int* tickets_ = nullptr;
  Fault* fault_ = nullptr;
  int site_ = 0;
  // In context.cc: every kernel's file includes this one, and headers take most of the time to compile it.
  struct Memory;
  Memory* const memory_;

  void* remembered(const std::type_info& type, void* (*make)(), void (*destroy)(void*));
};

// The device's context; opens the device on first use. Throws ERR_DEVICE when there is none to use.
Context& current_context();

// Device memory for the operations that are being queued: it is reused, in stream order, as soon as this
// object goes.
class Scratch {
 public:
  explicit Scratch(size_t bytes);
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  template <class T>
  T* data() const {
    return static_cast<T*>(data_);
  }

 protected:
  void* data_;
  size_t bytes_;
};

// A table that the host made, copied to the device in stream order; the host's copy may go at once.
class Upload : public Scratch {
 public:
  Upload(const void* host, size_t bytes);
  template <class Table>  // a std::vector or the like
  explicit Upload(const Table& table) : Upload(table.data(), table.size() * sizeof(*table.data())) {}
};

}  // namespace native::cuda
