// Streams, events and graphs of the emulated runtime.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "cuda_runtime.h"
#include "grid.h"

namespace emulation {

// What went wrong on a stream; told once, by the next wait for it.
struct Failure {
  std::string text;
  std::atomic<bool> told{false};
};

struct Task {
  std::function<void()> work;      // a kernel when not set:
  std::shared_ptr<Launch> kernel;  // kept by graphs
};

// One use of an event.
struct Recording {
  std::mutex mutex;
  std::condition_variable ready;
  bool done = false;
  double seconds = 0;  // when it was done
  std::shared_ptr<Failure> failure;
  void finish(std::shared_ptr<Failure> failure);
  void wait();
};

// How many captured operations of each stream a stream, or an event, comes behind.
using Reached = std::map<const EmulatedStream*, size_t>;

// Work that is being captured, in the order in which it was issued.
struct Capture {
  EmulatedStream* origin;  // it began on
  cudaStreamCaptureMode mode;
  std::thread::id thread;
  std::vector<Task> tasks;
  std::atomic<bool> spoilt{false};
};

// Gives `failure`, unless it was told before, to cudaGetErrorString of this thread.
cudaError_t tell(const std::shared_ptr<Failure>& failure);
cudaError_t remember(cudaError_t error);  // for cudaGetLastError
// Why no call can do anything: lose_device() says so, or this is a host function that the device runs.
// Remembered; else cudaSuccess.
cudaError_t lost();
void run_host_function(cudaHostFn_t function, void* data);
int current_device();  // of the calling thread; -1 in another context of it
// Reads or writes device memory from the host's side, while no grid runs.
void copy_memory(void* to, const void* from, size_t bytes);
void set_memory(void* to, int value, size_t bytes);

// Streams by their handles, of which null is the default stream.
bool is_stream(cudaStream_t stream);
EmulatedStream& stream_of(cudaStream_t stream);
// What any call that queues something on the stream is refused for; remembered.
cudaError_t refusal(cudaStream_t stream);
cudaError_t queue(cudaStream_t stream, std::function<void()> work);
// Waits for all that is queued; what failed on the streams is not told by that.
std::vector<std::shared_ptr<Failure>> wait_for_streams();
// The streams that take part in a capture, or in any.
std::vector<EmulatedStream*> capturing_streams(const Capture* capture = nullptr);

// For calls that take or give memory or ask for events: refused, and the capture spoilt, unless the capture
// allows them. cudaSuccess or the error, remembered; the same for a call that waits for the whole device.
cudaError_t unsafe_call();
cudaError_t waiting_for_all();
// Spoils the capture, if there is one, with the error of the call that did it.
cudaError_t spoil(const std::shared_ptr<Capture>& capture, cudaError_t error);
void forget_capture(const Capture* capture);

// Whether each end of a copy is where its kind says.
bool copies_as_told(const void* to, const void* from, size_t bytes, cudaMemcpyKind kind);
// Whether a graph may copy there: device memory, or the host's while it is page-locked.
bool stays_in_place(const void* pointer, size_t bytes);

}  // namespace emulation

struct EmulatedGraph {
  std::vector<emulation::Task> tasks;
};
struct EmulatedGraphExec {
  std::vector<emulation::Task> tasks;
};
struct EmulatedEvent {
  const bool timing;
  const int device;
  std::shared_ptr<emulation::Recording> recording;
  std::shared_ptr<emulation::Capture> capture;  // it was last recorded in
  emulation::Reached reached;
};

struct EmulatedStream {
  explicit EmulatedStream(bool blocking);
  ~EmulatedStream();

  // Queues the task, or adds it to the graph that is being captured.
  void push(emulation::Task task);
  std::shared_ptr<emulation::Recording> record();
  std::shared_ptr<emulation::Failure> synchronize();
  bool idle();

  const int device = emulation::current_device();
  const bool blocking;  // it and the default stream wait for each other
  int priority = 0;     // recorded only
  std::shared_ptr<emulation::Capture> capture;
  emulation::Reached reached;  // of the capture

 private:
  void run();
  void execute(const emulation::Task& task);
  void keep(const std::string& text);

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<emulation::Task> tasks_;
  uint64_t pushed_ = 0, finished_ = 0;
  bool stop_ = false;
  std::shared_ptr<emulation::Failure> failure_;  // touched by the stream's thread only
  std::thread thread_;
};
