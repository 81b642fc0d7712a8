// A grid that runs: its blocks, its fibers, its errors. Behind scheduler.h; the runtime starts it.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "emulation.h"
#include "scheduler.h"
#include "vector_types.h"

namespace emulation {

struct Launch {
  const void* kernel = nullptr;
  dim3 grid;
  int threads = 0;
  size_t shared_bytes = 0;
  int cluster = 1;
  bool waits = false;             // calls wait_for_previous_grid(), as who launches it says
  bool overlap = false;           // may start before the grid in front of it ends
  const void* foreign = nullptr;  // an argument that points at what is no memory of the device
  std::function<void()> thread;
};

class Grid {
 public:
  explicit Grid(const Launch& launch);
  ~Grid();
  Grid(const Grid&) = delete;
  Grid& operator=(const Grid&) = delete;

  // Runs until every thread has returned, or (only while `previous_running`) waits for the previous grid.
  // Throws native::Error ERR_INTERNAL.
  void run(bool previous_running);
  // A thread that touches the memory of the device now does so too early.
  bool previous_running() const { return previous_running_; }

  // For the primitives.
  void wait_for_previous(Site site);
  void suspend(Fiber::State state, const char* what, Site site);
  void wake(Fiber& fiber);
  void complete_barrier(Barrier& barrier);
  [[noreturn]] void fail_fiber(const std::string& text);
  void add_background(Block* user, std::function<void()> work);
  void note_progress() { stalled_rounds_ = looks_in_vain_ = 0; }
  uint64_t random();
  std::string describe(const Fiber& fiber) const;

 private:
  struct Background {
    Block* user;
    std::function<void()> work;
    bool slow;  // runs when no fiber can
  };

  Warp& choose_warp();
  bool start_blocks();
  void start_block(Cluster& cluster, int rank, uint64_t linear);
  void end_thread(Fiber& fiber);
  void end_block(Block& block);
  void run_warp(Warp& warp);
  void resume(Fiber& fiber);
  void run_background();
  bool wake_polling();
  [[noreturn]] void report_deadlock();
  friend void enter_fiber(void* scheduler_context);

  const Launch& launch_;
  uint64_t random_state_;
  std::vector<uint32_t> order_;  // clusters still to start, from the back
  int capacity_, wanted_;        // clusters at once: at most, and before anything waits
  // One in how many steps finishes a background operation, or wakes loops that poll, while others can run.
  int background_odds_, polling_odds_;
  bool by_priority_;
  std::vector<std::unique_ptr<Cluster>> clusters_;
  std::vector<std::unique_ptr<Block>> idle_blocks_;  // to be used again
  std::vector<Warp*> ready_;
  std::vector<Fiber*> polling_;
  std::vector<Background> background_;
  WaitQueue previous_;  // waits for the previous grid
  bool previous_running_ = false;
  int stalled_rounds_ = 0, looks_in_vain_ = 0;
  std::optional<std::string> error_;
  void* scheduler_context_ = nullptr;
};

Grid* running_grid();
Fiber* running_fiber();  // null between fibers

// stacks.cc: memory of fibers and blocks, with a guard page at each end.
inline constexpr size_t kStackBytes = 64 << 10;
unsigned char* take_stack();
void give_stack(unsigned char* stack);
unsigned char* take_shared(size_t bytes);
void give_shared(unsigned char* shared, size_t bytes);
size_t shared_region_bytes(size_t bytes);  // whole pages

// access.cc: while one of these lives, an access to device memory by this thread is a fault.
class NoDeviceMemory {
 public:
  NoDeviceMemory();
  ~NoDeviceMemory();
};

// faults.cc: turns a processor fault in a fiber into an error of its grid.
void catch_faults();

// symbols.cc: the name of a function, also of a local one.
std::string function_name(const void* function);
// That name as the linker has it, and for a local one the name of its source file.
struct Symbol {
  std::string name, file;
};
Symbol function_symbol(const void* function);

// bounds.cc: how many threads a block of the kernel may have.
int launch_bound(const void* kernel);

// sites.cc
bool site_is_skipped(const char* what, Site site);
Plant planted();
int left_multiprocessors();  // by others, to this grid
extern Statistics g_statistics;
uint64_t launch_seed();

}  // namespace emulation
