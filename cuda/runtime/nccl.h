// What we use of NCCL's public interface, declared here so that building needs none of it. Found with dlopen.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>

namespace native::cuda::nccl {

struct UniqueId {
  char bytes[128];
};
using Comm = struct ncclComm*;
enum Result : int { kSuccess = 0, kInProgress = 7 };
enum DataType : int { kUint8 = 1, kFloat32 = 7 };
enum RedOp : int { kSum = 0 };       // a value of RedOpCreatePreMulSum is another one
enum Residence : int { kHost = 1 };  // where a factor lies: with the host, read during the call

struct Library {
  Result (*GetVersion)(int* version);
  const char* (*GetErrorString)(Result result);
  Result (*GetUniqueId)(UniqueId* id);
  Result (*CommInitRank)(Comm* comm, int ranks, UniqueId id, int rank);
  Result (*CommAbort)(Comm comm);
  Result (*CommDestroy)(Comm comm);
  Result (*CommGetAsyncError)(Comm comm, Result* error);
  Result (*RedOpCreatePreMulSum)(RedOp* op, void* factor, DataType type, Residence residence, Comm comm);
  Result (*RedOpDestroy)(RedOp op, Comm comm);
  Result (*GroupStart)();
  Result (*GroupEnd)();
  Result (*AllReduce)(const void* from, void* to, size_t count, DataType type, RedOp op, Comm comm,
                      cudaStream_t stream);
  Result (*Broadcast)(const void* from, void* to, size_t count, DataType type, int root, Comm comm,
                      cudaStream_t stream);
};

// Loads libnccl.so.2 on first use. Throws ERR_DISTRIBUTED when there is none, or one that is too old.
const Library& library();
// Throws ERR_DISTRIBUTED unless the call succeeded.
void check(Result result, const char* what);

}  // namespace native::cuda::nccl
