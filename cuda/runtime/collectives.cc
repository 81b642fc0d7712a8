// Collectives on CUDA: NCCL, on a stream beside the device's. A thread watches it: it makes the communicator,
// which waits for the other ranks, and aborts it when one is gone or lets wait too long; without that a
// kernel would wait for ever, and the device with it.
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <string>
#include <thread>

#include "core/dtype.h"
#include "dist/comm.h"
#include "runtime/backend.h"
#include "runtime/nccl.h"

namespace native::cuda {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kLook = std::chrono::milliseconds(20);
constexpr auto kLaunch = std::chrono::seconds(5);  // more than a launch takes that waits for nobody

class Communicator {
 public:
  Communicator(int rank, int ranks, double timeout) : rank_(rank), ranks_(ranks), timeout_(timeout) {}

  // On the thread of the device's operations, as all that is not said to be otherwise.
  void connect(const nccl::UniqueId& id) {
    int device = 0;
    check_cuda(cudaGetDevice(&device), "the thread's device");
    // Before blocks of the next grid, which would take every multiprocessor that becomes free.
    int least = 0, greatest = 0;
    check_cuda(cudaDeviceGetStreamPriorityRange(&least, &greatest), "priorities of streams");
    check_cuda(cudaStreamCreateWithPriority(&stream_, cudaStreamNonBlocking, greatest),
               "stream of collectives");
    for (cudaEvent_t* event : {&fork_, &join_}) {
      check_cuda(cudaEventCreateWithFlags(event, cudaEventDisableTiming), "event");
    }
    ended_ = false;
    since_ = Clock::now();
    std::thread([this, id, device] { watch(id, device); }).detach();
  }

  bool ready() {
    std::lock_guard<std::mutex> lock(mutex_);
    // The watching thread cannot say so: it is in NCCL meanwhile.
    if (!comm_ && failure_.empty() && overdue()) {
      failure_ = concat("another process did not come for its communicator, in ", timeout_, " s");
    }
    throw_failure();
    return comm_ != nullptr;
  }

  nccl::Comm comm() {
    CHECK(ready(), "ERR_DISTRIBUTED", "the other processes have not come yet");
    return comm_;
  }
  cudaStream_t stream() const { return stream_; }

  // Launches `work`, calls of NCCL on stream(), behind all that the device has been given so far.
  void launch(const std::function<void()>& work) {
    comm();
    {
      std::lock_guard<std::mutex> lock(mutex_);
      CHECK(!closed_, "ERR_DISTRIBUTED", "this process has left its job");  // by another thread
      launching_ = true;
      if (running_.empty()) since_ = Clock::now();
    }
    try {
      check_cuda(cudaEventRecord(fork_, current_context().stream()), "event");
      check_cuda(cudaStreamWaitEvent(stream_, fork_, 0), "event");
      work();
      cudaEvent_t end = events_.take();
      check_cuda(cudaEventRecord(end, stream_), "event");
      launched(end, {});
    } catch (const Error& error) {
      // After an error the communicator is good for nothing but its abort, which may be what caused this one.
      const std::string cause = launched(nullptr, error.what());
      if (cause != error.what()) throw Error("ERR_DISTRIBUTED", cause);
      throw;
    }
  }

  // Also after a failure: what has begun uses its tensors until the abort has ended it.
  void join() {
    check_cuda(cudaEventRecord(join_, stream_), "event");
    check_cuda(cudaStreamWaitEvent(current_context().stream(), join_, 0), "event");
    current_context().note_queued(false);
  }
  // Throws the first failure, if there is one.
  void check() {
    std::lock_guard<std::mutex> lock(mutex_);
    throw_failure();
  }

  // From any thread: what waits for another rank ends with `reason`.
  void abort(const std::string& reason) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (failure_.empty()) failure_ = reason;
    wake_.notify_all();
  }

  // Waits for what is queued, or being launched by another thread, unless it has failed. Whether it has
  // ended.
  bool close() {
    std::unique_lock<std::mutex> lock(mutex_);
    wake_.wait(lock, [this] { return !failure_.empty() || (running_.empty() && !launching_); });
    closed_ = true;
    wake_.notify_all();
    if (!comm_) return true;  // nothing has begun; the thread may be in NCCL, waiting for the others
    return wake_.wait_for(lock, 2 * kLaunch, [this] { return ended_; });
  }

 private:
  void throw_failure() const {
    if (!failure_.empty()) throw Error("ERR_DISTRIBUTED", failure_);
  }
  bool overdue() const { return std::chrono::duration<double>(Clock::now() - since_).count() > timeout_; }

  // Returns the first failure, if there is one.
  std::string launched(cudaEvent_t end, const std::string& failure) {
    std::lock_guard<std::mutex> lock(mutex_);
    launching_ = false;
    if (end) running_.push_back(end);
    if (failure_.empty()) failure_ = failure;
    wake_.notify_all();
    return failure_;
  }

  void watch(const nccl::UniqueId& id, int device) {
    cudaSetDevice(device);
    const nccl::Library& library = nccl::library();
    nccl::Comm comm = nullptr;
    const nccl::Result made = library.CommInitRank(&comm, ranks_, id, rank_);
    std::unique_lock<std::mutex> lock(mutex_);
    if (made != nccl::kSuccess) {
      if (failure_.empty())
        failure_ = concat("NCCL found no way to the others: ", library.GetErrorString(made));
    } else {
      comm_ = comm;
    }
    while (failure_.empty() && !closed_) {
      wake_.wait_for(lock, kLook);
      look(library);
    }
    // A launch under way still uses the communicator. One that waits in NCCL itself ends only by the abort.
    wake_.wait_for(lock, kLaunch, [this] { return !launching_; });
    retire();
    const std::string failure = failure_;
    const bool interrupted = !failure.empty() && !running_.empty();
    lock.unlock();
    // Told first, because the abort lets fences end that are behind what it interrupts.
    if (interrupted) cuda_backend().report(Error("ERR_DISTRIBUTED", failure));
    if (comm) {
      if (failure.empty())
        library.CommDestroy(comm);
      else
        library.CommAbort(comm);  // kernels that wait end
    }
    lock.lock();
    ended_ = true;
    wake_.notify_all();
  }

  // Takes away what has ended.
  void retire() {
    while (!running_.empty()) {
      const cudaError_t status = cudaEventQuery(running_.front());
      if (status == cudaErrorNotReady || status == cudaErrorCudartUnloading) {
        cudaGetLastError();  // others in the process must not take it for an error
        return;
      }
      if (status != cudaSuccess) {
        if (failure_.empty()) failure_ = concat("the CUDA device stopped: ", cudaGetErrorString(status));
        return;
      }
      events_.give(running_.front());
      running_.pop_front();
      since_ = Clock::now();
      if (running_.empty()) wake_.notify_all();
    }
  }

  void look(const nccl::Library& library) {
    retire();
    if (!failure_.empty()) return;
    nccl::Result error = nccl::kSuccess;
    if (library.CommGetAsyncError(comm_, &error) != nccl::kSuccess ||
        (error != nccl::kSuccess && error != nccl::kInProgress)) {
      failure_ = concat("the connection to another process failed: ", library.GetErrorString(error));
    } else if ((launching_ || !running_.empty()) && overdue()) {
      failure_ = concat("a collective waited for another process, in vain for ", timeout_, " s");
    }
  }

  const int rank_, ranks_;
  const double timeout_;
  cudaStream_t stream_ = nullptr;
  cudaEvent_t fork_ = nullptr, join_ = nullptr;
  EventPool events_{false};
  std::mutex mutex_;
  std::condition_variable wake_;
  nccl::Comm comm_ = nullptr;
  std::deque<cudaEvent_t> running_;  // ends of collectives
  bool launching_ = false;           // another one is being launched
  Clock::time_point since_;  // when the first of these became the first; before: when connecting began
  std::string failure_;
  bool closed_ = false, ended_ = true;
};

// Never freed: its thread may outlive the job.
Communicator* g_communicator = nullptr;

Communicator& current() {
  CHECK(g_communicator, "ERR_DISTRIBUTED", "this process has left its job");
  return *g_communicator;
}

// For queued work.
Communicator& unrecorded() {
  CHECK(!cuda_backend().recording(), "ERR_DEVICE",
        "collectives cannot be recorded: record what lies between them");
  return current();
}

std::vector<std::string> open(int rank, int world_size, const std::string&, double timeout_seconds) {
  std::string text;
  if (rank == 0) {
    nccl::UniqueId id;
    nccl::check(nccl::library().GetUniqueId(&id), "ncclGetUniqueId");
    for (const char byte : id.bytes) {
      text += "0123456789abcdef"[static_cast<uint8_t>(byte) >> 4];
      text += "0123456789abcdef"[static_cast<uint8_t>(byte) & 15];
    }
  } else {
    nccl::library();  // what is missing shows before anyone waits
  }
  g_communicator = new Communicator(rank, world_size, timeout_seconds);
  cuda_backend().context().share_device();  // NCCL's kernels take multiprocessors of their own
  return std::vector<std::string>(static_cast<size_t>(world_size), text);
}

void connect(const std::vector<std::string>& addresses) {
  nccl::UniqueId id;
  const std::string& text = addresses[0];
  CHECK(text.size() == 2 * sizeof id.bytes && text.find_first_not_of("0123456789abcdef") == std::string::npos,
        "ERR_DISTRIBUTED", "rank 0 sent no identifier of a communicator");
  for (size_t i = 0; i < sizeof id.bytes; ++i) {
    id.bytes[i] = static_cast<char>(std::stoi(text.substr(2 * i, 2), nullptr, 16));
  }
  current().connect(id);
}

bool ready() { return current().ready(); }

void start(OpSite site, std::function<void()> work) {
  cuda_backend().submit(std::move(site), [work = std::move(work)] { unrecorded().launch(work); });
}

std::string library() {
  int version = 0;
  nccl::check(nccl::library().GetVersion(&version), "version");
  return concat("NCCL ", version / 10000, ".", version / 100 % 100, ".", version % 100);
}

bool wait() {
  bool queued = false;
  cuda_backend().submit({"collectives", {}}, [&queued] {
    Communicator& communicator = unrecorded();
    communicator.join();
    queued = true;
    communicator.check();
  });
  return queued;
}

void abort(const std::string& reason) {
  if (g_communicator) g_communicator->abort(reason);
}

bool close() {
  const bool ended = current().close();
  g_communicator = nullptr;
  return ended;
}

// One launch of all spans. A group that has begun is ended in any case: it is a state of the thread.
template <class Call>
void grouped(const char* what, const std::vector<CommSpan>& list, const Call& call) {
  nccl::check(nccl::library().GroupStart(), what);
  nccl::Result result = nccl::kSuccess;
  for (size_t i = 0; i < list.size() && result == nccl::kSuccess; ++i) result = call(list[i]);
  const nccl::Result ended = nccl::library().GroupEnd();
  nccl::check(result, what);
  nccl::check(ended, what);
}

void all_reduce_spans(const AllReduceArgs& args) {
  const nccl::Library& library = nccl::library();
  const nccl::Comm comm = current().comm();
  nccl::RedOp op = nccl::kSum;
  float scale = args.scale;
  if (scale != 1) {
    nccl::check(library.RedOpCreatePreMulSum(&op, &scale, nccl::kFloat32, nccl::kHost, comm), "scaled sum");
  }
  const cudaStream_t stream = current().stream();
  grouped("all_reduce", args.list, [&](const CommSpan& span) {
    return library.AllReduce(span.data, span.data, static_cast<size_t>(span.count), nccl::kFloat32, op, comm,
                             stream);
  });
  if (scale != 1) nccl::check(library.RedOpDestroy(op, comm), "scaled sum");
}

void broadcast_spans(const BroadcastArgs& args) {
  const nccl::Library& library = nccl::library();
  const nccl::Comm comm = current().comm();
  const cudaStream_t stream = current().stream();
  grouped("broadcast", args.list, [&](const CommSpan& span) {
    return library.Broadcast(span.data, span.data, static_cast<size_t>(span.count) * dtype_size(span.dtype),
                             nccl::kUint8, args.root, comm, stream);
  });
}

REGISTER_KERNEL(all_reduce, cuda, all_reduce_spans);
REGISTER_KERNEL(broadcast, cuda, broadcast_spans);
const bool g_registered =
    (register_comm(DeviceType::cuda, {library, open, connect, ready, start, wait, abort, close}), true);

}  // namespace
}  // namespace native::cuda
