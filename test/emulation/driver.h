// What emulated driver functions need.
#pragma once

#include <cstddef>

namespace emulation {

// Makes a function known to cudaGetDriverEntryPointByVersion; called before main by the file that has it:
// `static const bool provided = (provide_driver_function("cuTensorMapEncodeTiled", ...), true);`
void provide_driver_function(const char* symbol, void* function);

// Whether these bytes lie in one allocation of device memory.
bool is_device_memory(const void* pointer, size_t bytes);
// The same of the host's page-locked memory.
bool is_page_locked(const void* pointer, size_t bytes);

// The pages of all device memory.
void protect_device_memory(int protection);

// access.cc: where host_is_kept_out() the host's code cannot reach these pages; threads that do the device's
// work call reach_device_memory first.
void keep_host_out(void* pages, size_t bytes);
void reach_device_memory();

}  // namespace emulation
