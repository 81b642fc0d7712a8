// Streams, events and graphs of the emulated runtime.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "cuda_runtime.h"
#include "grid.h"

struct EmulatedGraph;

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

// Gives `failure`, unless it was told before, to cudaGetErrorString of this thread.
cudaError_t tell(const std::shared_ptr<Failure>& failure);
cudaError_t remember(cudaError_t error);  // for cudaGetLastError
cudaError_t lost();                       // cudaSuccess unless lose_device() says so; remembered
int current_device();                     // of the calling thread
// Reads or writes device memory from the host's side, while no grid runs.
void copy_memory(void* to, const void* from, size_t bytes);
void set_memory(void* to, int value, size_t bytes);
// Waits for all that is queued; what failed on the streams is not told by that.
std::vector<std::shared_ptr<Failure>> wait_for_streams();

// Captures under way (capture.cc).
void begin_capture(EmulatedGraph* graph, cudaStreamCaptureMode mode);
void end_capture(EmulatedGraph* graph);
// For calls that take or give memory or ask for events: refused, and the capture spoilt, unless the capture
// allows them. cudaSuccess or the error, remembered; the same for a call that waits for the whole device.
cudaError_t unsafe_call();
cudaError_t waiting_for_all();
// Whether each end of a copy is where its kind says.
bool copies_as_told(const void* to, const void* from, size_t bytes, cudaMemcpyKind kind);
// Whether a graph may copy there: device memory, or the host's while it is page-locked.
bool stays_in_place(const void* pointer, size_t bytes);
void check_copy_of_graph(const void* to, const void* from, size_t bytes);  // throws when it may not any more

}  // namespace emulation

struct EmulatedGraph {
  std::vector<emulation::Task> tasks;
  bool spoilt = false;
};
struct EmulatedGraphExec {
  std::vector<emulation::Task> tasks;
};
struct EmulatedEvent {
  const int device = emulation::current_device();
  std::shared_ptr<emulation::Recording> recording;
  EmulatedGraph* capture = nullptr;  // it was recorded in
};

struct EmulatedStream {
  EmulatedStream();
  ~EmulatedStream();

  // Queues the task, or adds it to the graph that is being captured.
  void push(emulation::Task task);
  std::shared_ptr<emulation::Recording> record();
  std::shared_ptr<emulation::Failure> synchronize();
  bool idle();

  const int device = emulation::current_device();
  EmulatedGraph* capture = nullptr;
  bool captures = false;  // began the capture, rather than joining it

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
