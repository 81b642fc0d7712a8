// Tiles of one thread's work that others may take. Cores are rarely equally fast (something else runs on one,
// or beside it in the same machine), and a thread that is through with its own work helps the others.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>

namespace native {

// One owner, any number of helpers. Each tile is computed once, and the owner's works stay in order: a work
// begins when all tiles of the one before are finished.
class SharedTiles {
 public:
  struct Claim {
    int64_t work, tile;  // work is negative while nothing is offered
  };

  // The owner offers the tiles of a work from 0 on; what they need is in memory.
  void open(int64_t work) {
    finished_.store(0, std::memory_order_relaxed);
    next_.store(work * kTiles, std::memory_order_release);
  }

  // The tile that would be claimed next, which may be beyond the last.
  Claim peek() const { return claim_of(next_.load(std::memory_order_acquire)); }

  // A tile for the caller alone. Beyond the last of its work, or of no work, there is nothing to do.
  Claim claim() { return claim_of(next_.fetch_add(1, std::memory_order_acq_rel)); }

  void finish_tile() { finished_.fetch_add(1, std::memory_order_release); }

  // The owner waits until `tiles` tiles are finished.
  void await(int64_t tiles) const {
    for (int64_t turn = 0; finished_.load(std::memory_order_acquire) < tiles; ++turn) {
      if (turn < kTurns) {
        pause();
      } else {
        std::this_thread::yield();
      }
    }
  }

  // A helper calls multiply(claim) for tiles as long as there are any, tiles_of(work) in each work. While the
  // owner prepares its next work it waits a little, not long: others may need its core.
  template <class TilesOf, class Multiply>
  void help(const TilesOf& tiles_of, const Multiply& multiply) {
    for (int64_t turn = 0; turn < kTurns; ++turn) {
      const Claim seen = peek();
      if (seen.work < 0) return;
      if (seen.tile >= tiles_of(seen.work)) {
        pause();
        continue;
      }
      const Claim own = claim();
      if (own.work < 0 || own.tile >= tiles_of(own.work)) continue;
      multiply(own);
      finish_tile();
      turn = 0;
    }
  }

  void close() { next_.store(kClosed, std::memory_order_release); }

 private:
  static constexpr int64_t kTiles = int64_t{1} << 32;  // more than a work has
  static constexpr int64_t kClosed = -kTiles;
  static constexpr int64_t kTurns = 2000;  // some 20 to 80 microseconds

  static Claim claim_of(int64_t next) { return {next >> 32, next & (kTiles - 1)}; }

  static void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
  }

  // Apart from what other threads write.
  alignas(128) std::atomic<int64_t> next_{kClosed};
  std::atomic<int64_t> finished_{0};
};

}  // namespace native
