#include <dlfcn.h>

#include "core/error.h"
#include "runtime/nccl.h"

namespace native::cuda::nccl {
namespace {

constexpr int kOldest = 21100;  // 2.11 brought RedOpCreatePreMulSum

Library load() {
  // Never closed: its threads live as long as the process.
  void* handle = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
  if (!handle) {
    fail("ERR_DISTRIBUTED", "training on CUDA in several processes needs NCCL, which was not found (",
         dlerror(),
         "): install it (Debian package libnccl2 of NVIDIA's repository), or add its folder to "
         "LD_LIBRARY_PATH");
  }
  Library own;
  const auto find = [&](auto& function, const char* name) {
    function = reinterpret_cast<std::decay_t<decltype(function)>>(dlsym(handle, name));
    CHECK(function, "ERR_DISTRIBUTED", "libnccl.so.2 has no ", name, ": NCCL 2.11 or later is needed");
  };
  find(own.GetVersion, "ncclGetVersion");
  find(own.GetErrorString, "ncclGetErrorString");
  find(own.GetUniqueId, "ncclGetUniqueId");
  find(own.CommInitRank, "ncclCommInitRank");
  find(own.CommAbort, "ncclCommAbort");
  find(own.CommDestroy, "ncclCommDestroy");
  find(own.CommGetAsyncError, "ncclCommGetAsyncError");
  find(own.RedOpCreatePreMulSum, "ncclRedOpCreatePreMulSum");
  find(own.RedOpDestroy, "ncclRedOpDestroy");
  find(own.GroupStart, "ncclGroupStart");
  find(own.GroupEnd, "ncclGroupEnd");
  find(own.AllReduce, "ncclAllReduce");
  find(own.Broadcast, "ncclBroadcast");
  int version = 0;
  CHECK(own.GetVersion(&version) == kSuccess && version >= kOldest, "ERR_DISTRIBUTED",
        "libnccl.so.2 is version ", version, "; ", kOldest, " (2.11) or later is needed");
  return own;
}

}  // namespace

const Library& library() {
  static const Library own = load();
  return own;
}

void check(Result result, const char* what) {
  CHECK(result == kSuccess, "ERR_DISTRIBUTED", what, ": ", library().GetErrorString(result), " (NCCL error ",
        static_cast<int>(result), ")");
}

}  // namespace native::cuda::nccl
