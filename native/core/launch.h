// How an op's dispatcher starts a kernel.
#pragma once

#include <initializer_list>
#include <utility>

#include "core/device.h"
#include "core/kernel.h"
#include "core/tensor.h"

namespace native {

// All operands must be on one device; returns it.
inline DeviceType common_device(const char* op, std::initializer_list<const Tensor*> operands) {
  const DeviceType device = (*operands.begin())->device();
  for (const Tensor* operand : operands) {
    CHECK(operand->device() == device, "ERR_DEVICE", op, ": operands are on ", device_name(device), " and ",
          device_name(operand->device()));
  }
  return device;
}

// Queues kernel(args) on the device of the operands. `args` holds raw pointers: queue order keeps the memory
// valid.
template <class Args>
void launch(const Kernel<Args>& kernel, const Args& args, std::initializer_list<const Tensor*> operands) {
  const DeviceType device = common_device(kernel.name, operands);
  const auto function = kernel.functions[static_cast<int>(device)];
  CHECK(function, "ERR_DEVICE", kernel.name, " has no ", device_name(device), " kernel in this build");
  OpSite site{kernel.name, {}};
  for (const Tensor* operand : operands) site.operands.push_back(operand->describe());
  backend(device).submit(std::move(site), [function, args] { function(args); });
}

}  // namespace native
