// What this machine has for the CUDA backend, asked without opening a device.
#pragma once

#include "core/device.h"

namespace native::cuda {

// The lowest compute capability that the kernels are written for, as 10 x major + minor.
inline constexpr int kLowestCapability = 80;

// Whether the selected device can be used, and if not why; driver, runtime, devices, architectures.
DeviceReport probe_devices();

// 10 x major + minor that kernels are chosen by: the highest that the device and this build have in common,
// or a lower one from the environment variable NATIVE_CUDA_CAPABILITY. Throws ERR_DEVICE when that asks for
// what the device cannot do.
int chosen_capability(int of_device);

// How many multiprocessors kernels are planned for: the device's, or fewer by the environment variable
// NATIVE_CUDA_MULTIPROCESSORS. Throws ERR_DEVICE when that is no number from 1.
int chosen_multiprocessors(int of_device);

}  // namespace native::cuda
