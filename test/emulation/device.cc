// The functions of cuda_runtime.h on the device: errors, facts, memory, the driver's functions.
#include <sys/mman.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>

#include "device_facts.h"
#include "driver.h"
#include "streams.h"

namespace {

constexpr size_t kPage = 4096;
thread_local cudaError_t g_last = cudaSuccess;
thread_local std::string g_text;  // of the last launch failure this thread was told
thread_local int g_device = 0;    // that this thread works with; a thread that chose none has the first
thread_local bool g_other_context = false;  // of the device, which is not the one that the runtime works with
thread_local bool g_host_function = false;  // this is one, which the device runs in a stream

std::mutex g_mutex;
auto& g_allocations = *new std::map<uintptr_t, size_t>;  // device memory; never destroyed
std::map<std::string, void*>& driver_functions() {
  static auto* functions = new std::map<std::string, void*>;
  return *functions;
}
size_t memory_limit() {
  const char* text = std::getenv("EMULATION_MEMORY");
  return text ? std::strtoull(text, nullptr, 10) : size_t{4} << 30;
}
size_t g_limit = memory_limit(), g_used = 0;
auto& g_pinned = *new std::map<uintptr_t, size_t>;
size_t g_pinned_limit = SIZE_MAX;
std::atomic<bool> g_lost{false};

// The same device so many times, with one memory: which one a stream, an event or a launch belongs to is what
// is told apart.
int device_count() {
  static const int count = [] {
    const char* text = std::getenv("EMULATION_DEVICES");
    return text ? std::atoi(text) : 1;
  }();
  return count;
}

// Whole pages, the last byte in front of a page that cannot be touched.
size_t pages(size_t bytes) { return (bytes + kPage - 1) / kPage * kPage; }

// [guard page][size][guard page], in huge pages where it is large: to close and open memory takes time for
// each page. Returns the address behind the first guard page, or null.
unsigned char* map_guarded(size_t size) {
  constexpr size_t kHuge = 2 << 20;
  const size_t more = size < kHuge ? 0 : kHuge;  // to begin at a huge page
  void* region =
      mmap(nullptr, size + 2 * kPage + more, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (region == MAP_FAILED) return nullptr;
  auto* data = static_cast<unsigned char*>(region) + kPage;
  if (more) {
    const size_t in_front = (kHuge - reinterpret_cast<uintptr_t>(data) % kHuge) % kHuge;
    if (in_front) munmap(data - kPage, in_front);
    data += in_front;
    if (in_front < more) munmap(data + size + kPage, more - in_front);
    madvise(data, size, MADV_HUGEPAGE);
  }
  mprotect(data, size, PROT_READ | PROT_WRITE);
  return data;
}

}  // namespace

namespace emulation {

int current_device() { return g_other_context ? -1 : g_device; }

void enter_other_context() { g_other_context = true; }

const Capability& capability() {
  static const Capability chosen = [] {
    constexpr size_t kKiB = 1024;
    constexpr Capability kKnown[] = {{90, 2048, 32, 228 * kKiB, 227 * kKiB},
                                     {89, 1536, 24, 100 * kKiB, 99 * kKiB},
                                     {86, 1536, 16, 100 * kKiB, 99 * kKiB},
                                     {80, 2048, 32, 164 * kKiB, 163 * kKiB}};
    const char* text = std::getenv("EMULATION_CAPABILITY");
    for (const Capability& known : kKnown) {
      if (!text || std::atoi(text) == known.number) return known;
    }
    std::fprintf(stderr, "EMULATION_CAPABILITY=%s: it is 80, 86, 89 or 90\n", text);
    std::abort();
  }();
  return chosen;
}

cudaError_t remember(cudaError_t error) {
  if (error != cudaSuccess) g_last = error;
  return error;
}

cudaError_t tell(const std::shared_ptr<Failure>& failure) {
  if (!failure || failure->told.exchange(true)) return cudaSuccess;
  g_text = failure->text;
  return remember(cudaErrorLaunchFailure);
}

void lose_device(bool lost) { g_lost = lost; }

cudaError_t lost() {
  if (g_host_function) return remember(cudaErrorNotPermitted);
  return g_lost ? remember(cudaErrorIllegalAddress) : cudaSuccess;
}

void run_host_function(cudaHostFn_t function, void* data) {
  g_host_function = true;
  function(data);
  g_host_function = false;
}

void set_pinned_limit(size_t bytes) {
  std::lock_guard<std::mutex> lock(g_mutex);
  g_pinned_limit = bytes;
}

size_t pinned_in_use() {
  std::lock_guard<std::mutex> lock(g_mutex);
  size_t used = 0;
  for (const auto& block : g_pinned) used += block.second;
  return used;
}

void set_memory_limit(size_t bytes) {
  std::lock_guard<std::mutex> lock(g_mutex);
  g_limit = bytes;
}

size_t memory_in_use() {
  std::lock_guard<std::mutex> lock(g_mutex);
  return g_used;
}

namespace {

bool within(const std::map<uintptr_t, size_t>& blocks, const void* pointer, size_t bytes) {
  std::lock_guard<std::mutex> lock(g_mutex);
  const auto address = reinterpret_cast<uintptr_t>(pointer);
  auto after = blocks.upper_bound(address);
  if (after == blocks.begin()) return false;
  --after;
  return address + bytes <= after->first + after->second;
}

}  // namespace

bool is_device_memory(const void* pointer, size_t bytes) { return within(g_allocations, pointer, bytes); }
bool is_page_locked(const void* pointer, size_t bytes) { return within(g_pinned, pointer, bytes); }

// The end of a tensor is no stranger.
const void* foreign_pointer(const void* argument) {
  return !argument || is_device_memory(argument, 0) || is_page_locked(argument, 0) ? nullptr : argument;
}

// Blocks that are allocated meanwhile stay as they are.
void protect_device_memory(int protection) {
  std::lock_guard<std::mutex> lock(g_mutex);
  for (const auto& [address, bytes] : g_allocations) {
    const uintptr_t first = address / kPage * kPage;
    mprotect(reinterpret_cast<void*>(first), address + bytes - first, protection);
  }
}

void provide_driver_function(const char* symbol, void* function) { driver_functions()[symbol] = function; }

}  // namespace emulation

using namespace emulation;

const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorInvalidValue:
      return "invalid argument";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorInvalidDevice:
      return "invalid device ordinal";
    case cudaErrorInvalidConfiguration:
      return "invalid configuration argument";
    case cudaErrorInvalidResourceHandle:
      return "invalid resource handle";
    case cudaErrorNotReady:
      return "device not ready";
    case cudaErrorCooperativeLaunchTooLarge:
      return "too many blocks in cooperative launch";
    case cudaErrorStreamCaptureUnsupported:
      return "operation not permitted when stream is capturing";
    case cudaErrorStreamCaptureInvalidated:
      return "operation failed due to a previous error during capture";
    case cudaErrorStreamCaptureIsolation:
      return "dependency created on uncaptured work in another stream";
    case cudaErrorStreamCaptureUnjoined:
      return "capturing stream has unjoined work";
    case cudaErrorStreamCaptureImplicit:
      return "operation would make the legacy stream depend on a capturing blocking stream";
    case cudaErrorCapturedEvent:
      return "operation not permitted on an event last recorded in a capturing stream";
    case cudaErrorLaunchOutOfResources:
      return "too many resources requested for launch";
    case cudaErrorNotPermitted:
      return "operation not permitted";
    case cudaErrorLaunchFailure:
      return g_text.c_str();
    default:
      return "unknown error";
  }
}

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "cudaSuccess";
    case cudaErrorMemoryAllocation:
      return "cudaErrorMemoryAllocation";
    case cudaErrorInvalidConfiguration:
      return "cudaErrorInvalidConfiguration";
    case cudaErrorLaunchFailure:
      return "cudaErrorLaunchFailure";
    case cudaErrorIllegalAddress:
      return "cudaErrorIllegalAddress";
    default:
      return "cudaError";
  }
}

cudaError_t cudaPeekAtLastError() { return g_last; }

cudaError_t cudaGetLastError() { return std::exchange(g_last, cudaSuccess); }

cudaError_t cudaDriverGetVersion(int* version) {
  const char* text = std::getenv("EMULATION_DRIVER");
  *version = text ? std::atoi(text) : 13000;
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int* count) {
  // As on a machine, the variable can hide the devices.
  const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
  *count = visible && std::strcmp(visible, "0") != 0 ? 0 : device_count();
  return *count ? cudaSuccess : remember(cudaErrorNoDevice);
}

cudaError_t cudaGetDevice(int* device) {
  *device = g_device;
  return lost();
}

cudaError_t cudaSetDevice(int device) {
  if (const cudaError_t status = lost()) return status;
  if (device < 0 || device >= device_count()) return remember(cudaErrorInvalidDevice);
  g_device = device;
  g_other_context = false;
  return cudaSuccess;
}
cudaError_t cudaSetDeviceFlags(unsigned) { return cudaSuccess; }
cudaError_t cudaInitDevice(int device, unsigned, unsigned) { return cudaSetDevice(device); }

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (device < 0 || device >= device_count()) return remember(cudaErrorInvalidDevice);
  *properties = {};
  std::strncpy(properties->name, kDeviceName, sizeof properties->name - 1);
  {
    std::lock_guard<std::mutex> lock(g_mutex);
    properties->totalGlobalMem = g_limit;
  }
  properties->sharedMemPerBlock = kSharedDefaultLimit;
  properties->sharedMemPerBlockOptin = capability().per_block;
  properties->sharedMemPerMultiprocessor = capability().shared;
  properties->major = capability().number / 10;
  properties->minor = capability().number % 10;
  properties->multiProcessorCount = kMultiprocessors;
  properties->maxThreadsPerBlock = kThreadsPerBlock;
  properties->maxThreadsPerMultiProcessor = capability().threads;
  properties->warpSize = 32;
  properties->l2CacheSize = kCacheBytes;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  if (device < 0 || device >= device_count()) return remember(cudaErrorInvalidDevice);
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock:
      *value = kThreadsPerBlock;
      return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlock:
      *value = static_cast<int>(kSharedDefaultLimit);
      return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = static_cast<int>(capability().per_block);
      return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
      *value = static_cast<int>(capability().shared);
      return cudaSuccess;
    case cudaDevAttrReservedSharedMemoryPerBlock:
      *value = static_cast<int>(kSharedReserved);
      return cudaSuccess;
    case cudaDevAttrMpsEnabled:
      *value = std::getenv("EMULATION_MPS") != nullptr;
      return cudaSuccess;
    case cudaDevAttrMultiProcessorCount:
      *value = kMultiprocessors;
      return cudaSuccess;
    case cudaDevAttrMaxThreadsPerMultiProcessor:
      *value = capability().threads;
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMajor:
      *value = capability().number / 10;
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMinor:
      *value = capability().number % 10;
      return cudaSuccess;
    case cudaDevAttrWarpSize:
      *value = 32;
      return cudaSuccess;
    case cudaDevAttrL2CacheSize:
      *value = kCacheBytes;
      return cudaSuccess;
    case cudaDevAttrCooperativeLaunch:
      *value = 1;
      return cudaSuccess;
    default:
      return remember(cudaErrorInvalidValue);
  }
}

cudaError_t cudaMalloc(void** pointer, size_t bytes) {
  *pointer = nullptr;
  if (const cudaError_t status = lost()) return status;
  if (const cudaError_t status = unsafe_call()) return status;
  if (bytes == 0) return cudaSuccess;
  std::lock_guard<std::mutex> lock(g_mutex);
  if (bytes > g_limit || g_used > g_limit - bytes) return remember(cudaErrorMemoryAllocation);
  const size_t size = pages(bytes);
  unsigned char* data = map_guarded(size);
  if (!data) return remember(cudaErrorMemoryAllocation);
  std::memset(data, 0xFF, size);
  keep_host_out(data, size);
  // The end lies at the guard page as far as an alignment of 512 bytes allows.
  data += (size - bytes) / 512 * 512;
  g_allocations[reinterpret_cast<uintptr_t>(data)] = bytes;
  g_used += bytes;
  *pointer = data;
  return cudaSuccess;
}

cudaError_t cudaFree(void* pointer) {
  if (!pointer) return cudaSuccess;
  if (const cudaError_t status = unsafe_call()) return status;
  wait_for_streams();  // like the device
  std::lock_guard<std::mutex> lock(g_mutex);
  const auto found = g_allocations.find(reinterpret_cast<uintptr_t>(pointer));
  if (found == g_allocations.end()) return remember(cudaErrorInvalidValue);
  const size_t bytes = found->second, size = pages(bytes);
  g_used -= bytes;
  g_allocations.erase(found);
  munmap(static_cast<unsigned char*>(pointer) - (size - bytes) / 512 * 512 - kPage, size + 2 * kPage);
  return cudaSuccess;
}

// Nothing is promised of what it holds.
cudaError_t cudaMallocHost(void** pointer, size_t bytes) {
  *pointer = nullptr;
  if (const cudaError_t status = lost()) return status;
  if (const cudaError_t status = unsafe_call()) return status;
  const size_t used = pinned_in_use();
  std::lock_guard<std::mutex> lock(g_mutex);
  if (bytes > g_pinned_limit || used > g_pinned_limit - bytes) return remember(cudaErrorMemoryAllocation);
  *pointer = std::malloc(bytes ? bytes : 1);
  if (!*pointer) return remember(cudaErrorMemoryAllocation);
  std::memset(*pointer, 0xFF, bytes);
  g_pinned[reinterpret_cast<uintptr_t>(*pointer)] = bytes;
  return cudaSuccess;
}

cudaError_t cudaHostAlloc(void** pointer, size_t bytes, unsigned) { return cudaMallocHost(pointer, bytes); }

cudaError_t cudaFreeHost(void* pointer) {
  if (!pointer) return cudaSuccess;
  if (const cudaError_t status = unsafe_call()) return status;
  {
    std::lock_guard<std::mutex> lock(g_mutex);
    if (!g_pinned.erase(reinterpret_cast<uintptr_t>(pointer))) return remember(cudaErrorInvalidValue);
  }
  std::free(pointer);
  return cudaSuccess;
}

cudaError_t cudaHostGetDevicePointer(void** device, void* host, unsigned) {
  *device = host;
  return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  std::lock_guard<std::mutex> lock(g_mutex);
  *total = g_limit;
  *free = g_limit - g_used;
  return cudaSuccess;
}

cudaError_t cudaGetDriverEntryPointByVersion(const char* symbol, void** function, unsigned,
                                             unsigned long long, cudaDriverEntryPointQueryResult* status) {
  const auto found = driver_functions().find(symbol);
  *function = found == driver_functions().end() ? nullptr : found->second;
  if (status) *status = *function ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
  return cudaSuccess;
}
