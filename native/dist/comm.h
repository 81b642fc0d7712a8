// Collectives: what the processes of a job do together with their tensors. Every process queues the same
// calls with the same sizes in the same order. A backend fills the slots of its device from its own file.
//
// They run beside the device's queue, one after another: a collective begins when all that was queued before
// it has run, and what is queued after comm_wait begins when it has ended. In between the device goes on.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/kernel.h"
#include "core/tensor.h"

namespace native {

struct CommSpan {
  void* data;
  int64_t count;
  DType dtype;
};

// list[i] becomes scale times its sum over all ranks, to the same bits on each.
struct AllReduceArgs {
  std::vector<CommSpan> list;  // float32
  float scale;
};
DECLARE_KERNEL(all_reduce, AllReduceArgs);

// list[i] becomes that of rank `root`.
struct BroadcastArgs {
  std::vector<CommSpan> list;  // any dtype
  int root;
};
DECLARE_KERNEL(broadcast, BroadcastArgs);

// How a backend reaches the other ranks. The two steps have an exchange between them that is the caller's.
struct CommBackend {
  // The name of the library that carries collectives out. Throws ERR_DISTRIBUTED when it is not to be had.
  std::string (*library)();
  // What each rank has to know of this one: open()[i] is meant for rank i.
  std::vector<std::string> (*open)(int rank, int world_size, const std::string& host, double timeout_seconds);
  // addresses[i] is what rank i means for this one. Waits for the others; throws ERR_DISTRIBUTED.
  // May leave the waiting to a thread.
  void (*connect)(const std::vector<std::string>& addresses);
  // Whether the others have come. Throws ERR_DISTRIBUTED.
  bool (*ready)();
  // Runs a collective once everything queued on the device so far and every earlier collective has run.
  void (*start)(OpSite site, std::function<void()> work);
  // What is queued on the device from here on runs once every collective so far has; the first failure of one
  // becomes its own. False where the waiting could not be queued: why is for the next fence to tell.
  bool (*wait)();
  // Another rank has left: collectives that wait for it end, with `reason`.
  void (*abort)(const std::string& reason);
  // Leaves the others. Whether all collectives have ended: what one uses that does not end, within seconds,
  // is never to be used for anything else.
  bool (*close)();
};
void register_comm(DeviceType device, CommBackend backend);

// What carries out collectives on the device, such as "NCCL 2.20.5". Throws ERR_DISTRIBUTED saying what is
// missing.
std::string comm_library(DeviceType device);

// Makes this process rank `rank` of `world_size`, reached at `host`, an address of this machine. Returns one
// string of hexadecimal digits for each rank. Waiting for another rank takes at most timeout_seconds. Throws
// ERR_DISTRIBUTED.
std::vector<std::string> comm_open(DeviceType device, int64_t rank, int64_t world_size,
                                   const std::string& host, double timeout_seconds);
// Queues the connecting, which has ended once the queue is empty and comm_ready says so.
void comm_connect(DeviceType device, const std::vector<std::string>& addresses);
bool comm_ready(DeviceType device);
// Ends collectives that wait for a rank which has left.
void comm_abort(DeviceType device, const std::string& reason);
// Ends it, once nothing is queued any more; idempotent.
void comm_close(DeviceType device);

// In place; see AllReduceArgs and BroadcastArgs. All on one device. Nothing else may use the tensors until
// comm_wait; their memory is held until then.
void all_reduce(const std::vector<Tensor>& list, double scale);
void broadcast(const std::vector<Tensor>& list, int64_t root);
// Queues the waiting for all collectives so far. A failure of one, or of the queueing, is delivered by the
// next fence.
void comm_wait(DeviceType device);

}  // namespace native
