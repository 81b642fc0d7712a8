// The fiber core of the emulated device, for the emulated primitives. One fiber per thread of a grid, all on
// the thread of the stream that runs it; one grid runs at a time. A fiber runs until it waits; which one runs
// next is random.
//
// The emulated machine holds as many blocks at once as its multiprocessors would (device_facts.h). Blocks
// start in random-sized groups, and more of them, up to that number, when all running ones wait: a grid whose
// blocks wait for each other works if it fits, and is reported as a deadlock if it does not.
#pragma once

#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "core/error.h"

namespace emulation {

// Where a primitive was called. As a default argument, here() is the place of the call.
struct Site {
  const char* file;
  int line;
};
constexpr Site here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) { return {file, line}; }
inline bool same_site(const Site& a, const Site& b) {
  return a.line == b.line && (a.file == b.file || std::strcmp(a.file, b.file) == 0);
}

struct Block;
struct Warp;
class Grid;

// Objects of any type by their type, made when first asked for.
class StateMap {
 public:
  template <class T>
  T& get() {
    static const char key = 0;
    for (auto& [k, state] : states_) {
      if (k == &key) return *static_cast<T*>(state.get());
    }
    states_.emplace_back(&key, std::make_shared<T>());
    return *static_cast<T*>(states_.back().second.get());
  }
  void clear() { states_.clear(); }

 private:
  std::vector<std::pair<const void*, std::shared_ptr<void>>> states_;
};

struct Fiber {
  enum class State : uint8_t { fresh, ready, waiting, polling, done };
  void* context = nullptr;
  unsigned char* stack = nullptr;  // its low end
  Warp* warp = nullptr;
  int thread = 0;  // in the block
  State state = State::fresh;
  bool followed = false;       // it called wait_for_previous_grid()
  const char* what = nullptr;  // why it waits, and where
  Site site{};
  StateMap states;  // of primitives that keep something per thread

  int lane() const { return thread & 31; }
};

// Threads that meet to exchange operands: a warp, or a warpgroup.
struct Exchange {
  uint64_t arrived = 0, generation = 0;
  const char* what = nullptr;
  Site site{};
  void* operands[128];
};

struct Warp {
  Block* block = nullptr;
  int index = 0;          // in the block
  uint32_t priority = 0;  // to run, in grids that go by it
  uint32_t ready = 0;     // lanes that can run
  uint32_t alive = 0;     // lanes that have not returned
  Exchange exchange;
  // Lanes that wait at a block-wide barrier, and where: .aligned barriers want the whole warp at one place.
  uint32_t at_barrier = 0;
  Site barrier_site{};
};

// Fibers that wait for something; the caller decides when it has come.
class WaitQueue {
 public:
  void wait(const char* what, Site site);
  void wake_all();
  bool empty() const { return waiting_.empty(); }

 private:
  std::vector<Fiber*> waiting_;
};

// A barrier of a number of threads, some of which may arrive without waiting.
struct Barrier {
  int arrived = 0;
  int total = 0;  // of a named barrier that is in use
  WaitQueue queue;
};

struct Cluster {
  std::vector<Block*> blocks;
  Barrier barrier;
  int alive = 0;  // threads
  StateMap states;
};

struct Block {
  Grid* grid = nullptr;
  Cluster* cluster = nullptr;
  int rank = 0;  // in the cluster
  unsigned x = 0, y = 0, z = 0;
  unsigned char* shared = nullptr;
  size_t shared_bytes = 0;
  int threads = 0, alive = 0;
  int background = 0;  // unfinished background operations that use its shared memory
  std::vector<Fiber> fibers;
  std::vector<Warp> warps;
  Barrier barriers[16];          // 0: block_barrier
  Exchange group_exchanges[16];  // by the first warp of the group / 4
  StateMap states;
};

Fiber& current();
inline Warp& current_warp() { return *current().warp; }
inline Block& current_block() { return *current_warp().block; }

// Ends the grid with an error that names kernel, block and thread. Does not return: the fiber is left behind.
[[noreturn]] void fail_text(const std::string& text);
template <class... Parts>
[[noreturn]] void fail(const Parts&... parts) {
  fail_text(native::concat(parts...));
}

// Records a call of a barrier, fence or wait; true when tests want it left out.
bool skipped(const char* what, Site site);

// Lets others run; for loops that look at memory. The loop is woken when everything else waits.
void poll(const char* what, Site site);

// Says that memory which polling loops look at has changed.
void note_progress();

// Waits until the grid in front has ended.
void wait_for_previous_grid(Site site);
// Fails while the grid in front may still run: `what` accesses global memory. For accesses that are made
// late, or by somebody else; those of the thread itself are faults then.
void check_previous_grid(const char* what);

// Runs `work` at a random later time, on the device's thread, while fibers wait; the next poll() or
// wake_all() shows its effect. `user`, if any, is the block whose shared memory it uses: it may not end
// before.
void background(Block* user, std::function<void()> work);

// Waits at a barrier until `expected` threads have arrived, or does not wait. The lanes of a warp must come
// from one place.
void meet(Barrier& barrier, int expected, const char* what, Site site);
void arrive(Barrier& barrier, int expected, const char* what, Site site);

// A random number of this launch.
uint32_t random_word();

// Byte offset of `pointer` in the shared memory of the running block; fails unless `bytes` bytes there belong
// to it and it is aligned.
uint32_t shared_offset(const void* pointer, size_t bytes, size_t alignment, const char* what);

void count_bank_conflicts(uint64_t extra_passes);

namespace detail {
bool join_exchange(Exchange& exchange, void* operand, int slot, int count, const char* what, Site site);
void finish_exchange(Exchange& exchange, int first_thread, int count);
}  // namespace detail

// All 32 lanes meet here, from one place; the last one calls complete(Operand* const (&)[...]) with
// everybody's operand, by lane, then all go on. The operands live in the callers.
template <class Operand, class Complete>
void exchange_warp(const char* what, Site site, Operand& operand, Complete&& complete) {
  Fiber& fiber = current();
  Exchange& exchange = fiber.warp->exchange;
  if (detail::join_exchange(exchange, &operand, fiber.lane(), 32, what, site)) {
    complete(reinterpret_cast<Operand* const*>(exchange.operands));
    detail::finish_exchange(exchange, fiber.thread & ~31, 32);
  }
}

// The same for the 128 threads of a warpgroup.
template <class Operand, class Complete>
void exchange_warpgroup(const char* what, Site site, Operand& operand, Complete&& complete) {
  Fiber& fiber = current();
  Exchange& exchange = current_block().group_exchanges[fiber.thread / 128];
  if (detail::join_exchange(exchange, &operand, fiber.thread & 127, 128, what, site)) {
    complete(reinterpret_cast<Operand* const*>(exchange.operands));
    detail::finish_exchange(exchange, fiber.thread & ~127, 128);
  }
}

// What a thread did in global memory since fence_async_global: acquired what others wrote, in bulk copies
// wrote itself. Neither is ordered with the other kind of access without the fence.
struct GlobalProxies {
  bool acquired = false, wrote_in_bulk = false;
};

// Per-thread, per-block and per-cluster state of a primitive.
template <class T>
T& thread_state() {
  return current().states.get<T>();
}
template <class T>
T& block_state() {
  return current_block().states.get<T>();
}

}  // namespace emulation
