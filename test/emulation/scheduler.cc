#include "scheduler.h"

#include <algorithm>
#include <boost/context/detail/fcontext.hpp>
#include <map>
#include <tuple>

#include "device_facts.h"
#include "grid.h"

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace emulation {
namespace {

using boost::context::detail::jump_fcontext;
using boost::context::detail::make_fcontext;
using boost::context::detail::transfer_t;

constexpr int kPollRounds = 100;  // without any progress: a deadlock
constexpr int kVainLooks = 64;    // of polling loops while others can run; then those go first

Grid* g_grid = nullptr;
Fiber* g_fiber = nullptr;

}  // namespace

Grid* running_grid() { return g_grid; }
Fiber* running_fiber() { return g_fiber; }

// The body of every fiber; the transfer's context is the scheduler.
void enter_fiber(void* scheduler_context) {
  Grid& grid = *g_grid;
  grid.scheduler_context_ = scheduler_context;
  try {
    grid.launch_.thread();
    // A grid that ends before its predecessor would let the grid behind it, too, start before that.
    if (grid.launch_.waits && !g_fiber->followed) fail("returns without wait_for_previous_grid");
  } catch (const std::exception& error) {
    grid.fail_fiber(error.what());
  }
  g_fiber->state = Fiber::State::done;
  jump_fcontext(grid.scheduler_context_, nullptr);
}

Grid::Grid(const Launch& launch) : launch_(launch), random_state_(launch_seed()) {
  const uint64_t clusters = uint64_t{launch.grid.x} * launch.grid.y * launch.grid.z / launch.cluster;
  order_.resize(clusters);
  for (uint64_t i = 0; i < clusters; ++i) {
    const uint64_t j = random() % (i + 1);
    order_[i] = order_[j];
    order_[j] = static_cast<uint32_t>(i);
  }
  if (planted() == Plant::last_block_missing)
    order_.erase(std::find(order_.begin(), order_.end(), clusters - 1));
  capacity_ =
      std::max(1, left_multiprocessors() * blocks_per_multiprocessor(launch.threads, launch.shared_bytes) /
                      launch.cluster);
  wanted_ = 1 + static_cast<int>(random() % 4);
  if (wanted_ > capacity_) wanted_ = capacity_;
  constexpr int kOdds[] = {2, 8, 32, 1 << 30};
  background_odds_ = kOdds[random() % 4];
  polling_odds_ = kOdds[random() % 4];
  by_priority_ = random() % 2;
  ++g_statistics.launches;
}

Grid::~Grid() {
  for (auto& cluster : clusters_) {
    for (Block* block : cluster->blocks) {
      for (Fiber& fiber : block->fibers) {
        if (fiber.stack) give_stack(fiber.stack);
      }
      give_shared(block->shared, launch_.shared_bytes);
      delete block;
    }
  }
}

uint64_t Grid::random() {
  random_state_ ^= random_state_ << 13;
  random_state_ ^= random_state_ >> 7;
  random_state_ ^= random_state_ << 17;
  return random_state_ * 0x2545F4914F6CDD1Dull >> 16;
}

void Grid::run(bool previous_running) {
  g_grid = this;
  gridDim = launch_.grid;
  blockDim = dim3(static_cast<unsigned>(launch_.threads));
  previous_running_ = previous_running;
  if (!previous_running) previous_.wake_all();
  while (!error_) {
    if (static_cast<int>(clusters_.size()) < wanted_ && start_blocks()) continue;
    if (!background_.empty() && (ready_.empty() || random() % background_odds_ == 0)) {
      run_background();
      continue;
    }
    if (!ready_.empty()) {
      if (!polling_.empty() && looks_in_vain_ < kVainLooks && random() % polling_odds_ == 0) wake_polling();
      run_warp(choose_warp());
      continue;
    }
    if (stalled_rounds_ < kPollRounds && wake_polling()) {
      ++stalled_rounds_;
      if (stalled_rounds_ > 1) start_blocks();
      continue;
    }
    if (previous_running_ && !previous_.empty()) break;
    if (start_blocks()) continue;
    if (clusters_.empty()) break;
    report_deadlock();
  }
  g_grid = nullptr;
  if (error_) native::fail("ERR_INTERNAL", "kernel ", function_name(launch_.kernel), ": ", *error_);
}

// In half of the grids any warp that can run, in the others the one with the highest priority: some warps
// then run as far ahead as barriers let them, and some stay as far behind.
Warp& Grid::choose_warp() {
  if (!by_priority_) return *ready_[random() % ready_.size()];
  Warp* best = ready_[0];
  for (Warp* warp : ready_) {
    if (warp->priority > best->priority) best = warp;
  }
  if (random() % 64 == 0) best->priority = static_cast<uint32_t>(random());
  return *best;
}

bool Grid::start_blocks() {
  if (order_.empty() || static_cast<int>(clusters_.size()) >= capacity_) return false;
  const uint64_t first = uint64_t{order_.back()} * launch_.cluster;
  order_.pop_back();
  clusters_.push_back(std::make_unique<Cluster>());
  for (int rank = 0; rank < launch_.cluster; ++rank) start_block(*clusters_.back(), rank, first + rank);
  note_progress();
  return true;
}

void Grid::start_block(Cluster& cluster, int rank, uint64_t linear) {
  if (idle_blocks_.empty()) idle_blocks_.push_back(std::make_unique<Block>());
  Block& block = *idle_blocks_.back().release();
  idle_blocks_.pop_back();
  const int threads = launch_.threads;
  block.grid = this;
  block.cluster = &cluster;
  block.rank = rank;
  block.x = static_cast<unsigned>(linear % launch_.grid.x);
  block.y = static_cast<unsigned>(linear / launch_.grid.x % launch_.grid.y);
  block.z = static_cast<unsigned>(linear / launch_.grid.x / launch_.grid.y);
  block.shared_bytes = launch_.shared_bytes;
  block.shared = take_shared(launch_.shared_bytes);
  block.threads = block.alive = threads;
  block.warps.resize(threads / 32);
  block.fibers.resize(threads);
  for (int w = 0; w < threads / 32; ++w) {
    Warp& warp = block.warps[w];
    warp = Warp{};
    warp.block = &block;
    warp.index = w;
    warp.priority = static_cast<uint32_t>(random());
    warp.ready = warp.alive = 0xFFFFFFFFu;
    ready_.push_back(&warp);
  }
  for (int t = 0; t < threads; ++t) {
    Fiber& fiber = block.fibers[t];
    fiber.warp = &block.warps[t / 32];
    fiber.thread = t;
    fiber.state = Fiber::State::fresh;
    fiber.followed = false;
  }
  cluster.blocks.push_back(&block);
  cluster.alive += threads;
  g_statistics.threads += threads;
  if (planted() == Plant::last_thread_missing) {
    block.warps.back().ready &= 0x7FFFFFFFu;
    end_thread(block.fibers.back());
  }
}

void Grid::run_warp(Warp& warp) {
  const Block& block = *warp.block;
  blockIdx = {block.x, block.y, block.z};
  // The warp leaves the list before its last ready lane runs, so that whatever wakes a lane puts it back.
  for (;;) {
    const int turn = static_cast<int>(random() & 31);
    const uint32_t turned = warp.ready >> turn | warp.ready << ((32 - turn) & 31);
    const int lane = (__builtin_ctz(turned) + turn) & 31;
    warp.ready &= ~(1u << lane);
    if (warp.ready == 0) {
      for (size_t i = ready_.size(); i-- > 0;) {
        if (ready_[i] == &warp) {
          ready_[i] = ready_.back();
          ready_.pop_back();
          break;
        }
      }
    }
    resume(warp.block->fibers[warp.index * 32 + lane]);
    if (error_ || warp.ready == 0 || (random() & 63) == 0) return;
  }
}

void Grid::resume(Fiber& fiber) {
  ++g_statistics.switches;
  if (fiber.state == Fiber::State::fresh) {
    fiber.stack = take_stack();
    fiber.context = make_fcontext(fiber.stack + kStackBytes, kStackBytes,
                                  [](transfer_t from) { enter_fiber(from.fctx); });
  }
  fiber.state = Fiber::State::ready;
  threadIdx.x = static_cast<unsigned>(fiber.thread);
  g_fiber = &fiber;
  fiber.context = jump_fcontext(fiber.context, nullptr).fctx;
  g_fiber = nullptr;
  if (fiber.state == Fiber::State::done) {
    give_stack(fiber.stack);
    fiber.stack = nullptr;
    if (!error_) end_thread(fiber);
  }
  if (fiber.state == Fiber::State::polling) {
    ++looks_in_vain_;
  } else {
    note_progress();
  }
}

void Grid::suspend(Fiber::State state, const char* what, Site site) {
  Fiber& fiber = *g_fiber;
  fiber.state = state;
  fiber.what = what;
  fiber.site = site;
  if (state == Fiber::State::polling) polling_.push_back(&fiber);
  scheduler_context_ = jump_fcontext(scheduler_context_, nullptr).fctx;
}

void Grid::wake(Fiber& fiber) {
  Warp& warp = *fiber.warp;
  fiber.state = Fiber::State::ready;
  if (warp.ready == 0) ready_.push_back(&warp);
  warp.ready |= 1u << fiber.lane();
  warp.at_barrier &= ~(1u << fiber.lane());
}

bool Grid::wake_polling() {
  if (polling_.empty()) return false;
  for (Fiber* fiber : polling_) wake(*fiber);
  polling_.clear();
  return true;
}

void Grid::end_thread(Fiber& fiber) {
  Warp& warp = *fiber.warp;
  Block& block = *warp.block;
  fiber.state = Fiber::State::done;
  fiber.states.clear();
  warp.alive &= ~(1u << fiber.lane());
  if (warp.exchange.arrived) {
    error_ = native::concat(describe(fiber), " returns while lanes of its warp wait in ", warp.exchange.what,
                            " at ", warp.exchange.site.file, ":", warp.exchange.site.line);
    return;
  }
  --block.cluster->alive;
  --block.alive;
  // Threads that have returned are not waited for.
  if (block.barriers[0].arrived > 0 && block.barriers[0].arrived >= block.alive)
    complete_barrier(block.barriers[0]);
  Barrier& together = block.cluster->barrier;
  if (together.arrived > 0 && together.arrived >= block.cluster->alive) complete_barrier(together);
  if (block.alive == 0) end_block(block);
}

void Grid::end_block(Block& block) {
  const auto place = [&] { return native::concat("block (", block.x, ", ", block.y, ", ", block.z, ")"); };
  if (block.background) {
    error_ = native::concat(place(), " ends while ", block.background,
                            " background operations still use its shared memory");
    return;
  }
  for (int id = 0; id < 16; ++id) {
    if (block.barriers[id].arrived == 0) continue;
    error_ = native::concat(place(), " ends with ", block.barriers[id].arrived, " arrivals at barrier ", id);
    return;
  }
  const size_t region = shared_region_bytes(block.shared_bytes);
  for (size_t i = block.shared_bytes; i < region; ++i) {
    if (block.shared[i] == 0xFF) continue;
    error_ = native::concat(place(), " wrote beyond its ", block.shared_bytes,
                            " bytes of shared memory, at byte ", i);
    return;
  }
  block.states.clear();
  Cluster* cluster = block.cluster;
  if (cluster->alive > 0) return;
  for (size_t i = 0; i < clusters_.size(); ++i) {
    if (clusters_[i].get() != cluster) continue;
    for (Block* member : cluster->blocks) {
      give_shared(member->shared, launch_.shared_bytes);
      idle_blocks_.emplace_back(member);
    }
    std::swap(clusters_[i], clusters_.back());
    clusters_.pop_back();
    return;
  }
}

void Grid::complete_barrier(Barrier& barrier) {
  barrier.arrived = 0;
  barrier.queue.wake_all();
}

void Grid::wait_for_previous(Site site) {
  g_fiber->followed = true;
  if (previous_running_) previous_.wait("wait_for_previous_grid", site);
}

void Grid::add_background(Block* user, std::function<void()> work) {
  if (user) ++user->background;
  background_.push_back({user, std::move(work), random() % 8 == 0});
}

void Grid::run_background() {
  const size_t chosen = random() % background_.size();
  if (background_[chosen].slow && !ready_.empty()) return;
  std::swap(background_[chosen], background_.back());
  Background next = std::move(background_.back());
  background_.pop_back();
  try {
    next.work();
  } catch (const std::exception& error) {
    error_ = error.what();
  }
  if (next.user) --next.user->background;
  note_progress();
}

void Grid::fail_fiber(const std::string& text) {
  if (!g_fiber) native::fail("ERR_INTERNAL", text);
  error_ = native::concat(describe(*g_fiber), ": ", text);
  for (;;) jump_fcontext(scheduler_context_, nullptr);
}

std::string Grid::describe(const Fiber& fiber) const {
  const Block& block = *fiber.warp->block;
  return native::concat("block (", block.x, ", ", block.y, ", ", block.z, ") thread ", fiber.thread);
}

void Grid::report_deadlock() {
  using Key = std::tuple<unsigned, unsigned, unsigned, std::string>;
  std::map<Key, std::vector<int>> waits;
  for (const auto& cluster : clusters_) {
    for (const Block* block : cluster->blocks) {
      for (const Fiber& fiber : block->fibers) {
        if (fiber.state != Fiber::State::waiting && fiber.state != Fiber::State::polling) continue;
        waits[{block->x, block->y, block->z,
               native::concat(fiber.what, " at ", fiber.site.file, ":", fiber.site.line)}]
            .push_back(fiber.thread);
      }
    }
  }
  std::string text = "deadlock, every thread waits";
  if (!order_.empty())
    text += native::concat(" (", order_.size() * launch_.cluster, " blocks have not started)");
  int lines = 0;
  for (const auto& [key, threads] : waits) {
    if (++lines > 12) {
      text += "\n  ...";
      break;
    }
    text += native::concat("\n  block (", std::get<0>(key), ", ", std::get<1>(key), ", ", std::get<2>(key),
                           "): ", threads.size(), " threads (", threads.front(), " .. ", threads.back(),
                           ") in ", std::get<3>(key));
  }
  g_grid = nullptr;
  native::fail("ERR_INTERNAL", "kernel ", function_name(launch_.kernel), ": ", text);
}

}  // namespace emulation
