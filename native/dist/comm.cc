#include "dist/comm.h"

#include <optional>

namespace native {

DEFINE_KERNEL(all_reduce, AllReduceArgs);
DEFINE_KERNEL(broadcast, BroadcastArgs);

namespace {

struct Group {
  std::optional<CommBackend> backend;
  int world_size = 0;  // 0: not opened
  // What collectives work on that nobody waits for yet. Their memory is not to be reused in queue order.
  std::vector<Tensor> in_flight;
};

Group& group(DeviceType device) {
  static Group groups[kDeviceTypeCount];
  return groups[static_cast<int>(device)];
}

const CommBackend& backend_of(DeviceType device) {
  const Group& own = group(device);
  CHECK(own.backend, "ERR_DISTRIBUTED", "this build has no collectives for ", device_name(device),
        device == DeviceType::cpu
            ? ": install Gloo (Debian: libgloo-dev), remove the compute addon, build again"
            : "");
  return *own.backend;
}

template <class Args>
void launch_on_all(const Kernel<Args>& kernel, Args args, const std::vector<Tensor>& list) {
  if (list.empty()) return;
  const DeviceType device = list[0].device();
  backend_of(device);
  CHECK(group(device).world_size > 0, "ERR_DISTRIBUTED", kernel.name, ": this process has joined no job");
  OpSite site{kernel.name, {}};
  for (const Tensor& x : list) {
    CHECK(x.device() == device, "ERR_DEVICE", kernel.name, ": tensors are on ", device_name(device), " and ",
          device_name(x.device()));
    if (x.numel() > 0) args.list.push_back({x.raw(), x.numel(), x.dtype()});
  }
  site.operands = {concat(list.size(), " tensors")};
  const auto function = kernel.functions[static_cast<int>(device)];
  Group& own = group(device);
  own.in_flight.insert(own.in_flight.end(), list.begin(), list.end());
  own.backend->start(std::move(site), [function, args = std::move(args)] { function(args); });
}

}  // namespace

void register_comm(DeviceType device, CommBackend backend) { group(device).backend = backend; }

std::string comm_library(DeviceType device) { return backend_of(device).library(); }

std::vector<std::string> comm_open(DeviceType device, int64_t rank, int64_t world_size,
                                   const std::string& host, double timeout_seconds) {
  const CommBackend& own = backend_of(device);
  CHECK(world_size >= 1 && world_size <= 65536 && rank >= 0 && rank < world_size, "ERR_ARGUMENT", "rank ",
        rank, " of ", world_size, " processes does not exist");
  CHECK(timeout_seconds > 0, "ERR_ARGUMENT", "timeout_seconds must be positive, got ", timeout_seconds);
  CHECK(group(device).world_size == 0, "ERR_DISTRIBUTED", "this process has joined a job already");
  auto addresses = own.open(static_cast<int>(rank), static_cast<int>(world_size), host, timeout_seconds);
  group(device).world_size = static_cast<int>(world_size);
  return addresses;
}

void comm_connect(DeviceType device, const std::vector<std::string>& addresses) {
  const CommBackend& own = backend_of(device);
  CHECK(group(device).world_size > 0, "ERR_DISTRIBUTED", "comm_connect: this process has joined no job");
  CHECK(static_cast<int64_t>(addresses.size()) == group(device).world_size, "ERR_ARGUMENT", addresses.size(),
        " addresses for ", group(device).world_size, " ranks");
  backend(device).submit({"comm_connect", {}}, [own, addresses] { own.connect(addresses); });
}

bool comm_ready(DeviceType device) { return backend_of(device).ready(); }

void comm_abort(DeviceType device, const std::string& reason) { backend_of(device).abort(reason); }

void comm_wait(DeviceType device) {
  if (backend_of(device).wait()) group(device).in_flight.clear();
}

void comm_close(DeviceType device) {
  Group& own = group(device);
  if (own.world_size == 0) return;
  own.world_size = 0;
  if (backend_of(device).close()) own.in_flight.clear();
}

void all_reduce(const std::vector<Tensor>& list, double scale) {
  for (const Tensor& x : list) {
    CHECK(x.dtype() == DType::float32, "ERR_DTYPE", "all_reduce takes float32, got ", x.describe());
  }
  launch_on_all(all_reduce_kernel, AllReduceArgs{{}, static_cast<float>(scale)}, list);
}

void broadcast(const std::vector<Tensor>& list, int64_t root) {
  if (list.empty()) return;
  const int world_size = group(list[0].device()).world_size;
  CHECK(world_size == 0 || (root >= 0 && root < world_size), "ERR_ARGUMENT", "broadcast: root ", root,
        " is none of ", world_size, " ranks");
  launch_on_all(broadcast_kernel, BroadcastArgs{{}, static_cast<int>(root)}, list);
}

}  // namespace native
