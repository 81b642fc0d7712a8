// The slot between an op and its backends: the op's header declares a Kernel of its argument struct, each
// backend registers its function from its own file, and the dispatcher launches whatever the tensor's device
// has.
#pragma once

#include <initializer_list>

#include "core/device.h"
#include "core/tensor.h"

namespace native {

template <class Args>
struct Kernel {
  using Function = void (*)(const Args&);
  const char* name;
  Function functions[kDeviceTypeCount];
  constexpr explicit Kernel(const char* name) : name(name), functions{} {}
};

// Every slot by name and which devices fill it, for tests and diagnosis.
struct KernelRecord {
  std::string name;
  DeviceType device;
};
std::vector<KernelRecord>& kernel_records();

template <class Args>
struct RegisterKernel {
  RegisterKernel(Kernel<Args>& kernel, DeviceType device, typename Kernel<Args>::Function function) {
    kernel.functions[static_cast<int>(device)] = function;
    kernel_records().push_back({kernel.name, device});
  }
};

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

// In an op's header: DECLARE_KERNEL(name, Args); in its .cc: DEFINE_KERNEL(name, Args);
// in a backend: REGISTER_KERNEL(name, cpu, function).
#define DECLARE_KERNEL(name, Args) extern Kernel<Args> name##_kernel
#define DEFINE_KERNEL(name, Args) Kernel<Args> name##_kernel(#name)
#define REGISTER_KERNEL(name, device, function) \
  static const RegisterKernel register_##name##_##device(name##_kernel, DeviceType::device, function)
