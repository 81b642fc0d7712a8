// What scheduler.h offers to the primitives, on top of the grid that runs.
#include "device_facts.h"
#include "grid.h"

namespace emulation {

Fiber& current() { return *running_fiber(); }

void fail_text(const std::string& text) { running_grid()->fail_fiber(text); }

bool skipped(const char* what, Site site) { return site_is_skipped(what, site); }

void WaitQueue::wait(const char* what, Site site) {
  waiting_.push_back(running_fiber());
  running_grid()->suspend(Fiber::State::waiting, what, site);
}

void WaitQueue::wake_all() {
  for (Fiber* fiber : waiting_) running_grid()->wake(*fiber);
  waiting_.clear();
}

void poll(const char* what, Site site) { running_grid()->suspend(Fiber::State::polling, what, site); }

void note_progress() { running_grid()->note_progress(); }

void wait_for_previous_grid(Site site) { running_grid()->wait_for_previous(site); }

void check_previous_grid(const char* what) {
  if (running_grid()->previous_running()) fail(what, " before wait_for_previous_grid");
}

void background(Block* user, std::function<void()> work) {
  running_grid()->add_background(user, std::move(work));
}

void arrive(Barrier& barrier, int expected, const char* what, Site site) {
  Warp& warp = current_warp();
  if (warp.at_barrier && !same_site(warp.barrier_site, site)) {
    fail(what, " at ", site.file, ":", site.line, " while other lanes of the warp wait at a barrier at ",
         warp.barrier_site.file, ":", warp.barrier_site.line);
  }
  if (++barrier.arrived >= expected) running_grid()->complete_barrier(barrier);
}

void meet(Barrier& barrier, int expected, const char* what, Site site) {
  arrive(barrier, expected, what, site);
  if (barrier.arrived == 0) return;  // the last one
  Warp& warp = current_warp();
  warp.at_barrier |= 1u << current().lane();
  warp.barrier_site = site;
  barrier.queue.wait(what, site);
}

uint32_t random_word() { return static_cast<uint32_t>(running_grid()->random()); }

uint32_t shared_offset(const void* pointer, size_t bytes, size_t alignment, const char* what) {
  const Block& block = current_block();
  const auto* byte = static_cast<const unsigned char*>(pointer);
  const ptrdiff_t offset = byte - block.shared;
  if (offset < 0 || static_cast<size_t>(offset) + bytes > block.shared_bytes) {
    fail(what, ": bytes ", offset, " .. ", offset + static_cast<ptrdiff_t>(bytes), " are outside the ",
         block.shared_bytes, " bytes of shared memory");
  }
  if (static_cast<size_t>(offset) % alignment) {
    fail(what, ": offset ", offset, " in shared memory is not a multiple of ", alignment);
  }
  return static_cast<uint32_t>(offset);
}

void count_bank_conflicts(uint64_t extra_passes) { g_statistics.bank_conflicts += extra_passes; }

namespace detail {

bool join_exchange(Exchange& exchange, void* operand, int slot, int count, const char* what, Site site) {
  Fiber& fiber = current();
  const Block& block = current_block();
  const int first = fiber.thread - slot;
  if (exchange.arrived == 0) {
    exchange.what = what;
    exchange.site = site;
    if (first + count > block.threads) fail(what, " needs ", count, " threads from thread ", first, " on");
    for (int w = first / 32; w < (first + count) / 32; ++w) {
      if (block.warps[w].alive != 0xFFFFFFFFu) {
        fail(what, " at ", site.file, ":", site.line, " in warp ", w, " some lanes of which have returned");
      }
    }
  } else if (exchange.what != what && std::strcmp(exchange.what, what) != 0) {
    fail(what, " at ", site.file, ":", site.line, " while other lanes are in ", exchange.what, " at ",
         exchange.site.file, ":", exchange.site.line);
  } else if (!same_site(exchange.site, site)) {
    fail(what, " at ", site.file, ":", site.line, " while other lanes are in the one at ", exchange.site.file,
         ":", exchange.site.line);
  }
  exchange.operands[slot] = operand;
  if (++exchange.arrived == static_cast<uint64_t>(count)) return true;
  running_grid()->suspend(Fiber::State::waiting, what, site);
  return false;
}

void finish_exchange(Exchange& exchange, int first_thread, int count) {
  exchange.arrived = 0;
  Block& block = current_block();
  Fiber* self = running_fiber();
  for (int t = first_thread; t < first_thread + count; ++t) {
    if (&block.fibers[t] != self) running_grid()->wake(block.fibers[t]);
  }
}

}  // namespace detail
}  // namespace emulation
