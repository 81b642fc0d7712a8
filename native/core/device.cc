#include "core/device.h"

namespace native {
namespace {
DeviceBackend* g_backends[kDeviceTypeCount] = {};
}  // namespace

void register_backend(DeviceType device, DeviceBackend* backend) {
  g_backends[static_cast<int>(device)] = backend;
}

bool has_backend(DeviceType device) { return g_backends[static_cast<int>(device)] != nullptr; }

DeviceBackend& backend(DeviceType device) {
  DeviceBackend* found = g_backends[static_cast<int>(device)];
  CHECK(found, "ERR_DEVICE", "this build has no ", device_name(device), " backend");
  return *found;
}

}  // namespace native
