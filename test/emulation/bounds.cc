// How many threads a block of a kernel may have: __launch_bounds__ puts as many single-byte no-operations in
// front of the function as that is warps (vector_types.h), and the compiler lists where they begin.
#include <cstdint>
#include <map>
#include <mutex>

#include "device_facts.h"
#include "grid.h"

extern "C" __attribute__((visibility("hidden"), weak)) const uintptr_t __start___patchable_function_entries[];
extern "C" __attribute__((visibility("hidden"), weak)) const uintptr_t __stop___patchable_function_entries[];

namespace emulation {
namespace {

constexpr unsigned char kNoOperation = 0x90;

int look_up(const void* kernel) {
  const auto entry = reinterpret_cast<uintptr_t>(kernel);
  for (const uintptr_t* first = __start___patchable_function_entries;
       first < __stop___patchable_function_entries; ++first) {
    if (*first >= entry || entry - *first > static_cast<uintptr_t>(kThreadsPerBlock / 32)) continue;
    const auto* byte = reinterpret_cast<const unsigned char*>(*first);
    while (byte != kernel && *byte == kNoOperation) ++byte;
    if (byte == kernel) return static_cast<int>(entry - *first) * 32;
  }
  return kThreadsPerBlock;
}

}  // namespace

int launch_bound(const void* kernel) {
  static std::mutex mutex;
  static auto& bounds = *new std::map<const void*, int>;
  std::lock_guard<std::mutex> lock(mutex);
  const auto [found, fresh] = bounds.try_emplace(kernel);
  if (fresh) found->second = look_up(kernel);
  return found->second;
}

}  // namespace emulation
