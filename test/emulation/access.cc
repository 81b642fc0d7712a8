// Who may touch the memory of the device: kernels and copies. Code of the host would crash where there is a
// card, and so it does here, by a protection key of the processor, if that has any: pages of this key are
// open to threads that say so, and closed to all others.
#include <sys/mman.h>

#include "driver.h"
#include "emulation.h"
#include "grid.h"

namespace emulation {
namespace {

#ifdef PKEY_DISABLE_ACCESS
int key() {
  static const int allocated = pkey_alloc(0, PKEY_DISABLE_ACCESS);
  return allocated;
}
#else
int key() { return -1; }
int pkey_set(int, unsigned) { return -1; }
int pkey_mprotect(void*, size_t, int, int) { return -1; }
constexpr unsigned PKEY_DISABLE_ACCESS = 1;
#endif

}  // namespace

bool host_is_kept_out() { return key() >= 0; }

void keep_host_out(void* pages, size_t bytes) {
  if (host_is_kept_out()) pkey_mprotect(pages, bytes, PROT_READ | PROT_WRITE, key());
}

void reach_device_memory() {
  if (host_is_kept_out()) pkey_set(key(), 0);
}

NoDeviceMemory::NoDeviceMemory() {
  host_is_kept_out() ? void(pkey_set(key(), PKEY_DISABLE_ACCESS)) : protect_device_memory(PROT_NONE);
}
NoDeviceMemory::~NoDeviceMemory() {
  host_is_kept_out() ? reach_device_memory() : protect_device_memory(PROT_READ | PROT_WRITE);
}

}  // namespace emulation
