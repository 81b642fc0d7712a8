#include "runtime/backend.h"

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <future>
#include <new>
#include <utility>

#include "runtime/probe.h"
#include "runtime/recording.h"

namespace native::cuda {
namespace {

bool is_set(const char* variable) {
  const char* value = std::getenv(variable);
  return value && std::strcmp(value, "1") == 0;
}

// How long the end of an environment waits for the device, which a kernel that hangs never leaves.
constexpr std::chrono::seconds kPatience{5};

// What kernels find in device memory all the time.
struct KernelWords {
  Fault fault;
  int tickets;
};

}  // namespace

CudaBackend::CudaBackend(int device)
    : device_(device),
      memory_([this] { check_cuda(cudaStreamSynchronize(context_.stream()), "waiting for the device"); },
              is_set("NATIVE_CUDA_EXACT")),
      exact_(is_set("NATIVE_CUDA_EXACT")) {
  use_device();
  cudaDeviceProp properties;
  check_cuda(cudaGetDeviceProperties(&properties, device_), "device properties");
  context_.multiprocessors_ = chosen_multiprocessors(properties.multiProcessorCount);
  context_.capability_ = chosen_capability(10 * properties.major + properties.minor);
  const char* overlap = std::getenv("NATIVE_CUDA_OVERLAP");
  context_.overlaps_grids_ = context_.capability_ >= 90 && !(overlap && std::strcmp(overlap, "0") == 0);
  int driver = 0;
  check_cuda(cudaDriverGetVersion(&driver), "version of the driver");
  context_.graphs_overlap_ = driver >= 12030;  // CUDA 12.3 brought the edges of graphs that it takes
  context_.shared_bytes_limit_ = properties.sharedMemPerBlockOptin;
  context_.cache_bytes_ = static_cast<size_t>(properties.l2CacheSize);
  int shared = 0;  // by processes (MPS); older drivers do not say
  if (cudaDeviceGetAttribute(&shared, cudaDevAttrMpsEnabled, device_) != cudaSuccess) cudaGetLastError();
  context_.share_device(shared || is_set("NATIVE_CUDA_SHARED"));
  check_cuda(cudaStreamCreateWithFlags(&context_.stream_, cudaStreamNonBlocking), "stream");
  void* words = memory_.allocate(sizeof(KernelWords));
  check_cuda(cudaMemsetAsync(words, 0, sizeof(KernelWords), context_.stream_), "device memory");
  context_.fault_ = &static_cast<KernelWords*>(words)->fault;
  context_.tickets_ = &static_cast<KernelWords*>(words)->tickets;
  uploads_ = std::make_unique<Uploads>(context_.stream_, memory_, pinned_, events_);
  completion_ = std::make_unique<Completion>(device_, sites_, pinned_, events_, timing_);
  synchronous_ = is_set("NATIVE_SYNC");
  // Fresh memory full of NaN shows kernels that read what nobody wrote.
  poison_ = is_set("NATIVE_CUDA_POISON");
}

CudaBackend::~CudaBackend() = default;

// The thread's current device, and which context of it, is what other code in the process may have set.
void CudaBackend::use_device() const { check_cuda(cudaSetDevice(device_), "choosing the device"); }

void* CudaBackend::allocate(size_t bytes, bool host_writes) {
  std::lock_guard<std::recursive_mutex> lock(mutex_);
  use_device();
  const bool upload = host_writes && !recording_ && !exact_;
  const auto take = [&] { return upload ? uploads_->allocate(bytes) : memory_.allocate(bytes); };
  void* data = nullptr;
  try {
    data = take();
  } catch (const Error& error) {
    // The memory takes blocks of uploads for used also where they lie idle.
    if (error.code() != "ERR_OUT_OF_MEMORY" || recording_ || uploads_->idle_blocks() == 0) throw;
    uploads_->empty_cache();
    data = take();
  }
  if (poison_ && !upload) {
    check_cuda(cudaMemsetAsync(data, 0xFF, bytes, context_.stream()), "device memory");
    context_.note_queued(false);
  }
  return data;
}

// Destructors call this, so nothing is thrown: what a lost device answers is told by the next fence.
void CudaBackend::release(void* data, size_t) {
  std::lock_guard<std::recursive_mutex> lock(mutex_);
  const auto attempt = [&](auto&& work) {
    try {
      work();
    } catch (const Error& error) {
      if (!error_) error_ = error;
    }
  };
  const bool upload = uploads_->owns(data);
  if (upload && recording_) {
    released_meanwhile_.push_back(data);  // its event would be recorded too
    return;
  }
  if (upload || exact_) attempt([&] { use_device(); });
  attempt([&] {
    if (!uploads_->release(data)) memory_.release(data);
  });
}

MemoryStats CudaBackend::memory() const {
  std::lock_guard<std::recursive_mutex> lock(mutex_);
  MemoryStats stats = memory_.stats();
  stats.live_tensors -= uploads_->idle_blocks() + 1;  // and the kernels' words
  stats.live_bytes -= uploads_->idle_bytes() + memory_.size_of(context_.fault_);
  return stats;
}

void CudaBackend::reset_peak() {
  std::lock_guard<std::recursive_mutex> lock(mutex_);
  memory_.reset_peak();
}

void CudaBackend::empty_cache() {
  std::lock_guard<std::recursive_mutex> lock(mutex_);
  use_device();
  uploads_->empty_cache();
  memory_.empty_cache();
}

void CudaBackend::submit(OpSite site, std::function<void()> work) {
  {
    std::lock_guard<std::recursive_mutex> lock(mutex_);
    run(site, work, error_);
    context_.site_ = 0;
  }
  if (!synchronous_ || recording_) return;
  if (auto error = wait()) throw *error;
}

void CudaBackend::run(const OpSite& site, const std::function<void()>& work, std::optional<Error>& error) {
  const auto keep = [&](const std::string& code, const std::string& reason) {
    if (!error) error = failure(site, code, reason);
  };
  try {
    use_device();
    context_.site_ = static_cast<int>(sites_.add(site));
    if (!profiling_ || recording_) {
      work();
      return;
    }
    const TimedOp timed{site.name, timing_.take(), timing_.take()};
    try {
      check_cuda(cudaEventRecord(timed.start, context_.stream()), "event");
      work();
      check_cuda(cudaEventRecord(timed.end, context_.stream()), "event");
    } catch (...) {
      timing_.give(timed.start);
      timing_.give(timed.end);
      throw;
    }
    timed_.push_back(timed);
  } catch (const Error& failed) {
    keep(failed.code(), failed.what());
  } catch (const std::bad_alloc&) {
    keep("ERR_OUT_OF_MEMORY", "out of memory");
  } catch (const std::exception& failed) {
    keep("ERR_INTERNAL", failed.what());
  }
}

void CudaBackend::fence(std::function<void(std::optional<Error>)> done) {
  std::unique_lock<std::recursive_mutex> lock(mutex_);
  if (recording_) {
    lock.unlock();
    done(Error("ERR_DEVICE", "nothing can be read or waited for while work is being recorded"));
    return;
  }
  Reads reads;
  if (auto own = reads_.extract(std::this_thread::get_id())) reads = std::move(own.mapped());
  PendingFence fence;
  fence.error = std::move(error_ ? error_ : reads.error);
  error_.reset();
  try {
    use_device();
    fence.fault = pinned_.take(sizeof(Fault));
    std::memset(fence.fault.data, 0, sizeof(Fault));
    fence.event = events_.take();
    context_.note_queued(false);
    check_cuda(cudaMemcpyAsync(fence.fault.data, context_.fault_, sizeof(Fault), cudaMemcpyDeviceToHost,
                               context_.stream()),
               "reading faults");
    check_cuda(cudaMemsetAsync(context_.fault_, 0, sizeof(Fault), context_.stream()), "reading faults");
    check_cuda(cudaEventRecord(fence.event, context_.stream()), "event");
  } catch (const Error& error) {
    if (!fence.error) fence.error = error;
    std::vector<PinnedMemory::Block> staged;
    for (const HostCopy& copy : reads.copies) staged.push_back(copy.staged);
    retire(staged);
    lock.unlock();
    done(std::move(fence.error));
    return;
  }
  fence.copies = std::move(reads.copies);
  fence.timed = std::move(timed_);
  timed_.clear();
  fence.next_site = sites_.next();
  fence.done = std::move(done);
  completion_->push(std::move(fence));
}

void CudaBackend::copy_to_host(void* host, const void* device, size_t bytes) {
  std::lock_guard<std::recursive_mutex> lock(mutex_);
  if (recording_) return;  // the fence that follows says why
  Reads& reads = reads_[std::this_thread::get_id()];
  const auto copy = [&] {
    reads.copies.push_back({pinned_.take(bytes), host, bytes});
    context_.note_queued(false);
    check_cuda(cudaMemcpyAsync(reads.copies.back().staged.data, device, bytes, cudaMemcpyDeviceToHost,
                               context_.stream()),
               "copy to the host");
  };
  run({"copy_to_host", {}}, copy, reads.error);
}

// Bytes that what is queued still reads or writes are reused after it.
void CudaBackend::retire(const std::vector<PinnedMemory::Block>& staged) {
  try {
    use_device();
    uploads_->retire_later(staged);
  } catch (const Error&) {
    // The device is lost; so are a few pages.
  }
}

void CudaBackend::copy_from_host(void* device, const void* host, size_t bytes) {
  std::lock_guard<std::recursive_mutex> lock(mutex_);
  use_device();
  context_.note_queued(false);
  if (recording_) {
    uploads_->record(device, host, bytes, recording_->staged());
  } else {
    uploads_->copy(device, host, bytes);
  }
}

std::optional<Error> CudaBackend::wait() {
  std::promise<std::optional<Error>> promise;
  fence([&promise](std::optional<Error> error) { promise.set_value(std::move(error)); });
  return promise.get_future().get();
}

void CudaBackend::begin_recording(Recording* beside) {
  mutex_.lock();  // until end_recording
  try {
    use_device();
    CHECK(!recording_, "ERR_DEVICE", "work is being recorded already");
    recording_ = std::make_unique<CudaRecording>(*this, static_cast<CudaRecording*>(beside));
  } catch (...) {
    mutex_.unlock();
    throw;
  }
  error_before_recording_ = std::exchange(error_, std::nullopt);  // for the next fence, not for end_recording
}

std::unique_ptr<Recording> CudaBackend::end_recording() {
  CHECK(recording_, "ERR_DEVICE", "no work is being recorded");
  const std::unique_lock<std::recursive_mutex> lock(mutex_, std::adopt_lock);  // of begin_recording
  std::unique_ptr<CudaRecording> recording = std::move(recording_);
  std::optional<Error> failed = std::exchange(error_, std::exchange(error_before_recording_, std::nullopt));
  try {
    recording->finish();
  } catch (const Error& error) {
    if (!failed) failed = error;
  }
  const std::vector<void*> released = std::move(released_meanwhile_);
  released_meanwhile_.clear();
  for (void* data : released) release(data, 0);
  const std::vector<PinnedMemory::Block> staged = std::move(staged_meanwhile_);
  staged_meanwhile_.clear();
  uploads_->retire_later(staged);
  if (failed) throw *failed;
  return recording;
}

// Of an environment that ends while it records, on whose thread we are then: nobody will end the recording.
void CudaBackend::discard_recording() {
  try {
    end_recording();
  } catch (const Error&) {
    // What failed was to be recorded.
  }
}

void CudaBackend::drain() {
  {
    std::lock_guard<std::recursive_mutex> lock(mutex_);
    if (recording_) discard_recording();
  }
  fence([this](std::optional<Error> error) {
    if (error) report(std::move(*error));  // for the next fence to tell
  });
  completion_->drain(kPatience);
}

CudaBackend& cuda_backend() { return static_cast<CudaBackend&>(backend(DeviceType::cuda)); }

namespace {

// Never destroyed: tensors of several JavaScript environments may outlive any one of them, and what is queued
// may outlive them all.
DeviceBackend* open_cuda() { return new CudaBackend(selected_device(DeviceType::cuda)); }

const bool g_registered = (register_backend(DeviceType::cuda, {open_cuda, probe_devices}), true);

}  // namespace
}  // namespace native::cuda
