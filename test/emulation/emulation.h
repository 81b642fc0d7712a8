// What tests may ask of the emulated device: the order of fibers, which barriers to leave out, what happened.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace emulation {

// Warps, lanes and blocks run in an order drawn from this seed and the number of the launch since then. The
// environment variable EMULATION_SEED gives the first one (default 1).
void set_seed(uint64_t seed);

// A call of a barrier, fence or wait in a kernel.
struct SiteRecord {
  std::string file;
  int line = 0;
  std::string what;    // "block_barrier"
  uint64_t calls = 0;  // by single threads, since forget_sites()
};
std::vector<SiteRecord> sites();
void forget_sites();
// Calls at this place return at once, as if the line were missing. `file` as in SiteRecord.
void skip(const std::string& file, int line);
void skip_nothing();

// Mistakes of a launch, planted in every one until taken back: what a bound that is off by one does.
enum class Plant { nothing, last_block_missing, last_thread_missing };
void plant(Plant mistake);

struct Statistics {
  uint64_t launches = 0, threads = 0;
  uint64_t early = 0;     // launches that might start before the grid in front of them ended
  uint64_t switches = 0;  // of fibers
  // Extra passes over shared memory that ldmatrix and stmatrix needed because rows of a matrix met in a bank.
  uint64_t bank_conflicts = 0;
  uint64_t queries = 0;  // calls of the runtime that ask or set something about a kernel
};
Statistics statistics();
void reset_statistics();

// How many multiprocessors others leave to each grid, though the runtime counts on all of them; 0: all. The
// environment variable EMULATION_MPS gives the number at the start, and makes the device one that is shared.
void leave_multiprocessors(int count);

// While lost, the device answers as after an access outside its memory: nothing runs, everything fails.
void lose_device(bool lost);

// What cuCtxCreate of other code does: the calling thread works with a context of its device in which handles
// of the runtime's are invalid, until it chooses a device.
void enter_other_context();

// Bytes of device memory and in use now. The environment variable EMULATION_MEMORY gives the bytes at the
// start (default 4 GiB).
void set_memory_limit(size_t bytes);
size_t memory_in_use();
// Bytes of page-locked memory of the host (default unlimited).
void set_pinned_limit(size_t bytes);
size_t pinned_in_use();

// Whether code of the host that touches device memory crashes: not on processors without protection keys.
bool host_is_kept_out();

}  // namespace emulation
