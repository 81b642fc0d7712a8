#include "core/device.h"

#include <atomic>
#include <mutex>

namespace native {
namespace {

// Filled while the library is loaded, read afterwards.
BackendProvider g_providers[kDeviceTypeCount] = {};
std::atomic<DeviceBackend*> g_open[kDeviceTypeCount] = {};
std::atomic<int> g_selected[kDeviceTypeCount] = {};
std::mutex g_opening;

}  // namespace

Error failure(const OpSite& site, const std::string& code, const std::string& reason) {
  std::string message = concat(site.name, ": ", reason);
  for (size_t i = 0; i < site.operands.size(); ++i) {
    message += (i ? ", " : " (operands ") + site.operands[i];
  }
  if (!site.operands.empty()) message += ")";
  return Error(code, message);
}

void register_backend(DeviceType device, BackendProvider provider) {
  g_providers[static_cast<int>(device)] = provider;
}

void select_device(DeviceType device, int64_t index) {
  const int i = static_cast<int>(device);
  std::lock_guard<std::mutex> lock(g_opening);
  CHECK(index >= 0 && index < 1024, "ERR_DEVICE", "there is no device ", device_name(device), ":", index);
  CHECK(!g_open[i] || g_selected[i] == index, "ERR_DEVICE", "device ", device_name(device), ":",
        g_selected[i].load(), " is in use by this process; ", device_name(device), ":", index,
        " needs a process of its own");
  g_selected[i] = static_cast<int>(index);
}

int selected_device(DeviceType device) { return g_selected[static_cast<int>(device)]; }

DeviceReport device_report(DeviceType device) {
  const BackendProvider& provider = g_providers[static_cast<int>(device)];
  if (provider.report) return provider.report();
  return {false, concat("this build has no ", device_name(device), " backend"), {}};
}

DeviceBackend& backend(DeviceType device) {
  std::atomic<DeviceBackend*>& open = g_open[static_cast<int>(device)];
  if (DeviceBackend* found = open.load(std::memory_order_acquire)) return *found;
  const DeviceReport report = device_report(device);
  CHECK(report.unavailable.empty(), "ERR_DEVICE", "device '", device_name(device),
        "' cannot be used: ", report.unavailable);
  std::lock_guard<std::mutex> lock(g_opening);
  if (!open) open.store(g_providers[static_cast<int>(device)].open(), std::memory_order_release);
  return *open;
}

void for_each_open_backend(const std::function<void(DeviceBackend&)>& visit) {
  for (const auto& open : g_open) {
    if (DeviceBackend* found = open.load(std::memory_order_acquire)) visit(*found);
  }
}

}  // namespace native
