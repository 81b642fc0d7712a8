// The slot between an op and its backends: the op's header declares a Kernel of its argument struct, each
// backend registers its function from its own file, and the dispatcher launches (core/launch.h) whatever the
// tensor's device has.
#pragma once

#include <string>
#include <vector>

#include "core/device_type.h"
#include "core/dtype.h"

namespace native {

class Tensor;  // of the dispatchers that ops' headers declare; kernels see addresses

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

}  // namespace native

// In an op's header: DECLARE_KERNEL(name, Args); in its .cc: DEFINE_KERNEL(name, Args);
// in a backend: REGISTER_KERNEL(name, cpu, function).
#define DECLARE_KERNEL(name, Args) extern Kernel<Args> name##_kernel
#define DEFINE_KERNEL(name, Args) Kernel<Args> name##_kernel(#name)
#define REGISTER_KERNEL(name, device, function) \
  static const RegisterKernel register_##name##_##device(name##_kernel, DeviceType::device, function)
