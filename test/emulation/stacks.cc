// Memory of fibers and blocks: pooled, between guard pages, so that what leaves it ends in a fault.
#include <sys/mman.h>

#include <map>

#include "grid.h"

namespace emulation {
namespace {

constexpr size_t kPage = 4096;

// [guard page][bytes][guard page]; returns the address of the bytes.
unsigned char* map_guarded(size_t bytes) {
  void* region =
      mmap(nullptr, bytes + 2 * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  CHECK(region != MAP_FAILED, "ERR_OUT_OF_MEMORY", "no address space for the emulated device");
  auto* start = static_cast<unsigned char*>(region) + kPage;
  mprotect(start, bytes, PROT_READ | PROT_WRITE);
  return start;
}

// Never destroyed, like everything here that grids use: they may still run when the process ends.
auto& g_stacks = *new std::vector<unsigned char*>;
auto& g_shared = *new std::map<size_t, std::vector<unsigned char*>>;

unsigned char* take(std::vector<unsigned char*>& pool, size_t bytes) {
  if (pool.empty()) return map_guarded(bytes);
  unsigned char* taken = pool.back();
  pool.pop_back();
  return taken;
}

}  // namespace

unsigned char* take_stack() { return take(g_stacks, kStackBytes); }
void give_stack(unsigned char* stack) { g_stacks.push_back(stack); }

size_t shared_region_bytes(size_t bytes) { return (bytes + kPage - 1) / kPage * kPage; }

unsigned char* take_shared(size_t bytes) {
  const size_t region = shared_region_bytes(bytes);
  if (region == 0) return nullptr;
  unsigned char* shared = take(g_shared[region], region);
  std::memset(shared, 0xFF, region);
  return shared;
}

void give_shared(unsigned char* shared, size_t bytes) {
  if (shared) g_shared[shared_region_bytes(bytes)].push_back(shared);
}

}  // namespace emulation
